//! Which logical CPUs belong to which core, and which cores are the fast ones.

use std::collections::{BTreeMap, BTreeSet};

use super::identity;
use crate::probe::host::Host;
use crate::probe::parse;
use crate::probe::parts::CoreClass;
use crate::probe::report::{CoreGroup, CoreKind};

const CPU: &str = "/sys/devices/system/cpu";

/// One logical CPU.
#[derive(Debug, Clone, Default)]
pub(crate) struct Logical {
    pub id: u32,
    pub package: u32,
    pub core: u32,
    /// The scheduler's relative capacity, the largest core 1024.
    pub capacity: Option<u64>,
    pub max_mhz: Option<f64>,
    pub base_mhz: Option<f64>,
    /// Arm core name, empty elsewhere.
    pub name: String,
    pub class: Option<CoreClass>,
}

/// Online logical CPUs with what sysfs and /proc/cpuinfo say of each.
pub(crate) fn linux(host: &dyn Host, cpuinfo: &str) -> Vec<Logical> {
    let blocks = blocks(cpuinfo);
    let online = host
        .text(&format!("{CPU}/online"))
        .and_then(|t| parse::cpu_list(&t))
        .filter(|l| !l.is_empty())
        .unwrap_or_else(|| blocks.keys().copied().collect());
    online.into_iter().map(|id| logical(host, id, blocks.get(&id).copied())).collect()
}

/// /proc/cpuinfo's paragraph of each processor.
fn blocks(cpuinfo: &str) -> BTreeMap<u32, &str> {
    let paragraphs = cpuinfo.split("\n\n").filter_map(|block| {
        let id = parse::field(block, "processor")?.parse().ok()?;
        Some((id, block))
    });
    paragraphs.take(16_384).collect()
}

fn logical(host: &dyn Host, id: u32, block: Option<&str>) -> Logical {
    let dir = format!("{CPU}/cpu{id}");
    let from_block = |key| block.and_then(|b| parse::field(b, key)?.parse::<u32>().ok());
    let number = |file: &str| host.number(&format!("{dir}/{file}"));
    // -1 where the firmware does not tell; small and so harmless.
    let small = |file: &str| number(file).and_then(|n| u32::try_from(n).ok());
    let khz = |file: &str| number(&format!("cpufreq/{file}")).map(|k| k as f64 / 1000.0);
    let arm = block.and_then(identity::arm_core);
    Logical {
        id,
        package: small("topology/physical_package_id")
            .or_else(|| from_block("physical id"))
            .unwrap_or(0),
        core: small("topology/core_id").or_else(|| from_block("core id")).unwrap_or(id),
        capacity: number("cpu_capacity"),
        max_mhz: khz("cpuinfo_max_freq"),
        base_mhz: khz("base_frequency"),
        class: arm.as_ref().and_then(|c| c.class),
        name: arm.map(|c| c.name).unwrap_or_default(),
    }
}

/// Physical cores among logical CPUs. Clusters may number their cores from zero: CPUs that share a core also
/// share its package, and a core has at most a few threads, so the pair identifies it within one kind of core.
pub(crate) fn count_cores<'a>(cpus: impl IntoIterator<Item = &'a Logical>) -> u32 {
    let cores: BTreeSet<_> = cpus.into_iter().map(|c| (c.package, &c.name, c.core)).collect();
    cores.len() as u32
}

/// Cores by kind, performance cores first.
pub(crate) fn groups(host: &dyn Host, cpus: &[Logical]) -> Vec<CoreGroup> {
    let mut groups = by_pmu(host, cpus)
        .or_else(|| by_core_type(cpus))
        .or_else(|| by_clock(cpus))
        .unwrap_or_else(|| {
            vec![group(cpus.iter().collect(), CoreKind::Performance, "one kind of core")]
        });
    groups.retain(|g| g.cores > 0);
    groups.sort_by(|a, b| {
        let key =
            |g: &CoreGroup| (g.kind == CoreKind::Efficiency, -(g.max_mhz.unwrap_or(0.0) as i64));
        key(a).cmp(&key(b))
    });
    groups
}

fn group(cpus: Vec<&Logical>, kind: CoreKind, by: &str) -> CoreGroup {
    let mut ids: Vec<u32> = cpus.iter().map(|c| c.id).collect();
    ids.sort_unstable();
    CoreGroup {
        kind,
        name: cpus.first().map(|c| c.name.clone()).unwrap_or_default(),
        cores: count_cores(cpus.iter().copied()),
        cpus: parse::format_cpu_list(&ids),
        max_mhz: cpus
            .iter()
            .filter_map(|c| c.max_mhz)
            .fold(None, |m, v| Some(m.map_or(v, |m: f64| m.max(v)))),
        by: by.to_owned(),
    }
}

/// Intel hybrids have one performance-monitoring unit a kind of core.
fn by_pmu(host: &dyn Host, cpus: &[Logical]) -> Option<Vec<CoreGroup>> {
    let units = [
        ("cpu_core", CoreKind::Performance),
        ("cpu_atom", CoreKind::Efficiency),
        ("cpu_lowpower", CoreKind::Efficiency),
    ];
    let groups: Vec<CoreGroup> = units
        .iter()
        .filter_map(|(unit, kind)| {
            let path = format!("/sys/devices/{unit}/cpus");
            let ids = parse::cpu_list(&host.text(&path)?)?;
            let members = cpus.iter().filter(|c| ids.contains(&c.id)).collect();
            Some(group(members, *kind, &path))
        })
        .collect();
    (groups.iter().filter(|g| g.cores > 0).count() > 1).then_some(groups)
}

/// Arm: cores of one name and capacity make a group; below half the largest capacity they are efficiency cores.
fn by_core_type(cpus: &[Logical]) -> Option<Vec<CoreGroup>> {
    let mut kinds: BTreeMap<(&str, Option<u64>), Vec<&Logical>> = BTreeMap::new();
    for cpu in cpus.iter().filter(|c| !c.name.is_empty()) {
        // Firmware gives preferred cores of one kind slightly different capacities.
        kinds.entry((&cpu.name, cpu.capacity.map(|c| c / 128))).or_default().push(cpu);
    }
    if kinds.is_empty() {
        return None;
    }
    let largest = cpus.iter().filter_map(|c| c.capacity).max();
    let groups = kinds.into_values().map(|members| {
        let capacity = members.iter().filter_map(|c| c.capacity).max();
        let (efficient, by) = match (members[0].class, capacity, largest) {
            (_, Some(c), Some(l)) if c * 2 < l => (true, "cpu_capacity below half the largest"),
            (Some(CoreClass::Efficiency), _, _) => (true, "core type (MIDR)"),
            _ => (false, "core type (MIDR)"),
        };
        (members, efficient, by)
    });
    let groups: Vec<_> = groups.collect();
    // A machine of small cores only has no fast ones to tell them from.
    let all_small = groups.iter().all(|(_, efficient, _)| *efficient);
    let kind = |efficient| {
        if efficient && !all_small { CoreKind::Efficiency } else { CoreKind::Performance }
    };
    Some(groups.into_iter().map(|(m, efficient, by)| group(m, kind(efficient), by)).collect())
}

/// AMD's dense cores look the same but for a clock limit far below their neighbours'.
fn by_clock(cpus: &[Logical]) -> Option<Vec<CoreGroup>> {
    let top = cpus.iter().filter_map(|c| c.max_mhz).fold(0.0, f64::max);
    let slow = |c: &&Logical| c.max_mhz.is_some_and(|m| m < 0.75 * top);
    let (slow, fast): (Vec<_>, Vec<_>) = cpus.iter().partition(slow);
    if slow.is_empty() {
        return None;
    }
    let by = "clock limit below 75 % of the fastest core's";
    Some(vec![group(fast, CoreKind::Performance, by), group(slow, CoreKind::Efficiency, by)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cpu(id: u32, name: &str, capacity: u64, class: Option<CoreClass>) -> Logical {
        Logical {
            id,
            core: id,
            name: name.into(),
            capacity: Some(capacity),
            class,
            ..Logical::default()
        }
    }

    #[test]
    fn small_arm_cores_are_efficiency_cores() {
        let small = Some(CoreClass::Efficiency);
        let cpus: Vec<_> = (0..4)
            .map(|i| cpu(i, "Cortex-A55", 530, small))
            .chain((4..8).map(|i| cpu(i, "Cortex-A76", 1024, None)))
            .collect();
        let groups = by_core_type(&cpus).unwrap();
        let of = |k| groups.iter().find(|g| g.kind == k).unwrap();
        assert_eq!(of(CoreKind::Efficiency).cpus, "0-3");
        assert_eq!(of(CoreKind::Performance).name, "Cortex-A76");
    }

    #[test]
    fn a_board_of_only_small_cores_has_no_efficiency_cores() {
        let small = Some(CoreClass::Efficiency);
        let cpus: Vec<_> = (0..4).map(|i| cpu(i, "Cortex-A53", 1024, small)).collect();
        let groups = by_core_type(&cpus).unwrap();
        assert_eq!((groups.len(), groups[0].kind), (1, CoreKind::Performance));
    }

    #[test]
    fn threads_of_one_core_count_once() {
        let one = Logical { id: 0, core: 0, ..Logical::default() };
        let two = Logical { id: 1, ..one.clone() };
        let other = Logical { id: 2, package: 1, ..one.clone() };
        assert_eq!(count_cores([&one, &two, &other]), 2);
    }
}
