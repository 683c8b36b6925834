//! What this process may use: the tightest of host, cgroups, affinity and user limits.

use super::cgroup::{self, CgroupLimits};
use super::host::{Host, Ulimit};
use super::parse;
use super::report::{Allowed, Cpu, Known, Memory};
use crate::model::Fact;

pub(crate) fn read(host: &dyn Host, cpu: &Cpu, memory: &Memory) -> Allowed {
    let groups = cgroup::read(host);
    let cpus = allowed_cpus(host, &groups);
    let mut allowed = Allowed {
        cpus: cpu_time(cpu, cpus.as_ref(), &groups),
        cpu_list: cpus
            .as_ref()
            .map(|f| Fact { value: parse::format_cpu_list(&f.value), source: f.source.clone() }),
        cgroup: groups.version.map(|v| Fact::reported(v.to_owned(), "/proc/self/cgroup")),
        cgroup_cpus: groups.cpus.clone().map(|(v, by)| Fact::reported(v, by)),
        cgroup_swap_bytes: groups.swap_bytes.clone().map(|(v, by)| Fact::reported(v, by)),
        throttled_periods: groups.throttled_periods.clone().map(|(v, by)| Fact::reported(v, by)),
        address_space_bytes: ulimit(host, Ulimit::AddressSpace),
        locked_memory_bytes: ulimit(host, Ulimit::LockedMemory),
        open_files: ulimit(host, Ulimit::OpenFiles),
        disk_free_bytes: disk_free(host),
        ..Allowed::default()
    };
    let time = allowed.cpus.as_ref().map_or(1.0, |f| f.value);
    // As the standard library's available_parallelism: a part of a CPU starts no further thread.
    allowed.threads = (time as u32).max(1);
    set_memory(&mut allowed, memory, &groups);
    allowed
}

/// Logical CPUs after affinity and cpuset.
pub(crate) fn allowed_cpus(host: &dyn Host, groups: &CgroupLimits) -> Known<Vec<u32>> {
    let affinity = host.affinity().map(|cpus| Fact::reported(cpus, "sched_getaffinity"));
    let cpuset = groups.cpuset.clone().map(|(cpus, by)| Fact::reported(cpus, by));
    match (affinity, cpuset) {
        (Some(a), Some(c)) => {
            let both: Vec<u32> = a.value.iter().copied().filter(|i| c.value.contains(i)).collect();
            // Disjoint sets would mean we cannot run at all: one of the two is stale.
            if both.is_empty() || both.len() == a.value.len() {
                return Some(a);
            }
            Some(Fact { value: both, source: c.source })
        }
        (a, c) => a.or(c),
    }
}

fn cpu_time(cpu: &Cpu, cpus: Option<&Fact<Vec<u32>>>, groups: &CgroupLimits) -> Known<f64> {
    let host =
        cpu.threads.as_ref().map(|f| Fact { value: f64::from(f.value), source: f.source.clone() });
    let set = cpus.map(|f| Fact { value: f.value.len() as f64, source: f.source.clone() });
    let quota = groups.cpus.clone().map(|(v, by)| Fact::reported(v, by));
    tightest([host, set, quota], |a, b| a < b)
}

fn tightest<T: Copy>(facts: [Known<T>; 3], less: impl Fn(T, T) -> bool) -> Known<T> {
    facts.into_iter().flatten().reduce(|a, b| if less(b.value, a.value) { b } else { a })
}

fn set_memory(allowed: &mut Allowed, memory: &Memory, groups: &CgroupLimits) {
    let total = memory.total_bytes.clone();
    let room = groups.memory.as_ref();
    let limit = room.map(|r| Fact::reported(r.limit, r.path.clone()));
    let free = room.map(|r| Fact::reported(r.free, r.path.clone()));
    // An address-space limit caps what can be mapped, weights included.
    let space = allowed.address_space_bytes.clone();
    allowed.cgroup_memory_used_bytes = room.map(|r| Fact::reported(r.used, r.path.clone()));
    // A limit above the machine's memory limits nothing.
    allowed.cgroup_memory_bytes =
        limit.clone().filter(|l| total.as_ref().is_none_or(|t| l.value < t.value));
    let below = |a: u64, b: u64| a < b;
    allowed.memory_bytes = tightest([total, limit, space.clone()], below);
    allowed.memory_available_bytes = tightest([memory.available_bytes.clone(), free, space], below);
}

fn ulimit(host: &dyn Host, which: Ulimit) -> Known<u64> {
    host.ulimit(which).map(|v| Fact::reported(v, "getrlimit"))
}

/// Free space where models are kept.
fn disk_free(host: &dyn Host) -> Known<u64> {
    let home = ["EDGE_ADVISOR_DATA_DIR", "XDG_DATA_HOME", "HOME", "USERPROFILE"];
    let dirs = home.iter().filter_map(|k| host.env(k)).chain(["/".to_owned()]);
    dirs.into_iter().find_map(|d| host.disk_free(&d)).map(|v| Fact::reported(v, "statvfs"))
}
