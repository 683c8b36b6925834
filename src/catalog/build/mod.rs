//! From a catalogue entry's shape to the full list of tensors, named as GGUF names them.

mod decoder;
mod encoder;
mod traits;

pub(super) use decoder::ffn_width;

use super::entry::{Entry, Shape};
use crate::formats::gguf::role_of;
use crate::model::{Attention, ModelSpec, Role, TensorSpec};

/// The model's spec: every tensor with its shape, no bytes. A network known by totals only has one tensor.
pub fn build(entry: &Entry) -> ModelSpec {
    let Some(shape) = &entry.shape else { return from_totals(entry) };
    let mut t = Tensors::default();
    match encoder::builder(&shape.architecture) {
        Some(build) => build(shape, &mut t),
        None => decoder::build(shape, traits::of(&shape.architecture), &mut t),
    }
    let parameters = total(&t.list, |_| true);
    let routed = total(&t.list, |t| t.role == Role::Expert);
    let idle = match u64::from(shape.experts) {
        0 => 0,
        n => routed / n * (n - u64::from(shape.experts_used)),
    };
    ModelSpec {
        name: entry.title.clone(),
        architecture: shape.architecture.clone(),
        kind: entry.kind,
        parameters,
        active_parameters: parameters - idle,
        context_length: shape.context,
        hidden: shape.hidden,
        vocabulary: shape.vocabulary,
        experts: shape.experts,
        experts_used: shape.experts_used,
        tied_output: shape.tied,
        layers: layers(shape),
        tensors: t.list,
    }
}

/// How each layer keeps its context.
pub(super) fn layers(shape: &Shape) -> Vec<Attention> {
    let decoder = || decoder::layers(shape, traits::of(&shape.architecture));
    encoder::layers(shape).unwrap_or_else(decoder)
}

/// True where layers that do not attend are gated delta nets.
pub(super) fn has_delta_nets(shape: &Shape) -> bool {
    traits::of(&shape.architecture).delta.is_some()
}

/// True where [`build`] knows the architecture's tensors.
pub(super) fn is_known(architecture: &str) -> bool {
    encoder::builder(architecture).is_some() || traits::known(architecture)
}

fn from_totals(entry: &Entry) -> ModelSpec {
    let weights = TensorSpec {
        name: "weights".into(),
        role: Role::Other,
        shape: vec![entry.parameters],
        dtype: String::new(),
        bytes: 0,
    };
    ModelSpec {
        name: entry.title.clone(),
        architecture: "graph".into(),
        kind: entry.kind,
        parameters: entry.parameters,
        active_parameters: entry.parameters,
        context_length: 0,
        hidden: 0,
        vocabulary: 0,
        experts: 0,
        experts_used: 0,
        tied_output: false,
        layers: Vec::new(),
        tensors: vec![weights],
    }
}

fn total(tensors: &[TensorSpec], keep: impl Fn(&TensorSpec) -> bool) -> u64 {
    tensors.iter().filter(|t| keep(t)).map(TensorSpec::elements).fold(0, u64::saturating_add)
}

/// The list being built.
#[derive(Default)]
struct Tensors {
    list: Vec<TensorSpec>,
}

impl Tensors {
    fn add(&mut self, name: impl Into<String>, shape: &[u32]) {
        let name = name.into();
        self.list.push(TensorSpec {
            role: role_of(&name),
            name,
            shape: shape.iter().map(|&d| u64::from(d)).collect(),
            dtype: String::new(),
            bytes: 0,
        });
    }

    /// `{name}.weight` from `input` to `output` and, where wanted, its bias.
    fn linear(&mut self, name: &str, input: u32, output: u32, bias: bool) {
        self.add(format!("{name}.weight"), &[input, output]);
        if bias {
            self.add(format!("{name}.bias"), &[output]);
        }
    }

    /// A norm's weight and, for a layer norm, its bias.
    fn norm(&mut self, name: &str, width: u32, bias: bool) {
        self.add(format!("{name}.weight"), &[width]);
        if bias {
            self.add(format!("{name}.bias"), &[width]);
        }
    }
}

/// Product of two widths, saturating; shapes are checked to stay far below.
fn times(a: u32, b: u32) -> u32 {
    a.saturating_mul(b)
}

fn layer(n: u32, part: &str) -> String {
    format!("blk.{n}.{part}")
}
