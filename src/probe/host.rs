//! The seam between the probe and a machine: everything the probe may ask of a host.

use serde::{Deserialize, Serialize};

use super::nvml::{NvmlNow, NvmlSnapshot};

/// Why a file could not be read. A device that is present but not accessible is never called absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadError {
    Absent,
    Denied,
    Odd,
}

/// Whether a device node can be opened for reading and writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Access {
    Absent,
    Denied,
    Usable,
}

/// Why a tool gave no output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommandError {
    /// The tool is not installed (or not on the list of allowed tools).
    Absent,
    /// The deadline passed; the tool was killed.
    TimedOut,
    /// It ended with an error.
    Failed(String),
}

/// What loading a compute library told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Loader {
    /// No such library.
    Absent,
    /// The library loads; `devices` where its entry point counted them.
    Loads {
        #[serde(default)]
        devices: Option<u32>,
    },
    /// The file is there and does not load or initialise.
    Broken(String),
    /// It did not answer in time.
    TimedOut,
}

/// Tools the probe may start, by bare name; nothing else, and never through a shell.
pub(crate) const TOOLS: &[&str] = &["sysctl", "vm_stat", "pmset", "ioreg", "getprop", "powershell"];

/// A machine to ask: the live one, or a recording. No method fails as a whole or waits for ever.
pub trait Host {
    /// `linux`, `android`, `macos`, `windows`.
    fn os(&self) -> String;
    /// `x86_64`, `aarch64`, `riscv64`.
    fn arch(&self) -> String;
    /// At most 4 MiB of a file.
    fn read(&self, path: &str) -> Result<Vec<u8>, ReadError>;
    /// Names in a directory, sorted; empty where there is none.
    fn list(&self, dir: &str) -> Vec<String>;
    /// Target of a symbolic link.
    fn link(&self, path: &str) -> Option<String>;
    fn access(&self, path: &str) -> Access;
    /// Standard output of one of the listed tools, within a deadline.
    fn command(&self, tool: &str, args: &[&str]) -> Result<String, CommandError>;
    /// `[eax, ebx, ecx, edx]`; `None` off x86.
    fn cpuid(&self, leaf: u32, subleaf: u32) -> Option<[u32; 4]>;
    /// Vector state the operating system switched on (XCR0); `None` off x86.
    fn xcr0(&self) -> Option<u64>;
    /// `AT_HWCAP` and `AT_HWCAP2`, where the kernel passes them.
    fn hwcap(&self) -> Option<(u64, u64)>;
    fn env(&self, name: &str) -> Option<String>;
    /// Bytes an unprivileged user may still write where `path` lies.
    fn disk_free(&self, path: &str) -> Option<u64>;
    /// Logical CPUs this process may run on.
    fn affinity(&self) -> Option<Vec<u32>>;
    /// Soft limit in its own unit; `None` where unlimited or not known.
    fn ulimit(&self, which: Ulimit) -> Option<u64>;
    /// Loads a compute library by name, within a deadline.
    fn loader(&self, library: &str) -> Loader;
    fn nvml(&self) -> NvmlSnapshot;
    /// One NVIDIA GPU right now, for repeated reading.
    fn nvml_now(&self, index: u32) -> Option<NvmlNow>;
    fn is_root(&self) -> bool;
}

/// Process limits that stop a model from loading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ulimit {
    AddressSpace,
    LockedMemory,
    OpenFiles,
}

impl dyn Host + '_ {
    /// A file as text, trimmed; invalid bytes replaced, NULs of device trees cut at the end.
    pub(crate) fn text(&self, path: &str) -> Option<String> {
        let bytes = self.read(path).ok()?;
        let text = String::from_utf8_lossy(&bytes);
        let text = text.trim_matches(|c: char| c == '\0' || c.is_whitespace());
        (!text.is_empty()).then(|| text.to_owned())
    }

    /// The first word of a file as a decimal number.
    pub(crate) fn number(&self, path: &str) -> Option<u64> {
        self.text(path)?.split_whitespace().next()?.parse().ok()
    }

    /// A NUL-separated list, as device trees store `compatible`.
    pub(crate) fn strings(&self, path: &str) -> Vec<String> {
        let bytes = self.read(path).unwrap_or_default();
        bytes
            .split(|&b| b == 0 || b == b'\n')
            .filter(|s| !s.is_empty())
            .take(64)
            .map(|s| String::from_utf8_lossy(s).into_owned())
            .collect()
    }

    /// Last component of a link, e.g. the driver bound to a device.
    pub(crate) fn link_name(&self, path: &str) -> Option<String> {
        let target = self.link(path)?;
        target.rsplit(['/', '\\']).next().map(str::to_owned)
    }

    pub(crate) fn exists(&self, path: &str) -> bool {
        !matches!(self.read(path), Err(ReadError::Absent)) || !self.list(path).is_empty()
    }
}
