//! Operating system, machine, hypervisor, container, and the broad class they imply.

use super::host::Host;
use super::parse;
use super::report::{Known, System};
use crate::model::{DeviceClass, Fact};

pub(crate) fn read(host: &dyn Host) -> System {
    let os = os_name(host);
    let kernel = kernel(host, &os);
    let wsl = kernel.as_ref().is_some_and(|k| k.value.to_lowercase().contains("microsoft"));
    let compatible = host.strings("/proc/device-tree/compatible");
    let mut system = System {
        arch: host.arch(),
        distribution: distribution(host, &os),
        machine: machine(host, &os),
        compatible,
        hypervisor: hypervisor(host),
        container: container(host),
        wsl,
        kernel,
        os,
        ..System::default()
    };
    system.class = class(host, &system);
    system
}

/// Android is Linux with properties; its `build.prop` or `getprop` tells.
fn os_name(host: &dyn Host) -> String {
    let os = host.os();
    let android = os == "linux" && host.env("ANDROID_ROOT").is_some();
    if android { "android".to_owned() } else { os }
}

fn kernel(host: &dyn Host, os: &str) -> Known<String> {
    match os {
        "macos" => sysctl(host, "kern.osrelease", "sysctl kern.osrelease"),
        "windows" => super::windows::field(host, "Version", "Win32_OperatingSystem"),
        _ => {
            let path = "/proc/sys/kernel/osrelease";
            host.text(path).map(|v| Fact::reported(parse::clean(&v), path))
        }
    }
}

pub(crate) fn sysctl(host: &dyn Host, key: &str, by: &str) -> Known<String> {
    let text = super::apple::sysctl_text(host)?;
    parse::sysctl(&text, key).map(|v| Fact::reported(parse::clean(v), by))
}

fn distribution(host: &dyn Host, os: &str) -> Known<String> {
    match os {
        "android" => {
            let text = host.command("getprop", &["ro.build.version.release"]).ok()?;
            let version = parse::clean(&text);
            (!version.is_empty()).then(|| Fact::reported(format!("Android {version}"), "getprop"))
        }
        "macos" => sysctl(host, "kern.osproductversion", "sysctl kern.osproductversion")
            .map(|f| Fact { value: format!("macOS {}", f.value), source: f.source }),
        "windows" => super::windows::field(host, "Caption", "Win32_OperatingSystem"),
        _ => ["/etc/os-release", "/usr/lib/os-release"].iter().find_map(|path| {
            let text = host.text(path)?;
            let name = parse::assignment(&text, "PRETTY_NAME")?;
            Some(Fact::reported(parse::clean(name), *path))
        }),
    }
}

/// Firmware leaves these where a maker filled nothing in.
const PLACEHOLDERS: &[&str] =
    &["to be filled by o.e.m.", "default string", "system product name", "not applicable", "none"];

fn machine(host: &dyn Host, os: &str) -> Known<String> {
    match os {
        "macos" => return sysctl(host, "hw.model", "sysctl hw.model"),
        "windows" => return super::windows::field(host, "Model", "Win32_ComputerSystem"),
        "android" => {
            let read = |key| host.command("getprop", &[key]).ok().map(|v| parse::clean(&v));
            let name = [read("ro.product.manufacturer")?, read("ro.product.model")?].join(" ");
            return Some(Fact::reported(name, "getprop"));
        }
        _ => {}
    }
    if let Some(model) = host.text("/proc/device-tree/model") {
        return Some(Fact::reported(parse::clean(&model), "/proc/device-tree/model"));
    }
    let part = |name: &str| {
        let text = parse::clean(&host.text(&format!("/sys/class/dmi/id/{name}"))?);
        (!PLACEHOLDERS.contains(&text.to_lowercase().as_str())).then_some(text)
    };
    let product = part("product_name").or_else(|| part("board_name"))?;
    // Lenovo keeps a type number in the name and the marketing name in the version.
    let product = match part("product_version") {
        Some(v) if v.contains("ThinkPad") || v.contains("Yoga") || v.contains("IdeaPad") => v,
        _ => product,
    };
    let vendor = part("sys_vendor").unwrap_or_default();
    let name = if product.starts_with(&vendor) { product } else { format!("{vendor} {product}") };
    Some(Fact::reported(name.trim().to_owned(), "/sys/class/dmi/id"))
}

fn hypervisor(host: &dyn Host) -> Known<String> {
    if host.cpuid(1, 0).is_some_and(|r| r[2] >> 31 == 1) {
        let r = host.cpuid(0x4000_0000, 0).unwrap_or_default();
        let bytes: Vec<u8> = r[1..].iter().flat_map(|w| w.to_le_bytes()).collect();
        let name = hypervisor_name(&bytes);
        return Some(Fact::reported(name, "CPUID leaf 0x40000000"));
    }
    if let Some(kind) = host.text("/sys/hypervisor/type") {
        return Some(Fact::reported(parse::clean(&kind), "/sys/hypervisor/type"));
    }
    let vendor = host.text("/sys/class/dmi/id/sys_vendor")?;
    let product = host.text("/sys/class/dmi/id/product_name").unwrap_or_default();
    let known = [
        ("QEMU", "kvm"),
        ("VMware", "vmware"),
        ("innotek", "virtualbox"),
        ("Google Compute Engine", "kvm"),
        ("KVM", "kvm"),
        ("Virtual Machine", "hyper-v"),
    ];
    let metal = product.contains("metal");
    let text = format!("{vendor} {product}");
    if vendor == "Amazon EC2" && !metal {
        return Some(Fact::inferred("nitro".to_owned(), "DMI vendor is Amazon EC2, not metal"));
    }
    known
        .iter()
        .find(|(needle, _)| text.contains(needle))
        .map(|(needle, name)| Fact::inferred((*name).to_owned(), format!("DMI names `{needle}`")))
}

fn hypervisor_name(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    match text.trim_end_matches('\0') {
        "KVMKVMKVM" => "kvm".into(),
        "Microsoft Hv" => "hyper-v".into(),
        "VMwareVMware" => "vmware".into(),
        "XenVMMXenVMM" => "xen".into(),
        "VBoxVBoxVBox" => "virtualbox".into(),
        "TCGTCGTCGTCG" => "qemu-tcg (emulated)".into(),
        "" => "unnamed".into(),
        other => parse::clean(other),
    }
}

fn container(host: &dyn Host) -> Known<String> {
    let found = |kind: &str, by: &str| Some(Fact::reported(kind.to_owned(), by));
    if host.env("KUBERNETES_SERVICE_HOST").is_some() {
        return found("kubernetes", "$KUBERNETES_SERVICE_HOST");
    }
    if host.exists("/run/.containerenv") {
        return found("podman", "/run/.containerenv");
    }
    if host.exists("/.dockerenv") {
        return found("docker", "/.dockerenv");
    }
    if let Some(kind) = host.env("container").filter(|k| !k.is_empty()) {
        return Some(Fact::reported(parse::clean(&kind), "$container"));
    }
    let cgroup = host.text("/proc/self/cgroup")?;
    let known = [
        ("kubepods", "kubernetes"),
        ("/docker", "docker"),
        ("libpod", "podman"),
        ("/lxc", "lxc"),
        ("containerd", "containerd"),
    ];
    known.iter().find(|(needle, _)| cgroup.contains(needle)).map(|(needle, kind)| {
        Fact::inferred((*kind).to_owned(), format!("/proc/self/cgroup contains `{needle}`"))
    })
}

/// SMBIOS enclosure types (DSP0134, table 17).
fn chassis(number: u64) -> Option<DeviceClass> {
    match number {
        8..=10 | 14 | 30..=32 => Some(DeviceClass::Laptop),
        3..=7 | 13 | 15 | 16 | 24 | 35 | 36 => Some(DeviceClass::Desktop),
        17 | 23 | 25 | 28 | 29 => Some(DeviceClass::Server),
        _ => None,
    }
}

fn class(host: &dyn Host, system: &System) -> Known<DeviceClass> {
    let inferred = |class, rule: &str| Some(Fact::inferred(class, rule));
    if system.os == "android" || system.os == "ios" {
        return inferred(DeviceClass::Phone, "the system is Android or iOS");
    }
    if let Some(model) = system.machine.as_ref().filter(|_| system.os == "macos") {
        let laptop = model.value.starts_with("MacBook");
        let class = if laptop { DeviceClass::Laptop } else { DeviceClass::Desktop };
        return inferred(class, "Mac model name");
    }
    if !system.compatible.is_empty() && !battery(host) {
        return inferred(DeviceClass::Sbc, "a device tree and no battery");
    }
    if battery(host) {
        return inferred(DeviceClass::Laptop, "a battery that powers the system");
    }
    if system.hypervisor.is_some() && !system.wsl {
        return inferred(DeviceClass::Server, "runs under a hypervisor");
    }
    let path = "/sys/class/dmi/id/chassis_type";
    let by_chassis = host.number(path).and_then(chassis);
    by_chassis.map(|class| Fact::reported(class, path))
}

fn battery(host: &dyn Host) -> bool {
    host.list("/sys/class/power_supply").iter().any(|name| {
        let read = |file| host.text(&format!("/sys/class/power_supply/{name}/{file}"));
        // Mice and headsets have batteries too, with scope `Device`.
        read("type").is_some_and(|t| t == "Battery") && read("scope").is_none_or(|s| s != "Device")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hypervisor_signatures_have_plain_names() {
        assert_eq!(hypervisor_name(b"KVMKVMKVM\0\0\0"), "kvm");
        assert_eq!(hypervisor_name(b"Microsoft Hv"), "hyper-v");
        assert_eq!(hypervisor_name(&[0; 12]), "unnamed");
        assert_eq!(hypervisor_name(&[0xff; 12]).chars().count(), 12);
    }

    #[test]
    fn chassis_numbers_follow_smbios() {
        assert_eq!(chassis(10), Some(DeviceClass::Laptop));
        assert_eq!(chassis(3), Some(DeviceClass::Desktop));
        assert_eq!(chassis(23), Some(DeviceClass::Server));
        assert_eq!(chassis(1), None);
        assert_eq!(chassis(u64::MAX), None);
    }
}
