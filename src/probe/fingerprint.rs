//! The stable id of a device: a hash over facts that change results. docs/fingerprint.md lists them.

use sha2::{Digest, Sha256};

use super::report::{Known, ProbeReport};

/// Version of the list of facts; part of the hash.
const VERSION: u32 = 1;

/// The hashed facts, in order, as `key=value` lines.
pub fn fingerprint_facts(report: &ProbeReport) -> Vec<(String, String)> {
    let mut facts: Vec<(String, String)> = Vec::new();
    let mut add = |key: &str, value: String| facts.push((key.to_owned(), value));
    let (system, cpu) = (&report.system, &report.cpu);
    add("os", system.os.clone());
    add("arch", system.arch.clone());
    add("kernel_major", system.kernel.as_ref().map_or_else(String::new, |k| major(&k.value)));
    add("hypervisor", text(&system.hypervisor));
    add("machine", text(&system.machine));
    add("cpu", text(&cpu.model));
    add("microarchitecture", text(&cpu.microarchitecture));
    add("cores", cpu.cores.as_ref().map_or_else(String::new, |f| f.value.to_string()));
    add("threads", cpu.threads.as_ref().map_or_else(String::new, |f| f.value.to_string()));
    for group in &cpu.groups {
        add("core_group", format!("{:?} {} x{}", group.kind, group.name, group.cores));
    }
    add("isa", cpu.isa.as_ref().map_or_else(String::new, |f| format!("{:?}", f.value)));
    for c in cpu.caches.iter().filter(|c| c.kind != "instruction") {
        add("cache", format!("L{} {} x{}", c.level, c.bytes, c.instances));
    }
    add("smt", cpu.smt.as_ref().map_or_else(String::new, |f| f.value.to_string()));
    // Firmware and kernel reserve a little more or less from boot to boot.
    add("memory", rounded(report.memory.total_bytes.as_ref().map(|f| f.value)));
    let allowed = &report.allowed;
    add(
        "allowed_cpus",
        allowed.cpus.as_ref().map_or_else(String::new, |f| format!("{:.2}", f.value)),
    );
    add("allowed_memory", rounded(allowed.memory_bytes.as_ref().map(|f| f.value)));
    for gpu in &report.gpus {
        let memory = rounded(gpu.memory_bytes.as_ref().map(|f| f.value));
        let driver = gpu.driver.as_ref().map_or_else(String::new, |d| d.value.clone());
        add("gpu", format!("{} {} {memory} {driver}", gpu.name.value, gpu.pci_id));
    }
    for npu in &report.npus {
        let driver = npu.driver.as_ref().map_or_else(String::new, |d| d.value.clone());
        add("npu", format!("{} {} {driver}", npu.generation, npu.id));
    }
    facts
}

/// 16 hexadecimal digits of SHA-256 over [`fingerprint_facts`].
pub(crate) fn id(report: &ProbeReport) -> String {
    let mut hash = Sha256::new();
    hash.update(format!("edge-advisor fingerprint {VERSION}\n"));
    for (key, value) in fingerprint_facts(report) {
        // Values are cleaned of control characters, so a newline cannot forge a line.
        hash.update(format!("{key}={value}\n"));
    }
    hash.finalize().iter().take(8).map(|b| format!("{b:02x}")).collect()
}

fn text(fact: &Known<String>) -> String {
    fact.as_ref().map_or_else(String::new, |f| f.value.clone())
}

/// `6.18.44-fc` as `6.18`.
fn major(kernel: &str) -> String {
    let mut parts = kernel.split(|c: char| !c.is_ascii_digit());
    let two: Vec<&str> = parts.by_ref().take(2).filter(|p| !p.is_empty()).collect();
    two.join(".")
}

/// Quarters of a GiB below 16 GiB, whole ones above.
fn rounded(bytes: Option<u64>) -> String {
    let Some(bytes) = bytes else { return String::new() };
    let gib = bytes as f64 / (1u64 << 30) as f64;
    if gib < 16.0 {
        format!("{:.2} GiB", (gib * 4.0).round() / 4.0)
    } else {
        format!("{gib:.0} GiB")
    }
}

/// One line of a difference between two fingerprints.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct FactChange {
    pub fact: String,
    pub before: String,
    pub after: String,
}

/// What differs in the hashed facts of two reports, in fingerprint order.
pub fn fingerprint_diff(a: &ProbeReport, b: &ProbeReport) -> Vec<FactChange> {
    let group = |report| {
        let mut groups: Vec<(String, Vec<String>)> = Vec::new();
        for (key, value) in fingerprint_facts(report) {
            match groups.iter_mut().find(|(k, _)| *k == key) {
                Some((_, values)) => values.push(value),
                None => groups.push((key, vec![value])),
            }
        }
        groups
    };
    let (a, b) = (group(a), group(b));
    let mut keys: Vec<&String> = a.iter().map(|(k, _)| k).collect();
    keys.extend(b.iter().map(|(k, _)| k).filter(|k| !a.iter().any(|(other, _)| other == *k)));
    let of = |side: &[(String, Vec<String>)], key: &str| {
        side.iter().find(|(k, _)| k == key).map_or_else(String::new, |(_, v)| v.join("; "))
    };
    keys.into_iter()
        .map(|k| FactChange { fact: k.clone(), before: of(&a, k), after: of(&b, k) })
        .filter(|c| c.before != c.after)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_count_by_major_and_minor() {
        assert_eq!(major("6.18.44-fc-v595"), "6.18");
        assert_eq!(major("24.1.0"), "24.1");
        assert_eq!(major(""), "");
    }

    #[test]
    fn memory_is_rounded_so_that_a_reboot_changes_nothing() {
        assert_eq!(rounded(Some(25_276_514_304)), rounded(Some(25_276_514_304 - 40_000_000)));
        assert_eq!(rounded(Some(2 << 30)), "2 GiB".replace("2 ", "2.00 "));
    }
}
