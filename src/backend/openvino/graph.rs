//! A graph without state: encoders, vision, speech. ONNX and IR alike.

use openvino::{Dimension, ElementType, InferRequest, Model, PartialShape, Tensor};

use super::library::failed;
use super::model::{Compiled, compile, tensor};
use crate::backend::{BackendError, GraphSession, OpenRequest};
use crate::record::SessionFacts;

/// Token ids of inputs are below this: every vocabulary has as many.
const TOKENS: u64 = 1000;

/// An input of fixed shape.
struct Input {
    name: String,
    element: ElementType,
    shape: Vec<i64>,
}

/// An opened graph with its inputs set.
pub(super) struct GraphModel {
    // Declared before the model: it must be freed first.
    request: InferRequest,
    compiled: Compiled,
    inputs: Vec<Input>,
    outputs: usize,
}

impl GraphModel {
    /// Axes that vary get `batch` where they come first and `length` elsewhere, before the model is compiled.
    pub(super) fn open(
        request: &OpenRequest,
        batch: u32,
        length: u32,
    ) -> Result<Self, BackendError> {
        let mut compiled = compile(request, false, &|model| fix_shapes(model, batch, length))?;
        let model = &mut compiled.model;
        let mut inputs = Vec::new();
        let count = model.get_input_size().map_err(|e| failed("no inputs", &e))?;
        for i in 0..count {
            let read = || {
                let node = model.get_input_by_index(i)?;
                let shape = node.get_shape()?.get_dimensions().to_vec();
                Ok(Input { name: node.get_name()?, element: node.get_element_type()?, shape })
            };
            inputs.push(read().map_err(|e| failed("cannot read the model's inputs", &e))?);
        }
        let outputs = model.get_output_size().map_err(|e| failed("no outputs", &e))?;
        let request =
            model.create_infer_request().map_err(|e| failed("cannot make a request", &e))?;
        Ok(Self { request, compiled, inputs, outputs })
    }
}

/// Gives every axis a size.
fn fix_shapes(model: &mut Model, batch: u32, length: u32) -> Result<(), BackendError> {
    let read = |e| failed("cannot read the model's inputs", &e);
    let mut fixed: Vec<(usize, PartialShape)> = Vec::new();
    for i in 0..model.get_inputs_len().map_err(read)? {
        let node = model.get_input_by_index(i).map_err(read)?;
        let partial = node.get_partial_shape().map_err(read)?;
        if partial.get_rank().is_dynamic() {
            let name = node.get_name().unwrap_or_default();
            let text = format!("input `{name}` has no fixed number of dimensions");
            return Err(BackendError::Unsupported(text));
        }
        let size = |(axis, dim): (usize, &Dimension)| match (axis, dim.get_min(), dim.get_max()) {
            (_, low, high) if low == high => Ok(low),
            (0, ..) => Ok(i64::from(batch)),
            _ if length > 0 => Ok(i64::from(length)),
            _ => {
                let name = node.get_name().unwrap_or_default();
                Err(BackendError::Unsupported(format!(
                    "axis {axis} of input `{name}` varies: the workload must give a length"
                )))
            }
        };
        let dims =
            partial.get_dimensions().iter().enumerate().map(size).collect::<Result<Vec<_>, _>>()?;
        if dims.first().is_some_and(|&d| dims.len() > 1 && d != i64::from(batch)) {
            let text = format!("the model is made for batch {}, not {batch}", dims[0]);
            return Err(BackendError::Unsupported(text));
        }
        let shape = PartialShape::new_static(dims.len() as i64, &dims).map_err(read)?;
        fixed.push((i, shape));
    }
    let shapes: Vec<(usize, &PartialShape)> = fixed.iter().map(|(i, s)| (*i, s)).collect();
    model.reshape_by_port_indexes(&shapes).map_err(|e| failed("cannot fix the model's shapes", &e))
}

impl GraphSession for GraphModel {
    fn facts(&self) -> SessionFacts {
        self.compiled.facts.clone()
    }

    fn set_input(&mut self, index: usize) -> Result<(), BackendError> {
        for (i, input) in self.inputs.iter().enumerate() {
            let value = values(input, index as u64)?;
            self.request
                .set_input_tensor_by_index(i, &value)
                .map_err(|e| failed(&format!("input `{}`", input.name), &e))?;
        }
        Ok(())
    }

    fn run(&mut self) -> Result<(), BackendError> {
        self.request.infer().map_err(|e| failed("inference failed", &e))
    }

    fn output(&self) -> Result<Vec<f32>, BackendError> {
        let read = |e| failed("cannot read an output", &e);
        for i in 0..self.outputs {
            let tensor = self.request.get_output_tensor_by_index(i).map_err(read)?;
            let element = tensor.get_element_type().map_err(read)?;
            if element != ElementType::F32 {
                continue;
            }
            if tensor.get_size().map_err(read)? == 0 {
                return Ok(Vec::new());
            }
            return Ok(tensor.get_data::<f32>().map_err(read)?.to_vec());
        }
        Err(BackendError::Unsupported("the model has no floating-point output".into()))
    }
}

/// Values spread evenly, the same for the same input and index (SplitMix64): token ids, ones for masks, -1 to 1.
fn values(input: &Input, index: u64) -> Result<Tensor, BackendError> {
    let count = input.shape.iter().product::<i64>().max(0) as usize;
    let mut state = index;
    let mut next = move || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    };
    let name = input.name.to_lowercase();
    let mut whole = || match () {
        () if name.contains("mask") => 1,
        () if name.contains("type") => 0,
        () => next() % TOKENS,
    };
    let (element, shape) = (input.element, input.shape.as_slice());
    match element {
        ElementType::I64 => {
            let v: Vec<i64> = (0..count).map(|_| whole() as i64).collect();
            tensor(element, shape, &v)
        }
        ElementType::I32 => {
            let v: Vec<i32> = (0..count).map(|_| whole() as i32).collect();
            tensor(element, shape, &v)
        }
        ElementType::F32 => {
            let unit = |z: u64| (z >> 40) as f32 / (1u64 << 23) as f32 - 1.0;
            let v: Vec<f32> = (0..count).map(|_| unit(next())).collect();
            tensor(element, shape, &v)
        }
        ElementType::U8 | ElementType::Boolean => {
            let top = if element == ElementType::U8 { 256 } else { 2 };
            let v: Vec<u8> = (0..count).map(|_| (next() % top) as u8).collect();
            tensor(element, shape, &v)
        }
        other => Err(BackendError::Unsupported(format!(
            "input `{}` is of type {other:?}, for which there are no test values",
            input.name
        ))),
    }
}
