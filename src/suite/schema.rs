//! The suite file: groups of models x backends x precisions x workloads, and how they are sampled.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::model::{Protocol, Workload};

/// A suite is written by hand: more than this is not one.
const MAX_BYTES: u64 = 1 << 20;
/// Cases one suite may ask for, groups multiplied out.
pub(crate) const MAX_CASES: usize = 20_000;

#[derive(Debug, thiserror::Error)]
pub enum SuiteError {
    #[error("cannot read suite `{path}`: {source}")]
    Read { path: String, source: std::io::Error },
    #[error("suite `{path}` is larger than {MAX_BYTES} bytes")]
    TooLarge { path: String },
    #[error("suite `{name}`: {why}")]
    Malformed { name: String, why: String },
}

/// A protocol by name, or spelled out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ProtocolChoice {
    Named(ProtocolName),
    Custom(Protocol),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProtocolName {
    Default,
    Quick,
}

impl ProtocolChoice {
    pub fn protocol(&self) -> Protocol {
        match self {
            ProtocolChoice::Named(ProtocolName::Default) => Protocol::default(),
            ProtocolChoice::Named(ProtocolName::Quick) => Protocol::quick(),
            ProtocolChoice::Custom(p) => p.clone(),
        }
    }
}

/// A block of cases: the product of its lists.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Catalogue names or paths.
    pub models: Vec<String>,
    /// Backend ids; `all` stands for every listed one.
    #[serde(default = "all")]
    pub backends: Vec<String>,
    /// Precision names; `all` stands for what the backend can make.
    #[serde(default = "all")]
    pub precisions: Vec<String>,
    /// Device ids as the backend names them, or `gpu`, `npu`, `all` that it can use.
    #[serde(default = "all")]
    pub devices: Vec<String>,
    pub workloads: Vec<Workload>,
    /// Thread counts; 0 stands for all the process may use.
    #[serde(default = "zero")]
    pub threads: Vec<u32>,
    /// Backend options; a list means one case for each value.
    #[serde(default)]
    pub options: BTreeMap<String, Vec<String>>,
}

fn all() -> Vec<String> {
    vec!["all".to_owned()]
}
fn zero() -> Vec<u32> {
    vec![0]
}

/// A whole suite.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Suite {
    pub name: String,
    #[serde(default)]
    pub description: String,
    #[serde(default = "default_protocol")]
    pub protocol: ProtocolChoice,
    /// Process runs of each case: the unit that `compare` and `gate` count.
    #[serde(default = "one")]
    pub runs: u32,
    pub group: Vec<Group>,
}

fn default_protocol() -> ProtocolChoice {
    ProtocolChoice::Named(ProtocolName::Default)
}
fn one() -> u32 {
    1
}

impl Suite {
    /// Reads a suite from a file.
    pub fn load(path: &Path) -> Result<Self, SuiteError> {
        let name = path.display().to_string();
        let read = |source| SuiteError::Read { path: name.clone(), source };
        if std::fs::metadata(path).map_err(read)?.len() > MAX_BYTES {
            return Err(SuiteError::TooLarge { path: name });
        }
        Self::parse(&name, &std::fs::read_to_string(path).map_err(read)?)
    }

    /// Parses a suite; `name` is what errors call it.
    pub fn parse(name: &str, text: &str) -> Result<Self, SuiteError> {
        let malformed = |why: String| SuiteError::Malformed { name: name.to_owned(), why };
        let suite: Suite = toml::from_str(text).map_err(|e| malformed(e.to_string()))?;
        suite.check().map_err(malformed)?;
        Ok(suite)
    }

    fn check(&self) -> Result<(), String> {
        if self.group.is_empty() {
            return Err("no [[group]]".to_owned());
        }
        if self.runs == 0 || self.runs > 1000 {
            return Err(format!("`runs` is {}, allowed are 1 to 1000", self.runs));
        }
        let mut total = 0usize;
        for (i, group) in self.group.iter().enumerate() {
            let lists = [
                ("models", group.models.len()),
                ("backends", group.backends.len()),
                ("precisions", group.precisions.len()),
                ("devices", group.devices.len()),
                ("workloads", group.workloads.len()),
                ("threads", group.threads.len()),
            ];
            if let Some((key, _)) = lists.iter().find(|(_, n)| *n == 0) {
                return Err(format!("group {}: `{key}` is empty", i + 1));
            }
            let options = group.options.values().map(Vec::len);
            let cases = lists.iter().map(|(_, n)| *n).chain(options);
            total = cases.fold(1usize, |n, k| n.saturating_mul(k)).saturating_add(total);
            group.workloads.iter().try_for_each(check_workload)?;
        }
        if total.saturating_mul(self.runs as usize) > MAX_CASES {
            return Err(format!("more than {MAX_CASES} cases"));
        }
        check_protocol(&self.protocol.protocol())
    }
}

fn check_workload(workload: &Workload) -> Result<(), String> {
    const MOST: u32 = 1 << 20;
    let (ok, what) = match *workload {
        Workload::Generate { prompt, decode, depth } => (
            (1..=MOST).contains(&prompt) && (1..=MOST).contains(&decode) && depth <= MOST,
            "prompt and decode must be 1 to 1048576, depth at most that",
        ),
        Workload::Infer { batch, length } => (
            (1..=65_536).contains(&batch) && length <= MOST,
            "batch must be 1 to 65536, length at most 1048576",
        ),
    };
    if ok { Ok(()) } else { Err(format!("workload {}: {what}", workload.key())) }
}

fn check_protocol(p: &Protocol) -> Result<(), String> {
    let sane = |x: f64| x.is_finite() && (0.0..=86_400.0).contains(&x);
    let seconds = [p.seconds_min, p.seconds_max, p.deadline_s, p.cooldown_s, p.idle_s, p.energy_s];
    if !seconds.into_iter().chain([p.sustain_s]).all(sane) || p.deadline_s <= 0.0 {
        return Err("protocol: seconds must be 0 to 86400 and the deadline above 0".to_owned());
    }
    if p.samples_min > p.samples_max || p.warmup_min > p.warmup_max || p.seconds_min > p.seconds_max
    {
        return Err("protocol: a minimum is above its maximum".to_owned());
    }
    if p.foreign_cpus_max.is_nan() || p.foreign_cpus_max < 0.0 {
        return Err("protocol: `foreign_cpus_max` must be 0 or more".to_owned());
    }
    if p.samples_max == 0 {
        return Err("protocol: `samples_max` is 0".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_suite_parses_and_is_named_as_its_file() {
        for (name, text) in super::super::BUILTIN {
            assert_eq!(Suite::parse(name, text).unwrap().name, *name);
        }
    }

    #[test]
    fn an_unknown_key_is_named() {
        let text = "name='x'\n[[group]]\nmodels=['m']\nworkloads=[]\nbackend=['candle']\n";
        let error = Suite::parse("x.toml", text).unwrap_err().to_string();
        assert!(error.contains("unknown field `backend`"), "{error}");
    }

    #[test]
    fn a_product_of_lists_that_explodes_is_refused() {
        let many: Vec<String> = (0..300).map(|i| format!("'{i}'")).collect();
        let text = format!(
            "name='x'\n[[group]]\nmodels=[{m}]\nbackends=[{m}]\nworkloads=[{{kind='infer',batch=1}}]\n",
            m = many.join(",")
        );
        assert!(Suite::parse("x", &text).unwrap_err().to_string().contains("more than"));
    }
}
