//! GPUs inside a system on chip: Adreno, Mali, VideoCore, Tegra and Apple.

use crate::model::{ComputeApi, Fact};
use crate::probe::host::{Access, Host};
use crate::probe::parts::FoundSoc;
use crate::probe::pci::PciDevice;
use crate::probe::report::{Gpu, GpuKind};
use crate::probe::{parse, parts};

pub(crate) fn gpu(host: &dyn Host) -> Option<Gpu> {
    let soc = parts::soc_of(host);
    let (name, node, driver) =
        from_driver(host).map_or((None, None, None), |d| (Some(d.0), d.1, d.2));
    let published = soc
        .as_ref()
        .and_then(|s| Some(Fact::published(s.gpu.clone()?, format!("SoC table: {}", s.source))));
    // A driver's name beats the table's, which only knows the chip.
    let name = name.or(published)?;
    let vendor = soc.as_ref().map_or("unknown", |s| s.vendor.as_str()).to_owned();
    let at = PciDevice {
        address: node.as_ref().map_or_else(|| "soc".to_owned(), |n| n.0.clone()),
        class: 0,
        id: String::new(),
        revision: 0,
        driver: None,
    };
    let mut gpu = super::bus::empty(&vendor, &at, None);
    gpu.kind = Fact::inferred(GpuKind::Integrated, "inside the system on chip");
    gpu.unified = true;
    gpu.name = name;
    gpu.node = node;
    gpu.driver = driver;
    if let Some(soc) = &soc {
        published_facts(host, soc, &mut gpu);
    }
    Some(gpu)
}

fn published_facts(host: &dyn Host, soc: &FoundSoc, gpu: &mut Gpu) {
    let fact = |v: Option<f64>| v.map(|v| Fact::published(v, soc.source.clone()));
    gpu.architecture = soc.gpu_architecture.clone().map(|a| Fact::published(a, soc.source.clone()));
    gpu.bandwidth_gbs = fact(soc.bandwidth_gbs);
    gpu.fp32_tflops = fact(soc.gpu_fp32_tflops);
    if soc.vendor == "Apple" && host.os() == "macos" {
        gpu.apis.push(ComputeApi::Metal);
        let text = host.command("ioreg", &["-rc", "AGXAccelerator", "-d", "1"]).unwrap_or_default();
        gpu.cores = gpu_cores(&text).map(|n| Fact::reported(n, "ioreg gpu-core-count"));
        let built =
            gpu.cores.as_ref().and_then(|c| soc.gpu_variants.iter().find(|v| v.cores == c.value));
        if let Some(v) = built {
            gpu.bandwidth_gbs = fact(Some(v.bandwidth_gbs));
            gpu.fp32_tflops = fact(v.fp32_tflops);
        }
    }
}

/// `"gpu-core-count" = 10`
fn gpu_cores(text: &str) -> Option<u32> {
    let (_, rest) = text.split_once("\"gpu-core-count\" = ")?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok().filter(|n| *n > 0 && *n < 1024)
}

type Driver = (Fact<String>, Option<(String, Access)>, Option<Fact<String>>);

/// What a driver says of the GPU: its own name for it, its node, its kernel driver.
fn from_driver(host: &dyn Host) -> Option<Driver> {
    let kgsl = "/sys/class/kgsl/kgsl-3d0/gpu_model";
    if let Some(model) = host.text(kgsl) {
        let node = "/dev/kgsl-3d0".to_owned();
        let access = host.access(&node);
        let driver = Fact::reported("kgsl".to_owned(), kgsl);
        return Some((
            Fact::reported(adreno_name(&model), kgsl),
            Some((node, access)),
            Some(driver),
        ));
    }
    let mali = "/sys/class/misc/mali0/device/gpuinfo";
    if let Some(info) = host.text(mali) {
        let node = "/dev/mali0".to_owned();
        let access = host.access(&node);
        let driver = Fact::reported("mali".to_owned(), mali);
        return Some((Fact::reported(mali_name(&info), mali), Some((node, access)), Some(driver)));
    }
    let soc = parts::soc_of(host)?;
    let (node, driver) = drm_driver(host)?;
    let name = soc.gpu.clone()?;
    Some((Fact::published(name, format!("SoC table: {}", soc.source)), Some(node), Some(driver)))
}

/// Kernel drivers of platform GPUs; display controllers have DRM nodes too.
const DRIVERS: &[&str] = &[
    "panfrost",
    "panthor",
    "v3d",
    "msm_dpu",
    "msm",
    "adreno",
    "lima",
    "etnaviv",
    "nvgpu",
    "gk20a",
    "tegra-gpu",
    "pvrsrvkm",
    "powervr",
    "asahi",
];

fn drm_driver(host: &dyn Host) -> Option<((String, Access), Fact<String>)> {
    host.list("/sys/class/drm").into_iter().filter(|n| n.starts_with("renderD")).find_map(|name| {
        let path = format!("/sys/class/drm/{name}/device/driver");
        let driver = host.link_name(&path).filter(|d| DRIVERS.contains(&d.as_str()))?;
        let node = format!("/dev/dri/{name}");
        let access = host.access(&node);
        Some(((node, access), Fact::reported(driver, path)))
    })
}

/// `Adreno750v2` as `Adreno 750`.
fn adreno_name(model: &str) -> String {
    let text = parse::clean(model);
    let digits: String = text.chars().filter(char::is_ascii_digit).take(3).collect();
    if text.starts_with("Adreno") && digits.len() == 3 { format!("Adreno {digits}") } else { text }
}

/// `Mali-G610 4 cores r0p0 0xA867` as `Mali-G610 MP4`.
fn mali_name(info: &str) -> String {
    let mut words = info.split_whitespace();
    let name = parse::clean(words.next().unwrap_or_default());
    match (words.next().and_then(|n| n.parse::<u32>().ok()), words.next()) {
        (Some(n), Some("cores")) => format!("{name} MP{n}"),
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drivers_spellings_become_product_names() {
        assert_eq!(adreno_name("Adreno750v2"), "Adreno 750");
        assert_eq!(adreno_name("Adreno X1"), "Adreno X1");
        assert_eq!(mali_name("Mali-G610 4 cores r0p0 0xA867"), "Mali-G610 MP4");
        assert_eq!(mali_name(""), "");
    }

    #[test]
    fn gpu_cores_come_from_the_registry() {
        assert_eq!(gpu_cores("{ \"gpu-core-count\" = 40\n}"), Some(40));
        assert_eq!(gpu_cores("\"gpu-core-count\" = x"), None);
        assert_eq!(gpu_cores("\"gpu-core-count\" = 99999999999"), None);
    }
}
