//! Deterministic records with the shape of real ones, for tests and benches of reports.
//!
//! Speeds are of the order a small CPU reaches with a 135M model; they are inputs to tests and claim nothing.

use std::collections::BTreeMap;
use std::path::PathBuf;

use edge_advisor::model::{
    Case, CaseOutcome, ComputeApi, CpuFacts, Device, DeviceClass, Fact, Finding, FindingKind, Isa,
    Limits, Metric, Phase, Precision, Processor, ProcessorKind, Protocol, TypeCount, Variant,
    Workload,
};
use edge_advisor::record::{
    BuildInfo, CaseRecord, RunEnd, RunHeader, RunRecord, SCHEMA_VERSION, Series, SessionFacts,
};

/// A small deterministic generator (SplitMix64): tests must not depend on a crate's stream.
pub struct Noise(pub u64);

impl Noise {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// `n` values around `center`, within `spread` as a fraction.
    pub fn around(&mut self, center: f64, spread: f64, n: usize) -> Vec<f64> {
        (0..n).map(|_| center * (1.0 + spread * (2.0 * self.next() - 1.0))).collect()
    }
}

/// An x86 server without an accelerator.
pub fn device() -> Device {
    Device {
        id: "d1-7c0ffee".into(),
        name: "AMD EPYC 9R14 (2 cores)".into(),
        class: DeviceClass::Server,
        os: "linux".into(),
        cpu: CpuFacts {
            arch: "x86_64".into(),
            performance_cores: 2,
            efficiency_cores: 0,
            threads: 2,
            isa: vec![Isa::Avx2, Isa::Fma, Isa::F16c, Isa::Avx512F, Isa::Avx512Vnni],
            max_clock_mhz: Some(3700.0),
            l3_bytes: Some(32 << 20),
        },
        limits: Limits {
            memory_bytes: 24 << 30,
            memory_available_bytes: 20 << 30,
            cpus: 2.0,
            disk_free_bytes: Some(80 << 30),
            disk_read_gbs: None,
            on_battery: None,
        },
        processors: vec![Processor {
            id: "cpu".into(),
            kind: ProcessorKind::Cpu,
            vendor: "AuthenticAMD".into(),
            name: "AMD EPYC 9R14".into(),
            architecture: "zen4".into(),
            apis: vec![ComputeApi::Cpu],
            memory_bytes: None,
            memory_free_bytes: None,
            unified: false,
            bandwidth_gbs: Some(Fact::measured(39.6)),
            fp32_tflops: Some(Fact::measured(0.231)),
            fp16_tflops: None,
            int8_tops: Some(Fact::measured(0.92)),
            profile: String::new(),
            power_w: None,
        }],
        problems: Vec::new(),
    }
}

/// A board with another fingerprint, for comparisons between devices.
pub fn board() -> Device {
    let mut d = device();
    d.id = "d1-badcafe".into();
    d.name = "Raspberry Pi 5".into();
    d.class = DeviceClass::Sbc;
    d.cpu.arch = "aarch64".into();
    d.cpu.isa = vec![Isa::Neon, Isa::DotProd];
    d.cpu.performance_cores = 4;
    d.cpu.threads = 4;
    d.limits.memory_bytes = 8 << 30;
    d.limits.cpus = 4.0;
    d.processors[0].vendor = "Broadcom".into();
    d.processors[0].name = "BCM2712".into();
    d.processors[0].bandwidth_gbs = Some(Fact::published(17.1, "LPDDR4X-4267, 32 bit"));
    d.processors[0].fp32_tflops = None;
    d.processors[0].int8_tops = None;
    d
}

pub fn header(run_id: &str, device: Device) -> RunHeader {
    RunHeader {
        schema_version: SCHEMA_VERSION,
        run_id: run_id.into(),
        created: "2026-11-22T21:04:05Z".into(),
        build: BuildInfo {
            version: "0.1.0".into(),
            profile: "release".into(),
            target: "x86_64-unknown-linux-gnu".into(),
            compiled_isa: vec!["sse2".into()],
        },
        command: ["edge-advisor", "bench", "--model", "smollm2-135m"].map(String::from).to_vec(),
        suite: "quantization-ladder".into(),
        seed: 20_261_122,
        quick: false,
        protocol: Protocol::default(),
        device,
        probe: serde_json::Value::Null,
        labels: BTreeMap::new(),
        request: None,
    }
}

/// One measured rung: precision, file MB, bits a weight, prefill and decode in tok/s, peak MB, top-1, KLD.
pub type Rung = (Precision, f64, f64, f64, f64, f64, f64, f64);

pub const LLAMA: [Rung; 10] = [
    (Precision::F16, 271.0, 16.01, 582.0, 79.0, 312.0, 1.0, 0.0002),
    (Precision::Q8_0, 145.0, 8.51, 566.0, 103.0, 191.0, 0.981, 0.0021),
    (Precision::Q6_K, 138.0, 8.13, 641.0, 107.0, 186.0, 0.978, 0.0029),
    (Precision::Q5_K_M, 112.0, 6.6, 318.0, 96.0, 170.0, 0.951, 0.0120),
    (Precision::Q5_1, 104.0, 6.1, 218.0, 74.0, 164.0, 0.948, 0.0131),
    (Precision::Q4_K_M, 105.5, 6.2, 564.0, 122.0, 188.0, 0.932, 0.0240),
    (Precision::Q4_1, 98.0, 5.77, 268.0, 89.0, 159.0, 0.968, 0.0034),
    (Precision::Q4_0, 92.0, 5.41, 772.0, 138.0, 197.0, 0.698, 0.3003),
    (Precision::Q3_K_M, 93.0, 5.47, 801.0, 149.0, 181.0, 0.655, 0.4110),
    (Precision::Q2_K, 88.0, 5.18, 827.0, 156.0, 170.0, 0.612, 0.5230),
];
pub const CANDLE: [Rung; 6] = [
    (Precision::F16, 271.0, 16.01, 264.0, 29.0, 701.0, 1.0, 0.0002),
    (Precision::Q8_0, 145.0, 8.51, 117.0, 67.0, 352.0, 0.981, 0.0021),
    (Precision::Q6_K, 138.0, 8.13, 118.0, 58.0, 340.0, 0.978, 0.0029),
    (Precision::Q5_1, 104.0, 6.1, 17.0, 18.0, 301.0, 0.948, 0.0131),
    (Precision::Q4_1, 98.0, 5.77, 20.0, 19.0, 280.0, 0.968, 0.0034),
    (Precision::Q4_0, 92.0, 5.41, 113.0, 72.0, 268.0, 0.698, 0.3002),
];
pub const ONNX: [Rung; 4] = [
    (Precision::F32, 540.0, 32.0, 318.0, 27.0, 815.0, 1.0, 0.0),
    (Precision::Int8, 267.0, 8.6, 386.0, 61.0, 410.0, 0.94, 0.0150),
    (Precision::Int4Rtn, 86.0, 5.1, 305.0, 73.0, 326.0, 0.63, 0.4210),
    (Precision::Int4KQuant, 114.0, 6.7, 330.0, 75.0, 365.0, 0.72, 0.2010),
];
pub const OPENVINO: [Rung; 4] = [
    (Precision::F16, 269.0, 16.0, 502.0, 34.0, 1039.0, 0.98, 0.0010),
    (Precision::Int8Sym, 135.0, 8.03, 639.0, 60.0, 547.0, 0.95, 0.0110),
    (Precision::Int4SymG64, 85.0, 5.05, 540.0, 57.0, 450.0, 0.68, 0.3300),
    (Precision::Int4SymPerChannel, 82.0, 4.9, 610.0, 83.0, 434.0, 0.55, 0.6100),
];

pub fn case(backend: &str, precision: Precision) -> Case {
    Case {
        model: "smollm2-135m".into(),
        precision,
        backend: backend.into(),
        device: "cpu".into(),
        workload: Workload::Generate { prompt: 512, decode: 128, depth: 0 },
        threads: 2,
        options: BTreeMap::new(),
    }
}

fn variant(rung: &Rung) -> Variant {
    let (precision, megabytes, bits, ..) = *rung;
    let bytes = (megabytes * 1e6) as u64;
    let dtype = precision.name().to_owned();
    let norm = TypeCount { dtype: "F32".into(), tensors: 61, bytes: 140_544 };
    let (types, fallbacks) = if precision == Precision::Q4_K_M {
        let main = TypeCount { dtype: "Q5_0".into(), tensors: 180, bytes: bytes - 20_140_544 };
        let rest = TypeCount { dtype: "Q4_K".into(), tensors: 31, bytes: 20_000_000 };
        (vec![main, rest, norm], vec!["Q4_K -> Q5_0: 180".to_owned()])
    } else {
        (vec![TypeCount { dtype, tensors: 211, bytes: bytes - 140_544 }, norm], Vec::new())
    };
    Variant {
        model: "smollm2-135m".into(),
        precision,
        path: PathBuf::from(format!("cache/smollm2-135m-{precision}.gguf")),
        size_bytes: bytes,
        bits_per_weight: bits,
        types,
        made_by: "edge-advisor 0.1.0".into(),
        source_sha256: "7c1b2f".repeat(10) + "abcd",
        source_type: "Q4_1".into(),
        fallbacks,
    }
}

fn series(metric: Metric, samples: Vec<f64>) -> Series {
    Series { metric, warmup: Vec::new(), samples }
}

/// A completed case: repetition `run` of a rung on a backend.
pub fn completed(backend: &str, rung: &Rung, run: u32, noise: &mut Noise) -> CaseRecord {
    let (precision, megabytes, _, prefill, decode, peak, top1, kld) = *rung;
    let drift = 1.0 + 0.02 * (2.0 * noise.next() - 1.0);
    let decode_samples = noise.around(decode * drift, 0.04, 12);
    let ttft = 512.0 / prefill + 1.0 / decode;
    let series = vec![
        series(Metric::PrefillTokS, noise.around(prefill * drift, 0.03, 12)),
        Series {
            metric: Metric::DecodeTokS,
            warmup: vec![decode * 0.6, decode * 0.95],
            samples: decode_samples,
        },
        series(Metric::TtftNs, noise.around(ttft * 1e9, 0.05, 12)),
        series(Metric::LoadNs, vec![megabytes * 1.1e6]),
        series(Metric::PeakRssBytes, vec![peak * 1e6]),
        series(Metric::WeightBytes, vec![megabytes * 1e6]),
        series(Metric::KvCacheBytes, vec![14.7e6]),
        series(Metric::ComputeBufferBytes, vec![9.3e6]),
        series(Metric::Top1Agreement, noise.around(top1 * 0.99, 0.01, 8)),
        series(Metric::KlDivergence, noise.around(kld, 0.1, 8)),
    ];
    let mut record = bare(backend, precision, CaseOutcome::Completed);
    record.run = run;
    record.variant = Some(variant(rung));
    record.series = series;
    if backend == "candle" && matches!(precision, Precision::Q5_1 | Precision::Q4_1) {
        let detail = format!("{precision} ran scalar code: this CPU has no kernel for it here");
        record.findings.push(
            Finding::note(FindingKind::ScalarKernel, detail).with_hint("prefer Q4_0 or Q8_0"),
        );
    }
    if precision == Precision::Q4_K_M {
        record.findings.push(Finding::note(
            FindingKind::TensorFallback,
            "180 of 272 tensors could not take Q4_K (row length 576 is not a multiple of 256)",
        ));
    }
    record
}

/// A case with an outcome and nothing measured.
pub fn bare(backend: &str, precision: Precision, outcome: CaseOutcome) -> CaseRecord {
    let (version, kernel) = match backend {
        "llama.cpp" => ("b11434", "avx512-vnni"),
        "candle" => ("candle 0.11.1", "avx2"),
        "onnxruntime" => ("1.32.0", "avx512"),
        "openvino" => ("2026.4.1", "avx512"),
        _ => ("", ""),
    };
    CaseRecord {
        outcome,
        session: SessionFacts {
            version: version.into(),
            kernel: kernel.into(),
            path: "library".into(),
            placement: BTreeMap::from([("cpu".to_owned(), 272)]),
            ..SessionFacts::default()
        },
        wall_s: 14.2,
        ..CaseRecord::new(case(backend, precision), "2026-11-22T21:05:00Z".into())
    }
}

/// A run over every framework with each kind of outcome, `repeats` process runs a completed case.
pub fn full(repeats: u32) -> RunRecord {
    let mut noise = Noise(7);
    let mut cases = Vec::new();
    let ladders: [(&str, &[Rung]); 4] = [
        ("llama.cpp", &LLAMA),
        ("candle", &CANDLE),
        ("onnxruntime", &ONNX),
        ("openvino", &OPENVINO),
    ];
    for (backend, rungs) in ladders {
        for rung in rungs {
            cases.extend((0..repeats).map(|run| completed(backend, rung, run, &mut noise)));
        }
    }
    let mut invalid = completed(
        "llama.cpp",
        &(Precision::Q5_0, 100.0, 5.9, 300.0, 400.0, 160.0, 0.94, 0.014),
        0,
        &mut noise,
    );
    let why = "decode read 40.1 GB/s, 112 % of the measured bandwidth";
    invalid.outcome = CaseOutcome::Invalid { why: why.into() };
    invalid.findings.push(
        Finding::invalid(FindingKind::BeyondRoofline, why).with_hint("rerun with the host quiet"),
    );
    cases.push(invalid);
    cases.extend(not_measured());
    for (order, c) in cases.iter_mut().enumerate() {
        c.order = order as u32;
    }
    let end = RunEnd {
        finished: "2026-11-22T21:31:17Z".into(),
        interrupted: false,
        noise_before: Some(0.012),
        noise_after: Some(0.017),
    };
    let header = header("20261122-210405-quantization-ladder-a1b2c3", device());
    RunRecord { header, cases, end: Some(end), truncated: false }
}

fn not_measured() -> Vec<CaseRecord> {
    let reason = |s: &str| s.to_owned();
    let mut crashed =
        bare("llama.cpp", Precision::IQ2_M, CaseOutcome::Crashed { signal: Some(6), code: None });
    crashed.stderr_tail = "ggml.c:1234: GGML_ASSERT(imatrix) failed\n".into();
    vec![
        crashed,
        bare(
            "candle",
            Precision::IQ4_NL,
            CaseOutcome::Unsupported { reason: reason("candle reads no IQ4_NL tensors") },
        ),
        bare("candle", Precision::F32, CaseOutcome::TimedOut { phase: Phase::Measure }),
        bare(
            "onnxruntime",
            Precision::F16,
            CaseOutcome::Failed { error: reason("no kernel for MatMul(float16) on the CPU") },
        ),
        bare(
            "openvino",
            Precision::Int4SymG128,
            CaseOutcome::Unsupported { reason: reason("group 128 does not divide rows of 576") },
        ),
        bare(
            "qnn",
            Precision::A8W8,
            CaseOutcome::Skipped {
                reason: reason("not installed: no Qualcomm NPU on this device"),
            },
        ),
        bare(
            "mlx",
            Precision::MlxQ4G64,
            CaseOutcome::OutOfMemory { detail: reason("worker killed at its 4 GB limit") },
        ),
    ]
}

/// `n` completed cases, for reports at scale.
pub fn many(n: usize) -> RunRecord {
    let mut noise = Noise(11);
    let mut record = full(1);
    record.cases.clear();
    let ladders: [(&str, &[Rung]); 4] = [
        ("llama.cpp", &LLAMA),
        ("candle", &CANDLE),
        ("onnxruntime", &ONNX),
        ("openvino", &OPENVINO),
    ];
    let rungs: Vec<(&str, &Rung)> =
        ladders.iter().flat_map(|(b, rs)| rs.iter().map(move |r| (*b, r))).collect();
    for i in 0..n {
        let (backend, rung) = rungs[i % rungs.len()];
        let mut c = completed(backend, rung, 0, &mut noise);
        c.case.model = format!("model-{:03}", i / rungs.len());
        c.order = i as u32;
        record.cases.push(c);
    }
    record
}
