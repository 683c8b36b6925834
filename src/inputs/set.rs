//! An input set on disk: one safetensors file, tensors named `<sample>/<input>`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::model::{Tensor, TensorData, TensorType};

/// A set holds a few hundred tensors.
const MAX_HEADER: u64 = 4 << 20;
/// Largest tensor of a set.
const MAX_TENSOR: u64 = 1 << 30;

#[derive(Debug, thiserror::Error)]
pub enum SetError {
    #[error("cannot read input set `{path}`: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("cannot write input set `{path}`: {source}")]
    Write { path: PathBuf, source: std::io::Error },
    #[error("input set `{path}` is damaged: {why}")]
    Damaged { path: PathBuf, why: String },
}

#[derive(Serialize, Deserialize)]
struct Item {
    dtype: TensorType,
    shape: Vec<usize>,
    data_offsets: [u64; 2],
}

/// Writes a set, one entry of `samples` an inference, and moves it into place when it is complete.
pub fn write(path: &Path, samples: &[Vec<Tensor>]) -> Result<(), SetError> {
    let failed = |source| SetError::Write { path: path.to_owned(), source };
    let dir = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(dir).map_err(failed)?;
    let mut header = BTreeMap::new();
    let mut end = 0;
    // In name order, which is the order of the data.
    let mut tensors: BTreeMap<String, &Tensor> = BTreeMap::new();
    for (i, sample) in samples.iter().enumerate() {
        tensors.extend(sample.iter().map(|t| (format!("{i}/{}", t.name), t)));
    }
    for (name, tensor) in &tensors {
        let start = end;
        end += (tensor.data.len() * tensor.data.dtype().bytes()) as u64;
        let (dtype, shape) = (tensor.data.dtype(), tensor.shape.clone());
        header.insert(name, Item { dtype, shape, data_offsets: [start, end] });
    }
    let header = serde_json::to_vec(&header).map_err(|e| failed(e.into()))?;
    let file = tempfile::NamedTempFile::new_in(dir).map_err(failed)?;
    let mut out = std::io::BufWriter::new(file);
    let mut body = || -> std::io::Result<()> {
        out.write_all(&(header.len() as u64).to_le_bytes())?;
        out.write_all(&header)?;
        tensors.values().try_for_each(|t| write_data(&mut out, &t.data))
    };
    body().map_err(failed)?;
    let file = out.into_inner().map_err(|e| failed(e.into_error()))?;
    file.persist(path).map(drop).map_err(|e| failed(e.error))
}

fn write_data(out: &mut impl Write, data: &TensorData) -> std::io::Result<()> {
    match data {
        TensorData::F32(v) => v.iter().try_for_each(|x| out.write_all(&x.to_le_bytes())),
        TensorData::I64(v) => v.iter().try_for_each(|x| out.write_all(&x.to_le_bytes())),
        TensorData::I32(v) => v.iter().try_for_each(|x| out.write_all(&x.to_le_bytes())),
        TensorData::U8(v) => out.write_all(v),
        TensorData::Bool(v) => v.iter().try_for_each(|&x| out.write_all(&[u8::from(x)])),
    }
}

/// A set opened for reading, one sample at a time.
pub struct InputSet {
    path: PathBuf,
    file: File,
    data: u64,
    samples: Vec<Vec<(String, Item)>>,
}

impl InputSet {
    pub fn open(path: &Path) -> Result<Self, SetError> {
        let read = |source| SetError::Read { path: path.to_owned(), source };
        let damaged = |why: &str| SetError::Damaged { path: path.to_owned(), why: why.to_owned() };
        let mut file = File::open(path).map_err(read)?;
        let len = file.metadata().map_err(read)?.len();
        let mut size = [0; 8];
        file.read_exact(&mut size).map_err(read)?;
        let size = u64::from_le_bytes(size);
        if size > MAX_HEADER || size + 8 > len {
            return Err(damaged("its header does not fit"));
        }
        let mut header = vec![0; size as usize];
        file.read_exact(&mut header).map_err(read)?;
        let items: BTreeMap<String, Item> =
            serde_json::from_slice(&header).map_err(|e| damaged(&e.to_string()))?;
        let data = size + 8;
        let mut samples: BTreeMap<usize, Vec<(String, Item)>> = BTreeMap::new();
        for (name, item) in items {
            let [start, end] = item.data_offsets;
            let elements = item.shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
            let bytes = elements.and_then(|n| n.checked_mul(item.dtype.bytes()));
            let held = end.checked_sub(start).filter(|&n| n <= MAX_TENSOR && end <= len - data);
            if held.is_none() || held != bytes.map(|b| b as u64) {
                return Err(damaged(&format!("tensor `{name}` does not fit")));
            }
            let Some((index, input)) = name.split_once('/') else {
                return Err(damaged(&format!("tensor `{name}` belongs to no sample")));
            };
            let index = index.parse().map_err(|_| damaged(&format!("sample `{index}`")))?;
            samples.entry(index).or_default().push((input.to_owned(), item));
        }
        if samples.is_empty() || samples.keys().enumerate().any(|(i, &k)| i != k) {
            return Err(damaged("its samples are not numbered from 0"));
        }
        Ok(Self { path: path.to_owned(), file, data, samples: samples.into_values().collect() })
    }

    /// Samples in the set, at least one.
    pub fn count(&self) -> usize {
        self.samples.len()
    }

    /// The inputs of sample `index`, counted round.
    pub fn get(&mut self, index: usize) -> Result<Vec<Tensor>, SetError> {
        let index = index % self.samples.len();
        let mut out = Vec::with_capacity(self.samples[index].len());
        for (name, item) in &self.samples[index] {
            let read = |source| SetError::Read { path: self.path.clone(), source };
            let [start, end] = item.data_offsets;
            let mut bytes = vec![0; (end - start) as usize];
            self.file.seek(SeekFrom::Start(self.data + start)).map_err(read)?;
            self.file.read_exact(&mut bytes).map_err(read)?;
            let data = decode(item.dtype, bytes);
            out.push(Tensor { name: name.clone(), shape: item.shape.clone(), data });
        }
        Ok(out)
    }
}

fn decode(dtype: TensorType, bytes: Vec<u8>) -> TensorData {
    match dtype {
        TensorType::F32 => {
            TensorData::F32(bytes.as_chunks().0.iter().map(|c| f32::from_le_bytes(*c)).collect())
        }
        TensorType::I64 => {
            TensorData::I64(bytes.as_chunks().0.iter().map(|c| i64::from_le_bytes(*c)).collect())
        }
        TensorType::I32 => {
            TensorData::I32(bytes.as_chunks().0.iter().map(|c| i32::from_le_bytes(*c)).collect())
        }
        TensorType::U8 => TensorData::U8(bytes),
        TensorType::BOOL => TensorData::Bool(bytes.into_iter().map(|b| b != 0).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(i: i64) -> Vec<Tensor> {
        let tensor = |name: &str, shape: &[usize], data| Tensor {
            name: name.into(),
            shape: shape.into(),
            data,
        };
        vec![
            tensor("ids", &[1, 3], TensorData::I64(vec![i, -1, 7])),
            tensor("x/y", &[2], TensorData::F32(vec![0.5, -2.0])),
            tensor("flag", &[], TensorData::Bool(vec![true])),
        ]
    }

    #[test]
    fn a_set_reads_back_as_written_and_counts_round() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.safetensors");
        let samples: Vec<_> = (0..12).map(sample).collect();
        write(&path, &samples).unwrap();
        let mut set = InputSet::open(&path).unwrap();
        assert_eq!(set.count(), 12);
        for i in [0, 11, 23] {
            let mut got = set.get(i).unwrap();
            let mut want = samples[i % 12].clone();
            got.sort_by(|a, b| a.name.cmp(&b.name));
            want.sort_by(|a, b| a.name.cmp(&b.name));
            assert_eq!(got, want);
        }
    }

    #[test]
    fn a_truncated_or_mutated_set_is_an_error_and_no_panic() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.safetensors");
        write(&path, &[sample(1), sample(2)]).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for n in 0..whole.len() {
            std::fs::write(&path, &whole[..n]).unwrap();
            assert!(InputSet::open(&path).is_err(), "{n}");
        }
        for i in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[i] ^= 0x55;
            std::fs::write(&path, &bytes).unwrap();
            if let Ok(mut set) = InputSet::open(&path) {
                let _ = set.get(0);
            }
        }
    }
}
