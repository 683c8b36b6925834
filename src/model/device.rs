//! A device as the predictor and the advisor see it: filled from a live probe or from a profile.

use serde::{Deserialize, Serialize};

use super::Fact;

/// Broad class; residuals and efficiency are fitted per class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum DeviceClass {
    Phone,
    Sbc,
    Laptop,
    Desktop,
    Workstation,
    Server,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ProcessorKind {
    Cpu,
    IntegratedGpu,
    DiscreteGpu,
    Npu,
}

/// A way to reach a processor; present only where its loader or driver answered (or the profile says so).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ComputeApi {
    Cpu,
    Cuda,
    Rocm,
    Metal,
    Vulkan,
    OpenCl,
    Sycl,
    LevelZero,
    DirectMl,
    OpenVino,
    Qnn,
    CoreMl,
    Rknn,
    Hailo,
    EdgeTpu,
    Xdna,
}

/// Instruction-set extensions that inference kernels use. Names follow Linux' flags where it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[allow(non_camel_case_types, reason = "the names are the field's own")]
pub enum Isa {
    Sse4_2,
    Avx,
    Avx2,
    Fma,
    F16c,
    AvxVnni,
    Avx512F,
    Avx512Bw,
    Avx512Vl,
    Avx512Vnni,
    Avx512Bf16,
    Avx512Fp16,
    AmxTile,
    AmxInt8,
    AmxBf16,
    AmxFp16,
    Neon,
    Fp16,
    DotProd,
    I8mm,
    Bf16,
    Sve,
    Sve2,
    Sme,
    Sme2,
    Rvv,
}

/// One processor that can run a model. Memory of an integrated or unified part is the system's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Processor {
    /// Unique in the device: `cpu`, `gpu0`, `npu0`.
    pub id: String,
    pub kind: ProcessorKind,
    pub vendor: String,
    pub name: String,
    /// Architecture or generation key (`zen3`, `ada`, `hexagon-v75`), empty where unknown.
    #[serde(default)]
    pub architecture: String,
    pub apis: Vec<ComputeApi>,
    /// Own memory in bytes; `None` where it shares the system's.
    #[serde(default)]
    pub memory_bytes: Option<Fact<u64>>,
    #[serde(default)]
    pub memory_free_bytes: Option<Fact<u64>>,
    /// True where the memory is shared with the CPU.
    #[serde(default)]
    pub unified: bool,
    /// Read bandwidth of the memory it computes from, in GB/s (10^9).
    #[serde(default)]
    pub bandwidth_gbs: Option<Fact<f64>>,
    /// Peak rates in TFLOP/s (TOP/s for int8), dense.
    #[serde(default)]
    pub fp32_tflops: Option<Fact<f64>>,
    #[serde(default)]
    pub fp16_tflops: Option<Fact<f64>>,
    #[serde(default)]
    pub int8_tops: Option<Fact<f64>>,
    /// Id of the profile it is exactly, whose public measurements are of this part; empty where there is none.
    #[serde(default)]
    pub profile: String,
    /// What it draws at most, in watts, with all that is behind the same limit.
    #[serde(default)]
    pub power_w: Option<Fact<f64>>,
}

/// CPU facts the advisor and the CPU predictor use.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CpuFacts {
    /// `x86_64`, `aarch64`, `riscv64`.
    pub arch: String,
    /// Physical cores the process may use, performance cores first where they differ.
    pub performance_cores: u32,
    pub efficiency_cores: u32,
    /// Hardware threads the process may use, after affinity and cgroup quota.
    pub threads: u32,
    pub isa: Vec<Isa>,
    #[serde(default)]
    pub max_clock_mhz: Option<f64>,
    #[serde(default)]
    pub l3_bytes: Option<u64>,
}

/// What the process may use of it; the tightest of host, cgroup and user limits.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// Memory the process may use in total.
    pub memory_bytes: u64,
    /// Memory usable now without swapping.
    pub memory_available_bytes: u64,
    /// CPU time a second of wall time.
    pub cpus: f64,
    #[serde(default)]
    pub disk_free_bytes: Option<u64>,
    /// Sequential read of the disk that models lie on, in GB/s (10^9).
    #[serde(default)]
    pub disk_read_gbs: Option<Fact<f64>>,
    /// Present where running on battery.
    #[serde(default)]
    pub on_battery: Option<bool>,
}

/// Something the probe saw that a user should know: a driver without a device node, an odd file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct DeviceProblem {
    pub what: String,
    #[serde(default)]
    pub hint: String,
}

/// A device to advise for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Device {
    /// Fingerprint id of a live device, profile id otherwise.
    pub id: String,
    pub name: String,
    pub class: DeviceClass,
    /// `linux`, `macos`, `windows`, `android`, `ios`.
    pub os: String,
    pub cpu: CpuFacts,
    pub limits: Limits,
    /// The CPU first, then GPUs, then NPUs.
    pub processors: Vec<Processor>,
    #[serde(default)]
    pub problems: Vec<DeviceProblem>,
}

impl Device {
    pub fn cpu_processor(&self) -> Option<&Processor> {
        self.processors.iter().find(|p| p.kind == ProcessorKind::Cpu)
    }
}
