//! Managed Python environments: a venv and `pip install --require-hashes` from a pinned list.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::child::PythonChild;
use super::install::RuntimeError;
use super::installed::find;
use super::lock::{Lock, Python, lock};

/// An installed environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PythonEnv {
    pub version: String,
    pub dir: PathBuf,
    /// Its interpreter: run tools as `python -m tool`.
    pub python: PathBuf,
}

/// The environment of a Python runtime (`olive`, `mlx`), where it is installed.
pub fn python_env(name: &str) -> Option<PythonEnv> {
    lock(name)?.python.as_ref()?;
    // The user's own environment, where the override variable names one, else the managed one.
    let installed = find(name)?;
    let python = interpreter(&installed.dir);
    python.exists().then_some(PythonEnv { version: installed.version, dir: installed.dir, python })
}

/// Files of an environment's packages that are missing or not what pip installed.
pub fn examine(dir: &Path) -> Result<Vec<String>, String> {
    let env = PythonEnv { version: String::new(), dir: dir.to_owned(), python: interpreter(dir) };
    let script = include_str!("examine.py");
    let answer = PythonChild::start(&env, script, &[]).and_then(|mut child| {
        child.call(&serde_json::Value::Null, Duration::from_secs(300), &mut |_, _| ())
    });
    let value = answer.map_err(|e| e.to_string())?.value;
    serde_json::from_value(value).map_err(|e| e.to_string())
}

fn interpreter(dir: &Path) -> PathBuf {
    if cfg!(windows) { dir.join("Scripts/python.exe") } else { dir.join("bin/python") }
}

/// Makes the environment in its final place, since a venv does not survive a move; the caller writes the
/// manifest that makes it count.
pub(super) fn install(lock: &Lock, python: &Python, dir: &Path) -> Result<(), RuntimeError> {
    let write = |source| RuntimeError::Write { path: dir.to_owned(), source };
    let base = find_python(&python.minimum, &python.below)?;
    check_glibc(&base, python)?;
    if dir.exists() {
        std::fs::remove_dir_all(dir).map_err(write)?;
    }
    std::fs::create_dir_all(dir).map_err(write)?;
    run(Command::new(base).args(["-m", "venv"]).arg(dir))?;
    let list = dir.join("requirements.txt");
    std::fs::write(&list, python.requirements).map_err(write)?;
    let pip = ["-m", "pip", "--disable-pip-version-check", "--no-input", "install"];
    // The lists are complete: what a package asks for beyond them is left out on purpose.
    let pinned = ["--no-deps", "--require-hashes", "--only-binary", ":all:", "--requirement"];
    let outcome = run(Command::new(interpreter(dir)).args(pip).args(pinned).arg(&list));
    if outcome.is_err() {
        // pip keeps what it downloaded in its own cache, so a second try is quick.
        let _ = std::fs::remove_dir_all(dir);
    }
    outcome.map_err(|e| match e {
        RuntimeError::Pip { tail, .. } => {
            RuntimeError::Pip { command: format!("pip install ({})", lock.name), tail }
        }
        other => other,
    })
}

/// `EDGE_ADVISOR_PYTHON`, else the first suitable interpreter on the path.
fn find_python(minimum: &str, below: &str) -> Result<PathBuf, RuntimeError> {
    let mut candidates = Vec::new();
    if let Some(own) = std::env::var_os("EDGE_ADVISOR_PYTHON") {
        candidates.push(PathBuf::from(own));
    } else {
        candidates.extend(["python3", "python"].map(PathBuf::from));
        candidates.extend((10..=20).rev().map(|n| PathBuf::from(format!("python3.{n}"))));
    }
    let suits = |version: (u32, u32)| {
        parse_version(minimum).is_some_and(|m| version >= m)
            && parse_version(below).is_some_and(|b| version < b)
    };
    let found = candidates.into_iter().find(|p| python_version(p).is_some_and(suits));
    found.ok_or_else(|| RuntimeError::NoPython(format!("from {minimum} to below {below}")))
}

/// Wheels name the oldest C library they run on; pip would only say that no version fits.
fn check_glibc(base: &Path, python: &Python) -> Result<(), RuntimeError> {
    let Some(needed) = python.glibc.as_deref().filter(|_| cfg!(target_os = "linux")) else {
        return Ok(());
    };
    let code = "import platform; print(' '.join(platform.libc_ver()))";
    let output = Command::new(base).args(["-I", "-c", code]).stderr(Stdio::null()).output();
    let found = output.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned());
    let found = found.unwrap_or_default();
    let new_enough = found
        .strip_prefix("glibc ")
        .and_then(parse_version)
        .is_some_and(|v| parse_version(needed).is_some_and(|n| v >= n));
    if new_enough {
        return Ok(());
    }
    let found = if found.is_empty() { "another C library".to_owned() } else { found };
    Err(RuntimeError::Glibc { needed: needed.to_owned(), found })
}

fn python_version(python: &Path) -> Option<(u32, u32)> {
    let code = "import sys; print('%d.%d' % sys.version_info[:2])";
    let output =
        Command::new(python).args(["-I", "-c", code]).stderr(Stdio::null()).output().ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
        .and_then(|text| parse_version(text.trim()))
}

fn parse_version(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Runs to the end; an error carries the last lines that the command wrote.
fn run(command: &mut Command) -> Result<(), RuntimeError> {
    let shown = command.get_program().to_string_lossy().into_owned();
    let failed = |tail: String| RuntimeError::Pip { command: shown.clone(), tail };
    let output = command.stdin(Stdio::null()).output().map_err(|e| failed(e.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = text.lines().filter(|l| !l.trim().is_empty()).collect();
    Err(failed(lines[lines.len().saturating_sub(3)..].join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        assert!(parse_version("3.9") < parse_version("3.10"));
        assert_eq!(parse_version("three"), None);
    }
}
