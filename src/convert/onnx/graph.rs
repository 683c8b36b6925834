//! A graph under construction: nodes in order, small tensors inside the file, weights streamed to a file beside it.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use prost::Message;

use super::proto::{
    Attribute, Dimension, Dtype, Entry, Graph, Model, Node, OperatorSet, Shape, Size, Tensor,
    TensorType, Type, ValueInfo,
};
use crate::convert::ConvertError;

/// Weights are mapped from their file: each starts on a page.
const PAGE: u64 = 4096;
/// Smaller tensors lie inside the graph's file.
const INLINE: usize = 4096;
/// Operators outside the standard.
pub(super) const MICROSOFT: &str = "com.microsoft";
const IR_VERSION: i64 = 10;
const OPSET: i64 = 21;

/// An axis of an input or output.
pub(super) enum Axis<'a> {
    Fixed(usize),
    Free(&'a str),
}

/// Where a tensor's bytes lie in the weights' file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    offset: u64,
    length: u64,
}

pub(super) struct Builder {
    graph: Graph,
    data: BufWriter<File>,
    data_path: PathBuf,
    at: u64,
    names: u64,
}

/// Name of the weights' file, as the graph refers to it.
pub(super) const DATA: &str = "model.onnx.data";

impl Builder {
    pub(super) fn create(dir: &Path) -> Result<Self, ConvertError> {
        let data_path = dir.join(DATA);
        let data = File::create(&data_path).map_err(|e| ConvertError::write(&data_path, e))?;
        Ok(Self {
            graph: Graph { name: "model".into(), ..Graph::default() },
            data: BufWriter::with_capacity(1 << 20, data),
            data_path,
            at: 0,
            names: 0,
        })
    }

    /// Appends a node with one output, which is returned; an empty input name leaves an optional input out.
    pub(super) fn node(
        &mut self,
        domain: &str,
        op: &str,
        input: &[&str],
        attributes: Vec<Attribute>,
    ) -> String {
        self.nodes(domain, op, input, attributes, &[true]).remove(0)
    }

    /// Appends a node; outputs that are false are left out and have an empty name.
    pub(super) fn nodes(
        &mut self,
        domain: &str,
        op: &str,
        input: &[&str],
        attributes: Vec<Attribute>,
        outputs: &[bool],
    ) -> Vec<String> {
        let name = format!("{op}_{}", self.names);
        self.names += 1;
        let named =
            |(i, &used): (usize, &bool)| if used { format!("{name}:{i}") } else { String::new() };
        let output: Vec<String> = outputs.iter().enumerate().map(named).collect();
        self.push(domain, op, input, &output, attributes, name);
        output
    }

    /// Appends a node whose outputs have names of their own.
    pub(super) fn named(
        &mut self,
        domain: &str,
        op: &str,
        input: &[&str],
        output: &[String],
        attributes: Vec<Attribute>,
    ) {
        let name = format!("{op}_{}", self.names);
        self.names += 1;
        self.push(domain, op, input, output, attributes, name);
    }

    fn push(
        &mut self,
        domain: &str,
        op: &str,
        input: &[&str],
        output: &[String],
        attribute: Vec<Attribute>,
        name: String,
    ) {
        self.graph.node.push(Node {
            input: input.iter().map(ToString::to_string).collect(),
            output: output.to_vec(),
            name,
            op_type: op.to_owned(),
            attribute,
            domain: domain.to_owned(),
        });
    }

    pub(super) fn input(&mut self, name: &str, dtype: Dtype, axes: &[Axis<'_>]) {
        self.graph.input.push(value(name, dtype, axes));
    }

    pub(super) fn output(&mut self, name: &str, dtype: Dtype, axes: &[Axis<'_>]) {
        self.graph.output.push(value(name, dtype, axes));
    }

    /// Appends bytes to the weights' file, at a page of their own where `begin`.
    pub(super) fn write(&mut self, bytes: &[u8], begin: bool) -> Result<u64, ConvertError> {
        let failed = |e| ConvertError::write(&self.data_path, e);
        if begin {
            let next = self.at.next_multiple_of(PAGE);
            let gap = vec![0; (next - self.at) as usize];
            self.data.write_all(&gap).map_err(failed)?;
            self.at = next;
        }
        let start = self.at;
        self.data.write_all(bytes).map_err(failed)?;
        self.at += bytes.len() as u64;
        Ok(start)
    }

    /// A place from `offset` to the end of what has been written.
    pub(super) fn since(&self, offset: u64) -> Place {
        Place { offset, length: self.at - offset }
    }

    /// A constant with its bytes, inside the graph's file if they are few.
    pub(super) fn constant(
        &mut self,
        name: &str,
        dtype: Dtype,
        shape: &[usize],
        bytes: Vec<u8>,
    ) -> Result<(), ConvertError> {
        if bytes.len() > INLINE {
            let offset = self.write(&bytes, true)?;
            let place = self.since(offset);
            self.constant_at(name, dtype, shape, place);
            return Ok(());
        }
        let tensor = Tensor { raw_data: Some(bytes), ..tensor(name, dtype, shape) };
        self.graph.initializer.push(tensor);
        Ok(())
    }

    /// A constant whose bytes were written before. Several may share a place.
    pub(super) fn constant_at(&mut self, name: &str, dtype: Dtype, shape: &[usize], place: Place) {
        let entry = |key: &str, value: String| Entry { key: key.to_owned(), value };
        self.graph.initializer.push(Tensor {
            external_data: vec![
                entry("location", DATA.to_owned()),
                entry("offset", place.offset.to_string()),
                entry("length", place.length.to_string()),
            ],
            data_location: 1,
            ..tensor(name, dtype, shape)
        });
    }

    pub(super) fn floats(
        &mut self,
        name: &str,
        shape: &[usize],
        values: &[f32],
    ) -> Result<(), ConvertError> {
        let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.constant(name, Dtype::F32, shape, bytes)
    }

    pub(super) fn ints(
        &mut self,
        name: &str,
        shape: &[usize],
        values: &[i64],
    ) -> Result<(), ConvertError> {
        let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.constant(name, Dtype::I64, shape, bytes)
    }

    /// Writes the graph into `dir`, beside its weights.
    pub(super) fn finish(mut self, dir: &Path) -> Result<(), ConvertError> {
        self.data.flush().map_err(|e| ConvertError::write(&self.data_path, e))?;
        let opset = |domain: &str, version| OperatorSet { domain: domain.to_owned(), version };
        let model = Model {
            ir_version: IR_VERSION,
            producer_name: "edge-advisor".to_owned(),
            producer_version: env!("CARGO_PKG_VERSION").to_owned(),
            graph: Some(self.graph),
            opset_import: vec![opset("", OPSET), opset(MICROSOFT, 1)],
        };
        let path = dir.join("model.onnx");
        std::fs::write(&path, model.encode_to_vec()).map_err(|e| ConvertError::write(&path, e))
    }
}

fn tensor(name: &str, dtype: Dtype, shape: &[usize]) -> Tensor {
    Tensor {
        name: name.to_owned(),
        data_type: dtype as i32,
        dims: shape.iter().map(|&n| n as i64).collect(),
        ..Tensor::default()
    }
}

fn value(name: &str, dtype: Dtype, axes: &[Axis<'_>]) -> ValueInfo {
    let dim = |axis: &Axis<'_>| Dimension {
        size: Some(match axis {
            Axis::Fixed(n) => Size::Value(*n as i64),
            Axis::Free(name) => Size::Param((*name).to_owned()),
        }),
    };
    let shape = Shape { dim: axes.iter().map(dim).collect() };
    let tensor = TensorType { elem_type: dtype as i32, shape: Some(shape) };
    ValueInfo { name: name.to_owned(), r#type: Some(Type { tensor_type: Some(tensor) }) }
}
