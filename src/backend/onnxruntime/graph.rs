//! A plain graph: inputs from outside, bound once, then one inference a call.

use ort::session::{IoBinding, Session as OrtSession};
use ort::value::{DynTensor, DynValue, Tensor as Value, TensorElementType};

use super::session::{Opened, error};
use crate::backend::{BackendError, GraphSession};
use crate::model::{Tensor, TensorData};
use crate::record::SessionFacts;

pub(super) struct Graph {
    session: OrtSession,
    binding: IoBinding,
    facts: SessionFacts,
    /// First output of floating-point numbers.
    output: String,
    last: Option<DynValue>,
}

impl Graph {
    pub(super) fn new(opened: Opened) -> Result<Self, BackendError> {
        let Opened { session, facts } = opened;
        let floats = [TensorElementType::Float32, TensorElementType::Float16];
        let output = session
            .outputs()
            .iter()
            .find(|o| o.dtype().tensor_type().is_some_and(|t| floats.contains(&t)))
            .map(|o| o.name().to_owned())
            .ok_or_else(|| {
                BackendError::Unsupported("no output of floating-point numbers".into())
            })?;
        let binding = session.create_binding().map_err(|e| error("cannot bind inputs", &e))?;
        Ok(Self { session, binding, facts, output, last: None })
    }
}

impl GraphSession for Graph {
    fn facts(&self) -> SessionFacts {
        self.facts.clone()
    }

    fn set_inputs(&mut self, tensors: &[Tensor]) -> Result<(), BackendError> {
        for t in tensors {
            let failed = |e: ort::Error| error(&format!("cannot set input `{}`", t.name), &e);
            let bound = value(t).and_then(|v| self.binding.bind_input(t.name.as_str(), &v));
            bound.map_err(failed)?;
            let shape: Vec<_> = t.shape.iter().map(ToString::to_string).collect();
            self.facts.settings.insert(format!("input {}", t.name), shape.join("x"));
        }
        // Bound anew: a bound output keeps the shape of the run before.
        let memory = self.session.allocator().memory_info();
        for o in self.session.outputs() {
            let bound = self.binding.bind_output_to_device(o.name(), memory);
            bound.map_err(|e| error("cannot bind the outputs", &e))?;
        }
        self.last = None;
        Ok(())
    }

    fn run(&mut self) -> Result<(), BackendError> {
        let outputs = self.session.run_binding(&self.binding);
        let mut outputs = outputs.map_err(|e| error("inference failed", &e))?;
        self.last = outputs.remove(&self.output);
        Ok(())
    }

    fn output(&self) -> Result<Vec<f32>, BackendError> {
        let value = self.last.as_ref().ok_or(BackendError::Failed("nothing was run yet".into()))?;
        if let Ok((_, data)) = value.try_extract_tensor::<f32>() {
            return Ok(data.to_vec());
        }
        value
            .try_extract_tensor::<half::f16>()
            .map(|(_, data)| data.iter().map(|x| x.to_f32()).collect())
            .map_err(|e| error("cannot read the output", &e))
    }

    fn output_shape(&self) -> Option<Vec<usize>> {
        let shape = self.last.as_ref()?.dtype().tensor_shape()?;
        Some(shape.iter().map(|&n| usize::try_from(n).unwrap_or(0)).collect())
    }
}

fn value(t: &Tensor) -> ort::Result<DynTensor> {
    let shape = t.shape.clone();
    Ok(match &t.data {
        TensorData::F32(v) => Value::from_array((shape, v.clone()))?.upcast(),
        TensorData::I64(v) => Value::from_array((shape, v.clone()))?.upcast(),
        TensorData::I32(v) => Value::from_array((shape, v.clone()))?.upcast(),
        TensorData::U8(v) => Value::from_array((shape, v.clone()))?.upcast(),
        TensorData::Bool(v) => Value::from_array((shape, v.clone()))?.upcast(),
    })
}
