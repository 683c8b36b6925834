//! A dense tensor as graphs take and give it.

use serde::{Deserialize, Serialize};

/// Values of one element type.
#[derive(Debug, Clone, PartialEq)]
pub enum TensorData {
    F32(Vec<f32>),
    I64(Vec<i64>),
    I32(Vec<i32>),
    U8(Vec<u8>),
    Bool(Vec<bool>),
}

/// Element types a graph's input can have here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TensorType {
    F32,
    I64,
    I32,
    U8,
    BOOL,
}

impl TensorType {
    pub fn bytes(self) -> usize {
        match self {
            TensorType::I64 => 8,
            TensorType::F32 | TensorType::I32 => 4,
            TensorType::U8 | TensorType::BOOL => 1,
        }
    }
}

/// A named tensor, outermost axis first.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    pub name: String,
    pub shape: Vec<usize>,
    pub data: TensorData,
}

impl TensorData {
    pub fn len(&self) -> usize {
        match self {
            TensorData::F32(v) => v.len(),
            TensorData::I64(v) => v.len(),
            TensorData::I32(v) => v.len(),
            TensorData::U8(v) => v.len(),
            TensorData::Bool(v) => v.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn dtype(&self) -> TensorType {
        match self {
            TensorData::F32(_) => TensorType::F32,
            TensorData::I64(_) => TensorType::I64,
            TensorData::I32(_) => TensorType::I32,
            TensorData::U8(_) => TensorType::U8,
            TensorData::Bool(_) => TensorType::BOOL,
        }
    }
}

impl Tensor {
    /// The values where they are floating-point.
    pub fn floats(&self) -> Option<&[f32]> {
        match &self.data {
            TensorData::F32(v) => Some(v),
            _ => None,
        }
    }
}
