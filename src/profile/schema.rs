//! A profile file: its keys, and what is wrong with a bad one.

use serde::{Deserialize, Serialize};

use super::suggest::nearest;
use crate::model::{ComputeApi, DeviceClass, Isa, ProcessorKind};

/// A larger file is hostile: real ones are under 2 kB.
pub(super) const MAX_BYTES: usize = 64 << 10;
const MAX_TEXT: usize = 1000;
const MAX_PROCESSORS: usize = 16;
const SYSTEMS: [&str; 5] = ["linux", "windows", "macos", "android", "ios"];
const ARCHES: [&str; 4] = ["x86_64", "aarch64", "arm", "riscv64"];
const FIELDS: [&str; 7] = [
    "memory.options_gb",
    "memory.bandwidth_gbs",
    "cpu.cores",
    "cpu.isa",
    "cpu.fp32_tflops",
    "npu.int8_tops",
    "gpu",
];

/// Published figures of one device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    pub id: String,
    pub name: String,
    pub vendor: String,
    pub class: DeviceClass,
    /// Operating systems it runs, the usual one first.
    pub os: Vec<String>,
    /// Where the numbers come from.
    pub source: String,
    /// `high`, `medium` or `low`.
    pub confidence: String,
    /// Cells without a source.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unverified: Vec<String>,
    /// Cells that are arithmetic on a published figure.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub derived: Vec<String>,
    /// Power of the whole device or module in watts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tdp_w: Option<f64>,
    /// Absent for a card or an accelerator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<CpuProfile>,
    #[serde(default)]
    pub memory: MemoryProfile,
    #[serde(default, rename = "processor")]
    pub processors: Vec<ProcessorProfile>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CpuProfile {
    pub arch: String,
    #[serde(default)]
    pub name: String,
    #[serde(default)]
    pub performance_cores: u32,
    #[serde(default)]
    pub efficiency_cores: u32,
    /// Peak of all cores together, two operations a fused multiply-add.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fp32_tflops: Option<f64>,
    #[serde(default)]
    pub isa: Vec<Isa>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemoryProfile {
    /// Sizes it is sold with, in GB (10^9 is not meant: 8 is 8 GiB), smallest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options_gb: Vec<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandwidth_gbs: Option<f64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessorProfile {
    pub kind: ProcessorKind,
    pub name: String,
    pub vendor: String,
    #[serde(default)]
    pub architecture: String,
    pub apis: Vec<ComputeApi>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_gb: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandwidth_gbs: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fp32_tflops: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fp16_tflops: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub int8_tops: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tdp_w: Option<f64>,
}

impl Profile {
    /// Reads and checks a profile.
    ///
    /// # Errors
    /// One line: what is wrong, with the nearest known key for a typing slip.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > MAX_BYTES {
            return Err(format!("longer than {MAX_BYTES} bytes"));
        }
        let profile: Profile = toml::from_str(text).map_err(|e| explain(&e, text))?;
        profile.check()?;
        Ok(profile)
    }

    fn check(&self) -> Result<(), String> {
        let id_ok = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-._".contains(c);
        if self.id.is_empty() || self.id.len() > 80 || !self.id.chars().all(id_ok) {
            return Err(format!(
                "id {:?} must be 1-80 of a-z, 0-9, `-`, `.`, `_`",
                cut(&self.id, 100)
            ));
        }
        for (key, text) in self.texts() {
            if text.len() > MAX_TEXT || text.chars().any(char::is_control) {
                return Err(format!("`{key}` must be one line of at most {MAX_TEXT} characters"));
            }
        }
        if self.name.is_empty() || self.source.is_empty() {
            return Err("`name` and `source` must not be empty".to_owned());
        }
        one_of("confidence", &self.confidence, &["high", "medium", "low"])?;
        if self.os.is_empty() || self.os.len() > SYSTEMS.len() {
            return Err("`os` must name at least one operating system".to_owned());
        }
        for os in &self.os {
            one_of("os", os, &SYSTEMS)?;
        }
        for field in self.unverified.iter().chain(&self.derived) {
            if !field.starts_with("gpu.") {
                one_of("unverified/derived", field, &FIELDS)?;
            }
        }
        if let Some(cpu) = &self.cpu {
            one_of("cpu.arch", &cpu.arch, &ARCHES)?;
            if cpu.performance_cores > 4096 || cpu.efficiency_cores > 4096 || cpu.isa.len() > 64 {
                return Err("`cpu` has more than 4096 cores or 64 extensions".to_owned());
            }
        }
        if self.processors.len() > MAX_PROCESSORS {
            return Err(format!("more than {MAX_PROCESSORS} processors"));
        }
        if self.cpu.is_none() && self.processors.is_empty() {
            return Err("neither [cpu] nor [[processor]]: nothing could run a model".to_owned());
        }
        self.numbers().try_for_each(|(key, value, max)| positive(&key, value, max))
    }

    fn texts(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let cpu = self.cpu.iter().map(|c| ("cpu.name", c.name.as_str()));
        let parts = self.processors.iter().flat_map(|p| {
            [
                ("processor.name", p.name.as_str()),
                ("processor.vendor", p.vendor.as_str()),
                ("processor.architecture", p.architecture.as_str()),
            ]
        });
        [
            ("name", self.name.as_str()),
            ("vendor", self.vendor.as_str()),
            ("source", self.source.as_str()),
        ]
        .into_iter()
        .chain(cpu)
        .chain(parts)
    }

    /// Every number with its key and the largest value that could be real.
    fn numbers(&self) -> impl Iterator<Item = (String, f64, f64)> {
        let m = &self.memory;
        let options = m.options_gb.iter().map(|&g| ("memory.options_gb".to_owned(), g, 65_536.0));
        let bandwidth =
            m.bandwidth_gbs.iter().map(|&b| ("memory.bandwidth_gbs".to_owned(), b, 100_000.0));
        let power = self.tdp_w.iter().map(|&w| ("tdp_w".to_owned(), w, 100_000.0));
        let parts = self.processors.iter().enumerate().flat_map(|(i, p)| {
            [
                ("memory_gb", p.memory_gb, 65_536.0),
                ("bandwidth_gbs", p.bandwidth_gbs, 100_000.0),
                ("fp32_tflops", p.fp32_tflops, 1e6),
                ("fp16_tflops", p.fp16_tflops, 1e6),
                ("int8_tops", p.int8_tops, 1e6),
                ("tdp_w", p.tdp_w, 100_000.0),
            ]
            .into_iter()
            .filter_map(move |(k, v, max)| v.map(|v| (format!("processor[{i}].{k}"), v, max)))
        });
        let rate = self.cpu.iter().filter_map(|c| c.fp32_tflops);
        let rate = rate.map(|r| ("cpu.fp32_tflops".to_owned(), r, 1e6));
        options.chain(bandwidth).chain(power).chain(rate).chain(parts)
    }
}

fn positive(key: &str, value: f64, max: f64) -> Result<(), String> {
    if value.is_finite() && value > 0.0 && value <= max {
        return Ok(());
    }
    Err(format!("`{key}` is {value}, expected a number above 0 and at most {max}"))
}

fn one_of(key: &str, word: &str, known: &[&str]) -> Result<(), String> {
    if known.contains(&word) {
        return Ok(());
    }
    let word = cut(word, 60);
    let hint = nearest(word, known.iter().copied()).map_or_else(
        || format!("expected one of {}", known.join(", ")),
        |n| format!("did you mean `{n}`?"),
    );
    Err(format!("`{key}` has unknown value {word:?}: {hint}"))
}

/// Serde's error in one line with the line number and, for an unknown word, the nearest known one.
fn explain(e: &toml::de::Error, text: &str) -> String {
    let line = e
        .span()
        .and_then(|s| text.get(..s.start))
        .map(|before| format!("line {}: ", before.matches('\n').count() + 1))
        .unwrap_or_default();
    let message = e.message().lines().next().unwrap_or_default();
    let words: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    let unknown = message.starts_with("unknown field") || message.starts_with("unknown variant");
    match words.split_first() {
        Some((wrong, known)) if unknown => match nearest(wrong, known.iter().copied()) {
            Some(n) => format!("{line}unknown key or value `{wrong}`: did you mean `{n}`?"),
            None => format!("{line}{}", cut(message, 300)),
        },
        _ => format!("{line}{}", cut(message, 300)),
    }
}

fn cut(text: &str, max: usize) -> &str {
    text.char_indices().nth(max).map_or(text, |(i, _)| &text[..i])
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
id = "x-1"
name = "X"
vendor = "V"
class = "sbc"
os = ["linux"]
source = "a page"
confidence = "high"
[cpu]
arch = "aarch64"
[memory]
options_gb = [8.0]
bandwidth_gbs = 17.0
"#;

    fn error(from: &str, to: &str) -> String {
        assert!(GOOD.contains(from));
        Profile::parse(&GOOD.replace(from, to)).unwrap_err()
    }

    #[test]
    fn a_typing_slip_in_a_key_names_the_key_that_was_meant_and_its_line() {
        assert!(Profile::parse(GOOD).is_ok());
        let e = error("bandwidth_gbs", "bandwith_gbs");
        assert_eq!(
            e,
            "line 13: unknown key or value `bandwith_gbs`: did you mean `bandwidth_gbs`?"
        );
        assert!(error("\"sbc\"", "\"sbcc\"").contains("did you mean `sbc`"));
        assert!(error("\"linux\"", "\"linus\"").contains("did you mean `linux`"));
    }

    #[test]
    fn numbers_that_cannot_be_real_are_refused() {
        for bad in ["nan", "-1.0", "0.0", "inf", "1e300"] {
            let e = error("= 17.0", &format!("= {bad}"));
            assert!(e.contains("memory.bandwidth_gbs"), "{bad}: {e}");
        }
    }

    #[test]
    fn hostile_text_is_bounded() {
        assert!(error("\"x-1\"", "\"../../etc\"").contains("a-z"));
        assert!(error("\"X\"", "\"\\u001b[2J\"").contains("one line"));
        assert!(Profile::parse(&"#".repeat(MAX_BYTES + 1)).unwrap_err().contains("longer"));
        assert!(Profile::parse(&"[".repeat(MAX_BYTES)).is_err());
    }
}
