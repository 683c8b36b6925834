//! Case options of OpenVINO, read from `k=v` pairs, and the properties they stand for.

use std::collections::BTreeMap;

use crate::backend::BackendError;
use crate::model::Precision;

/// How a model is compiled, beyond device and threads.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Options {
    /// `precision=f32|bf16|f16`: what the device computes in.
    pub precision: Option<&'static str>,
    /// `kv=f16|u8|bf16|f32`: storage of the KV cache.
    pub kv: Option<&'static str>,
    /// `dqgroup=32`: values of an activation that share a scale where weights are compressed; 0 for none.
    pub dynamic_group: Option<u32>,
    /// `streams=1`: inferences side by side.
    pub streams: Option<u32>,
}

const COMPUTE: &[&str] = &["f32", "bf16", "f16"];
const KV: &[&str] = &["f16", "u8", "bf16", "f32"];
/// As wide as other engines keep it by default; OpenVINO's own default on a CPU is u8.
const DEFAULT_KV: &str = "f16";

impl Options {
    pub(super) fn parse(options: &BTreeMap<String, String>) -> Result<Self, BackendError> {
        let mut parsed = Self::default();
        for (key, value) in options {
            parsed.set(key, value).map_err(|why| {
                BackendError::Unsupported(format!("OpenVINO option `{key}={value}`: {why}"))
            })?;
        }
        Ok(parsed)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        let number = |most: u32| {
            let n = value.parse().ok().filter(|n: &u32| *n <= most);
            n.ok_or_else(|| format!("a number up to {most}"))
        };
        match key {
            "precision" => self.precision = Some(one_of(value, COMPUTE)?),
            "kv" => self.kv = Some(one_of(value, KV)?),
            "dqgroup" => self.dynamic_group = Some(number(1 << 16)?),
            "streams" => self.streams = Some(number(1024)?.max(1)),
            _ => return Err("unknown; known are precision, kv, dqgroup, streams".into()),
        }
        Ok(())
    }

    /// What the device shall compute in; `None` for what it chooses itself.
    pub(super) fn compute(&self, weights: Precision) -> Option<&'static str> {
        self.precision.or(match weights {
            Precision::F32 => Some("f32"),
            Precision::F16 => Some("f16"),
            Precision::BF16 => Some("bf16"),
            _ => None,
        })
    }

    /// Properties to set before compiling, beyond what it computes in. Those the user asked for come with true: a
    /// device that has no such property cannot do the case.
    pub(super) fn properties(&self, threads: u32, text: bool) -> Vec<(&'static str, String, bool)> {
        let mut all = vec![
            ("PERFORMANCE_HINT", "LATENCY".to_owned(), false),
            ("NUM_STREAMS", self.streams.unwrap_or(1).to_string(), self.streams.is_some()),
            ("INFERENCE_NUM_THREADS", threads.max(1).to_string(), false),
        ];
        if text || self.kv.is_some() {
            let kv = self.kv.unwrap_or(DEFAULT_KV).to_owned();
            all.push(("KV_CACHE_PRECISION", kv, self.kv.is_some()));
        }
        if let Some(group) = self.dynamic_group {
            all.push(("DYNAMIC_QUANTIZATION_GROUP_SIZE", group.to_string(), true));
        }
        all
    }
}

fn one_of(value: &str, known: &'static [&'static str]) -> Result<&'static str, String> {
    let wanted = value.to_ascii_lowercase();
    let found = known.iter().find(|k| **k == wanted);
    found.copied().ok_or_else(|| format!("known are {}", known.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pairs: &[(&str, &str)]) -> Result<Options, BackendError> {
        Options::parse(&pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect())
    }

    #[test]
    fn options_are_read_and_become_properties() {
        let o = parse(&[("kv", "U8"), ("precision", "bf16"), ("dqgroup", "0")]).unwrap();
        assert_eq!(o.compute(Precision::F32), Some("bf16"));
        let all = o.properties(2, true);
        assert!(all.contains(&("KV_CACHE_PRECISION", "u8".into(), true)));
        assert!(all.contains(&("DYNAMIC_QUANTIZATION_GROUP_SIZE", "0".into(), true)));
        assert!(all.contains(&("INFERENCE_NUM_THREADS", "2".into(), false)));
        let plain = parse(&[]).unwrap();
        assert_eq!(plain.compute(Precision::Int8Sym), None);
        assert_eq!(plain.compute(Precision::F16), Some("f16"));
    }

    #[test]
    fn unknown_keys_and_bad_values_are_errors() {
        for bad in [("kv", "q8_0"), ("precision", "f64"), ("dqgroup", "-1"), ("speed", "11")] {
            assert!(parse(&[bad]).is_err(), "{bad:?}");
        }
    }
}
