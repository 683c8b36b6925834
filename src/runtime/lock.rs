//! The lock files `profiles/runtimes/*.toml`: for each framework the exact packages that may be installed.

use serde::Deserialize;

use super::registry::Registry;

/// Every runtime: its lock file, and the pinned requirements file of a Python one. One line each.
const LOCKS: &[(&str, Option<&str>)] = &[
    (include_str!("../../profiles/runtimes/llama.cpp.toml"), None),
    (include_str!("../../profiles/runtimes/openvino.toml"), None),
    (
        include_str!("../../profiles/runtimes/openvino-tools.toml"),
        Some(include_str!("../../profiles/runtimes/openvino-tools.txt")),
    ),
    (include_str!("../../profiles/runtimes/onnxruntime-ep-webgpu.toml"), None),
    (include_str!("../../profiles/runtimes/qnn.toml"), None),
    (
        include_str!("../../profiles/runtimes/mlx.toml"),
        Some(include_str!("../../profiles/runtimes/mlx.txt")),
    ),
    (include_str!("../../profiles/runtimes/onnxruntime.toml"), None),
    (
        include_str!("../../profiles/runtimes/onnx-tools.toml"),
        Some(include_str!("../../profiles/runtimes/onnx-tools.txt")),
    ),
    (
        include_str!("../../profiles/runtimes/olive.toml"),
        Some(include_str!("../../profiles/runtimes/olive.txt")),
    ),
];

/// One framework that can be installed.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// As typed: `runtime install NAME`.
    pub name: String,
    pub title: String,
    /// What is installed; bindings may rely on it to the letter.
    pub version: String,
    /// SPDX expression, or the name of a vendor licence.
    pub licence: String,
    /// True where downloading means agreeing to a vendor licence: the user must say so.
    #[serde(default)]
    pub must_accept: bool,
    /// Where those terms are to be read.
    #[serde(default)]
    pub terms: String,
    pub homepage: String,
    #[serde(default, rename = "package")]
    pub packages: Vec<Package>,
    #[serde(default)]
    pub python: Option<Python>,
}

/// One archive of a registry. All packages of a platform and flavour make up the runtime together.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Package {
    /// `<os>-<arch>` as Rust names them, e.g. `linux-x86_64`.
    pub platform: String,
    /// Which hardware it adds to the CPU: `cpu`, `vulkan`, `cuda`.
    pub flavour: String,
    pub registry: Registry,
    pub package: String,
    pub version: String,
    /// Exact file name on PyPI; unused for npm.
    #[serde(default)]
    pub file: String,
    /// Of the archive, lower-case hex.
    pub sha256: String,
    /// Of the archive, bytes.
    pub size: u64,
    /// Bytes that the kept files take on disk.
    pub unpacked: u64,
    /// What the machine must have, for people.
    pub requires: String,
    /// Leading path in the archive that is dropped; entries elsewhere are not unpacked.
    #[serde(default)]
    pub strip: String,
    /// Globs over the rest of the path; empty for everything.
    #[serde(default)]
    pub keep: Vec<String>,
    /// Directory inside the runtime's.
    #[serde(default)]
    pub into: String,
}

/// A virtual environment made from a requirements file in which every package is pinned and hashed.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Python {
    /// Oldest Python that the pinned packages run on, `3.10`.
    pub minimum: String,
    /// First Python that they do not run on, `3.14`.
    pub below: String,
    /// `<os>-<arch>` the pins were resolved for.
    pub platforms: Vec<String>,
    /// Oldest glibc that the wheels run on, `2.35`; Linux only.
    #[serde(default)]
    pub glibc: Option<String>,
    /// Rough size of the download and on disk, bytes.
    pub download: u64,
    pub unpacked: u64,
    #[serde(skip)]
    pub requirements: &'static str,
}

impl Lock {
    /// The packages of `flavour` here.
    pub fn packages_for(&self, platform: &str, flavour: &str) -> Vec<&Package> {
        let fits = |p: &&Package| p.platform == platform && p.flavour == flavour;
        self.packages.iter().filter(fits).collect()
    }

    /// Flavours that exist for a platform, in the file's order: the first is the default.
    pub fn flavours(&self, platform: &str) -> Vec<&str> {
        if let Some(python) = &self.python {
            let here = python.platforms.iter().any(|p| p == platform);
            return if here { vec!["python"] } else { vec![] };
        }
        let mut flavours = Vec::new();
        for package in self.packages.iter().filter(|p| p.platform == platform) {
            if !flavours.contains(&package.flavour.as_str()) {
                flavours.push(package.flavour.as_str());
            }
        }
        flavours
    }
}

/// All lock files, in the order tables show them.
pub fn locks() -> &'static [Lock] {
    static PARSED: std::sync::OnceLock<Vec<Lock>> = std::sync::OnceLock::new();
    PARSED.get_or_init(|| {
        let parse = |(text, requirements): &(&'static str, Option<&'static str>)| {
            let mut lock: Lock = toml::from_str(text).expect("embedded lock files are tested");
            if let Some(python) = &mut lock.python {
                python.requirements = requirements.unwrap_or_default();
            }
            lock
        };
        LOCKS.iter().map(parse).collect()
    })
}

/// The lock of a runtime.
pub fn lock(name: &str) -> Option<&'static Lock> {
    locks().iter().find(|l| l.name == name)
}

/// This machine, as lock files name it.
pub fn platform() -> String {
    format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_lock_is_complete() {
        for lock in locks() {
            assert!(!lock.packages.is_empty() || lock.python.is_some(), "{}", lock.name);
            for p in &lock.packages {
                let hex = p.sha256.len() == 64 && p.sha256.bytes().all(|b| b.is_ascii_hexdigit());
                assert!(hex && p.sha256 == p.sha256.to_lowercase(), "{}", p.package);
                assert!(p.size > 0 && p.unpacked > 0, "{}", p.package);
                assert!(p.registry == Registry::Npm || !p.file.is_empty(), "{}", p.package);
                for glob in &p.keep {
                    assert!(globset::Glob::new(glob).is_ok(), "{glob}");
                }
            }
            assert_eq!(lock.must_accept, !lock.terms.is_empty(), "{}", lock.name);
            if let Some(python) = &lock.python {
                let pinned = python.requirements.lines().filter(|l| l.contains("==")).count();
                let hashed = python.requirements.matches("--hash=sha256:").count();
                assert!(pinned > 0 && hashed >= pinned, "{}", lock.name);
            }
        }
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = locks().iter().map(|l| &l.name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), locks().len());
    }
}
