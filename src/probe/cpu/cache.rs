//! The cache hierarchy, and NUMA nodes.

use crate::probe::host::Host;
use crate::probe::parse;
use crate::probe::report::{Cache, NumaNode};

const CPU: &str = "/sys/devices/system/cpu";

/// Caches of the given logical CPUs, by level and kind; each physical cache counts once.
pub(crate) fn linux(host: &dyn Host, cpus: &[u32]) -> Vec<Cache> {
    let mut found: Vec<Cache> = Vec::new();
    // (level, kind, CPUs that share it): what makes one physical cache.
    let mut seen: Vec<(u32, String, Vec<u32>)> = Vec::new();
    for &cpu in cpus {
        for index in 0..8 {
            let dir = format!("{CPU}/cpu{cpu}/cache/index{index}");
            let Some(level) = host.number(&format!("{dir}/level")) else { break };
            let level = level.min(9) as u32;
            let kind = host.text(&format!("{dir}/type")).unwrap_or_default().to_lowercase();
            let known = |s: &(u32, String, Vec<u32>)| {
                s.0 == level && s.1 == kind && s.2.binary_search(&cpu).is_ok()
            };
            if seen.iter().rev().any(known) {
                continue;
            }
            let read = |file: &str| host.text(&format!("{dir}/{file}"));
            let Some(bytes) = read("size").and_then(|s| parse::size(&s)) else { continue };
            let shared = read("shared_cpu_list").and_then(|s| parse::cpu_list(&s));
            let shared = shared.filter(|s| !s.is_empty()).unwrap_or_else(|| vec![cpu]);
            let one = Cache {
                level,
                kind: parse::clean(&kind),
                bytes,
                instances: 1,
                shared_by: shared.len() as u32,
                line_bytes: host.number(&format!("{dir}/coherency_line_size")).map(|n| n as u32),
            };
            add(&mut found, one);
            seen.push((level, kind, shared));
        }
    }
    found.sort_by(|a, b| (a.level, &a.kind, b.bytes).cmp(&(b.level, &b.kind, a.bytes)));
    found
}

pub(crate) fn add(caches: &mut Vec<Cache>, new: Cache) {
    let same = |c: &&mut Cache| {
        (c.level, &c.kind, c.bytes, c.shared_by) == (new.level, &new.kind, new.bytes, new.shared_by)
    };
    match caches.iter_mut().find(same) {
        Some(c) => c.instances += new.instances,
        None => caches.push(new),
    }
}

pub(crate) fn numa(host: &dyn Host) -> Vec<NumaNode> {
    let dir = "/sys/devices/system/node";
    let mut nodes = Vec::new();
    for name in host.list(dir) {
        let Some(id) = name.strip_prefix("node").and_then(|n| n.parse().ok()) else { continue };
        let cpus = host.text(&format!("{dir}/{name}/cpulist")).unwrap_or_default();
        let memory = host.text(&format!("{dir}/{name}/meminfo")).and_then(|t| {
            let line = t.lines().find(|l| l.contains("MemTotal"))?;
            let kib: u64 = line.split(':').nth(1)?.split_whitespace().next()?.parse().ok()?;
            kib.checked_mul(1024)
        });
        nodes.push(NumaNode { id, cpus: parse::clean(&cpus), memory_bytes: memory });
    }
    nodes.sort_by_key(|n| n.id);
    nodes
}
