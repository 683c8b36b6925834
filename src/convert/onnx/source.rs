//! The source GGUF while a graph is written: metadata, tensors by name with their shapes checked, and which were used.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use candle_core::quantized::GgmlDType;
use rayon::prelude::*;

use super::blocks::{self, Packed, Scheme};
use crate::convert::{ConvertError, quantize, recipe};
use crate::formats::gguf::{Gguf, TensorInfo};

/// Elements read and converted at a time, and those of one thread's piece: multiples of every block.
const STEP: u64 = 4 << 20;
const PIECE: u64 = 128 << 10;

pub(super) struct Source<'a> {
    pub gguf: &'a Gguf,
    files: Vec<File>,
    used: BTreeSet<&'a str>,
    done: u64,
    total: u64,
    progress: &'a mut dyn FnMut(f64, &str),
}

impl<'a> Source<'a> {
    pub(super) fn open(
        gguf: &'a Gguf,
        progress: &'a mut dyn FnMut(f64, &str),
    ) -> Result<Self, ConvertError> {
        let open = |p: &crate::formats::gguf::Part| {
            File::open(&p.path).map_err(|e| ConvertError::read(&p.path, e))
        };
        let files = gguf.parts.iter().map(open).collect::<Result<_, _>>()?;
        let total = gguf.tensors.iter().map(|t| t.bytes).sum::<u64>().max(1);
        Ok(Self { gguf, files, used: BTreeSet::new(), done: 0, total, progress })
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.gguf.tensor(name).is_some()
    }

    /// The tensor of this name, `shape` fastest axis first, and its type.
    pub(super) fn tensor(
        &mut self,
        name: &str,
        shape: &[usize],
    ) -> Result<(&'a TensorInfo, GgmlDType), ConvertError> {
        let info = self.gguf.tensor(name).ok_or_else(|| {
            ConvertError::Damaged(format!("the model file is inconsistent: no tensor `{name}`"))
        })?;
        let wanted: Vec<u64> = shape.iter().map(|&n| n as u64).collect();
        if info.shape != wanted {
            let text = format!(
                "the model file is inconsistent: `{name}` is {:?}, not {wanted:?}",
                info.shape
            );
            return Err(ConvertError::Damaged(text));
        }
        let dtype = recipe::by_name(&info.type_name()).ok_or_else(|| {
            let text = format!("tensor `{name}` is {}, which cannot be expanded", info.type_name());
            ConvertError::Unsupported(text)
        })?;
        self.used.insert(&info.name);
        Ok((info, dtype))
    }

    /// A small tensor as numbers.
    pub(super) fn floats(&mut self, name: &str, len: usize) -> Result<Vec<f32>, ConvertError> {
        let (info, dtype) = self.tensor(name, &[len])?;
        let mut all = Vec::new();
        self.pieces(info, dtype, &|bytes| quantize::expand(dtype, bytes), &mut |piece| {
            all.extend(piece);
            Ok(())
        })?;
        Ok(all)
    }

    /// Every piece of a tensor as bytes of another plain type, in order.
    pub(super) fn convert(
        &mut self,
        info: &TensorInfo,
        from: GgmlDType,
        to: GgmlDType,
        sink: &mut dyn FnMut(Vec<u8>) -> Result<(), ConvertError>,
    ) -> Result<(), ConvertError> {
        self.pieces(info, from, &|bytes| quantize::convert(from, to, bytes), sink)
    }

    /// Every piece of a tensor as blocks, in order.
    pub(super) fn pack(
        &mut self,
        info: &TensorInfo,
        from: GgmlDType,
        scheme: Scheme,
        sink: &mut dyn FnMut(Packed) -> Result<(), ConvertError>,
    ) -> Result<(), ConvertError> {
        self.pieces(info, from, &|bytes| blocks::pack(from, scheme, bytes), sink)
    }

    fn pieces<T: Send>(
        &mut self,
        info: &TensorInfo,
        from: GgmlDType,
        work: &(dyn Fn(&[u8]) -> candle_core::Result<T> + Sync),
        sink: &mut dyn FnMut(T) -> Result<(), ConvertError>,
    ) -> Result<(), ConvertError> {
        let bytes_of =
            |elements: u64| elements / from.block_size() as u64 * from.type_size() as u64;
        let read = |e| ConvertError::read(&self.gguf.parts[info.part].path, e);
        let file = &mut self.files[info.part];
        file.seek(SeekFrom::Start(info.offset)).map_err(read)?;
        let mut left = info.bytes;
        let mut buffer = Vec::new();
        while left > 0 {
            let n = left.min(bytes_of(STEP));
            buffer.resize(n as usize, 0);
            file.read_exact(&mut buffer).map_err(read)?;
            let made: Vec<T> = buffer
                .par_chunks(bytes_of(PIECE) as usize)
                .map(work)
                .collect::<candle_core::Result<_>>()
                .map_err(|e| ConvertError::Quantize {
                    tensor: info.name.clone(),
                    why: e.to_string(),
                })?;
            made.into_iter().try_for_each(&mut *sink)?;
            left -= n;
            self.done += n;
            (self.progress)((self.done as f64 / self.total as f64).min(1.0), &info.name);
        }
        Ok(())
    }

    /// A tensor nobody asked for means a model that this graph would get wrong.
    pub(super) fn finish(self) -> Result<(), ConvertError> {
        let unused = self.gguf.tensors.iter().filter(|t| !self.used.contains(t.name.as_str()));
        let names: Vec<&str> = unused.map(|t| t.name.as_str()).collect();
        match names.first() {
            None => Ok(()),
            Some(name) => Err(ConvertError::Unsupported(format!(
                "not supported here: {} tensors the graph has no use for (`{name}`)",
                names.len()
            ))),
        }
    }
}
