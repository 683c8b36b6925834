//! What the operating system tells of a process: peak memory, CPU time.

use std::fs;
use std::process::ExitStatus;

/// The signal that ended a process.
#[cfg(unix)]
pub(crate) fn signal_of(status: ExitStatus) -> Option<i32> {
    std::os::unix::process::ExitStatusExt::signal(&status)
}
#[cfg(not(unix))]
pub(crate) fn signal_of(_: ExitStatus) -> Option<i32> {
    None
}

/// Peak resident set of a process in bytes (`VmHWM`); `None` where the system does not tell.
pub(crate) fn peak_rss_bytes(pid: u32) -> Option<u64> {
    status_field(pid, "VmHWM:")
}

/// Resident set of a process in bytes (`VmRSS`).
pub(crate) fn rss_bytes(pid: u32) -> Option<u64> {
    status_field(pid, "VmRSS:")
}

/// Resident sets of a process and its descendants together, bytes: an engine may run in a child.
pub(crate) fn tree_rss_bytes(pid: u32) -> Option<u64> {
    let mut total = rss_bytes(pid)?;
    let mut open = vec![pid];
    // Enough for any engine; more would be a fork bomb.
    for _ in 0..256 {
        let Some(parent) = open.pop() else { break };
        for child in children(parent) {
            total += rss_bytes(child).unwrap_or(0);
            open.push(child);
        }
    }
    Some(total)
}

/// Children by the threads that started them.
fn children(pid: u32) -> Vec<u32> {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let lists =
        threads.flatten().filter_map(|t| fs::read_to_string(t.path().join("children")).ok());
    lists
        .flat_map(|l| l.split_whitespace().filter_map(|p| p.parse().ok()).collect::<Vec<_>>())
        .collect()
}

fn status_field(pid: u32, key: &str) -> Option<u64> {
    parse_status_kib(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?, key)
}

fn parse_status_kib(status: &str, key: &str) -> Option<u64> {
    let line = status.lines().find_map(|l| l.strip_prefix(key))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// User plus system CPU time of a process in nanoseconds, in clock ticks of 10 ms.
pub(crate) fn cpu_time_ns(pid: u32) -> Option<u64> {
    parse_stat_ticks(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?
        .checked_mul(10_000_000)
}

/// Fields 14 and 15 of `/proc/PID/stat`, counted behind the command name, which may hold spaces.
fn parse_stat_ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    user.checked_add(system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peak_memory_is_read_in_bytes() {
        assert_eq!(parse_status_kib("Name:\tx\nVmHWM:\t  2048 kB\n", "VmHWM:"), Some(2 << 20));
        assert_eq!(parse_status_kib("VmHWM:\tmany kB\n", "VmHWM:"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn memory_of_children_counts() {
        let me = std::process::id();
        let child = std::process::Command::new("sleep").arg("60").spawn();
        let mut child = child.unwrap();
        assert!(children(me).contains(&child.id()));
        let (own, tree) = (rss_bytes(me).unwrap(), tree_rss_bytes(me).unwrap());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(tree > own / 2, "{tree} {own}");
    }

    #[test]
    fn a_command_name_with_spaces_and_brackets_does_not_shift_the_fields() {
        let stat = "7 (a) b c) R 1 7 7 0 -1 0 9 9 9 9 150 50 0 0 20 0 1 0";
        assert_eq!(parse_stat_ticks(stat), Some(200));
    }
}
