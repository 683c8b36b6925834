//! A host replayed from one file: what a capture or a fixture holds.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::host::{Access, CommandError, Host, Loader, ReadError, Ulimit};
use super::nvml::{NvmlNow, NvmlSnapshot};
use super::parse;

/// Name of the file inside a captured directory.
pub const HOST_FILE: &str = "host.toml";
/// Larger recordings are refused.
const MAX_BYTES: u64 = 16 << 20;
/// Files after expansion of templates.
const MAX_FILES: usize = 100_000;

#[derive(Debug, thiserror::Error)]
pub enum HostFileError {
    #[error("cannot read recorded host `{path}`: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("`{path}` is not a recorded host: {why}")]
    Parse { path: PathBuf, why: String },
    #[error("cannot write recorded host `{path}`: {source}")]
    Write { path: PathBuf, source: std::io::Error },
}

/// The form on disk. Paths that are not listed do not exist; directories follow from paths.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HostFile {
    /// What machine this is.
    pub description: String,
    /// Where the facts come from.
    pub source: Vec<String>,
    pub os: String,
    pub arch: String,
    pub root: bool,
    /// Bits the system enabled, hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub xcr0: Option<String>,
    /// AT_HWCAP and AT_HWCAP2, hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hwcap: Option<[String; 2]>,
    /// CPUs this process may run on, `0-3`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub affinity: Option<String>,
    /// Paths that exist and must not be read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub denied: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub ulimits: BTreeMap<Ulimit, u64>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub disk_free: BTreeMap<String, u64>,
    /// Device nodes: `usable` or `denied`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub nodes: BTreeMap<String, Access>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub links: BTreeMap<String, String>,
    /// `leaf.subleaf` to `eax ebx ecx edx`, all hexadecimal.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub cpuid: BTreeMap<String, String>,
    /// `tool arg arg` to what it printed.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub commands: BTreeMap<String, String>,
    /// `tool arg arg` to how it failed.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub failed_commands: BTreeMap<String, CommandError>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub loaders: BTreeMap<String, Loader>,
    #[serde(skip_serializing_if = "is_absent")]
    pub nvml: NvmlSnapshot,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, String>,
    /// Binary files, hexadecimal.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub binary: BTreeMap<String, String>,
    /// Files repeated for a range of numbers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub each: Vec<Each>,
}

fn is_absent(snapshot: &NvmlSnapshot) -> bool {
    *snapshot == NvmlSnapshot::Absent
}

/// `{}` in paths and contents becomes each number of `range`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Each {
    /// `0-7,16`.
    pub range: String,
    pub files: BTreeMap<String, String>,
    pub links: BTreeMap<String, String>,
    /// Paragraphs added to a file, as /proc/cpuinfo has one a processor.
    pub append: BTreeMap<String, String>,
}

/// Answers from a [`HostFile`] only.
#[derive(Debug, Clone, Default)]
pub struct RecordedHost {
    data: HostFile,
    files: BTreeMap<String, Vec<u8>>,
    denied: BTreeSet<String>,
}

impl RecordedHost {
    pub fn empty(os: &str, arch: &str) -> Self {
        let data = HostFile { os: os.to_owned(), arch: arch.to_owned(), ..HostFile::default() };
        Self { data, ..Self::default() }
    }

    /// Reads a recording: the file, or the directory that `probe --capture` made.
    pub fn load(path: &Path) -> Result<Self, HostFileError> {
        use std::io::Read;
        let file = if path.is_dir() { path.join(HOST_FILE) } else { path.to_owned() };
        let read = |source| HostFileError::Read { path: file.clone(), source };
        let mut text = String::new();
        let opened = std::fs::File::open(&file).map_err(read)?;
        opened.take(MAX_BYTES).read_to_string(&mut text).map_err(read)?;
        let parse = |why: String| HostFileError::Parse { path: file.clone(), why };
        let data: HostFile = toml::from_str(&text).map_err(|e| parse(e.to_string()))?;
        Self::from_data(data).map_err(parse)
    }

    /// Expands the templates.
    pub fn from_data(data: HostFile) -> Result<Self, String> {
        let mut host = Self { denied: data.denied.iter().cloned().collect(), ..Self::default() };
        for (path, text) in &data.files {
            host.files.insert(path.clone(), text.clone().into_bytes());
        }
        for (path, hex) in &data.binary {
            let bytes = decode_hex(hex).ok_or_else(|| format!("`{path}` is not hexadecimal"))?;
            host.files.insert(path.clone(), bytes);
        }
        host.data = data;
        for each in std::mem::take(&mut host.data.each) {
            host.expand(&each)?;
        }
        Ok(host)
    }

    fn expand(&mut self, each: &Each) -> Result<(), String> {
        let numbers = parse::cpu_list(&each.range)
            .ok_or_else(|| format!("`{}` is not a range of numbers", each.range))?;
        for n in numbers {
            let fill = |text: &String| text.replace("{}", &n.to_string());
            for (path, text) in &each.files {
                self.files.insert(fill(path), fill(text).into_bytes());
            }
            for (path, target) in &each.links {
                self.data.links.insert(fill(path), fill(target));
            }
            for (path, text) in &each.append {
                let file = self.files.entry(path.clone()).or_default();
                file.extend(fill(text).trim_end().bytes());
                file.extend(b"\n\n");
            }
            if self.files.len() + self.data.links.len() > MAX_FILES {
                return Err(format!("more than {MAX_FILES} files"));
            }
        }
        Ok(())
    }

    pub fn set_file(&mut self, path: &str, text: &str) {
        self.files.insert(path.to_owned(), text.as_bytes().to_vec());
    }

    /// The same host with one content in every file, for tests of odd input.
    pub fn with_every_file(mut self, text: &str) -> Self {
        for content in self.files.values_mut() {
            *content = text.as_bytes().to_vec();
        }
        self
    }

    pub fn set_cpuid(&mut self, leaf: u32, subleaf: u32, registers: [u32; 4]) {
        let words: Vec<String> = registers.iter().map(|r| format!("{r:08x}")).collect();
        self.data.cpuid.insert(format!("{leaf:x}.{subleaf:x}"), words.join(" "));
    }

    pub fn set_xcr0(&mut self, bits: u64) {
        self.data.xcr0 = Some(format!("{bits:x}"));
    }

    pub fn set_hwcap(&mut self, cap: u64, cap2: u64) {
        self.data.hwcap = Some([format!("{cap:x}"), format!("{cap2:x}")]);
    }

    pub fn description(&self) -> &str {
        &self.data.description
    }

    pub fn sources(&self) -> &[String] {
        &self.data.source
    }
}

fn decode_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    let pair = |p: &[u8]| u8::from_str_radix(std::str::from_utf8(p).ok()?, 16).ok();
    digits.len().is_multiple_of(2).then(|| digits.chunks(2).map(pair).collect())?
}

pub(crate) fn command_key(tool: &str, args: &[&str]) -> String {
    let mut key = tool.to_owned();
    for arg in args {
        key.push(' ');
        key.push_str(arg);
    }
    key
}

/// The name below `dir` that leads to `path`.
fn child<'a>(dir: &str, path: &'a str) -> Option<&'a str> {
    let rest = path.strip_prefix(dir.trim_end_matches('/'))?.strip_prefix('/')?;
    rest.split('/').next().filter(|n| !n.is_empty())
}

impl Host for RecordedHost {
    fn os(&self) -> String {
        self.data.os.clone()
    }

    fn arch(&self) -> String {
        self.data.arch.clone()
    }

    fn read(&self, path: &str) -> Result<Vec<u8>, ReadError> {
        if self.denied.contains(path) {
            return Err(ReadError::Denied);
        }
        self.files.get(path).cloned().ok_or(ReadError::Absent)
    }

    fn list(&self, dir: &str) -> Vec<String> {
        let paths = self.files.keys().chain(self.data.links.keys()).chain(self.data.nodes.keys());
        let names: BTreeSet<&str> =
            paths.chain(&self.denied).filter_map(|p| child(dir, p)).collect();
        names.into_iter().map(str::to_owned).collect()
    }

    fn link(&self, path: &str) -> Option<String> {
        self.data.links.get(path).cloned()
    }

    fn access(&self, path: &str) -> Access {
        self.data.nodes.get(path).copied().unwrap_or(Access::Absent)
    }

    fn command(&self, tool: &str, args: &[&str]) -> Result<String, CommandError> {
        let key = command_key(tool, args);
        if let Some(error) = self.data.failed_commands.get(&key) {
            return Err(error.clone());
        }
        // A fixture may leave out the arguments of a tool that is only ever called one way.
        let found = self.data.commands.get(&key).or_else(|| self.data.commands.get(tool));
        found.cloned().ok_or(CommandError::Absent)
    }

    fn cpuid(&self, leaf: u32, subleaf: u32) -> Option<[u32; 4]> {
        if self.data.cpuid.is_empty() {
            return None;
        }
        let text = self.data.cpuid.get(&format!("{leaf:x}.{subleaf:x}")).map_or("", |t| t.as_str());
        let mut words = text.split_whitespace().map(|w| u32::from_str_radix(w, 16).unwrap_or(0));
        Some(std::array::from_fn(|_| words.next().unwrap_or(0)))
    }

    fn xcr0(&self) -> Option<u64> {
        parse::hex(self.data.xcr0.as_deref()?)
    }

    fn hwcap(&self) -> Option<(u64, u64)> {
        let [a, b] = self.data.hwcap.as_ref()?;
        Some((parse::hex(a)?, parse::hex(b)?))
    }

    fn env(&self, name: &str) -> Option<String> {
        self.data.env.get(name).cloned()
    }

    fn disk_free(&self, path: &str) -> Option<u64> {
        self.data.disk_free.get(path).copied()
    }

    fn affinity(&self) -> Option<Vec<u32>> {
        parse::cpu_list(self.data.affinity.as_deref()?)
    }

    fn ulimit(&self, which: Ulimit) -> Option<u64> {
        self.data.ulimits.get(&which).copied()
    }

    fn loader(&self, library: &str) -> Loader {
        self.data.loaders.get(library).cloned().unwrap_or(Loader::Absent)
    }

    fn nvml(&self) -> NvmlSnapshot {
        self.data.nvml.clone()
    }

    fn nvml_now(&self, index: u32) -> Option<NvmlNow> {
        let NvmlSnapshot::Ready { gpus, .. } = &self.data.nvml else { return None };
        let gpu = gpus.get(index as usize)?;
        Some(NvmlNow {
            energy_mj: gpu.energy_mj,
            temperature_c: gpu.temperature_c,
            clock_mhz: gpu.clock_mhz,
            throttle: gpu.throttle.clone(),
        })
    }

    fn is_root(&self) -> bool {
        self.data.root
    }
}
