//! The machine we run on. Every answer that can hang has a deadline.

#![allow(unsafe_code)]

use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::host::{Access, CommandError, Host, Loader, ReadError, TOOLS, Ulimit};
use super::nvml::{self, NvmlNow, NvmlSnapshot};
use super::{loader, os};

/// Larger files are not what the probe looks for.
const MAX_FILE: u64 = 4 << 20;
const MAX_OUTPUT: u64 = 4 << 20;
const DRIVER_DEADLINE: Duration = Duration::from_secs(3);

/// The live host.
#[derive(Debug, Clone)]
pub struct LiveHost {
    /// How long a tool may take before it is killed.
    pub command_deadline: Duration,
}

impl Default for LiveHost {
    fn default() -> Self {
        Self { command_deadline: Duration::from_secs(3) }
    }
}

impl LiveHost {
    pub fn new() -> Self {
        Self::default()
    }
}

impl Host for LiveHost {
    fn os(&self) -> String {
        std::env::consts::OS.to_owned()
    }

    fn arch(&self) -> String {
        std::env::consts::ARCH.to_owned()
    }

    fn read(&self, path: &str) -> Result<Vec<u8>, ReadError> {
        let kind = |e: std::io::Error| match e.kind() {
            std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => ReadError::Absent,
            std::io::ErrorKind::PermissionDenied => ReadError::Denied,
            _ => ReadError::Odd,
        };
        // A FIFO or device would block; sysfs and procfs are regular files.
        if !std::fs::metadata(path).map_err(kind)?.is_file() {
            return Err(ReadError::Odd);
        }
        let mut bytes = Vec::new();
        std::fs::File::open(path)
            .and_then(|f| f.take(MAX_FILE).read_to_end(&mut bytes))
            .map_err(kind)?;
        Ok(bytes)
    }

    fn list(&self, dir: &str) -> Vec<String> {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten().take(4096);
        let mut names: Vec<_> =
            entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    fn link(&self, path: &str) -> Option<String> {
        std::fs::read_link(path).ok().map(|p| p.to_string_lossy().into_owned())
    }

    fn access(&self, path: &str) -> Access {
        os::access(path)
    }

    fn command(&self, tool: &str, args: &[&str]) -> Result<String, CommandError> {
        if !TOOLS.contains(&tool) {
            return Err(CommandError::Absent);
        }
        run_tool(tool, args, self.command_deadline)
    }

    fn cpuid(&self, leaf: u32, subleaf: u32) -> Option<[u32; 4]> {
        #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
        {
            let r = raw_cpuid::native_cpuid::cpuid_count(leaf, subleaf);
            Some([r.eax, r.ebx, r.ecx, r.edx])
        }
        #[cfg(not(any(target_arch = "x86", target_arch = "x86_64")))]
        {
            let _ = (leaf, subleaf);
            None
        }
    }

    fn xcr0(&self) -> Option<u64> {
        #[cfg(target_arch = "x86_64")]
        if self.cpuid(1, 0).is_some_and(|r| r[2] & (1 << 27) != 0) {
            // SAFETY: CPUID says OSXSAVE, so XGETBV of register 0 exists.
            return Some(unsafe { xgetbv0() });
        }
        None
    }

    fn hwcap(&self) -> Option<(u64, u64)> {
        os::hwcap()
    }

    fn env(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn disk_free(&self, path: &str) -> Option<u64> {
        os::disk_free(path)
    }

    fn affinity(&self) -> Option<Vec<u32>> {
        os::affinity()
    }

    fn ulimit(&self, which: Ulimit) -> Option<u64> {
        os::ulimit(which)
    }

    fn loader(&self, library: &str) -> Loader {
        let library = library.to_owned();
        within(DRIVER_DEADLINE, move || loader::load(&library)).unwrap_or(Loader::TimedOut)
    }

    fn nvml(&self) -> NvmlSnapshot {
        within(DRIVER_DEADLINE, nvml::read).unwrap_or(NvmlSnapshot::TimedOut)
    }

    fn nvml_now(&self, index: u32) -> Option<NvmlNow> {
        within(DRIVER_DEADLINE, move || nvml::now(index)).flatten()
    }

    fn is_root(&self) -> bool {
        os::is_root()
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "xsave")]
unsafe fn xgetbv0() -> u64 {
    // SAFETY: the caller checked OSXSAVE.
    unsafe { std::arch::x86_64::_xgetbv(0) }
}

/// Runs `f` on a thread of its own; a stuck driver costs that thread, not the probe.
fn within<T: Send + 'static>(
    deadline: Duration,
    f: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (tx, rx) = mpsc::channel();
    std::thread::spawn(move || tx.send(f()));
    rx.recv_timeout(deadline).ok()
}

/// Starts a tool without a shell and kills it at the deadline.
pub(crate) fn run_tool(
    tool: &str,
    args: &[&str],
    deadline: Duration,
) -> Result<String, CommandError> {
    let start = Instant::now();
    let mut child = Command::new(tool)
        .args(args)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => CommandError::Absent,
            _ => CommandError::Failed(e.to_string()),
        })?;
    let (tx, rx) = mpsc::channel();
    if let Some(stdout) = child.stdout.take() {
        // The reader ends when the pipe closes; a grandchild that keeps it open only costs this thread.
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = stdout.take(MAX_OUTPUT).read_to_end(&mut bytes);
            tx.send(bytes)
        });
    }
    let output = rx.recv_timeout(deadline);
    let left = deadline.saturating_sub(start.elapsed());
    let Ok(bytes) = output else {
        let _ = child.kill();
        let _ = child.wait();
        return Err(CommandError::TimedOut);
    };
    match wait(&mut child, left) {
        None => Err(CommandError::TimedOut),
        Some(status) if status.success() => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Some(status) => Err(CommandError::Failed(status.to_string())),
    }
}

/// Waits for a child that has closed its output, and kills it where it lingers.
fn wait(child: &mut std::process::Child, left: Duration) -> Option<std::process::ExitStatus> {
    let until = Instant::now() + left;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if Instant::now() < until => std::thread::sleep(Duration::from_millis(2)),
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                return None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listed_tools_are_started() {
        let host = LiveHost::new();
        assert_eq!(host.command("sh", &["-c", "true"]), Err(CommandError::Absent));
        assert_eq!(host.command("/usr/bin/sysctl", &[]), Err(CommandError::Absent));
    }

    #[cfg(unix)]
    #[test]
    fn a_stuck_tool_is_killed_at_its_deadline() {
        let result = run_tool("sleep", &["600"], Duration::from_millis(30));
        assert_eq!(result, Err(CommandError::TimedOut));
    }

    #[test]
    fn a_stuck_driver_call_is_given_up() {
        let (_keep, never) = mpsc::channel::<()>();
        assert_eq!(within(Duration::from_millis(20), move || never.recv().is_ok()), None);
    }

    #[test]
    fn an_absent_tool_is_absent_not_an_error() {
        let result = run_tool("no-such-tool-edge-advisor", &[], Duration::from_secs(1));
        assert_eq!(result, Err(CommandError::Absent));
    }

    #[test]
    fn directories_and_missing_files_are_told_apart_from_content() {
        let host = LiveHost::new();
        assert_eq!(host.read("/no/such/file"), Err(ReadError::Absent));
        assert_eq!(host.read("."), Err(ReadError::Odd));
    }
}
