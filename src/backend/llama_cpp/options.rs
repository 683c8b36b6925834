//! Case options of llama.cpp, read from `k=v` pairs. Unknown keys and values are errors, not ignored.

use std::collections::BTreeMap;
use std::ffi::c_int;

use super::ffi;
use crate::backend::BackendError;

/// How a model is opened, beyond device, threads and context.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Options {
    /// `kv=q8_0`: name and `ggml_type` of both caches.
    pub kv: (&'static str, c_int),
    /// `fa=on|off|auto`.
    pub flash_attention: c_int,
    /// `ngl=20`: layers on the GPU; all of them where absent.
    pub gpu_layers: Option<i32>,
    /// `batch=2048`, `ubatch=512`: logical and physical batch size.
    pub batch: u32,
    pub ubatch: u32,
    /// `mmap=on|off`.
    pub mmap: bool,
    /// `split=3,1`: shares of the GPUs.
    pub tensor_split: Vec<f32>,
}

impl Default for Options {
    /// llama-bench's own defaults.
    fn default() -> Self {
        Self {
            kv: ("f16", 1),
            flash_attention: -1,
            gpu_layers: None,
            batch: 2048,
            ubatch: 512,
            mmap: true,
            tensor_split: Vec::new(),
        }
    }
}

const KNOWN: &str = "kv, fa, ngl, batch, ubatch, mmap, split";

impl Options {
    pub(super) fn parse(options: &BTreeMap<String, String>) -> Result<Self, BackendError> {
        let mut parsed = Self::default();
        for (key, value) in options {
            parsed.set(key, value).map_err(|why| {
                BackendError::Unsupported(format!("llama.cpp option `{key}={value}`: {why}"))
            })?;
        }
        parsed.ubatch = parsed.ubatch.min(parsed.batch);
        Ok(parsed)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "kv" => {
                let wanted = value.to_ascii_lowercase();
                let known = ffi::KV_TYPES.iter().find(|(name, _)| *name == wanted);
                let names = || ffi::KV_TYPES.iter().map(|t| t.0).collect::<Vec<_>>().join(", ");
                self.kv = *known.ok_or_else(|| format!("known are {}", names()))?;
            }
            "fa" => {
                self.flash_attention = match value {
                    "auto" => -1,
                    "off" | "0" => 0,
                    "on" | "1" => 1,
                    _ => return Err("on, off or auto".into()),
                }
            }
            "ngl" => {
                let layers = value.parse::<u16>().map_err(|_| "a number of layers")?;
                self.gpu_layers = Some(i32::from(layers));
            }
            "batch" => self.batch = batch_size(value)?,
            "ubatch" => self.ubatch = batch_size(value)?,
            "mmap" => {
                self.mmap = match value {
                    "on" | "1" => true,
                    "off" | "0" => false,
                    _ => return Err("on or off".into()),
                }
            }
            "split" => self.tensor_split = shares(value)?,
            _ => return Err(format!("unknown; known are {KNOWN}")),
        }
        Ok(())
    }
}

fn batch_size(value: &str) -> Result<u32, String> {
    let size = value.parse().ok().filter(|n| (1..=65_536).contains(n));
    size.ok_or_else(|| "a number of tokens from 1 to 65536".into())
}

fn shares(value: &str) -> Result<Vec<f32>, String> {
    let share = |s: &str| s.trim().parse().ok().filter(|x: &f32| x.is_finite() && *x >= 0.0);
    let shares: Option<Vec<f32>> = value.split(',').take(17).map(share).collect();
    let positive = |s: &Vec<f32>| s.len() <= 16 && s.iter().any(|x| *x > 0.0);
    shares.filter(positive).ok_or_else(|| "shares of up to 16 GPUs, `3,1`".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pairs: &[(&str, &str)]) -> Result<Options, BackendError> {
        let map = pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        Options::parse(&map)
    }

    #[test]
    fn options_are_read() {
        let o = parse(&[("kv", "Q8_0"), ("fa", "on"), ("ngl", "20"), ("split", "3,1")]).unwrap();
        assert_eq!((o.kv, o.flash_attention, o.gpu_layers), (("q8_0", 8), 1, Some(20)));
        assert_eq!(o.tensor_split, [3.0, 1.0]);
        assert_eq!(parse(&[]).unwrap(), Options::default());
        assert_eq!(parse(&[("batch", "64")]).unwrap().ubatch, 64);
    }

    #[test]
    fn unknown_keys_and_bad_values_are_errors() {
        for bad in [
            ("kv", "q9"),
            ("fa", "maybe"),
            ("ngl", "-1"),
            ("ngl", "70000"),
            ("batch", "0"),
            ("mmap", "x"),
            ("split", "0,0"),
            ("split", "nan"),
            ("speed", "fast"),
        ] {
            assert!(parse(&[bad]).is_err(), "{bad:?}");
        }
    }
}
