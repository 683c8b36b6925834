//! Limits of nested control groups, version 1, 2 and both at once: the tightest on the way up wins.

use super::host::Host;
use super::parse;

/// What the groups of this process allow; `None` where no group limits it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct CgroupLimits {
    /// `v1`, `v2`, `hybrid`; `None` without cgroups.
    pub version: Option<&'static str>,
    /// CPU time a second of wall time, and the file that says so.
    pub cpus: Option<(f64, String)>,
    pub cpuset: Option<(Vec<u32>, String)>,
    pub memory: Option<Room>,
    pub swap_bytes: Option<(u64, String)>,
    pub throttled_periods: Option<(u64, String)>,
}

/// A memory limit and how much of it is in use by things that cannot be dropped.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Room {
    pub limit: u64,
    pub used: u64,
    pub free: u64,
    pub path: String,
}

/// More levels than this is damage.
const MAX_DEPTH: usize = 64;

/// One mounted hierarchy, as mountinfo lists it.
#[derive(Debug, PartialEq)]
struct Mount {
    v2: bool,
    /// Group that the mount point shows, `/` or a container's own group.
    root: String,
    point: String,
    controllers: Vec<String>,
}

pub(crate) fn read(host: &dyn Host) -> CgroupLimits {
    let mounts = mounts(&host.text("/proc/self/mountinfo").unwrap_or_default());
    let groups = host.text("/proc/self/cgroup").unwrap_or_default();
    let mut limits = CgroupLimits::default();
    let (mut v1, mut v2) = (false, false);
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        let unified = controllers.is_empty();
        let mount = mounts.iter().find(|m| {
            m.v2 == unified
                && (unified || controllers.split(',').any(|c| m.controllers.iter().any(|x| x == c)))
        });
        let Some(mount) = mount else { continue };
        for dir in directories(mount, path) {
            if unified {
                v2 |= read_v2(host, &dir, &mut limits);
            } else {
                v1 |= read_v1(host, &dir, controllers, &mut limits);
            }
        }
    }
    limits.version = match (v1, v2) {
        (true, true) => Some("hybrid"),
        (true, false) => Some("v1"),
        (false, true) => Some("v2"),
        (false, false) => None,
    };
    limits
}

fn mounts(mountinfo: &str) -> Vec<Mount> {
    mountinfo.lines().filter_map(mount).collect()
}

/// `36 35 98:0 /root /point opts [tags] - type source superopts`
fn mount(line: &str) -> Option<Mount> {
    let (left, right) = line.split_once(" - ")?;
    let mut left = left.split(' ').skip(3);
    let (root, point) = (left.next()?.to_owned(), left.next()?.to_owned());
    let mut right = right.split(' ');
    let kind = right.next()?;
    let options = right.nth(1)?;
    let controllers = options.split(',').map(str::to_owned).collect();
    match kind {
        "cgroup2" => Some(Mount { v2: true, root, point, controllers: Vec::new() }),
        "cgroup" => Some(Mount { v2: false, root, point, controllers }),
        _ => None,
    }
}

/// The group's directory and its parents up to the mount point.
fn directories(mount: &Mount, group: &str) -> Vec<String> {
    let inside = match mount.root.as_str() {
        "/" => group,
        // Without a cgroup namespace the file names the group from the host's root.
        root => group.strip_prefix(root).unwrap_or("/"),
    };
    let parts: Vec<&str> =
        inside.split('/').filter(|p| !p.is_empty() && *p != "..").take(MAX_DEPTH).collect();
    (0..=parts.len())
        .rev()
        .map(|n| {
            let mut dir = mount.point.clone();
            for part in &parts[..n] {
                dir.push('/');
                dir.push_str(part);
            }
            dir
        })
        .collect()
}

fn read_v2(host: &dyn Host, dir: &str, limits: &mut CgroupLimits) -> bool {
    let mut seen = false;
    let path = format!("{dir}/cpu.max");
    if let Some(text) = host.text(&path) {
        seen = true;
        tighten(&mut limits.cpus, quota_v2(&text), path);
    }
    let path = format!("{dir}/cpuset.cpus.effective");
    if let Some(cpus) = host.text(&path).and_then(|t| parse::cpu_list(&t)) {
        seen = true;
        keep_cpuset(limits, cpus, path);
    }
    for name in ["memory.max", "memory.high"] {
        let path = format!("{dir}/{name}");
        let Some(text) = host.text(&path) else { continue };
        seen = true;
        let Ok(limit) = text.parse::<u64>() else { continue };
        let current = host.number(&format!("{dir}/memory.current")).unwrap_or(0);
        let stat = host.text(&format!("{dir}/memory.stat")).unwrap_or_default();
        keep_memory(limits, limit, current, &stat, "inactive_file", path);
    }
    let path = format!("{dir}/memory.swap.max");
    if let Some(limit) = host.number(&path) {
        tighten(&mut limits.swap_bytes, Some(limit), path);
    }
    throttled(host, dir, limits);
    seen
}

fn read_v1(host: &dyn Host, dir: &str, controllers: &str, limits: &mut CgroupLimits) -> bool {
    let mut seen = false;
    for controller in controllers.split(',') {
        match controller {
            "cpu" => {
                let path = format!("{dir}/cpu.cfs_quota_us");
                let quota = host.text(&path).and_then(|t| t.parse::<i64>().ok());
                let period = host.number(&format!("{dir}/cpu.cfs_period_us"));
                seen |= quota.is_some();
                if let (Some(quota), Some(period)) = (quota, period) {
                    let cpus = (quota > 0 && period > 0).then(|| quota as f64 / period as f64);
                    tighten(&mut limits.cpus, cpus, path);
                }
                throttled(host, dir, limits);
            }
            "cpuset" => {
                for name in ["cpuset.effective_cpus", "cpuset.cpus"] {
                    let path = format!("{dir}/{name}");
                    if let Some(cpus) = host.text(&path).and_then(|t| parse::cpu_list(&t)) {
                        seen = true;
                        keep_cpuset(limits, cpus, path);
                        break;
                    }
                }
            }
            "memory" => {
                let path = format!("{dir}/memory.limit_in_bytes");
                let Some(limit) = host.number(&path) else { continue };
                seen = true;
                // "No limit" is the largest multiple of the page size.
                if limit < i64::MAX as u64 - (1 << 20) {
                    let used = host.number(&format!("{dir}/memory.usage_in_bytes")).unwrap_or(0);
                    let stat = host.text(&format!("{dir}/memory.stat")).unwrap_or_default();
                    keep_memory(limits, limit, used, &stat, "total_inactive_file", path);
                }
            }
            _ => {}
        }
    }
    seen
}

/// `max 100000` or `200000 100000`: quota and period in microseconds.
fn quota_v2(text: &str) -> Option<f64> {
    let mut words = text.split_whitespace();
    let quota: u64 = words.next()?.parse().ok()?;
    let period: u64 = words.next().map_or(Some(100_000), |p| p.parse().ok())?;
    (quota > 0 && period > 0).then(|| quota as f64 / period as f64)
}

fn tighten<T: PartialOrd>(kept: &mut Option<(T, String)>, new: Option<T>, path: String) {
    if let Some(new) = new
        && kept.as_ref().is_none_or(|(old, _)| new < *old)
    {
        *kept = Some((new, path));
    }
}

fn keep_cpuset(limits: &mut CgroupLimits, cpus: Vec<u32>, path: String) {
    let tighter = limits.cpuset.as_ref().is_none_or(|(old, _)| cpus.len() < old.len());
    if !cpus.is_empty() && tighter {
        limits.cpuset = Some((cpus, path));
    }
}

/// File pages that nobody uses are dropped before a group runs out.
fn keep_memory(
    limits: &mut CgroupLimits,
    limit: u64,
    current: u64,
    stat: &str,
    droppable: &str,
    path: String,
) {
    let file = stat
        .lines()
        .find_map(|l| l.strip_prefix(droppable)?.trim().parse::<u64>().ok())
        .unwrap_or(0);
    let used = current.saturating_sub(file);
    let free = limit.saturating_sub(used);
    let kept = limits.memory.get_or_insert_with(|| Room { limit, used, free, path: path.clone() });
    if limit < kept.limit {
        (kept.limit, kept.used, kept.path) = (limit, used, path);
    }
    kept.free = kept.free.min(free);
}

fn throttled(host: &dyn Host, dir: &str, limits: &mut CgroupLimits) {
    let path = format!("{dir}/cpu.stat");
    let Some(text) = host.text(&path) else { return };
    let count = text.lines().find_map(|l| l.strip_prefix("nr_throttled ")?.trim().parse().ok());
    if let Some(count) = count
        && limits.throttled_periods.as_ref().is_none_or(|(old, _)| count > *old)
    {
        limits.throttled_periods = Some((count, path));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::RecordedHost;

    fn host(files: &[(&str, &str)]) -> RecordedHost {
        let mut host = RecordedHost::empty("linux", "x86_64");
        for (path, text) in files {
            host.set_file(path, text);
        }
        host
    }

    const V2_MOUNT: &str = "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw";

    #[test]
    fn the_tightest_of_nested_v2_groups_wins() {
        let limits = read(&host(&[
            ("/proc/self/mountinfo", V2_MOUNT),
            ("/proc/self/cgroup", "0::/a/b"),
            ("/sys/fs/cgroup/a/cpu.max", "150000 100000"),
            ("/sys/fs/cgroup/a/b/cpu.max", "max 100000"),
            ("/sys/fs/cgroup/a/memory.max", "1073741824"),
            ("/sys/fs/cgroup/a/memory.current", "209715200"),
            ("/sys/fs/cgroup/a/memory.stat", "anon 1\ninactive_file 104857600\n"),
            ("/sys/fs/cgroup/a/b/memory.max", "2147483648"),
            ("/sys/fs/cgroup/a/b/cpuset.cpus.effective", "0-1"),
        ]));
        assert_eq!(limits.version, Some("v2"));
        assert_eq!(limits.cpus, Some((1.5, "/sys/fs/cgroup/a/cpu.max".into())));
        let memory = limits.memory.unwrap();
        assert_eq!((memory.limit, memory.used), (1 << 30, 100 << 20));
        assert_eq!(memory.free, (1 << 30) - (100 << 20));
        assert_eq!(limits.cpuset.unwrap().0, [0, 1]);
    }

    #[test]
    fn a_v1_container_without_a_cgroup_namespace_finds_its_own_files() {
        let limits = read(&host(&[
            (
                "/proc/self/mountinfo",
                "1 2 0:1 /docker/ff /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n\
                 1 2 0:1 /docker/ff /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct",
            ),
            ("/proc/self/cgroup", "4:memory:/docker/ff\n3:cpu,cpuacct:/docker/ff"),
            ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "536870912"),
            ("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "50000"),
            ("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000"),
        ]));
        assert_eq!(limits.version, Some("v1"));
        assert_eq!(limits.memory.unwrap().limit, 512 << 20);
        assert_eq!(limits.cpus.unwrap().0, 0.5);
    }

    #[test]
    fn no_limit_is_not_a_limit() {
        let limits = read(&host(&[
            (
                "/proc/self/mountinfo",
                "1 2 0:1 / /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n\
                 1 2 0:1 / /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu",
            ),
            ("/proc/self/cgroup", "4:memory:/x\n3:cpu:/"),
            ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712"),
            ("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1"),
            ("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000"),
        ]));
        assert_eq!((limits.memory, limits.cpus), (None, None));
    }

    #[test]
    fn odd_files_limit_nothing_and_never_panic() {
        for odd in ["", "max", "0 0", "-5 100000", "9 0", "\u{0}", "1e9 1", "999999999999999999999"]
        {
            let limits = read(&host(&[
                ("/proc/self/mountinfo", V2_MOUNT),
                ("/proc/self/cgroup", "0::/../../a\n:::\nx\n1:cpu"),
                ("/sys/fs/cgroup/a/cpu.max", odd),
                ("/sys/fs/cgroup/a/memory.max", odd),
                ("/sys/fs/cgroup/a/cpuset.cpus.effective", odd),
            ]));
            assert_eq!((limits.memory, limits.cpus, limits.cpuset), (None, None, None), "{odd:?}");
        }
        assert_eq!(mount("1 2 - cgroup"), None);
    }
}
