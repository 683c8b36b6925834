//! Options of a QNN case, and the provider options they become.

use std::collections::BTreeMap;
use std::path::Path;

use super::target::{Library, Soc, soc};
use crate::backend::BackendError;

const KNOWN: &str =
    "performance, soc, context, profile, fallback, fp16 and ONNX Runtime's ep.*, config.*, dim.*";
/// `htp_performance_mode` as ONNX Runtime's documentation lists it.
const PERFORMANCE: &[&str] = &[
    "burst",
    "balanced",
    "default",
    "high_performance",
    "high_power_saver",
    "low_balanced",
    "extreme_power_saver",
    "low_power_saver",
    "power_saver",
    "sustained_high_performance",
];

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Options {
    pub performance: String,
    /// Compile for this chip instead of the one that is here.
    pub soc: Option<Soc>,
    /// Keep the compiled graph beside the variant.
    pub context: bool,
    /// Ask for the time of each operator; the measured times then include the asking.
    pub profile: bool,
    /// Let the CPU take nodes that QNN does not.
    pub fallback: bool,
    /// Compute float graphs in 16 bits on the NPU.
    pub fp16: bool,
    /// Handed to ONNX Runtime as they are.
    pub rest: BTreeMap<String, String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            performance: "burst".to_owned(),
            soc: None,
            context: true,
            profile: false,
            fallback: false,
            fp16: true,
            rest: BTreeMap::new(),
        }
    }
}

impl Options {
    pub(super) fn parse(options: &BTreeMap<String, String>) -> Result<Self, BackendError> {
        let mut parsed = Self::default();
        for (key, value) in options {
            parsed.set(key, value).map_err(|why| {
                BackendError::Unsupported(format!("option `{key}={value}`: {why}"))
            })?;
        }
        Ok(parsed)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        let switch = || match value {
            "on" | "1" => Ok(true),
            "off" | "0" => Ok(false),
            _ => Err("on or off".to_owned()),
        };
        match key {
            "performance" if PERFORMANCE.contains(&value) => self.performance = value.to_owned(),
            "performance" => return Err(format!("one of {}", PERFORMANCE.join(", "))),
            "soc" => self.soc = Some(soc(value)?),
            "context" => self.context = switch()?,
            "profile" => self.profile = switch()?,
            "fallback" => self.fallback = switch()?,
            "fp16" => self.fp16 = switch()?,
            _ if ["ep.", "config.", "dim."].iter().any(|p| key.starts_with(p)) => {
                self.rest.insert(key.to_owned(), value.to_owned());
            }
            _ => return Err(format!("unknown; known are {KNOWN}")),
        }
        Ok(())
    }

    /// Options of the ONNX Runtime backend: which library, how it compiles, and that nothing slips to the CPU unseen.
    pub(super) fn for_onnxruntime(
        &self,
        library: Library,
        file: &Path,
        htp_arch: Option<u32>,
        context: Option<&Path>,
        profile: Option<&Path>,
    ) -> BTreeMap<String, String> {
        let mut all = BTreeMap::new();
        let mut set = |k: &str, v: String| drop(all.insert(k.to_owned(), v));
        set("ep.backend_path", file.display().to_string());
        set("fallback", if self.fallback { "on" } else { "off" }.to_owned());
        if library == Library::Htp {
            set("ep.htp_performance_mode", self.performance.clone());
            set("ep.enable_htp_fp16_precision", u32::from(self.fp16).to_string());
            if let Some(soc) = &self.soc {
                set("ep.soc_model", soc.soc_model.to_string());
                set("ep.vtcm_mb", soc.vtcm_mb.to_string());
            }
            // An architecture that QNN does not know is taken without a word, so only the probe's or the table's goes in.
            if let Some(arch) = self.soc.as_ref().map(|s| s.htp_arch).or(htp_arch) {
                set("ep.htp_arch", arch.to_string());
            }
        }
        if let Some(path) = context {
            set("config.ep.context_enable", "1".to_owned());
            set("config.ep.context_embed_mode", "0".to_owned());
            set("config.ep.context_file_path", path.display().to_string());
        }
        if let Some(path) = profile {
            set("ep.profiling_level", "detailed".to_owned());
            set("ep.profiling_file_path", path.display().to_string());
        }
        all.extend(self.rest.clone());
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pairs: &[(&str, &str)]) -> Result<Options, BackendError> {
        Options::parse(&pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect())
    }

    #[test]
    fn options_become_those_of_the_provider() {
        let o = parse(&[("performance", "balanced"), ("soc", "SM8750"), ("dim.n", "1")]).unwrap();
        let (file, context) = (Path::new("/q/libQnnHtp.so"), Path::new("/c/x.onnx"));
        let all = o.for_onnxruntime(Library::Htp, file, Some(75), Some(context), None);
        for (key, value) in [
            ("ep.backend_path", "/q/libQnnHtp.so"),
            ("ep.htp_performance_mode", "balanced"),
            ("ep.soc_model", "69"),
            // The chip that was asked for outranks the one that is here.
            ("ep.htp_arch", "79"),
            ("fallback", "off"),
            ("config.ep.context_file_path", "/c/x.onnx"),
            ("dim.n", "1"),
        ] {
            assert_eq!(all.get(key).map(String::as_str), Some(value), "{key}");
        }
        assert!(!all.contains_key("ep.profiling_level"));
        let gpu = o.for_onnxruntime(Library::Gpu, Path::new("g"), None, None, Some(Path::new("p")));
        assert!(!gpu.contains_key("ep.htp_arch") && gpu["ep.profiling_level"] == "detailed");
    }

    #[test]
    fn unknown_keys_and_bad_values_are_errors() {
        for bad in [("performance", "warp"), ("soc", "SM1"), ("context", "x"), ("backend", "saver")]
        {
            assert!(parse(&[bad]).is_err(), "{bad:?}");
        }
    }
}
