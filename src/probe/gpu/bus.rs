//! GPUs on PCI: AMD and Intel through sysfs, and whatever has no driver by its id alone.

use crate::model::{ComputeApi, Fact};
use crate::probe::host::Host;
use crate::probe::parts::{self, GpuPart};
use crate::probe::pci::PciDevice;
use crate::probe::report::{Gpu, GpuKind};

/// Display controllers, 3D controllers and AMD's headless accelerators (class 12).
pub(crate) fn is_gpu(device: &PciDevice) -> bool {
    let accelerator = device.class == 0x1200 && device.vendor() == "1002";
    matches!(device.class, 0x0300 | 0x0302 | 0x0380) || accelerator
}

pub(crate) fn gpu(host: &dyn Host, device: &PciDevice) -> Option<Gpu> {
    let vendor = match device.vendor() {
        "10de" => "NVIDIA",
        "1002" => "AMD",
        "8086" => "Intel",
        // Server management chips and emulated cards show pictures and compute nothing.
        "1a03" | "102b" | "1234" | "1b36" | "15ad" | "1013" => return None,
        "1af4" | "1414" => "virtual",
        _ => return None,
    };
    let part = parts::gpu(&device.id, Some(device.revision));
    let mut gpu = empty(vendor, device, part);
    gpu.driver = device.driver.clone().map(|d| Fact::reported(d, device.path("driver")));
    gpu.node = render_node(host, device);
    gpu.kind = kind(host, device, part);
    gpu.unified = gpu.kind.value == GpuKind::Integrated;
    match vendor {
        "AMD" => amd(host, device, &mut gpu),
        "Intel" => intel(host, device, part, &mut gpu),
        _ => {}
    }
    link(host, device, &mut gpu);
    Some(gpu)
}

pub(crate) fn empty(vendor: &str, device: &PciDevice, part: Option<&GpuPart>) -> Gpu {
    let name = part.map_or_else(
        || Fact::inferred(format!("{vendor} GPU {}", device.id), "PCI id, not in the part table"),
        |p| Fact::published(p.name.clone(), format!("part table: {}", p.source)),
    );
    let published = |v: Option<f64>| v.zip(part).map(|(v, p)| Fact::published(v, p.source.clone()));
    Gpu {
        kind: Fact::inferred(GpuKind::Discrete, "PCI display controller"),
        vendor: vendor.to_owned(),
        name,
        architecture: part
            .and_then(|p| Some(Fact::published(p.architecture.clone()?, p.source.clone()))),
        laptop_part: part.filter(|p| p.laptop).map(|_| Fact::inferred(true, "PCI id")),
        bus: device.address.clone(),
        pci_id: device.id.clone(),
        driver: None,
        node: None,
        memory_bytes: None,
        memory_free_bytes: None,
        shared_memory_bytes: None,
        unified: false,
        bandwidth_gbs: published(part.and_then(|p| p.bandwidth_gbs)),
        fp32_tflops: published(part.and_then(|p| p.fp32_tflops)),
        fp16_tflops: published(part.and_then(|p| p.fp16_tflops)),
        cores: None,
        compute_capability: None,
        cuda: None,
        pcie_gen: None,
        pcie_gen_max: None,
        pcie_width: None,
        pcie_width_max: None,
        clock_mhz: None,
        clock_max_mhz: None,
        power_limit_w: None,
        temperature_c: None,
        throttle: Vec::new(),
        mig: None,
        ecc: None,
        load_percent: None,
        foreign_processes: None,
        apis: Vec::new(),
    }
}

fn render_node(host: &dyn Host, device: &PciDevice) -> Option<(String, crate::probe::Access)> {
    let names = host.list(&device.path("drm"));
    let name = names.iter().find(|n| n.starts_with("renderD"))?;
    let path = format!("/dev/dri/{name}");
    let access = host.access(&path);
    Some((path, access))
}

/// The table knows most; else Intel's own graphics always sit at 00:02.0, and AMD's kernel interface lists an APU's
/// GPU on the node that also has CPU cores.
fn kind(host: &dyn Host, device: &PciDevice, part: Option<&GpuPart>) -> Fact<GpuKind> {
    if let Some(part) = part {
        let kind = if part.integrated { GpuKind::Integrated } else { GpuKind::Discrete };
        return Fact::published(kind, part.source.clone());
    }
    match device.vendor() {
        "1af4" | "1414" => Fact::inferred(GpuKind::Virtual, "PCI vendor is a hypervisor"),
        "8086" if device.address.ends_with(":00:02.0") => {
            Fact::inferred(GpuKind::Integrated, "Intel graphics at 00:02.0")
        }
        "1002" if apu(host, device) => Fact::inferred(
            GpuKind::Integrated,
            "less than 4 GiB of carve-out and no fan of its own",
        ),
        _ => Fact::inferred(GpuKind::Discrete, "PCI display controller, not in the part table"),
    }
}

fn apu(host: &dyn Host, device: &PciDevice) -> bool {
    let small = host.number(&device.path("mem_info_vram_total")).is_some_and(|v| v < 4 << 30);
    let hwmon = host.list(&device.path("hwmon"));
    let fan = hwmon.iter().any(|h| host.exists(&device.path(&format!("hwmon/{h}/fan1_input"))));
    small && !fan
}

fn amd(host: &dyn Host, device: &PciDevice, gpu: &mut Gpu) {
    let number = |file: &str| {
        let path = device.path(file);
        host.number(&path).map(|v| Fact::reported(v, path))
    };
    let total = number("mem_info_vram_total");
    if !gpu.unified {
        gpu.memory_free_bytes = total
            .as_ref()
            .zip(number("mem_info_vram_used"))
            .map(|(t, u)| Fact { value: t.value.saturating_sub(u.value), source: u.source });
        gpu.memory_bytes = total;
    }
    gpu.shared_memory_bytes = number("mem_info_gtt_total").filter(|_| gpu.unified);
    gpu.load_percent = number("gpu_busy_percent")
        .and_then(|f| Some(Fact { value: u32::try_from(f.value).ok()?, source: f.source }));
    for monitor in host.list(&device.path("hwmon")).iter().take(4) {
        let read = |file: &str| host.number(&device.path(&format!("hwmon/{monitor}/{file}")));
        gpu.temperature_c =
            read("temp1_input").map(|t| Fact::reported(t as f64 / 1000.0, "amdgpu hwmon"));
        gpu.power_limit_w =
            read("power1_cap").map(|w| Fact::reported(w as f64 / 1e6, "amdgpu hwmon"));
    }
    if gpu.driver.as_ref().is_some_and(|d| d.value == "amdgpu")
        && matches!(host.loader("libamdhip64.so"), crate::probe::Loader::Loads { .. })
    {
        gpu.apis.push(ComputeApi::Rocm);
    }
}

fn intel(host: &dyn Host, device: &PciDevice, part: Option<&GpuPart>, gpu: &mut Gpu) {
    if !gpu.unified {
        // With a resizable BAR the second region is as large as the memory.
        let bar = host.text(&device.path("resource")).and_then(|t| largest_region(&t));
        gpu.memory_bytes = bar
            .filter(|b| *b >= 1 << 30)
            .map(|b| Fact::inferred(b, "size of the largest PCI region"))
            .or_else(|| {
                let (gb, part) = part?.memory_gb.zip(part)?;
                Some(Fact::published((gb * (1u64 << 30) as f64) as u64, part.source.clone()))
            });
    }
    let level_zero = host.loader("libze_loader.so.1");
    if matches!(level_zero, crate::probe::Loader::Loads { devices } if devices != Some(0)) {
        gpu.apis.push(ComputeApi::LevelZero);
    }
}

/// `start end flags` lines of a device's `resource` file.
fn largest_region(text: &str) -> Option<u64> {
    text.lines()
        .filter_map(|l| {
            let mut words = l.split_whitespace().map(crate::probe::parse::hex);
            let (start, end) = (words.next()??, words.next()??);
            end.checked_sub(start)?.checked_add(1).filter(|_| end > 0)
        })
        .max()
}

/// `16.0 GT/s PCIe` and widths, now and at most.
fn link(host: &dyn Host, device: &PciDevice, gpu: &mut Gpu) {
    if gpu.unified {
        return;
    }
    let generation = |file: &str| {
        let path = device.path(file);
        let text = host.text(&path)?;
        let gts: f64 = text.split_whitespace().next()?.parse().ok()?;
        let generation = match gts {
            g if g >= 64.0 => 6,
            g if g >= 32.0 => 5,
            g if g >= 16.0 => 4,
            g if g >= 8.0 => 3,
            g if g >= 5.0 => 2,
            _ => 1,
        };
        Some(Fact::reported(generation, path))
    };
    let width = |file: &str| {
        let path = device.path(file);
        let lanes = host.number(&path).and_then(|w| u32::try_from(w).ok())?;
        (lanes > 0 && lanes <= 32).then(|| Fact::reported(lanes, path))
    };
    gpu.pcie_gen = generation("current_link_speed");
    gpu.pcie_gen_max = generation("max_link_speed");
    gpu.pcie_width = width("current_link_width");
    gpu.pcie_width_max = width("max_link_width");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_region_is_the_memory_behind_a_resizable_bar() {
        let text =
            "0x6000000000 0x63ffffffff 0x14220c\n0x0 0x0 0x0\n0x84000000 0x84ffffff 0x140204\n";
        assert_eq!(largest_region(text), Some(16 << 30));
        for odd in ["", "x y", "0x5 0x1", "0x0 0xffffffffffffffff"] {
            assert_eq!(largest_region(odd), None, "{odd}");
        }
    }
}
