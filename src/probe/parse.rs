//! Parsers of the small text formats that kernels and tools write. Input is never trusted.

/// More CPUs than this in a list is damage, not a machine.
const MAX_CPUS: u32 = 16_384;

/// `0-3,8,10-11` as Linux writes CPU and node lists; `None` where it is not one.
pub(crate) fn cpu_list(text: &str) -> Option<Vec<u32>> {
    let mut cpus = Vec::new();
    for part in text.trim().split(',').map(str::trim).filter(|p| !p.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        if first > last || last >= MAX_CPUS {
            return None;
        }
        cpus.extend(first..=last);
    }
    cpus.sort_unstable();
    cpus.dedup();
    Some(cpus)
}

/// The inverse of [`cpu_list`]; the CPUs must be sorted.
pub(crate) fn format_cpu_list(cpus: &[u32]) -> String {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for &cpu in cpus {
        match ranges.last_mut() {
            Some(r) if r.1.checked_add(1) == Some(cpu) => r.1 = cpu,
            _ => ranges.push((cpu, cpu)),
        }
    }
    let one = |&(a, b): &(u32, u32)| if a == b { a.to_string() } else { format!("{a}-{b}") };
    ranges.iter().map(one).collect::<Vec<_>>().join(",")
}

/// `512K`, `32M`, `1G`, `65536` in bytes, as sysfs writes cache sizes.
pub(crate) fn size(text: &str) -> Option<u64> {
    let text = text.trim().trim_end_matches(['B', 'b']).trim_end_matches('i');
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let scale: u64 = match text[digits.len()..].to_ascii_uppercase().as_str() {
        "" => 1,
        "K" => 1 << 10,
        "M" => 1 << 20,
        "G" => 1 << 30,
        _ => return None,
    };
    digits.trim().parse::<u64>().ok()?.checked_mul(scale)
}

/// `MemTotal:   123 kB` in bytes.
pub(crate) fn meminfo(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix(':'))?;
    let mut words = line.split_whitespace();
    let value: u64 = words.next()?.parse().ok()?;
    match words.next() {
        Some("kB") => value.checked_mul(1024),
        None => Some(value),
        Some(_) => None,
    }
}

/// First value of `key<spaces>: value`, as in /proc/cpuinfo.
pub(crate) fn field<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|l| {
        let (k, v) = l.split_once(':')?;
        (k.trim() == key && !v.trim().is_empty()).then(|| v.trim())
    })
}

/// `KEY=value` or `KEY="value"`, as in os-release.
pub(crate) fn assignment<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines()
        .find_map(|l| l.trim().strip_prefix(key)?.strip_prefix('='))
        .map(|v| v.trim().trim_matches('"'))
}

/// `key: value` lines of `sysctl`.
pub(crate) fn sysctl<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix(':')).map(str::trim)
}

/// Hexadecimal with or without `0x`.
pub(crate) fn hex(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
    u64::from_str_radix(digits, 16).ok()
}

/// Printable characters only, at most 200: names come from firmware and drivers.
pub(crate) fn clean(text: &str) -> String {
    let mut out = String::new();
    for word in text.split_whitespace() {
        if !out.is_empty() {
            out.push(' ');
        }
        out.extend(word.chars().filter(|c| !c.is_control()));
    }
    out.chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_lists_round_trip() {
        for text in ["0", "0-3", "0-3,8", "1,3,5-7"] {
            assert_eq!(format_cpu_list(&cpu_list(text).unwrap()), text);
        }
        assert_eq!(cpu_list("\n"), Some(vec![]));
    }

    #[test]
    fn hostile_cpu_lists_are_refused_without_allocating() {
        for text in ["0-4294967295", "3-1", "-1", "a", "1-2-3", "99999999999"] {
            assert_eq!(cpu_list(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_have_binary_units_and_never_overflow() {
        assert_eq!(size("512K"), Some(524_288));
        assert_eq!(size("32M\n"), Some(33_554_432));
        assert_eq!(size("2 GiB"), Some(2 << 30));
        assert_eq!(size("64"), Some(64));
        assert_eq!(size("99999999999999999999G"), None);
        assert_eq!(size("18446744073709551615K"), None);
        assert_eq!(size("12Q"), None);
        assert_eq!(size(""), None);
    }

    #[test]
    fn meminfo_takes_the_exact_key() {
        let text = "MemTotalX: 1 kB\nMemTotal:  2 kB\nHugePages_Total: 3\nBad: 1 MB\n";
        assert_eq!(meminfo(text, "MemTotal"), Some(2048));
        assert_eq!(meminfo(text, "HugePages_Total"), Some(3));
        assert_eq!(meminfo(text, "Bad"), None);
        assert_eq!(meminfo("", "MemTotal"), None);
    }

    #[test]
    fn names_lose_control_characters() {
        assert_eq!(clean("A\u{1b}[31m  B\n\0C"), "A[31m B C");
        assert_eq!(clean(&"x".repeat(1000)).len(), 200);
    }
}
