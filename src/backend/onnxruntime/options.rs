//! Case options of ONNX Runtime, read from `k=v` pairs. Unknown keys and values are errors, not ignored.

use std::collections::BTreeMap;

use ort::session::builder::GraphOptimizationLevel;

use crate::backend::BackendError;

/// How a model is opened, beyond device and threads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Options {
    /// `spin=on|off|auto`: threads wait busily between operators; auto is on only where cores are left over.
    pub spin: Option<bool>,
    /// `opt=all|extended|basic|off`.
    pub optimization: GraphOptimizationLevel,
    pub optimization_name: &'static str,
    /// `fallback=on|off`: off fails where a node would run on the CPU instead of the chosen provider.
    pub cpu_fallback: bool,
    /// `batch=2048`: most tokens of a prompt in one call.
    pub batch: usize,
    /// `ep.KEY=VALUE`: options of the execution provider.
    pub provider: BTreeMap<String, String>,
    /// `config.KEY=VALUE`: session configuration entries.
    pub config: BTreeMap<String, String>,
    /// `dim.NAME=N`: fixes a free axis by its symbol when the graph is loaded; some providers need that.
    pub dims: BTreeMap<String, i64>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            spin: None,
            optimization: GraphOptimizationLevel::All,
            optimization_name: "all",
            cpu_fallback: true,
            batch: 2048,
            provider: BTreeMap::new(),
            config: BTreeMap::new(),
            dims: BTreeMap::new(),
        }
    }
}

const KNOWN: &str = "spin, opt, fallback, batch, ep.KEY, config.KEY, dim.NAME";

impl Options {
    pub(super) fn parse(options: &BTreeMap<String, String>) -> Result<Self, BackendError> {
        let mut parsed = Self::default();
        for (key, value) in options {
            parsed.set(key, value).map_err(|why| {
                BackendError::Unsupported(format!("ONNX Runtime option `{key}={value}`: {why}"))
            })?;
        }
        Ok(parsed)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        if let Some(name) = key.strip_prefix("ep.").filter(|n| !n.is_empty()) {
            self.provider.insert(name.to_owned(), value.to_owned());
            return Ok(());
        }
        if let Some(name) = key.strip_prefix("config.").filter(|n| !n.is_empty()) {
            self.config.insert(name.to_owned(), value.to_owned());
            return Ok(());
        }
        if let Some(name) = key.strip_prefix("dim.").filter(|n| !n.is_empty()) {
            let size = value.parse().ok().filter(|n| (1..=1 << 24).contains(n));
            self.dims.insert(name.to_owned(), size.ok_or("a size from 1 to 16777216")?);
            return Ok(());
        }
        match (key, value) {
            ("spin", "auto") => self.spin = None,
            ("spin", "on" | "1") => self.spin = Some(true),
            ("spin", "off" | "0") => self.spin = Some(false),
            ("spin", _) => return Err("on, off or auto".into()),
            ("fallback", "on" | "1") => self.cpu_fallback = true,
            ("fallback", "off" | "0") => self.cpu_fallback = false,
            ("fallback", _) => return Err("on or off".into()),
            ("batch", _) => {
                let size = value.parse().ok().filter(|n| (1..=65_536).contains(n));
                self.batch = size.ok_or("a number of tokens from 1 to 65536")?;
            }
            ("opt", _) => (self.optimization_name, self.optimization) = level(value)?,
            _ => return Err(format!("unknown; known are {KNOWN}")),
        }
        Ok(())
    }

    /// Whether the threads spin: asked for, or where this process may use more CPUs than the case takes.
    pub(super) fn spins(&self, threads: u32) -> bool {
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        self.spin.unwrap_or((threads as usize) < cpus)
    }
}

fn level(value: &str) -> Result<(&'static str, GraphOptimizationLevel), String> {
    Ok(match value {
        "all" => ("all", GraphOptimizationLevel::All),
        "extended" => ("extended", GraphOptimizationLevel::Level2),
        "basic" => ("basic", GraphOptimizationLevel::Level1),
        "off" => ("off", GraphOptimizationLevel::Disable),
        _ => return Err("all, extended, basic or off".into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pairs: &[(&str, &str)]) -> Result<Options, BackendError> {
        Options::parse(&pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect())
    }

    #[test]
    fn options_are_read() {
        let o = parse(&[
            ("spin", "off"),
            ("opt", "basic"),
            ("fallback", "off"),
            ("ep.backend_path", "libQnnHtp.so"),
            ("config.session.set_denormal_as_zero", "1"),
            ("dim.batch", "4"),
        ])
        .unwrap();
        assert!(!o.spins(1) && !o.cpu_fallback);
        assert_eq!(o.optimization_name, "basic");
        assert_eq!(o.provider["backend_path"], "libQnnHtp.so");
        assert_eq!(o.config["session.set_denormal_as_zero"], "1");
        assert_eq!(o.dims["batch"], 4);
        assert!(!Options::default().spins(u32::MAX));
    }

    #[test]
    fn unknown_keys_and_bad_values_are_errors() {
        for bad in [
            ("spin", "x"),
            ("opt", "9"),
            ("batch", "0"),
            ("fallback", ""),
            ("dim.n", "0"),
            ("ep.", "1"),
            ("speed", "11"),
        ] {
            assert!(parse(&[bad]).is_err(), "{bad:?}");
        }
    }
}
