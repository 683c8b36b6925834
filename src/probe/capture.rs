//! Records what a probe asks, so that a bug report can be replayed. Nothing that names a person or a unit is kept.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use super::host::{Access, CommandError, Host, Loader, ReadError, Ulimit};
use super::nvml::{NvmlNow, NvmlSnapshot};
use super::parse;
use super::recorded::{HOST_FILE, HostFile, HostFileError, command_key};

/// Passes questions on to a host and keeps the answers.
pub struct CapturingHost<'a> {
    inner: &'a dyn Host,
    kept: RefCell<HostFile>,
    secrets: Vec<(String, &'static str)>,
}

/// Where a recording went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Captured {
    pub path: PathBuf,
    pub files: usize,
}

impl<'a> CapturingHost<'a> {
    pub fn new(inner: &'a dyn Host) -> Self {
        let mut secrets = Vec::new();
        let hostname =
            inner.text("/proc/sys/kernel/hostname").or_else(|| inner.env("COMPUTERNAME"));
        let user =
            inner.env("USER").or_else(|| inner.env("USERNAME")).or_else(|| inner.env("LOGNAME"));
        // Very short names would match inside ordinary words.
        for (name, stand_in) in [(hostname, "HOST"), (user, "USER")] {
            secrets.extend(name.filter(|n| n.len() > 3 && n != "root").map(|n| (n, stand_in)));
        }
        let kept = HostFile {
            os: inner.os(),
            arch: inner.arch(),
            root: inner.is_root(),
            xcr0: inner.xcr0().map(|v| format!("{v:x}")),
            hwcap: inner.hwcap().map(|(a, b)| [format!("{a:x}"), format!("{b:x}")]),
            affinity: inner.affinity().map(|a| parse::format_cpu_list(&a)),
            description: "captured with `edge-advisor probe --capture`".into(),
            ..HostFile::default()
        };
        Self { inner, kept: RefCell::new(kept), secrets }
    }

    /// Writes the recording into a directory, which is made.
    pub fn save(self, dir: &Path) -> Result<Captured, HostFileError> {
        let path = dir.join(HOST_FILE);
        let write = |source| HostFileError::Write { path: path.clone(), source };
        let kept = self.kept.into_inner();
        let files = kept.files.len() + kept.binary.len();
        let text = toml::to_string(&kept)
            .map_err(|e| HostFileError::Parse { path: path.clone(), why: e.to_string() })?;
        std::fs::create_dir_all(dir).map_err(write)?;
        let mut file = tempfile::NamedTempFile::new_in(dir).map_err(write)?;
        std::io::Write::write_all(&mut file, text.as_bytes()).map_err(write)?;
        file.persist(&path).map_err(|e| write(e.error))?;
        Ok(Captured { path, files })
    }

    fn redact(&self, text: &str) -> String {
        let mut out = text.to_owned();
        for (secret, stand_in) in &self.secrets {
            out = out.replace(secret.as_str(), stand_in);
        }
        redact_ids(&out)
    }
}

/// Lines of /proc/cpuinfo and the like that name one unit.
fn is_serial(line: &str) -> bool {
    let key = line.split([':', '=']).next().unwrap_or_default().trim().to_lowercase();
    key.contains("serial") || key.contains("uuid") || key == "pid"
}

/// Container ids, UUIDs and MAC addresses become zeros of the same length, so that paths still match.
fn redact_ids(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut word = String::new();
    for c in text.chars().chain(std::iter::once('\0')) {
        if c.is_ascii_hexdigit() || c == '-' || c == ':' {
            word.push(c);
            continue;
        }
        if names_a_unit(&word) {
            out.extend(word.chars().map(|c| if c.is_ascii_hexdigit() { '0' } else { c }));
        } else {
            out.push_str(&word);
        }
        word.clear();
        out.push(c);
    }
    out.pop();
    out
}

fn names_a_unit(word: &str) -> bool {
    let hex = word.bytes().filter(u8::is_ascii_hexdigit).count();
    let mac =
        word.len() == 17 && word.split(':').count() == 6 && word.split(':').all(|p| p.len() == 2);
    let uuid = word.split('-').map(str::len).eq([8, 4, 4, 4, 12]);
    // /proc/cpuinfo and cgroups hold no other run of 32 hexadecimal digits without a break.
    mac || uuid || (hex >= 32 && hex == word.len())
}

/// Only the mounts that the probe reads.
fn cgroup_mounts(text: &str) -> String {
    let lines = text.lines().filter(|l| l.contains(" - cgroup"));
    lines.map(|l| format!("{l}\n")).collect()
}

impl Host for CapturingHost<'_> {
    fn os(&self) -> String {
        self.inner.os()
    }

    fn arch(&self) -> String {
        self.inner.arch()
    }

    fn read(&self, path: &str) -> Result<Vec<u8>, ReadError> {
        let result = self.inner.read(path);
        let key = self.redact(path);
        let mut kept = self.kept.borrow_mut();
        match &result {
            Ok(bytes) if bytes.contains(&0) || std::str::from_utf8(bytes).is_err() => {
                // The SMBIOS table holds serial numbers in its strings: root's captures leave it out.
                if !path.ends_with("/DMI") {
                    let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
                    kept.binary.insert(key, hex);
                }
            }
            Ok(bytes) => {
                let text = String::from_utf8_lossy(bytes);
                let text: String = text.split_inclusive('\n').filter(|l| !is_serial(l)).collect();
                let text = if path.ends_with("mountinfo") { cgroup_mounts(&text) } else { text };
                kept.files.insert(key, self.redact(&text));
            }
            Err(ReadError::Denied) => {
                if !kept.denied.contains(&key) {
                    kept.denied.push(key);
                }
            }
            Err(_) => {}
        }
        result
    }

    fn list(&self, dir: &str) -> Vec<String> {
        let names = self.inner.list(dir);
        let mut kept = self.kept.borrow_mut();
        for name in &names {
            // A placeholder keeps the name when nothing below it was read.
            let path = self.redact(&format!("{dir}/{name}"));
            kept.links.entry(format!("{path}/.")).or_default();
        }
        names
    }

    fn link(&self, path: &str) -> Option<String> {
        let target = self.inner.link(path)?;
        self.kept.borrow_mut().links.insert(self.redact(path), self.redact(&target));
        Some(target)
    }

    fn access(&self, path: &str) -> Access {
        let access = self.inner.access(path);
        if access != Access::Absent {
            self.kept.borrow_mut().nodes.insert(path.to_owned(), access);
        }
        access
    }

    fn command(&self, tool: &str, args: &[&str]) -> Result<String, CommandError> {
        let result = self.inner.command(tool, args);
        let key = command_key(tool, args);
        let mut kept = self.kept.borrow_mut();
        match &result {
            Ok(text) => {
                let text: String = text.split_inclusive('\n').filter(|l| !is_serial(l)).collect();
                kept.commands.insert(key, self.redact(&text));
            }
            Err(CommandError::Absent) => {}
            Err(e) => {
                kept.failed_commands.insert(key, e.clone());
            }
        }
        result
    }

    fn cpuid(&self, leaf: u32, subleaf: u32) -> Option<[u32; 4]> {
        let registers = self.inner.cpuid(leaf, subleaf)?;
        // Leaf 3 is a serial number on very old CPUs.
        if leaf != 3 {
            let words: Vec<String> = registers.iter().map(|r| format!("{r:08x}")).collect();
            let key = format!("{leaf:x}.{subleaf:x}");
            self.kept.borrow_mut().cpuid.insert(key, words.join(" "));
        }
        Some(registers)
    }

    fn xcr0(&self) -> Option<u64> {
        self.inner.xcr0()
    }

    fn hwcap(&self) -> Option<(u64, u64)> {
        self.inner.hwcap()
    }

    fn env(&self, name: &str) -> Option<String> {
        let value = self.inner.env(name)?;
        // Home directories carry the user's name: their stand-in is enough to find the disk again.
        let kept =
            if value.contains(['/', '\\']) { format!("${name}") } else { self.redact(&value) };
        self.kept.borrow_mut().env.insert(name.to_owned(), kept);
        Some(value)
    }

    fn disk_free(&self, path: &str) -> Option<u64> {
        let free = self.inner.disk_free(path)?;
        let mut kept = self.kept.borrow_mut();
        let names = ["EDGE_ADVISOR_DATA_DIR", "XDG_DATA_HOME", "HOME", "USERPROFILE"];
        let name = names.iter().find(|n| self.inner.env(n).as_deref() == Some(path));
        kept.disk_free.insert(name.map_or_else(|| self.redact(path), |n| format!("${n}")), free);
        Some(free)
    }

    fn affinity(&self) -> Option<Vec<u32>> {
        self.inner.affinity()
    }

    fn ulimit(&self, which: Ulimit) -> Option<u64> {
        let limit = self.inner.ulimit(which)?;
        self.kept.borrow_mut().ulimits.insert(which, limit);
        Some(limit)
    }

    fn loader(&self, library: &str) -> Loader {
        let state = self.inner.loader(library);
        if state != Loader::Absent {
            self.kept.borrow_mut().loaders.insert(library.to_owned(), state.clone());
        }
        state
    }

    fn nvml(&self) -> NvmlSnapshot {
        let snapshot = self.inner.nvml();
        self.kept.borrow_mut().nvml = snapshot.clone();
        snapshot
    }

    fn nvml_now(&self, index: u32) -> Option<NvmlNow> {
        self.inner.nvml_now(index)
    }

    fn is_root(&self) -> bool {
        self.inner.is_root()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_become_zeros_and_ordinary_numbers_stay() {
        let id = "a".repeat(64);
        assert_eq!(redact_ids(&format!("/docker/{id}/x")), format!("/docker/{}/x", "0".repeat(64)));
        assert_eq!(redact_ids("aa:bb:cc:dd:ee:ff"), "00:00:00:00:00:00");
        assert_eq!(
            redact_ids("x 123e4567-e89b-12d3-a456-426614174000"),
            "x 00000000-0000-0000-0000-000000000000"
        );
        for plain in ["0000:01:00.0", "0-3,8-11", "MemTotal: 123456 kB", "", "fpu de pse"] {
            assert_eq!(redact_ids(plain), plain);
        }
    }

    #[test]
    fn serial_numbers_are_dropped() {
        assert!(is_serial("Serial\t\t: 10000000abcdef01"));
        assert!(is_serial("hw.serialnumber: X"));
        assert!(!is_serial("model name\t: Cortex"));
    }
}
