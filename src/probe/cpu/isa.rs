//! Instruction sets inference kernels use: what the CPU has *and* the operating system lets run.

use raw_cpuid::{CpuId, CpuIdReader, CpuIdResult};

use crate::model::{Fact, Isa};
use crate::probe::host::Host;
use crate::probe::parse;
use crate::probe::report::Known;

/// Linux' names on x86 (arch/x86/include/asm/cpufeatures.h).
const X86_FLAGS: &[(&str, Isa)] = &[
    ("sse4_2", Isa::Sse4_2),
    ("avx", Isa::Avx),
    ("avx2", Isa::Avx2),
    ("fma", Isa::Fma),
    ("f16c", Isa::F16c),
    ("avx_vnni", Isa::AvxVnni),
    ("avx512f", Isa::Avx512F),
    ("avx512bw", Isa::Avx512Bw),
    ("avx512vl", Isa::Avx512Vl),
    ("avx512_vnni", Isa::Avx512Vnni),
    ("avx512_bf16", Isa::Avx512Bf16),
    ("avx512_fp16", Isa::Avx512Fp16),
    ("amx_tile", Isa::AmxTile),
    ("amx_int8", Isa::AmxInt8),
    ("amx_bf16", Isa::AmxBf16),
    ("amx_fp16", Isa::AmxFp16),
];

/// Linux' names on Arm (arch/arm64/kernel/cpuinfo.c).
const ARM_FEATURES: &[(&str, Isa)] = &[
    ("asimd", Isa::Neon),
    ("neon", Isa::Neon),
    ("asimdhp", Isa::Fp16),
    ("asimddp", Isa::DotProd),
    ("i8mm", Isa::I8mm),
    ("bf16", Isa::Bf16),
    ("sve", Isa::Sve),
    ("sve2", Isa::Sve2),
    ("sme", Isa::Sme),
    ("sme2", Isa::Sme2),
];

/// Bits of AT_HWCAP and AT_HWCAP2 (arch/arm64/include/uapi/asm/hwcap.h).
const ARM_HWCAP: &[(u32, Isa)] =
    &[(1, Isa::Neon), (10, Isa::Fp16), (20, Isa::DotProd), (22, Isa::Sve)];
const ARM_HWCAP2: &[(u32, Isa)] =
    &[(1, Isa::Sve2), (13, Isa::I8mm), (14, Isa::Bf16), (23, Isa::Sme), (37, Isa::Sme2)];

/// Bit of the letter V in RISC-V's AT_HWCAP.
const RISCV_V: u32 = 21;

pub(crate) fn read(host: &dyn Host, cpuinfo: &str) -> Known<Vec<Isa>> {
    if let Some(found) = from_cpuinfo(cpuinfo) {
        return Some(Fact::reported(found, "/proc/cpuinfo"));
    }
    if host.os() == "macos" && host.arch() == "aarch64" {
        return crate::probe::apple::isa(host);
    }
    if let Some(found) = from_hwcap(host) {
        return Some(Fact::reported(found, "AT_HWCAP or the system's feature flags"));
    }
    from_cpuid(host).map(|isa| Fact::reported(isa, "CPUID and XCR0"))
}

/// The kernel lists a flag only where it also saves the registers behind it.
fn from_cpuinfo(text: &str) -> Option<Vec<Isa>> {
    if let Some(isa) = parse::field(text, "isa") {
        return Some(if riscv_has_v(isa) { vec![Isa::Rvv] } else { Vec::new() });
    }
    let tables: [(&str, &[(&str, Isa)]); 2] = [("flags", X86_FLAGS), ("Features", ARM_FEATURES)];
    let (words, table) =
        tables.iter().find_map(|(key, table)| Some((parse::field(text, key)?, table)))?;
    let words: Vec<&str> = words.split_whitespace().collect();
    let found = table.iter().filter(|(name, _)| words.contains(name)).map(|(_, isa)| *isa);
    Some(sorted(found.collect()))
}

/// `rv64imafdcv_zicsr...`: single letters end at the first underscore.
fn riscv_has_v(isa: &str) -> bool {
    let base = isa.split('_').next().unwrap_or_default();
    base.get(4..).is_some_and(|letters| letters.contains('v'))
}

fn from_hwcap(host: &dyn Host) -> Option<Vec<Isa>> {
    let (cap, cap2) = host.hwcap()?;
    let set = |bits: u64, bit: u32| bits >> bit & 1 == 1;
    match host.arch().as_str() {
        "aarch64" => {
            let one = ARM_HWCAP.iter().filter(|(b, _)| set(cap, *b));
            let two = ARM_HWCAP2.iter().filter(|(b, _)| set(cap2, *b));
            Some(sorted(one.chain(two).map(|(_, isa)| *isa).collect()))
        }
        "riscv64" => Some(if set(cap, RISCV_V) { vec![Isa::Rvv] } else { Vec::new() }),
        _ => None,
    }
}

#[derive(Clone)]
struct Recorded<'a>(&'a dyn Host);

impl CpuIdReader for Recorded<'_> {
    fn cpuid2(&self, eax: u32, ecx: u32) -> CpuIdResult {
        let [eax, ebx, ecx, edx] = self.0.cpuid(eax, ecx).unwrap_or_default();
        CpuIdResult { eax, ebx, ecx, edx }
    }
}

/// XCR0 bits: 1-2 SSE and AVX state, 5-7 AVX-512, 17-18 AMX tiles.
fn from_cpuid(host: &dyn Host) -> Option<Vec<Isa>> {
    host.cpuid(0, 0)?;
    let id = CpuId::with_cpuid_reader(Recorded(host));
    let basic = id.get_feature_info()?;
    let state = host.xcr0().unwrap_or(0);
    let has = |mask: u64| state & mask == mask;
    let mut isa = Vec::new();
    let mut add = |yes: bool, name| {
        if yes {
            isa.push(name);
        }
    };
    add(basic.has_sse42(), Isa::Sse4_2);
    if has(0b110) {
        add(basic.has_avx(), Isa::Avx);
        add(basic.has_fma(), Isa::Fma);
        add(basic.has_f16c(), Isa::F16c);
        add(bit(host, 7, 0, 1, 5), Isa::Avx2);
        add(bit(host, 7, 1, 0, 4), Isa::AvxVnni);
    }
    if has(0b1110_0110) {
        add(bit(host, 7, 0, 1, 16), Isa::Avx512F);
        add(bit(host, 7, 0, 1, 30), Isa::Avx512Bw);
        add(bit(host, 7, 0, 1, 31), Isa::Avx512Vl);
        add(bit(host, 7, 0, 2, 11), Isa::Avx512Vnni);
        add(bit(host, 7, 1, 0, 5), Isa::Avx512Bf16);
        add(bit(host, 7, 0, 3, 23), Isa::Avx512Fp16);
    }
    if has(0b11 << 17) {
        add(bit(host, 7, 0, 3, 24), Isa::AmxTile);
        add(bit(host, 7, 0, 3, 25), Isa::AmxInt8);
        add(bit(host, 7, 0, 3, 22), Isa::AmxBf16);
        add(bit(host, 7, 1, 0, 21), Isa::AmxFp16);
    }
    Some(sorted(isa))
}

/// One bit of a CPUID leaf; a leaf above the CPU's highest repeats another leaf's data and counts as zero.
fn bit(host: &dyn Host, leaf: u32, subleaf: u32, register: usize, bit: u32) -> bool {
    let top = host.cpuid(0, 0).map_or(0, |r| r[0]);
    let subleaves = host.cpuid(7, 0).map_or(0, |r| r[0]);
    let there = leaf <= top && (leaf != 7 || subleaf <= subleaves);
    there && host.cpuid(leaf, subleaf).is_some_and(|r| r[register] >> bit & 1 == 1)
}

fn sorted(mut isa: Vec<Isa>) -> Vec<Isa> {
    isa.sort_unstable();
    isa.dedup();
    isa
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::RecordedHost;

    #[test]
    fn flags_match_as_whole_words() {
        let text = "flags\t\t: fpu avx2 avx512_vnnix sse4_2\n";
        assert_eq!(from_cpuinfo(text), Some(vec![Isa::Sse4_2, Isa::Avx2]));
        assert_eq!(from_cpuinfo("model name: x"), None);
    }

    #[test]
    fn vector_is_a_letter_of_the_base_name_only() {
        assert!(riscv_has_v("rv64imafdcv_zicbom"));
        assert!(!riscv_has_v("rv64imafdc_zvfh_svinval"));
        assert!(!riscv_has_v("v"));
        assert!(!riscv_has_v(""));
    }

    #[test]
    fn avx512_without_the_systems_support_does_not_count() {
        let mut host = RecordedHost::empty("windows", "x86_64");
        host.set_cpuid(0, 0, [7, 0, 0, 0]);
        host.set_cpuid(1, 0, [0, 0, 1 << 20 | 1 << 28 | 1 << 12 | 1 << 27, 0]);
        host.set_cpuid(7, 0, [0, 1 << 5 | 1 << 16, 0, 0]);
        host.set_xcr0(0b111);
        let found = from_cpuid(&host).unwrap();
        assert!(found.contains(&Isa::Avx2) && !found.contains(&Isa::Avx512F));
        host.set_xcr0(0b1110_0111);
        assert!(from_cpuid(&host).unwrap().contains(&Isa::Avx512F));
    }

    #[test]
    fn hwcap_bits_name_the_arm_extensions() {
        let mut host = RecordedHost::empty("linux", "aarch64");
        host.set_hwcap(1 << 1 | 1 << 20, 1 << 13 | 1 << 1);
        let found = read(&host, "").unwrap().value;
        assert_eq!(found, [Isa::Neon, Isa::DotProd, Isa::I8mm, Isa::Sve2]);
    }
}
