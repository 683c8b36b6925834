//! Each finding provoked by one change to a sound case.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::*;
use crate::model::{
    Case, Cooldown, CpuFacts, DeviceClass, Fact, HeatPoint, HostState, Limits, Precision,
    Processor, ProcessorKind, Variant, Workload,
};
use crate::record::{Series, SessionFacts};

fn device() -> Device {
    Device {
        id: "d".into(),
        name: "recorded".into(),
        class: DeviceClass::Laptop,
        os: "linux".into(),
        cpu: CpuFacts {
            arch: "x86_64".into(),
            performance_cores: 4,
            efficiency_cores: 0,
            threads: 4,
            isa: vec![Isa::Avx, Isa::Avx2],
            max_clock_mhz: None,
            l3_bytes: Some(8 << 20),
        },
        limits: Limits { cpus: 4.0, ..Limits::default() },
        processors: vec![Processor {
            id: "cpu".into(),
            kind: ProcessorKind::Cpu,
            vendor: String::new(),
            name: String::new(),
            architecture: String::new(),
            apis: Vec::new(),
            memory_bytes: None,
            memory_free_bytes: None,
            unified: false,
            bandwidth_gbs: Some(Fact::measured(20.0)),
            fp32_tflops: None,
            fp16_tflops: None,
            int8_tops: None,
            profile: String::new(),
            power_w: None,
        }],
        problems: Vec::new(),
    }
}

/// A sound case on all four CPUs.
fn case() -> CaseRecord {
    let case = Case {
        model: "m".into(),
        precision: Precision::Q8_0,
        backend: "b".into(),
        device: "cpu".into(),
        workload: Workload::Generate { prompt: 8, decode: 8, depth: 0 },
        threads: 4,
        options: BTreeMap::new(),
    };
    CaseRecord {
        variant: Some(Variant {
            model: "m".into(),
            precision: Precision::Q8_0,
            path: PathBuf::from("m.gguf"),
            size_bytes: 100_000_000,
            bits_per_weight: 8.5,
            types: Vec::new(),
            made_by: String::new(),
            source_sha256: String::new(),
            source_type: "F16".into(),
            fallbacks: Vec::new(),
        }),
        series: vec![
            series(Metric::DecodeTokS, &[100.0, 101.0, 99.0]),
            series(Metric::Top1Agreement, &[0.94, 0.93]),
            series(Metric::KlDivergence, &[0.01, 0.02]),
            series(Metric::LatencyNs, &[1e7; P90_SAMPLES]),
        ],
        session: SessionFacts {
            kernel: "SSE3 AVX AVX2 FMA".into(),
            placement: BTreeMap::from([("cpu".to_owned(), 30)]),
            weight_bytes: Some(100_000_000),
            ..SessionFacts::default()
        },
        wall_s: 1.0,
        ..CaseRecord::new(case, String::new())
    }
}

fn series(metric: Metric, samples: &[f64]) -> Series {
    Series { metric, warmup: Vec::new(), samples: samples.to_vec() }
}

fn set(c: &mut CaseRecord, metric: Metric, samples: &[f64]) {
    c.series.retain(|s| s.metric != metric);
    c.series.push(series(metric, samples));
}

fn on(c: &mut CaseRecord, device: &str, placed: &[(&str, u64)]) {
    c.case.device = device.into();
    c.session.placement = placed.iter().map(|(k, n)| ((*k).to_owned(), *n)).collect();
}

fn heat(mhz: f64, celsius: f64) -> HeatPoint {
    let (clock_mhz, temperature_c) = (Some(mhz), Some(celsius));
    HeatPoint { clock_mhz, temperature_c, ..HeatPoint::default() }
}

fn judged(change: impl FnOnce(&mut CaseRecord)) -> CaseRecord {
    judged_by("release", None, change)
}

fn judged_by(
    profile: &str,
    bandwidth: Option<f64>,
    change: impl FnOnce(&mut CaseRecord),
) -> CaseRecord {
    let mut record = case();
    change(&mut record);
    let build = &BuildInfo { profile: profile.into(), ..BuildInfo::current() };
    let (device, protocol) = (&device(), &Protocol::default());
    let bandwidth_now = &|| bandwidth;
    judge_as(&mut record, &Context { device, protocol, build, bandwidth_now });
    record
}

/// What one change makes of a sound case: the one finding, whether it invalidates, and a hint where it does.
fn provoke(kind: FindingKind, invalidates: bool, change: impl FnOnce(&mut CaseRecord)) {
    let record = judged(change);
    let found: Vec<_> = record.findings.iter().map(|f| (f.kind, f.invalidates)).collect();
    assert_eq!(found, [(kind, invalidates)], "{:?}", record.findings);
    assert_eq!(matches!(record.outcome, CaseOutcome::Invalid { .. }), invalidates);
}

#[test]
fn a_sound_case_has_no_finding_and_a_failed_one_is_not_judged() {
    assert_eq!(judged(|_| ()).findings, []);
    let failed = judged(|c| {
        c.outcome = CaseOutcome::Failed { error: "x".into() };
        c.host_after.on_battery = Some(true);
    });
    assert_eq!(failed.findings, []);
}

#[test]
fn wrong_answers_are_found() {
    use FindingKind as K;
    provoke(K::NonFiniteOutput, true, |c| set(c, Metric::KlDivergence, &[0.1, f64::NAN]));
    provoke(K::GarbageOutput, true, |c| set(c, Metric::Top1Agreement, &[0.03, 0.01]));
    provoke(K::GarbageOutput, true, |c| set(c, Metric::CosineToReference, &[0.1, -0.1]));
    provoke(K::GarbageOutput, true, |c| set(c, Metric::OutputSnrDb, &[-3.0]));
    // What 2 bits a weight do to a small model, and a converted graph to its map, is poor and no garbage.
    assert_eq!(judged(|c| set(c, Metric::Top1Agreement, &[0.6, 0.2])).findings, []);
    assert_eq!(judged(|c| set(c, Metric::OutputSnrDb, &[1.0])).findings, []);
}

#[test]
fn a_busy_hot_or_starved_host_is_found() {
    use FindingKind as K;
    provoke(K::ForeignLoad, true, |c| c.host_after.foreign_cpus = Some(0.3));
    // One of four CPUs is free: what runs there takes nothing away.
    let beside = judged(|c| {
        c.case.threads = 3;
        c.host_after.foreign_cpus = Some(1.2);
    });
    assert_eq!(beside.findings, []);
    provoke(K::ForeignLoad, true, |c| {
        on(c, "cuda:0", &[("cuda:0", 30)]);
        c.host_before.gpu_foreign_percent = Some(40.0);
    });
    provoke(K::Throttled, true, |c| {
        c.host_before.throttle_events = Some(7);
        c.host_after.throttle_events = Some(9);
    });
    provoke(K::Throttled, false, |c| c.heat = vec![heat(3000.0, 60.0), heat(2400.0, 95.0)]);
    provoke(K::Throttled, true, |c| {
        let throttle = vec!["sw_thermal_slowdown".to_owned()];
        c.heat = vec![HeatPoint { throttle, ..heat(1500.0, 90.0) }];
    });
    // A power limit is how a GPU runs; a clock that fell while it cooled was not under load.
    let limited = judged(|c| {
        let throttle = vec!["sw_power_cap".to_owned()];
        c.heat = vec![heat(1900.0, 60.0), HeatPoint { throttle, ..heat(1850.0, 70.0) }];
    });
    assert_eq!(limited.findings, []);
    assert_eq!(judged(|c| c.heat = vec![heat(3000.0, 60.0), heat(800.0, 50.0)]).findings, []);
    provoke(K::StartedHot, false, |c| {
        c.cooldown =
            Some(Cooldown { waited_s: 30.0, temperature_c: 70.0, target_c: 45.0, still_hot: true });
    });
    provoke(K::OnBattery, true, |c| c.host_after.on_battery = Some(true));
    provoke(K::Swapping, true, |c| {
        c.host_before.swapped_in_pages = Some(1000);
        c.host_after.swapped_in_pages = Some(2000);
    });
}

#[test]
fn impossible_or_unsteady_numbers_are_found() {
    use FindingKind as K;
    // 100 MB a token at 20 GB/s is 200 tok/s.
    provoke(K::BeyondRoofline, false, |c| set(c, Metric::DecodeTokS, &[220.0; 3]));
    provoke(K::BeyondRoofline, true, |c| set(c, Metric::DecodeTokS, &[260.0; 3]));
    // The first measurement was too low: a second one, taken only then, acquits.
    let fast = |c: &mut CaseRecord| set(c, Metric::DecodeTokS, &[260.0; 3]);
    assert_eq!(judged_by("release", Some(30.0), fast).findings, []);
    assert!(!judged_by("release", Some(22.0), fast).findings[0].invalidates);
    // A mixture of experts reads a part.
    let sparse = |c: &mut CaseRecord| {
        set(c, Metric::DecodeTokS, &[700.0; 3]);
        c.session.read_share = Some(0.25);
    };
    assert_eq!(judged(sparse).findings, []);
    // Weights that were repacked are held twice and read once.
    let repacked = |c: &mut CaseRecord| {
        set(c, Metric::DecodeTokS, &[150.0; 3]);
        c.session.weight_bytes = Some(190_000_000);
    };
    assert_eq!(judged(repacked).findings, []);
    provoke(K::Unstable, false, |c| set(c, Metric::DecodeTokS, &[100.0, 60.0, 140.0]));
    provoke(K::TooFewSamples, false, |c| set(c, Metric::LatencyNs, &[1e6; P90_SAMPLES - 1]));
}

#[test]
fn what_did_not_run_where_or_as_asked_is_found() {
    use FindingKind as K;
    provoke(K::WrongDevice, true, |c| on(c, "CUDA0", &[("cpu", 31)]));
    provoke(K::WrongDevice, true, |c| on(c, "cpu", &[("GPU.0", 31)]));
    provoke(K::CpuFallback, false, |c| on(c, "CUDA0", &[("CUDA0", 20), ("cpu", 11)]));
    for (asked, placed) in [("cuda:0", "CUDA0"), ("gpu", "GPU.0"), ("AUTO", "cpu"), ("CPU", "cpu")]
    {
        assert_eq!(judged(|c| on(c, asked, &[(placed, 31), ("none", 0)])).findings, []);
    }
    provoke(K::MissingIsa, false, |c| c.session.kernel = "SSE3 SSSE3 AVX".into());
    provoke(K::MissingIsa, false, |c| c.session.kernel = "scalar".into());
    assert_eq!(judged(|c| c.session.kernel = "CPUExecutionProvider".into()).findings, []);
    let change = |c: &mut CaseRecord, f: fn(&mut Variant)| c.variant.iter_mut().for_each(f);
    provoke(K::TensorFallback, false, |c| {
        change(c, |v| v.fallbacks = vec!["Q4_K -> Q5_0: 180".into()]);
    });
    provoke(K::QualityReferenceBiased, false, |c| change(c, |v| v.source_type = "Q4_1".into()));
    assert_eq!(judged_by("debug", None, |_| ()).findings[0].kind, K::DebugBuild);
}

#[test]
fn what_invalidates_says_what_to_do() {
    let record = judged(|c| {
        c.host_after =
            HostState { on_battery: Some(true), foreign_cpus: Some(3.0), ..HostState::default() };
        set(c, Metric::Top1Agreement, &[0.0]);
    });
    assert_eq!(record.findings.len(), 3);
    assert!(record.findings.iter().all(|f| !f.hint.is_empty()), "{:?}", record.findings);
}
