//! The head of a GGUF file: metadata and tensor table, checked against the file's real size.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::input::Input;
use super::value::{Array, Encoded, Value, ValueType, tensor_bytes};
use super::{ggml_type, split};
use crate::formats::FormatError;

// Limits far above any real file (largest seen: 2,000 tensors, 100 keys, 300 kB of template).
const MAX_KEYS: u64 = 1 << 16;
const MAX_TENSORS: u64 = 1 << 17;
const MAX_KEY_BYTES: u64 = 1 << 10;
const MAX_NAME_BYTES: u64 = 1 << 10;
/// Longer strings are left in the file.
const MAX_STRING_BYTES: u64 = 1 << 20;
/// All strings kept together.
const MAX_KEPT_BYTES: u64 = 32 << 20;
const MAX_DIMS: u32 = 4;
const MAX_LAYERS: u64 = 1 << 12;
/// What one call may read of an array.
const MAX_ARRAY_BYTES: u64 = 256 << 20;

/// One tensor as the file declares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    pub name: String,
    /// Fastest-varying dimension first.
    pub shape: Vec<u64>,
    /// ggml's id, kept also where this build does not know it.
    pub type_id: u32,
    /// First byte, counted from the start of its file.
    pub offset: u64,
    /// Exact for a known type; for an unknown one the space up to the next tensor.
    pub bytes: u64,
    /// Index into [`Gguf::parts`].
    pub part: usize,
}

impl TensorInfo {
    /// The type's name, or `type 99` where it is unknown.
    pub fn type_name(&self) -> String {
        ggml_type(self.type_id).map_or_else(|| format!("type {}", self.type_id), |t| t.name.into())
    }

    /// Number of elements; checked not to overflow when the file was opened.
    pub fn elements(&self) -> u64 {
        self.shape.iter().product()
    }
}

/// One file of the model: one, unless it is split.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    pub path: PathBuf,
    /// Where tensor data starts.
    pub data_offset: u64,
    pub file_bytes: u64,
}

/// The head of a GGUF model; the files of a split model appear as one.
#[derive(Debug, Clone)]
pub struct Gguf {
    pub version: u32,
    pub alignment: u64,
    pub parts: Vec<Part>,
    pub tensors: Vec<TensorInfo>,
    keys: Vec<Entry>,
    index: HashMap<String, usize>,
}

/// One metadata key with the type it is stored in, which runtimes insist on.
#[derive(Debug, Clone)]
struct Entry {
    key: String,
    kind: ValueType,
    value: Value,
}

impl Gguf {
    /// Reads the head of `path`, and of the other parts where it is one of a split model.
    ///
    /// Memory stays within about 100 MiB whatever the file says. Fails where the file is no little-endian GGUF v2 or v3, is truncated, or
    /// contradicts itself.
    pub fn open(path: &Path) -> Result<Self, FormatError> {
        let first = Self::open_one(path)?;
        match split::expected_parts(&first, path)? {
            None => Ok(first),
            Some(paths) => split::merge(path, &paths),
        }
    }

    /// Reads one file on its own.
    pub(super) fn open_one(path: &Path) -> Result<Self, FormatError> {
        let mut input = Input::open(path)?;
        let version = read_version(&mut input)?;
        let tensor_count = input.u64("the tensor count")?;
        let key_count = input.u64("the key count")?;
        if tensor_count > MAX_TENSORS || key_count > MAX_KEYS {
            return Err(input.damaged(format!(
                "{tensor_count} tensors and {key_count} metadata keys, the limits are {MAX_TENSORS} and {MAX_KEYS}"
            )));
        }
        let (keys, index) = read_metadata(&mut input, key_count)?;
        let alignment =
            match index.get("general.alignment").map(|&i| &keys[i].value) {
                None => 32,
                Some(v) => v.as_u64().filter(|a| a.is_power_of_two() && *a <= 1 << 20).ok_or_else(
                    || input.damaged("general.alignment is not a power of two up to 1 MiB"),
                )?,
            };
        let mut tensors = read_tensor_table(&mut input, tensor_count)?;
        let data_offset = match tensors.is_empty() {
            true => input.pos,
            false => input
                .pos
                .checked_next_multiple_of(alignment)
                .ok_or_else(|| input.damaged("the data offset overflows"))?,
        };
        place_tensors(&input, &mut tensors, data_offset, alignment)?;
        let part = Part { path: path.to_owned(), data_offset, file_bytes: input.len };
        let gguf = Self { version, alignment, parts: vec![part], tensors, keys, index };
        gguf.check_layers(&input)?;
        Ok(gguf)
    }

    /// Every key with its value, in the file's order.
    pub fn metadata(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.keys.iter().map(|e| (e.key.as_str(), &e.value))
    }

    pub fn get(&self, key: &str) -> Option<&Value> {
        self.index.get(key).map(|&i| &self.keys[i].value)
    }

    pub fn u64(&self, key: &str) -> Option<u64> {
        self.get(key)?.as_u64()
    }

    pub fn str(&self, key: &str) -> Option<&str> {
        self.get(key)?.as_str()
    }

    /// `general.architecture`, or `unknown`.
    pub fn architecture(&self) -> &str {
        self.str("general.architecture").unwrap_or("unknown")
    }

    /// A key under the architecture's prefix, e.g. `block_count`.
    pub fn arch(&self, key: &str) -> Option<&Value> {
        self.get(&format!("{}.{key}", self.architecture()))
    }

    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.tensors.iter().find(|t| t.name == name)
    }

    /// Bytes of all files together.
    pub fn file_bytes(&self) -> u64 {
        self.parts.iter().map(|p| p.file_bytes).fold(0, u64::saturating_add)
    }

    /// Number of elements of an array value.
    pub fn array_len(&self, key: &str) -> Option<u64> {
        match self.get(key)? {
            Value::Array(a) => Some(a.count),
            _ => None,
        }
    }

    /// An array of whole numbers or booleans, at most `limit` elements; `None` where the key is absent or holds something else.
    pub fn ints(&self, key: &str, limit: u64) -> Result<Option<Vec<i64>>, FormatError> {
        let Some(&Value::Array(array)) = self.get(key) else { return Ok(None) };
        let Some(width) = array.element.width() else { return Ok(None) };
        if matches!(array.element, ValueType::F32 | ValueType::F64) {
            return Ok(None);
        }
        let bytes = self.array_bytes(key, array, limit)?;
        Ok(Some(bytes.chunks_exact(width as usize).map(|c| int(array.element, c)).collect()))
    }

    /// An array of floats, at most `limit` elements.
    pub fn floats(&self, key: &str, limit: u64) -> Result<Option<Vec<f64>>, FormatError> {
        let Some(&Value::Array(array)) = self.get(key) else { return Ok(None) };
        let bytes = match array.element {
            ValueType::F32 | ValueType::F64 => self.array_bytes(key, array, limit)?,
            _ => return Ok(None),
        };
        Ok(Some(match array.element {
            ValueType::F32 => bytes.chunks_exact(4).map(|c| f64::from(f32_of(c))).collect(),
            _ => bytes.chunks_exact(8).map(|c| f64::from_le_bytes(fixed(c))).collect(),
        }))
    }

    /// An array of strings as raw bytes (tokens need not be UTF-8), at most `limit` elements.
    pub fn strings(&self, key: &str, limit: u64) -> Result<Option<Vec<Vec<u8>>>, FormatError> {
        let Some(&Value::Array(array)) = self.get(key) else { return Ok(None) };
        if array.element != ValueType::String {
            return Ok(None);
        }
        let bytes = self.array_bytes(key, array, limit)?;
        let mut out = Vec::new();
        let mut rest = bytes.as_slice();
        while let Some((head, tail)) = rest.split_first_chunk::<8>() {
            let length = usize::try_from(u64::from_le_bytes(*head)).unwrap_or(usize::MAX);
            let Some((text, tail)) = tail.split_at_checked(length) else { break };
            out.push(text.to_vec());
            rest = tail;
        }
        Ok(Some(out))
    }

    /// A value as it stands in the file, to be written verbatim into another one.
    pub fn encoded(&self, key: &str) -> Result<Option<Encoded>, FormatError> {
        let Some(&i) = self.index.get(key) else { return Ok(None) };
        let entry = &self.keys[i];
        Ok(Some(match &entry.value {
            &Value::Array(a) => {
                Encoded::array(a.element, a.count, self.array_bytes(key, a, u64::MAX)?)
            }
            &Value::LongString(a) => Encoded::string(&self.array_bytes(key, a, u64::MAX)?),
            Value::String(s) => Encoded::string(s),
            scalar => Encoded::scalar(entry.kind, scalar),
        }))
    }

    /// All metadata verbatim, for a copy of this model; without what belongs to its files (alignment, split).
    pub fn encoded_metadata(&self) -> Result<Vec<(String, Encoded)>, FormatError> {
        let mut out = Vec::new();
        for entry in &self.keys {
            if entry.key == "general.alignment" || entry.key.starts_with("split.") {
                continue;
            }
            if let Some(value) = self.encoded(&entry.key)? {
                out.push((entry.key.clone(), value));
            }
        }
        Ok(out)
    }

    fn array_bytes(&self, key: &str, array: Array, limit: u64) -> Result<Vec<u8>, FormatError> {
        let path = &self.parts[0].path;
        if array.count > limit || array.bytes > MAX_ARRAY_BYTES {
            let why = format!("array `{key}` has {} elements, {} bytes", array.count, array.bytes);
            return Err(FormatError::damaged(path, why));
        }
        let mut input = Input::open(path)?;
        input.seek(array.offset)?;
        input.vec(array.bytes, key)
    }

    /// Runtimes trust `block_count`: one that is absurd, or smaller than the tensors show, makes them abort.
    fn check_layers(&self, input: &Input) -> Result<(), FormatError> {
        let Some(layers) = self.arch("block_count").and_then(Value::as_u64) else { return Ok(()) };
        if layers > MAX_LAYERS {
            return Err(input.damaged(format!("{layers} layers, the limit is {MAX_LAYERS}")));
        }
        for t in &self.tensors {
            if let Some(layer) = layer_of(&t.name).filter(|&n| n >= layers) {
                let why = format!("tensor `{}` of layer {layer} but {layers} layers", t.name);
                return Err(input.damaged(why));
            }
        }
        Ok(())
    }
}

/// `12` for `blk.12.attn_q.weight`.
pub(super) fn layer_of(name: &str) -> Option<u64> {
    name.strip_prefix("blk.")?.split('.').next()?.parse().ok()
}

fn read_version(input: &mut Input) -> Result<u32, FormatError> {
    let not_gguf = |input: &Input, why: String| FormatError::NotThisFormat {
        path: input.path.clone(),
        wanted: "a GGUF file",
        why,
    };
    if input.len < 4 {
        return Err(not_gguf(input, format!("it has {} bytes", input.len)));
    }
    if &input.bytes::<4>("the magic")? != b"GGUF" {
        return Err(not_gguf(input, "it does not start with `GGUF`".into()));
    }
    match input.u32("the version")? {
        v @ (2 | 3) => Ok(v),
        1 => Err(FormatError::unsupported(&input.path, "GGUF version 1, replaced in August 2023")),
        v if matches!(v.swap_bytes(), 1..=3) => {
            Err(FormatError::unsupported(&input.path, "a big-endian GGUF"))
        }
        v => Err(FormatError::unsupported(&input.path, format!("GGUF version {v}"))),
    }
}

type Metadata = (Vec<Entry>, HashMap<String, usize>);

fn read_metadata(input: &mut Input, count: u64) -> Result<Metadata, FormatError> {
    let mut keys = Vec::new();
    let mut index = HashMap::new();
    let mut kept = 0u64;
    for _ in 0..count {
        let key = text(input, MAX_KEY_BYTES, "a metadata key")?;
        let code = input.u32("a value type")?;
        let kind = ValueType::from_code(code)
            .ok_or_else(|| input.damaged(format!("key `{key}` has unknown value type {code}")))?;
        let value = read_value(input, kind, &key)?;
        kept += key.len() as u64 + value.as_str().map_or(0, |s| s.len() as u64);
        if kept > MAX_KEPT_BYTES {
            return Err(input.damaged(format!("more than {MAX_KEPT_BYTES} bytes of metadata text")));
        }
        if index.insert(key.clone(), keys.len()).is_some() {
            return Err(input.damaged(format!("key `{key}` appears twice")));
        }
        keys.push(Entry { key, kind, value });
    }
    Ok((keys, index))
}

fn read_value(input: &mut Input, kind: ValueType, key: &str) -> Result<Value, FormatError> {
    Ok(match kind {
        ValueType::String => {
            let length = input.u64(key)?;
            if length > MAX_STRING_BYTES {
                let (element, offset) = (ValueType::U8, input.pos);
                input.skip(length, key)?;
                return Ok(Value::LongString(Array {
                    element,
                    count: length,
                    offset,
                    bytes: length,
                }));
            }
            let bytes = input.vec(length, key)?;
            Value::String(String::from_utf8_lossy(&bytes).into_owned())
        }
        ValueType::Array => Value::Array(read_array(input, key)?),
        ValueType::U8 | ValueType::I8 | ValueType::Bool => number(kind, &input.bytes::<1>(key)?),
        ValueType::U16 | ValueType::I16 => number(kind, &input.bytes::<2>(key)?),
        ValueType::U32 | ValueType::I32 | ValueType::F32 => number(kind, &input.bytes::<4>(key)?),
        ValueType::U64 | ValueType::I64 | ValueType::F64 => number(kind, &input.bytes::<8>(key)?),
    })
}

fn read_array(input: &mut Input, key: &str) -> Result<Array, FormatError> {
    let code = input.u32(key)?;
    let element = ValueType::from_code(code)
        .ok_or_else(|| input.damaged(format!("array `{key}` has unknown element type {code}")))?;
    let count = input.u64(key)?;
    let offset = input.pos;
    match element.width() {
        Some(width) => {
            let bytes = count
                .checked_mul(width)
                .ok_or_else(|| input.damaged(format!("array `{key}` has {count} elements")))?;
            input.skip(bytes, key)?;
        }
        None if element == ValueType::Array => {
            return Err(FormatError::unsupported(&input.path, format!("nested array `{key}`")));
        }
        None => {
            if count > input.left() / 8 {
                return Err(input.damaged(format!("array `{key}` claims {count} strings")));
            }
            for _ in 0..count {
                let length = input.u64(key)?;
                input.skip(length, key)?;
            }
        }
    }
    Ok(Array { element, count, offset, bytes: input.pos - offset })
}

fn number(kind: ValueType, bytes: &[u8]) -> Value {
    match kind {
        ValueType::F32 => Value::Float(f64::from(f32_of(bytes))),
        ValueType::F64 => Value::Float(f64::from_le_bytes(fixed(bytes))),
        ValueType::Bool => Value::Bool(bytes[0] != 0),
        ValueType::U64 => {
            let v = u64::from_le_bytes(fixed(bytes));
            i64::try_from(v).map_or(Value::Big(v), Value::Int)
        }
        _ => Value::Int(int(kind, bytes)),
    }
}

fn int(kind: ValueType, bytes: &[u8]) -> i64 {
    match kind {
        ValueType::I8 => i64::from(bytes[0] as i8),
        ValueType::U16 => i64::from(u16::from_le_bytes(fixed(bytes))),
        ValueType::I16 => i64::from(i16::from_le_bytes(fixed(bytes))),
        ValueType::U32 => i64::from(u32::from_le_bytes(fixed(bytes))),
        ValueType::I32 => i64::from(i32::from_le_bytes(fixed(bytes))),
        ValueType::U64 | ValueType::I64 => i64::from_le_bytes(fixed(bytes)),
        _ => i64::from(bytes[0]),
    }
}

fn f32_of(bytes: &[u8]) -> f32 {
    f32::from_le_bytes(fixed(bytes))
}

/// The first `N` bytes; the callers hand over exactly that many.
fn fixed<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[..N]);
    out
}

fn text(input: &mut Input, limit: u64, what: &str) -> Result<String, FormatError> {
    let bytes = input.string(limit, what)?;
    String::from_utf8(bytes).map_err(|_| input.damaged(format!("{what} is not UTF-8")))
}

fn read_tensor_table(input: &mut Input, count: u64) -> Result<Vec<TensorInfo>, FormatError> {
    let mut tensors = Vec::new();
    let mut names = HashSet::new();
    for _ in 0..count {
        let name = text(input, MAX_NAME_BYTES, "a tensor name")?;
        let dims = input.u32("a tensor's dimensions")?;
        if dims > MAX_DIMS {
            return Err(input.damaged(format!("tensor `{name}` has {dims} dimensions")));
        }
        let shape = (0..dims)
            .map(|_| input.u64("a tensor's shape"))
            .collect::<Result<Vec<u64>, FormatError>>()?;
        // ggml counts elements in an i64.
        shape
            .iter()
            .try_fold(1u64, |n, &d| n.checked_mul(d))
            .filter(|&n| i64::try_from(n).is_ok())
            .ok_or_else(|| input.damaged(format!("tensor `{name}` has shape {shape:?}")))?;
        let type_id = input.u32("a tensor's type")?;
        let offset = input.u64("a tensor's offset")?;
        if !names.insert(name.clone()) {
            return Err(input.damaged(format!("tensor `{name}` appears twice")));
        }
        tensors.push(TensorInfo { name, shape, type_id, offset, bytes: 0, part: 0 });
    }
    Ok(tensors)
}

/// Turns offsets into file positions and checks that every tensor lies in the file and on no other tensor.
fn place_tensors(
    input: &Input,
    tensors: &mut [TensorInfo],
    data_offset: u64,
    alignment: u64,
) -> Result<(), FormatError> {
    for t in tensors.iter_mut() {
        if !t.offset.is_multiple_of(alignment) {
            let why = format!("tensor `{}` is not aligned to {alignment} bytes", t.name);
            return Err(input.damaged(why));
        }
        t.offset = data_offset
            .checked_add(t.offset)
            .ok_or_else(|| input.damaged(format!("tensor `{}` has a huge offset", t.name)))?;
        if let Some(kind) = ggml_type(t.type_id) {
            t.bytes = tensor_bytes(kind, &t.shape).ok_or_else(|| {
                let why = format!("tensor `{}`: {} cannot hold {:?}", t.name, kind.name, t.shape);
                input.damaged(why)
            })?;
        }
    }
    let mut order: Vec<usize> = (0..tensors.len()).collect();
    order.sort_by_key(|&i| (tensors[i].offset, tensors[i].bytes));
    for (n, &i) in order.iter().enumerate() {
        let limit = order.get(n + 1).map_or(input.len, |&next| tensors[next].offset);
        let t = &mut tensors[i];
        if ggml_type(t.type_id).is_none() {
            t.bytes = limit.saturating_sub(t.offset);
        }
        let end = t.offset.saturating_add(t.bytes);
        if end > input.len {
            return Err(FormatError::Truncated {
                path: input.path.clone(),
                what: format!("tensor `{}`", t.name),
                needed: end,
                found: input.len,
            });
        }
        if end > limit {
            return Err(input.damaged(format!("tensor `{}` overlaps the next one", t.name)));
        }
    }
    Ok(())
}
