//! What the operating system tells of a process: peak memory, CPU time.

use std::fs;

/// Peak resident set of a process in bytes (`VmHWM`); `None` where the system does not tell.
pub(crate) fn peak_rss_bytes(pid: u32) -> Option<u64> {
    status_field(pid, "VmHWM:")
}

/// Resident set of a process in bytes (`VmRSS`).
pub(crate) fn rss_bytes(pid: u32) -> Option<u64> {
    status_field(pid, "VmRSS:")
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
    fn a_command_name_with_spaces_and_brackets_does_not_shift_the_fields() {
        let stat = "7 (a) b c) R 1 7 7 0 -1 0 9 9 9 9 150 50 0 0 20 0 1 0";
        assert_eq!(parse_stat_ticks(stat), Some(200));
    }
}
