//! Recorded hosts: each test asserts what a user of that machine would check first.

use std::path::{Path, PathBuf};

use edge_advisor::model::{ComputeApi, Device, DeviceClass, Isa, ProcessorKind, Source};
use edge_advisor::probe::{
    self, Access, CapturingHost, GpuKind, Host, LiveHost, ProbeOptions, ProbeReport, RecordedHost,
};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/hosts").join(format!("{name}.toml"))
}

fn host(name: &str) -> ProbeReport {
    let host = RecordedHost::load(&fixture(name)).unwrap_or_else(|e| panic!("{e}"));
    assert!(!host.sources().is_empty(), "{name} names no source");
    probe::run(&host, ProbeOptions { use_cache: false })
}

fn text(fact: &probe::Known<String>) -> &str {
    fact.as_ref().map_or("", |f| f.value.as_str())
}

fn has(report: &ProbeReport, isa: Isa) -> bool {
    report.cpu.isa.as_ref().is_some_and(|f| f.value.contains(&isa))
}

fn cores(device: &Device) -> (u32, u32, u32) {
    (device.cpu.performance_cores, device.cpu.efficiency_cores, device.cpu.threads)
}

fn problem(report: &ProbeReport, needle: &str) -> bool {
    report.problems.iter().any(|p| p.what.contains(needle) && !p.hint.is_empty())
}

fn kinds(device: &Device) -> Vec<ProcessorKind> {
    device.processors.iter().map(|p| p.kind).collect()
}

use ProcessorKind::{Cpu, DiscreteGpu, IntegratedGpu, Npu};

#[test]
fn raspberry_pi_5_has_dot_product_and_says_that_it_was_throttled() {
    let r = host("raspberry-pi-5");
    let d = r.device();
    assert_eq!(d.name, "Raspberry Pi 5 Model B Rev 1.0");
    assert_eq!((d.class, cores(&d)), (DeviceClass::Sbc, (4, 0, 4)));
    assert_eq!(text(&r.system.soc), "Broadcom BCM2712");
    assert_eq!(text(&r.cpu.microarchitecture), "Cortex-A76");
    assert!(has(&r, Isa::DotProd) && !has(&r, Isa::I8mm));
    assert_eq!(r.power.throttle_events.as_ref().unwrap().value, 2);
    assert!(problem(&r, "under-voltage"));
    assert_eq!(kinds(&d), [Cpu, IntegratedGpu]);
    assert_eq!(d.cpu.l3_bytes, Some(2 << 20));
}

#[test]
fn raspberry_pi_5_with_the_ai_kit_has_a_hailo_npu() {
    let r = host("raspberry-pi-5-hailo");
    assert_eq!(r.npus[0].vendor, "Hailo");
    assert_eq!(r.npus[0].node, Some(("/dev/hailo0".into(), Access::Usable)));
    assert!(matches!(r.npus[0].int8_tops.as_ref().unwrap().source, Source::Published { .. }));
}

#[test]
fn raspberry_pi_4_has_neither_dot_product_nor_half_precision() {
    let r = host("raspberry-pi-4");
    assert!(has(&r, Isa::Neon) && !has(&r, Isa::DotProd) && !has(&r, Isa::Fp16));
    assert_eq!(text(&r.cpu.microarchitecture), "Cortex-A72");
    assert!(r.npus.is_empty());
}

#[test]
fn rk3588_on_the_vendor_kernel_has_big_and_little_cores_mali_and_npu() {
    let r = host("rk3588-vendor-kernel");
    let d = r.device();
    assert_eq!(cores(&d), (4, 4, 8));
    assert_eq!(r.gpus[0].name.value, "Mali-G610 MP4");
    assert_eq!(
        (text(&r.npus[0].driver), r.npus[0].generation.as_str()),
        ("RKNPU", "rknpu2-rk3588")
    );
    assert_eq!(r.npus.len(), 1);
    assert_eq!(r.npus[0].int8_tops.as_ref().unwrap().value, 6.0);
}

#[test]
fn rk3588_on_mainline_says_that_the_npus_node_is_closed() {
    let r = host("rk3588-mainline");
    assert_eq!(text(&r.npus[0].driver), "rocket");
    assert_eq!(r.npus[0].node, Some(("/dev/accel/accel0".into(), Access::Denied)));
    assert!(problem(&r, "/dev/accel/accel0 is not accessible"));
}

#[test]
fn jetson_orin_has_one_integrated_gpu_that_shares_memory() {
    let r = host("jetson-agx-orin");
    assert_eq!(r.gpus.len(), 1);
    assert!(r.gpus[0].unified && r.gpus[0].memory_bytes.is_none());
    assert_eq!(text(&r.gpus[0].architecture), "ampere");
    assert_eq!(r.gpus[0].kind.value, GpuKind::Integrated);
    assert!(r.power.energy.iter().any(|e| e.name.contains("VDD_GPU_SOC")));
    assert_eq!(r.device().class, DeviceClass::Sbc);
}

#[test]
fn dgx_spark_is_found_with_unified_memory_and_two_kinds_of_cores() {
    let r = host("dgx-spark");
    let d = r.device();
    assert_eq!(r.gpus.len(), 1);
    assert_eq!(r.gpus[0].name.value, "NVIDIA GB10");
    assert!(r.gpus[0].unified && r.gpus[0].memory_bytes.is_none());
    assert_eq!(text(&r.gpus[0].compute_capability), "12.1");
    let names: Vec<_> = r.cpu.groups.iter().map(|g| (g.name.as_str(), g.cores)).collect();
    assert_eq!(names, [("Cortex-X925", 10), ("Cortex-A725", 10)]);
    assert!(has(&r, Isa::Sve2) && has(&r, Isa::I8mm) && has(&r, Isa::Bf16));
    assert!(d.limits.memory_bytes > 120 << 30);
    assert!(d.processors[1].apis.contains(&ComputeApi::Cuda));
}

#[test]
fn snapdragon_x_elite_has_a_hexagon_whose_node_is_closed() {
    let r = host("snapdragon-x-elite");
    let d = r.device();
    assert_eq!(text(&r.cpu.microarchitecture), "Oryon");
    assert_eq!((d.class, cores(&d)), (DeviceClass::Laptop, (12, 0, 12)));
    assert_eq!(r.npus[0].generation, "hexagon-v73");
    assert!(problem(&r, "/dev/fastrpc-cdsp is not accessible"));
    assert_eq!(r.gpus[0].name.value, "Adreno X1-85");
}

#[test]
fn a_snapdragon_phone_is_a_phone_with_three_kinds_of_cores() {
    let r = host("android-snapdragon-8-gen-3");
    let d = r.device();
    assert_eq!((d.class, d.os.as_str()), (DeviceClass::Phone, "android"));
    assert_eq!(d.name, "Xiaomi 23127PN0CC");
    assert_eq!(cores(&d), (6, 2, 8));
    assert_eq!(r.gpus[0].name.value, "Adreno 750");
    assert_eq!(r.npus[0].generation, "hexagon-v75");
}

#[test]
fn a_pixel_with_tensor_has_fast_middle_and_small_cores() {
    let r = host("android-tensor-g1");
    assert_eq!(cores(&r.device()), (4, 4, 8));
    assert_eq!(r.cpu.groups[0].name, "Cortex-X1");
    assert_eq!(text(&r.system.soc), "Google Tensor");
}

#[test]
fn a_mac_mini_m4_has_unified_memory_metal_and_a_neural_engine() {
    let r = host("mac-mini-m4");
    let d = r.device();
    assert_eq!((d.class, cores(&d)), (DeviceClass::Desktop, (4, 6, 10)));
    assert_eq!(r.gpus[0].bandwidth_gbs.as_ref().unwrap().value, 120.0);
    assert_eq!(r.gpus[0].cores.as_ref().unwrap().value, 10);
    assert!(d.processors[1].apis.contains(&ComputeApi::Metal));
    assert!(r.memory.unified.as_ref().unwrap().value && has(&r, Isa::Sme2));
    assert_eq!(r.npus[0].generation, "ane-m4");
    assert_eq!(r.power.on_battery.as_ref().map(|f| f.value), Some(false));
}

#[test]
fn a_macbook_on_battery_says_so_and_its_gpu_cores_choose_the_figures() {
    let r = host("macbook-pro-m1-max");
    assert_eq!(r.device().class, DeviceClass::Laptop);
    assert_eq!(r.device().limits.on_battery, Some(true));
    assert_eq!(r.power.battery_percent.as_ref().unwrap().value, 85);
    assert_eq!(r.gpus[0].fp32_tflops.as_ref().unwrap().value, 10.4);
    assert!(!has(&r, Isa::I8mm));
}

#[test]
fn a_mac_studio_has_half_a_terabyte_of_unified_memory() {
    let r = host("mac-studio-m3-ultra");
    assert_eq!(r.device().limits.memory_bytes, 512 << 30);
    assert_eq!(r.gpus[0].bandwidth_gbs.as_ref().unwrap().value, 800.0);
}

#[test]
fn lunar_lake_has_two_kinds_of_cores_an_integrated_gpu_and_an_npu() {
    let r = host("lunar-lake-laptop");
    let d = r.device();
    assert_eq!((d.class, cores(&d)), (DeviceClass::Laptop, (4, 4, 8)));
    assert_eq!(text(&r.cpu.microarchitecture), "lunar-lake");
    assert_eq!(d.name, "LENOVO Yoga Slim 7 15ILL9");
    assert_eq!(kinds(&d), [Cpu, IntegratedGpu, Npu]);
    assert_eq!((r.npus[0].generation.as_str(), text(&r.npus[0].driver)), ("npu4000", "intel_vpu"));
    assert_eq!(r.npus[0].busy_us.as_ref().unwrap().value, 123_456);
    assert_eq!(r.gpus[0].name.value, "Arc 140V");
    assert!(has(&r, Isa::AvxVnni) && !has(&r, Isa::Avx512F));
    assert_eq!(d.limits.on_battery, Some(false));
    assert!(r.root_would_add.iter().any(|w| w.contains("RAPL")));
    assert!(r.root_would_add.iter().any(|w| w.contains("SMBIOS")));
}

#[test]
fn meteor_lake_on_battery_counts_cores_once_and_reports_the_closed_npu() {
    let r = host("meteor-lake-laptop");
    let d = r.device();
    assert_eq!(cores(&d), (6, 10, 22));
    assert_eq!(r.cpu.cores.as_ref().unwrap().value, 16);
    assert_eq!(d.limits.on_battery, Some(true));
    assert!(problem(&r, "/dev/accel/accel0 is not accessible") && problem(&r, "battery"));
}

#[test]
fn strix_halo_has_unified_memory_not_512_mib_of_vram() {
    let r = host("strix-halo");
    let gpu = &r.gpus[0];
    assert_eq!(gpu.name.value, "Radeon 8060S");
    assert!(gpu.unified && gpu.memory_bytes.is_none());
    assert!(gpu.shared_memory_bytes.as_ref().unwrap().value > 120 << 30);
    assert_eq!(gpu.bandwidth_gbs.as_ref().unwrap().value, 256.0);
    assert_eq!(r.npus[0].name.value, "AMD XDNA 2 (Strix Halo)");
    assert!(gpu.apis.contains(&ComputeApi::Rocm));
    assert_eq!(cores(&r.device()), (16, 0, 32));
    assert!(has(&r, Isa::Avx512Vnni));
}

#[test]
fn strix_point_tells_dense_cores_by_their_clock() {
    let r = host("strix-point-laptop");
    assert_eq!(cores(&r.device()), (4, 8, 24));
    assert_eq!(r.npus[0].name.value, "AMD XDNA 2 (Strix Point)");
    assert_eq!(r.gpus[0].name.value, "Radeon 890M");
    assert!(r.gpus[0].unified, "a 4 GiB carve-out is not a discrete GPU");
}

#[test]
fn a_phoenix_npu_without_a_driver_is_present_and_not_usable() {
    let r = host("phoenix-laptop");
    assert_eq!(r.npus[0].generation, "xdna1");
    assert!(r.npus[0].driver.is_none());
    assert!(problem(&r, "no driver for it was found"));
}

#[test]
fn two_rtx_3090_are_two_gpus_and_the_cpus_graphics_is_not_a_third_discrete_one() {
    let r = host("dual-rtx-3090-desktop");
    let d = r.device();
    assert_eq!(kinds(&d), [Cpu, DiscreteGpu, DiscreteGpu, IntegratedGpu]);
    assert_eq!(d.class, DeviceClass::Desktop);
    assert_eq!(r.gpus[0].memory_bytes.as_ref().unwrap().value, 24 << 30);
    let gbs = r.gpus[0].bandwidth_gbs.as_ref().unwrap().value;
    assert!((gbs - 936.1).abs() < 0.1, "{gbs}");
    assert!(problem(&r, "4 of 16 PCIe lanes"));
    assert!(d.processors[1].apis.contains(&ComputeApi::Vulkan));
    assert_eq!(r.cpu.caches.iter().find(|c| c.level == 3).unwrap().instances, 2);
}

#[test]
fn a_radeon_7900_xtx_is_told_from_its_siblings_by_revision() {
    let r = host("radeon-7900-xtx-desktop");
    assert_eq!(r.gpus[0].name.value, "Radeon RX 7900 XTX");
    assert_eq!(r.gpus[0].kind.value, GpuKind::Discrete);
    assert_eq!(r.gpus[0].memory_free_bytes.as_ref().unwrap().value, 25_000_000_000);
    assert_eq!(r.gpus[0].pcie_gen.as_ref().unwrap().value, 4);
    assert!(r.gpus[0].apis.contains(&ComputeApi::Rocm));
}

#[test]
fn an_arc_card_has_its_memory_from_the_resizable_bar() {
    let r = host("arc-b580-desktop");
    assert_eq!(r.gpus[0].name.value, "Arc B580");
    assert_eq!(r.gpus[0].memory_bytes.as_ref().unwrap().value, 16 << 30);
    assert!(matches!(r.gpus[0].memory_bytes.as_ref().unwrap().source, Source::Inferred { .. }));
    assert!(r.gpus[0].apis.contains(&ComputeApi::LevelZero));
}

#[test]
fn an_nvidia_card_without_its_driver_is_named_and_reported() {
    let r = host("nvidia-without-driver");
    assert_eq!(r.gpus[0].name.value, "GeForce RTX 4090");
    assert!(problem(&r, "without its driver's library"));
    assert!(r.gpus[0].apis.is_empty());
}

#[test]
fn a_laptop_5090_is_not_the_desktop_5090() {
    let r = host("laptop-rtx-5090");
    let d = r.device();
    assert_eq!(kinds(&d), [Cpu, DiscreteGpu, IntegratedGpu, Npu]);
    assert!(r.gpus[0].laptop_part.as_ref().unwrap().value);
    let gbs = r.gpus[0].bandwidth_gbs.as_ref().unwrap().value;
    assert!((gbs - 896.0).abs() < 1.0, "256 bits, not the desktop card's 512: {gbs}");
    assert!(problem(&r, "sw_power_cap"));
    assert_eq!(cores(&d), (8, 16, 24));
}

#[test]
fn a_two_socket_xeon_has_amx_and_two_numa_nodes() {
    let r = host("xeon-sapphire-rapids");
    let d = r.device();
    assert_eq!((d.class, cores(&d)), (DeviceClass::Server, (112, 0, 224)));
    assert_eq!(r.cpu.sockets.as_ref().unwrap().value, 2);
    assert_eq!(r.cpu.numa.len(), 2);
    for isa in [Isa::AmxInt8, Isa::AmxBf16, Isa::Avx512Fp16, Isa::Avx512Vnni] {
        assert!(has(&r, isa), "{isa:?}");
    }
    assert!(r.gpus.is_empty(), "the management chip computes nothing");
    assert_eq!(r.cpu.mitigations[0].name, "gather_data_sampling");
}

#[test]
fn graviton3_is_a_server_with_sve() {
    let r = host("graviton3-vm");
    assert_eq!(text(&r.cpu.microarchitecture), "Neoverse-V1");
    assert_eq!((r.device().class, text(&r.system.hypervisor)), (DeviceClass::Server, "nitro"));
    assert!(has(&r, Isa::Sve) && !has(&r, Isa::Sve2) && has(&r, Isa::Bf16));
}

#[test]
fn graviton4_has_sve2() {
    let r = host("graviton4-vm");
    assert!(has(&r, Isa::Sve2));
    assert_eq!(text(&r.cpu.microarchitecture), "Neoverse-V2");
}

#[test]
fn a_cloud_machine_names_its_hypervisor() {
    let r = host("cloud-vm-epyc");
    assert_eq!(text(&r.system.hypervisor), "kvm");
    assert_eq!(text(&r.cpu.microarchitecture), "zen3");
    assert_eq!(r.device().class, DeviceClass::Server);
    assert!(r.gpus.is_empty() && r.npus.is_empty());
}

#[test]
fn a_v1_container_obeys_its_limits_not_the_hosts() {
    let r = host("container-cgroup-v1");
    let d = r.device();
    assert_eq!((d.limits.cpus, d.cpu.threads), (1.5, 1));
    assert_eq!(d.limits.memory_bytes, 2 << 30);
    assert_eq!(d.limits.memory_available_bytes, (2 << 30) - 500 * (1 << 20));
    assert_eq!((text(&r.system.container), text(&r.allowed.cgroup)), ("docker", "v1"));
    assert_eq!(r.allowed.throttled_periods.as_ref().unwrap().value, 12);
}

#[test]
fn a_v2_pod_obeys_quota_cpuset_and_memory() {
    let r = host("container-cgroup-v2");
    let d = r.device();
    assert_eq!((d.limits.cpus, cores(&d)), (2.0, (2, 0, 2)));
    assert_eq!(d.limits.memory_bytes, 4 << 30);
    assert_eq!(d.limits.memory_available_bytes, (4u64 << 30) - (768 << 20));
    assert_eq!((text(&r.system.container), text(&r.allowed.cpu_list)), ("kubernetes", "2-3"));
}

#[test]
fn a_limit_on_an_outer_group_counts() {
    let r = host("container-nested-v2");
    let d = r.device();
    assert_eq!((d.limits.cpus, d.cpu.threads), (1.0, 1));
    assert_eq!(d.limits.memory_bytes, 2 << 30);
}

#[test]
fn wsl_has_its_gpu_without_a_pci_bus() {
    let r = host("wsl2-rtx-4070");
    let d = r.device();
    assert!(r.system.wsl);
    assert_eq!(text(&r.system.hypervisor), "hyper-v");
    assert_eq!(kinds(&d), [Cpu, DiscreteGpu]);
    assert!(r.gpus[0].laptop_part.as_ref().unwrap().value);
    assert_ne!(d.class, DeviceClass::Server);
}

#[test]
fn risc_v_without_vectors_has_none() {
    let r = host("visionfive-2");
    assert_eq!(r.cpu.isa.as_ref().unwrap().value, []);
    assert_eq!(cores(&r.device()), (4, 0, 4));
    assert_eq!(text(&r.system.soc), "StarFive JH7110");
}

#[test]
fn risc_v_with_vectors_has_them() {
    let r = host("banana-pi-f3");
    assert!(has(&r, Isa::Rvv));
    assert_eq!(r.device().class, DeviceClass::Sbc);
}

#[test]
fn windows_on_lunar_lake_has_gpu_npu_and_isa_from_cpuid() {
    let r = host("windows-lunar-lake");
    let d = r.device();
    assert_eq!((d.os.as_str(), d.cpu.threads), ("windows", 8));
    assert!(has(&r, Isa::Avx2) && has(&r, Isa::AvxVnni) && !has(&r, Isa::Avx512F));
    assert_eq!(kinds(&d), [Cpu, IntegratedGpu, Npu]);
    assert_eq!(r.npus[0].generation, "npu4000");
    assert_eq!(
        (text(&r.memory.kind), r.memory.speed_mts.as_ref().unwrap().value),
        ("LPDDR5", 8533)
    );
    assert_eq!(text(&r.cpu.microarchitecture), "lunar-lake");
}

#[test]
fn windows_on_snapdragon_has_its_gpu_and_npu_off_pci() {
    let r = host("windows-snapdragon-x");
    let d = r.device();
    assert_eq!(kinds(&d), [Cpu, IntegratedGpu, Npu]);
    assert!(r.gpus[0].name.value.contains("Adreno"));
    assert_eq!(r.npus[0].vendor, "Qualcomm");
    assert!(has(&r, Isa::I8mm) && has(&r, Isa::DotProd) && !has(&r, Isa::Sve));
}

#[test]
fn a_coral_module_with_a_closed_node_is_present_and_reported() {
    let r = host("n100-coral");
    assert_eq!(cores(&r.device()), (4, 0, 4));
    assert_eq!(r.npus[0].name.value, "Coral Edge TPU");
    assert!(problem(&r, "/dev/apex_0 is not accessible"));
}

#[test]
fn an_unknown_accelerator_is_not_called_an_npu() {
    assert!(host("unknown-accelerator").npus.is_empty());
}

#[test]
fn a_phones_apu_known_from_its_data_sheet_alone_is_tagged_published() {
    let r = host("mediatek-phone");
    assert_eq!(r.npus[0].vendor, "MediaTek");
    assert!(matches!(r.npus[0].name.source, Source::Published { .. }));
    assert!(problem(&r, "no driver for it was found"));
}

#[test]
fn an_ethos_npu_is_found_by_its_device_tree_string() {
    let r = host("imx93-board");
    assert_eq!(r.npus[0].generation, "ethos-u65");
    assert_eq!(r.npus[0].node.as_ref().unwrap().1, Access::Usable);
}

#[test]
fn every_recorded_host_gives_a_usable_device_and_its_own_fingerprint() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/hosts");
    let mut ids = std::collections::BTreeSet::new();
    let mut count = 0;
    for entry in std::fs::read_dir(dir).unwrap() {
        let name = entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned();
        let report = host(&name);
        let device = report.device();
        assert!(device.limits.memory_bytes > 0, "{name}: no memory");
        assert!(device.cpu.threads >= 1 && device.limits.cpus > 0.0, "{name}: no CPU");
        assert!(report.cpu.isa.is_some(), "{name}: no instruction sets");
        assert_eq!(report.fingerprint, host(&name).fingerprint, "{name}: not stable");
        assert!(ids.insert(report.fingerprint.clone()), "{name}: fingerprint of another host");
        let json = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<ProbeReport>(&json).unwrap(), report, "{name}");
        crate::schema::follows("fingerprint", &serde_json::from_str(&json).unwrap());
        count += 1;
    }
    assert!(count >= 25, "{count} hosts");
}

#[test]
fn a_capture_of_this_machine_replays_to_the_same_fingerprint() {
    let live = LiveHost::new();
    let capturing = CapturingHost::new(&live);
    let options = ProbeOptions { use_cache: false };
    let report = probe::run(&capturing, options);
    let dir = tempfile::tempdir().unwrap();
    capturing.save(dir.path()).unwrap();
    let replayed = probe::run(&RecordedHost::load(dir.path()).unwrap(), options);
    assert_eq!(probe::fingerprint_diff(&report, &replayed), []);
    assert_eq!(replayed.fingerprint, report.fingerprint);
    assert_eq!(replayed.cpu, report.cpu);
    assert_eq!(replayed.allowed.threads, report.allowed.threads);
}

#[test]
fn two_probes_of_this_machine_agree() {
    let options = ProbeOptions { use_cache: false };
    let host = LiveHost::new();
    let (a, b) = (probe::run(&host, options), probe::run(&host, options));
    assert_eq!(a.fingerprint, b.fingerprint);
}

#[test]
fn a_difference_names_what_changed() {
    let changes = probe::fingerprint_diff(&host("container-cgroup-v1"), &host("cloud-vm-epyc"));
    let facts: Vec<_> = changes.iter().map(|c| c.fact.as_str()).collect();
    assert!(facts.contains(&"allowed_memory") && facts.contains(&"allowed_cpus"), "{facts:?}");
    assert!(!facts.contains(&"cpu"));
}

#[test]
fn hostile_recordings_are_refused_with_a_reason() {
    let dir = tempfile::tempdir().unwrap();
    for (text, needle) in [
        ("os = 3", "invalid type"),
        ("[[each]]\nrange = \"0-4294967295\"", "not a range"),
        ("surprise = 1", "unknown field"),
        ("[binary]\n\"/x\" = \"zz\"", "not hexadecimal"),
    ] {
        let path = dir.path().join("host.toml");
        std::fs::write(&path, text).unwrap();
        let error = RecordedHost::load(&path).unwrap_err().to_string();
        assert!(error.contains(needle), "{error}");
    }
    assert!(RecordedHost::load(&dir.path().join("none")).is_err());
}

/// Every file of a good host replaced by rubbish: facts may vanish, the probe may not fail.
#[test]
fn rubbish_in_every_file_never_stops_the_probe() {
    let names = ["strix-halo", "rk3588-vendor-kernel", "container-cgroup-v1", "lunar-lake-laptop"];
    for rubbish in
        ["", "\u{0}", "-1", "99999999999999999999", "max max", "0-0-0,", "é\u{1b}[2J", "a:b\n:\n::"]
    {
        for name in names {
            let recorded = RecordedHost::load(&fixture(name)).unwrap().with_every_file(rubbish);
            let report = probe::run(&recorded, ProbeOptions { use_cache: false });
            let text = serde_json::to_string(&report.device()).unwrap();
            assert!(!text.contains("\\u001b"), "control characters reach the report");
            let _ = probe::host_state(&recorded);
        }
    }
    let _ = Host::os(&RecordedHost::empty("linux", "x86_64"));
}
