//! A graph without state: encoders, vision, speech. ONNX and IR alike.

use openvino::{ElementType, InferRequest, Model, PartialShape, Tensor};

use super::library::failed;
use super::model::{Compiled, compile, tensor};
use crate::backend::{BackendError, GraphSession, OpenRequest};
use crate::model::{self, TensorData};
use crate::record::SessionFacts;

/// Whether the compiled model's axes all have a size.
const SHAPES: &str = "shapes";

/// An opened graph.
pub(super) struct GraphModel {
    // Declared before the model: it must be freed first.
    request: InferRequest,
    compiled: Compiled,
    /// Names of the inputs with their axes, `None` where one varies.
    inputs: Vec<(String, Option<Vec<i64>>)>,
    outputs: usize,
    open: OpenRequest,
}

impl GraphModel {
    pub(super) fn open(request: &OpenRequest) -> Result<Self, BackendError> {
        let fixed_only = request.device.to_ascii_uppercase().starts_with("NPU");
        let check = |model: &mut Model| match fixed_only && model.is_dynamic() {
            true => Err(BackendError::Unsupported(
                "the NPU takes graphs of fixed shapes only, and this one has axes that vary".into(),
            )),
            false => Ok(()),
        };
        Self::compile(request, &check)
    }

    fn compile(
        request: &OpenRequest,
        shape: &dyn Fn(&mut Model) -> Result<(), BackendError>,
    ) -> Result<Self, BackendError> {
        let mut compiled = compile(request, false, shape)?;
        let model = &mut compiled.model;
        let mut inputs = Vec::new();
        let count = model.get_input_size().map_err(|e| failed("no inputs", &e))?;
        for i in 0..count {
            let read = || {
                let node = model.get_input_by_index(i)?;
                let fixed = !node.get_partial_shape()?.is_dynamic();
                let shape =
                    if fixed { Some(node.get_shape()?.get_dimensions().to_vec()) } else { None };
                Ok((node.get_name()?, shape))
            };
            inputs.push(read().map_err(|e| failed("cannot read the model's inputs", &e))?);
        }
        let outputs = model.get_output_size().map_err(|e| failed("no outputs", &e))?;
        let infer =
            model.create_infer_request().map_err(|e| failed("cannot make a request", &e))?;
        let fixed = inputs.iter().all(|(_, shape)| shape.is_some());
        let word = if fixed { "fixed" } else { "free" };
        compiled.facts.settings.insert(SHAPES.into(), word.into());
        Ok(Self { request: infer, compiled, inputs, outputs, open: request.clone() })
    }

    /// Compiles anew for inputs of these shapes, where it is not compiled for them yet: what is deployed with one size
    /// of input is compiled for it.
    fn fit(&mut self, given: &[model::Tensor]) -> Result<(), BackendError> {
        let axes = |t: &model::Tensor| t.shape.iter().map(|&d| d as i64).collect::<Vec<_>>();
        let mut wanted = Vec::new();
        let mut fits = true;
        for (name, shape) in &self.inputs {
            let named = given.iter().find(|t| t.name == *name);
            let found = named.map(axes).ok_or_else(|| {
                BackendError::Unsupported(format!("no values are made for input `{name}`"))
            })?;
            fits &= shape.as_ref() == Some(&found);
            wanted.push((name.clone(), found));
        }
        if fits {
            return Ok(());
        }
        let reshape = |model: &mut Model| {
            let shapes: Result<Vec<(&str, PartialShape)>, _> = wanted
                .iter()
                .map(|(n, s)| Ok((n.as_str(), PartialShape::new_static(s.len() as i64, s)?)))
                .collect();
            shapes
                .and_then(|s| model.reshape(&s.iter().map(|(n, s)| (*n, s)).collect::<Vec<_>>()))
                .map_err(|e| failed("cannot fix the model's shapes", &e))
        };
        *self = Self::compile(&self.open.clone(), &reshape)?;
        Ok(())
    }

    /// The first floating-point output.
    fn floats(&self) -> Result<Tensor, BackendError> {
        let read = |e| failed("cannot read an output", &e);
        for i in 0..self.outputs {
            let tensor = self.request.get_output_tensor_by_index(i).map_err(read)?;
            if tensor.get_element_type().map_err(read)? == ElementType::F32 {
                return Ok(tensor);
            }
        }
        Err(BackendError::Unsupported("the model has no floating-point output".into()))
    }
}

impl GraphSession for GraphModel {
    fn facts(&self) -> SessionFacts {
        self.compiled.facts.clone()
    }

    fn set_inputs(&mut self, inputs: &[model::Tensor]) -> Result<(), BackendError> {
        self.fit(inputs)?;
        for given in inputs.iter().filter(|t| self.inputs.iter().any(|(n, _)| *n == t.name)) {
            let value = converted(given)?;
            self.request
                .set_tensor(&given.name, &value)
                .map_err(|e| failed(&format!("input `{}`", given.name), &e))?;
        }
        Ok(())
    }

    fn run(&mut self) -> Result<(), BackendError> {
        self.request.infer().map_err(|e| failed("inference failed", &e))
    }

    fn output(&self) -> Result<Vec<f32>, BackendError> {
        let tensor = self.floats()?;
        let read = |e| failed("cannot read an output", &e);
        // The crate must not be asked for a slice of an empty tensor.
        match tensor.get_size().map_err(read)? {
            0 => Ok(Vec::new()),
            _ => Ok(tensor.get_data::<f32>().map_err(read)?.to_vec()),
        }
    }

    fn output_shape(&self) -> Option<Vec<usize>> {
        let shape = self.floats().ok()?.get_shape().ok()?;
        shape.get_dimensions().iter().map(|&d| usize::try_from(d).ok()).collect()
    }
}

fn converted(given: &model::Tensor) -> Result<Tensor, BackendError> {
    let shape: Vec<i64> = given.shape.iter().map(|&d| d as i64).collect();
    match &given.data {
        TensorData::F32(v) => tensor(ElementType::F32, &shape, v),
        TensorData::I64(v) => tensor(ElementType::I64, &shape, v),
        TensorData::I32(v) => tensor(ElementType::I32, &shape, v),
        TensorData::U8(v) => tensor(ElementType::U8, &shape, v),
        TensorData::Bool(v) => {
            let bytes: Vec<u8> = v.iter().map(|&b| u8::from(b)).collect();
            tensor(ElementType::Boolean, &shape, &bytes)
        }
    }
}
