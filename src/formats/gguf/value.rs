//! Metadata values, as read and as written.

use super::types::GgmlType;

/// The type codes of metadata values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum ValueType {
    U8 = 0,
    I8 = 1,
    U16 = 2,
    I16 = 3,
    U32 = 4,
    I32 = 5,
    F32 = 6,
    Bool = 7,
    String = 8,
    Array = 9,
    U64 = 10,
    I64 = 11,
    F64 = 12,
}

impl ValueType {
    pub(super) fn from_code(code: u32) -> Option<Self> {
        use ValueType::*;
        const ALL: [ValueType; 13] =
            [U8, I8, U16, I16, U32, I32, F32, Bool, String, Array, U64, I64, F64];
        ALL.get(code as usize).copied()
    }

    /// Bytes of one value; `None` for those that carry their own length.
    pub(super) fn width(self) -> Option<u64> {
        use ValueType::*;
        match self {
            U8 | I8 | Bool => Some(1),
            U16 | I16 => Some(2),
            U32 | I32 | F32 => Some(4),
            U64 | I64 | F64 => Some(8),
            String | Array => None,
        }
    }
}

/// One metadata value. Arrays and very long strings stay in the file until asked for.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Int(i64),
    /// An unsigned value that does not fit into `Int`.
    Big(u64),
    Float(f64),
    Bool(bool),
    String(String),
    /// A string longer than the reader keeps.
    LongString(Array),
    Array(Array),
}

/// Where an array lies in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Array {
    pub element: ValueType,
    pub count: u64,
    pub(super) offset: u64,
    /// Bytes of all elements together.
    pub(super) bytes: u64,
}

impl Value {
    /// The value as an unsigned integer, whatever its stored width.
    pub fn as_u64(&self) -> Option<u64> {
        match *self {
            Value::Int(v) => u64::try_from(v).ok(),
            Value::Big(v) => Some(v),
            _ => None,
        }
    }
    pub fn as_f64(&self) -> Option<f64> {
        match *self {
            Value::Float(v) => Some(v),
            Value::Int(v) => Some(v as f64),
            Value::Big(v) => Some(v as f64),
            _ => None,
        }
    }
    pub fn as_bool(&self) -> Option<bool> {
        match *self {
            Value::Bool(v) => Some(v),
            _ => None,
        }
    }
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(s) => Some(s),
            _ => None,
        }
    }
}

/// A value ready to be written: its type code and its bytes. Also what a verbatim copy of metadata is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    pub(super) code: u32,
    pub(super) bytes: Vec<u8>,
}

impl Encoded {
    pub fn u16(v: u16) -> Self {
        Self { code: ValueType::U16 as u32, bytes: v.to_le_bytes().to_vec() }
    }
    pub fn i32(v: i32) -> Self {
        Self { code: ValueType::I32 as u32, bytes: v.to_le_bytes().to_vec() }
    }
    pub fn u32(v: u32) -> Self {
        Self { code: ValueType::U32 as u32, bytes: v.to_le_bytes().to_vec() }
    }
    pub fn u64(v: u64) -> Self {
        Self { code: ValueType::U64 as u32, bytes: v.to_le_bytes().to_vec() }
    }
    pub fn f32(v: f32) -> Self {
        Self { code: ValueType::F32 as u32, bytes: v.to_le_bytes().to_vec() }
    }
    pub fn bool(v: bool) -> Self {
        Self { code: ValueType::Bool as u32, bytes: vec![u8::from(v)] }
    }
    pub fn string(v: &(impl AsRef<[u8]> + ?Sized)) -> Self {
        let mut bytes = Vec::new();
        push_string(&mut bytes, v.as_ref());
        Self { code: ValueType::String as u32, bytes }
    }
    pub fn strings<S: AsRef<[u8]>>(values: impl IntoIterator<Item = S>) -> Self {
        let mut bytes = Vec::new();
        let mut count = 0u64;
        for v in values {
            push_string(&mut bytes, v.as_ref());
            count += 1;
        }
        Self::array(ValueType::String, count, bytes)
    }
    pub fn i32s(values: &[i32]) -> Self {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Self::array(ValueType::I32, values.len() as u64, bytes)
    }
    pub fn u32s(values: &[u32]) -> Self {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Self::array(ValueType::U32, values.len() as u64, bytes)
    }
    pub fn f32s(values: &[f32]) -> Self {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Self::array(ValueType::F32, values.len() as u64, bytes)
    }
    pub fn bools(values: &[bool]) -> Self {
        let bytes = values.iter().map(|&v| u8::from(v)).collect();
        Self::array(ValueType::Bool, values.len() as u64, bytes)
    }

    /// A number or boolean in the type it was read from.
    pub(super) fn scalar(kind: ValueType, value: &Value) -> Self {
        let int = match *value {
            Value::Int(v) => v.to_le_bytes(),
            Value::Big(v) => v.to_le_bytes(),
            Value::Bool(v) => u64::from(v).to_le_bytes(),
            Value::Float(v) if kind == ValueType::F32 => {
                return Self::f32(v as f32);
            }
            Value::Float(v) => v.to_le_bytes(),
            _ => [0; 8],
        };
        let width = kind.width().unwrap_or(8) as usize;
        Self { code: kind as u32, bytes: int[..width].to_vec() }
    }

    pub(super) fn array(element: ValueType, count: u64, elements: Vec<u8>) -> Self {
        let mut bytes = Vec::with_capacity(elements.len() + 12);
        bytes.extend((element as u32).to_le_bytes());
        bytes.extend(count.to_le_bytes());
        bytes.extend(elements);
        Self { code: ValueType::Array as u32, bytes }
    }
}

fn push_string(out: &mut Vec<u8>, text: &[u8]) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text);
}

/// Bytes of a tensor of a known type; `None` where the shape does not fit the type.
pub(super) fn tensor_bytes(kind: &GgmlType, shape: &[u64]) -> Option<u64> {
    let elements = shape.iter().try_fold(1u64, |n, &d| n.checked_mul(d))?;
    kind.bytes(shape.first().copied().unwrap_or(1), elements)
}
