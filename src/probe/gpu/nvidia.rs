//! NVIDIA GPUs through NVML.

use crate::model::{ComputeApi, Fact};
use crate::probe::nvml::NvmlGpu;
use crate::probe::parse;
use crate::probe::parts;
use crate::probe::report::{Gpu, GpuKind};

const NVML: &str = "NVML";

/// A GPU from NVML's facts alone.
pub(crate) fn gpu(n: &NvmlGpu, driver: &str, cuda: &str) -> Gpu {
    let pci_id = format!("10de:{:04x}", n.device_id & 0xffff);
    let part = parts::gpu(&pci_id, None);
    // Tegra and GB10 answer "not supported": they have no memory of their own.
    let unified = n.memory_total.is_none();
    let capability = format!("{}.{}", n.compute_major, n.compute_minor);
    let kind = if unified {
        Fact::inferred(GpuKind::Integrated, "NVML reports no memory of its own")
    } else {
        Fact::reported(GpuKind::Discrete, NVML)
    };
    let name = parse::clean(&n.name);
    let laptop =
        name.contains("Laptop GPU") || name.contains("Max-Q") || part.is_some_and(|p| p.laptop);
    let architecture = parts::cuda_architecture(&capability).map_or_else(
        || {
            (!n.architecture.is_empty())
                .then(|| Fact::reported(n.architecture.to_lowercase(), NVML))
        },
        |a| Some(Fact::inferred(a.to_owned(), format!("compute capability {capability}"))),
    );
    let published = |v: Option<f64>| v.zip(part).map(|(v, p)| Fact::published(v, p.source.clone()));
    Gpu {
        kind,
        vendor: "NVIDIA".into(),
        name: Fact::reported(name, NVML),
        architecture,
        laptop_part: Some(Fact::inferred(laptop, "name and PCI id")),
        bus: parse::clean(&n.pci),
        pci_id: if n.device_id == 0 { String::new() } else { pci_id },
        driver: (!driver.is_empty()).then(|| Fact::reported(parse::clean(driver), NVML)),
        node: None,
        memory_bytes: n.memory_total.map(|v| Fact::reported(v, NVML)),
        memory_free_bytes: n.memory_free.map(|v| Fact::reported(v, NVML)),
        shared_memory_bytes: None,
        unified,
        bandwidth_gbs: bandwidth(n).or_else(|| published(part.and_then(|p| p.bandwidth_gbs))),
        fp32_tflops: published(part.and_then(|p| p.fp32_tflops)),
        fp16_tflops: published(part.and_then(|p| p.fp16_tflops)),
        cores: n.cores.map(|v| Fact::reported(v, NVML)),
        compute_capability: (n.compute_major > 0).then(|| Fact::reported(capability, NVML)),
        cuda: (!cuda.is_empty()).then(|| Fact::reported(parse::clean(cuda), NVML)),
        pcie_gen: n.pcie_gen.map(|v| Fact::reported(v, NVML)),
        pcie_gen_max: n.pcie_gen_max.map(|v| Fact::reported(v, NVML)),
        pcie_width: n.pcie_width.map(|v| Fact::reported(v, NVML)),
        pcie_width_max: n.pcie_width_max.map(|v| Fact::reported(v, NVML)),
        clock_mhz: n.clock_mhz.map(|v| Fact::reported(v, NVML)),
        clock_max_mhz: n.clock_max_mhz.map(|v| Fact::reported(v, NVML)),
        power_limit_w: n.power_limit_mw.map(|v| Fact::reported(f64::from(v) / 1000.0, NVML)),
        temperature_c: n.temperature_c.map(|v| Fact::reported(f64::from(v), NVML)),
        throttle: n.throttle.iter().map(|t| parse::clean(t)).collect(),
        mig: n.mig.map(|v| Fact::reported(v, NVML)),
        ecc: n.ecc.map(|v| Fact::reported(v, NVML)),
        load_percent: n.utilization_percent.map(|v| Fact::reported(v, NVML)),
        foreign_processes: n.foreign_processes.map(|v| Fact::reported(v, NVML)),
        apis: vec![ComputeApi::Cuda],
    }
}

/// Two transfers a memory clock on every bus width NVML reports: a 4090 gives 10,501 MHz x 384 bits = 1,008 GB/s.
fn bandwidth(n: &NvmlGpu) -> Option<Fact<f64>> {
    let (clock, bits) = (n.memory_clock_max_mhz?, n.memory_bus_bits?);
    let gbs = f64::from(clock) * 2.0 * f64::from(bits) / 8.0 / 1000.0;
    (gbs > 0.0).then(|| Fact::inferred(gbs, "NVML memory clock x 2 x bus width"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bandwidth_follows_from_clock_and_bus() {
        let n = NvmlGpu {
            memory_clock_max_mhz: Some(10_501),
            memory_bus_bits: Some(384),
            ..NvmlGpu::default()
        };
        let gbs = bandwidth(&n).unwrap().value;
        assert!((gbs - 1008.1).abs() < 0.1, "{gbs}");
    }

    #[test]
    fn a_laptop_part_is_not_its_desktop_namesake() {
        let n = NvmlGpu {
            name: "NVIDIA GeForce RTX 5090 Laptop GPU".into(),
            memory_total: Some(24 << 30),
            compute_major: 12,
            ..NvmlGpu::default()
        };
        let gpu = gpu(&n, "575.1", "12.9");
        assert!(gpu.laptop_part.unwrap().value);
        assert_eq!(gpu.architecture.unwrap().value, "blackwell");
    }
}
