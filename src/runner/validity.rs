//! Judges a measured case before it counts: each check is a function, each result a typed finding.

use crate::model::{CaseOutcome, Device, Finding, FindingKind, Isa, Metric, Protocol};
use crate::record::{BuildInfo, CaseRecord};
use crate::stats;

/// Samples vary more than this: the field calls it unstable.
const MAX_CV: f64 = 0.20;
/// A clock that fell below this share of where it began was throttled.
const CLOCK_KEPT: f64 = 0.85;
/// Decode cannot read memory faster than the memory was measured to be, give or take this: worth a note.
const ROOFLINE_SLACK: f64 = 1.05;
/// Beyond this the case is invalid. Bandwidth measured minutes apart on a shared machine differed by 10 % while
/// nothing else ran (26.0 and 28.5 GB/s), so the narrow margin alone would condemn sound cases.
const ROOFLINE_BROKEN: f64 = 1.25;
/// Load of a GPU by others, percent, above which a case on it is invalid.
const GPU_FOREIGN_MAX: f64 = 10.0;
/// Answers further from the reference than these are garbage, whatever the precision. The worst variants that still
/// answer (2 bits a weight, 135M parameters) pick the reference's token in 3 of 5 positions; noise does so in none.
const GARBAGE_TOP1: f64 = 0.10;
const GARBAGE_COSINE: f64 = 0.30;
/// An error as large as the signal.
const GARBAGE_SNR_DB: f64 = 0.0;
/// Fewest samples for a 90th percentile with a 95 % interval inside the data, see `stats`.
const P90_SAMPLES: usize = 64;
/// Pages read back from swap that are no accident: 1 MiB of 4 KiB pages.
const SWAPPED_PAGES: u64 = 256;

/// What a check may look at beside the case.
struct Context<'a> {
    device: &'a Device,
    protocol: &'a Protocol,
    build: &'a BuildInfo,
}

type Check = fn(&CaseRecord, &Context<'_>) -> Option<Finding>;

/// Every check, one line each.
const CHECKS: &[Check] = &[
    not_a_number,
    garbage,
    wrong_device,
    foreign_load,
    gpu_foreign_load,
    throttled,
    started_hot,
    on_battery,
    swapping,
    beyond_roofline,
    unstable,
    too_few_samples,
    missing_isa,
    tensor_fallback,
    reference_biased,
    debug_build,
];

/// Adds the findings, and turns a completed case invalid where one says so.
pub(crate) fn judge(record: &mut CaseRecord, device: &Device, protocol: &Protocol) {
    judge_as(record, &Context { device, protocol, build: &BuildInfo::current() });
}

fn judge_as(record: &mut CaseRecord, context: &Context<'_>) {
    if record.outcome.is_completed() {
        let found: Vec<Finding> =
            CHECKS.iter().filter_map(|check| check(record, context)).collect();
        record.findings.extend(found);
        if let Some(f) = record.findings.iter().find(|f| f.invalidates) {
            record.outcome = CaseOutcome::Invalid { why: f.detail.clone() };
        }
    }
}

fn not_a_number(record: &CaseRecord, _: &Context<'_>) -> Option<Finding> {
    let series = record.series.iter().find(|s| s.samples.iter().any(|x| !x.is_finite()))?;
    let detail = format!("a sample of {} is not a number", series.metric);
    Some(Finding::invalid(FindingKind::NonFiniteOutput, detail))
}

fn garbage(record: &CaseRecord, _: &Context<'_>) -> Option<Finding> {
    let below = |metric, limit, say: fn(f64) -> String| {
        // Chunks and inferences average; where one is not a number, `not_a_number` says so.
        let value = stats::mean(record.samples(metric))?;
        (value < limit).then(|| say(value))
    };
    let detail = below(Metric::Top1Agreement, GARBAGE_TOP1, |v| {
        format!("its first choice is the reference's in {:.1} % of cases", v * 100.0)
    })
    .or_else(|| {
        below(Metric::CosineToReference, GARBAGE_COSINE, |v| {
            format!("its output has cosine {v:.2} to the reference's")
        })
    })
    .or_else(|| {
        below(Metric::OutputSnrDb, GARBAGE_SNR_DB, |v| {
            format!("its output is {v:.1} dB signal to error against the reference")
        })
    })?;
    Some(
        Finding::invalid(FindingKind::GarbageOutput, detail)
            .with_hint("try another precision or backend; the file may be damaged"),
    )
}

/// Letters and digits only, lower case: `cuda:0` and `CUDA0` are one device.
fn bare(device: &str) -> String {
    device.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_lowercase()
}

fn wrong_device(record: &CaseRecord, _: &Context<'_>) -> Option<Finding> {
    let asked = bare(&record.case.device);
    // Where the engine was left to choose, whatever it chose is right.
    let told = |f: &Finding| matches!(f.kind, FindingKind::CpuFallback | FindingKind::WrongDevice);
    if ["auto", "hetero", "multi"].iter().any(|free| asked.starts_with(free))
        || record.findings.iter().any(told)
    {
        return None;
    }
    let placed = record.session.placement.iter().filter(|(_, n)| **n > 0);
    let (right, wrong): (Vec<_>, Vec<_>) = placed.partition(|(name, _)| {
        let name = bare(name);
        name.starts_with(&asked) || asked.starts_with(&name)
    });
    let say = |list: &[(&String, &u64)]| {
        list.iter().map(|(name, n)| format!("{n} on {name}")).collect::<Vec<_>>().join(", ")
    };
    if wrong.is_empty() {
        return None;
    }
    let asked = &record.case.device;
    if right.is_empty() {
        let detail =
            format!("asked for {asked}, but layers or operators ran elsewhere: {}", say(&wrong));
        let hint = "`edge-advisor runtime doctor` lists the devices each backend can use";
        return Some(Finding::invalid(FindingKind::WrongDevice, detail).with_hint(hint));
    }
    let detail = format!("layers or operators: {}, but {}", say(&right), say(&wrong));
    let hint = "the slower part decides: free device memory, or choose a smaller variant";
    Some(Finding::note(FindingKind::CpuFallback, detail).with_hint(hint))
}

fn foreign_load(record: &CaseRecord, context: &Context<'_>) -> Option<Finding> {
    let free = (context.device.limits.cpus - f64::from(record.case.threads)).max(0.0);
    let allowed = free + context.protocol.foreign_cpus_max;
    let foreign = record.host_after.foreign_cpus.filter(|&f| f > allowed)?;
    let detail = format!("other processes used {foreign:.2} CPUs while it ran");
    Some(
        Finding::invalid(FindingKind::ForeignLoad, detail)
            .with_hint("stop other work on this machine, or leave a core free with --threads"),
    )
}

fn gpu_foreign_load(record: &CaseRecord, _: &Context<'_>) -> Option<Finding> {
    if record.case.device == "cpu" {
        return None;
    }
    let states = [&record.host_before, &record.host_after];
    let load = states.iter().filter_map(|s| s.gpu_foreign_percent).fold(0.0, f64::max);
    (load > GPU_FOREIGN_MAX).then(|| {
        let detail = format!("other processes kept the GPU {load:.0} % busy");
        Finding::invalid(FindingKind::ForeignLoad, detail).with_hint("stop other work on the GPU")
    })
}

fn throttled(record: &CaseRecord, _: &Context<'_>) -> Option<Finding> {
    let (before, after) = (&record.host_before, &record.host_after);
    if let (Some(a), Some(b)) = (before.throttle_events, after.throttle_events)
        && b > a
    {
        let detail = format!("the processor reported {} throttle events", b - a);
        return Some(
            Finding::invalid(FindingKind::Throttled, detail)
                .with_hint("let it cool down, or use --sustain"),
        );
    }
    // Power limits are how a GPU always runs; these are not.
    let bad = ["thermal", "slowdown", "under-voltage", "capped", "throttled", "soft temperature"];
    let reasons = record.heat.last().map_or(&[][..], |h| &h.throttle);
    if let Some(why) = reasons.iter().find(|r| bad.iter().any(|b| r.contains(b))) {
        let detail =
            format!("at the end of measuring it was slowed down: {}", why.replace('_', " "));
        return Some(
            Finding::invalid(FindingKind::Throttled, detail)
                .with_hint("let it cool down, check its power supply, or use --sustain"),
        );
    }
    // Both clocks are of a core under this load: snapshots of an idle core would say nothing.
    let (first, last) = (record.heat.first()?, record.heat.last()?);
    let (a, b) = (first.clock_mhz?, last.clock_mhz?);
    let cooler = first.temperature_c.zip(last.temperature_c).is_some_and(|(x, y)| y < x);
    (b < a * CLOCK_KEPT && !cooler).then(|| {
        let detail = format!("the clock fell from {a:.0} to {b:.0} MHz while it ran");
        Finding::note(FindingKind::Throttled, detail)
            .with_hint("let it cool down; `--sustain 10m` shows what speed lasts")
    })
}

fn started_hot(record: &CaseRecord, _: &Context<'_>) -> Option<Finding> {
    let cooldown = record.cooldown.as_ref().filter(|c| c.still_hot)?;
    let detail = format!(
        "after {:.0} s of cooling it was {:.0} °C, {:.0} °C at the start of the run",
        cooldown.waited_s, cooldown.temperature_c, cooldown.target_c
    );
    Some(
        Finding::note(FindingKind::StartedHot, detail)
            .with_hint("allow more time with --cooldown, or improve cooling"),
    )
}

fn on_battery(record: &CaseRecord, _: &Context<'_>) -> Option<Finding> {
    record.host_after.on_battery.filter(|&b| b)?;
    Some(
        Finding::invalid(FindingKind::OnBattery, "measured on battery power").with_hint(
            "plug the device in, or pass --allow-invalid if battery is what you measure",
        ),
    )
}

fn swapping(record: &CaseRecord, _: &Context<'_>) -> Option<Finding> {
    let pages =
        record.host_after.swapped_in_pages?.checked_sub(record.host_before.swapped_in_pages?)?;
    (pages > SWAPPED_PAGES).then(|| {
        Finding::invalid(
            FindingKind::Swapping,
            format!("{pages} pages were swapped in while it ran"),
        )
        .with_hint("free memory, or choose a smaller variant")
    })
}

/// Every decoded token reads all weights once, so weights x speed cannot exceed the read bandwidth.
fn beyond_roofline(record: &CaseRecord, context: &Context<'_>) -> Option<Finding> {
    let device = context.device;
    if record.case.device != "cpu" {
        return None;
    }
    let bandwidth = device.cpu_processor()?.bandwidth_gbs.as_ref()?;
    if bandwidth.source != crate::model::Source::Measured {
        return None;
    }
    let bytes = record.session.weight_bytes? as f64;
    // A model that fits the last-level cache is not bound by memory.
    if bytes < device.cpu.l3_bytes.unwrap_or(0) as f64 * 2.0 {
        return None;
    }
    let rate = stats::median(record.samples(Metric::DecodeTokS))?;
    let needed = bytes * rate / 1e9;
    (needed > bandwidth.value * ROOFLINE_SLACK).then(|| {
        let detail = format!(
            "decode would need {needed:.1} GB/s of weights, measured bandwidth is {:.1} GB/s",
            bandwidth.value
        );
        let finding = match needed > bandwidth.value * ROOFLINE_BROKEN {
            true => Finding::invalid(FindingKind::BeyondRoofline, detail),
            false => Finding::note(FindingKind::BeyondRoofline, detail),
        };
        finding.with_hint("the engine may skip work, or the bandwidth was measured under load: `edge-advisor probe --measure`")
    })
}

fn unstable(record: &CaseRecord, _: &Context<'_>) -> Option<Finding> {
    let watched = [Metric::DecodeTokS, Metric::PrefillTokS, Metric::ThroughputPerS];
    let (metric, cv) = watched
        .into_iter()
        .filter_map(|m| Some((m, stats::summarize(record.samples(m), 0)?)))
        .find(|(_, s)| s.n >= 3 && s.cv > MAX_CV)
        .map(|(m, s)| (m, s.cv))?;
    let detail = format!("{metric} varies by {:.0} % from sample to sample", cv * 100.0);
    Some(
        Finding::note(FindingKind::Unstable, detail)
            .with_hint("look for other load, heat or power limits"),
    )
}

fn too_few_samples(record: &CaseRecord, _: &Context<'_>) -> Option<Finding> {
    let n = record.samples(Metric::LatencyNs).len();
    (n > 0 && n < P90_SAMPLES).then(|| {
        let detail = format!("{n} latencies: a 90th percentile needs {P90_SAMPLES}");
        Finding::note(FindingKind::TooFewSamples, detail)
            .with_hint("measure longer: without --quick, or more --decode tokens")
    })
}

/// An engine built for less than the processor has: what it names against what the probe found.
fn missing_isa(record: &CaseRecord, context: &Context<'_>) -> Option<Finding> {
    let kernel = record.session.kernel.to_lowercase();
    let names = |list: &[&str]| list.iter().any(|name| kernel.contains(name));
    let has = |isa| context.device.cpu.isa.contains(&isa);
    let missing = match context.device.cpu.arch.as_str() {
        _ if record.case.device != "cpu" => None,
        "x86_64" if names(&["sse", "avx", "scalar"]) && !names(&["avx2", "avx512", "amx"]) => {
            has(Isa::Avx2).then_some("AVX2")
        }
        // ggml names dot products apart; other engines do not.
        "aarch64" if names(&["neon arm_fma"]) && !names(&["dotprod"]) => {
            has(Isa::DotProd).then_some("dot products")
        }
        _ => None,
    }?;
    let detail = format!("the engine runs `{}`; this CPU has {missing}", record.session.kernel);
    Some(
        Finding::note(FindingKind::MissingIsa, detail)
            .with_hint("use a build for this CPU: `edge-advisor runtime install`"),
    )
}

fn tensor_fallback(record: &CaseRecord, _: &Context<'_>) -> Option<Finding> {
    let fallbacks = &record.variant.as_ref().filter(|v| !v.fallbacks.is_empty())?.fallbacks;
    let detail = format!("tensors whose shape the type cannot hold: {}", fallbacks.join(", "));
    Some(Finding::note(FindingKind::TensorFallback, detail))
}

fn reference_biased(record: &CaseRecord, _: &Context<'_>) -> Option<Finding> {
    let variant = record.variant.as_ref().filter(|v| v.source_is_quantized())?;
    record.samples(Metric::KlDivergence).first()?;
    let detail = format!(
        "the source was itself {}: its 16-bit reference is that file dequantized",
        variant.source_type
    );
    Some(
        Finding::note(FindingKind::QualityReferenceBiased, detail).with_hint(
            "quality says how well the source is kept; types like its own look too good",
        ),
    )
}

fn debug_build(_: &CaseRecord, context: &Context<'_>) -> Option<Finding> {
    (context.build.profile == "debug").then(|| {
        Finding::note(FindingKind::DebugBuild, "measured with a debug build of edge-advisor")
            .with_hint("use `cargo run --release`")
    })
}

#[cfg(test)]
mod tests {
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
            }],
            problems: Vec::new(),
        }
    }

    /// A sound case on all four CPUs.
    fn case() -> CaseRecord {
        CaseRecord {
            case: Case {
                model: "m".into(),
                precision: Precision::Q8_0,
                backend: "b".into(),
                device: "cpu".into(),
                workload: Workload::Generate { prompt: 8, decode: 8, depth: 0 },
                threads: 4,
                options: BTreeMap::new(),
            },
            run: 0,
            order: 0,
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
            outcome: CaseOutcome::Completed,
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
            findings: Vec::new(),
            started: String::new(),
            wall_s: 1.0,
            host_before: HostState::default(),
            host_after: HostState::default(),
            cooldown: None,
            heat: Vec::new(),
            sustained: Vec::new(),
            energy: None,
            stderr_tail: String::new(),
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
        let mut record = case();
        change(&mut record);
        let build = BuildInfo { profile: "release".into(), ..BuildInfo::current() };
        let (device, protocol) = (device(), Protocol::default());
        judge_as(&mut record, &Context { device: &device, protocol: &protocol, build: &build });
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
            c.cooldown = Some(Cooldown {
                waited_s: 30.0,
                temperature_c: 70.0,
                target_c: 45.0,
                still_hot: true,
            });
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
        provoke(K::Unstable, false, |c| set(c, Metric::DecodeTokS, &[100.0, 60.0, 140.0]));
        provoke(K::TooFewSamples, false, |c| set(c, Metric::LatencyNs, &[1e6; P90_SAMPLES - 1]));
    }

    #[test]
    fn what_did_not_run_where_or_as_asked_is_found() {
        use FindingKind as K;
        provoke(K::WrongDevice, true, |c| on(c, "CUDA0", &[("cpu", 31)]));
        provoke(K::WrongDevice, true, |c| on(c, "cpu", &[("GPU.0", 31)]));
        provoke(K::CpuFallback, false, |c| on(c, "CUDA0", &[("CUDA0", 20), ("cpu", 11)]));
        for (asked, placed) in
            [("cuda:0", "CUDA0"), ("gpu", "GPU.0"), ("AUTO", "cpu"), ("CPU", "cpu")]
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
        let mut record = case();
        let build = BuildInfo { profile: "debug".into(), ..BuildInfo::current() };
        let (device, protocol) = (device(), Protocol::default());
        judge_as(&mut record, &Context { device: &device, protocol: &protocol, build: &build });
        assert_eq!(record.findings[0].kind, K::DebugBuild);
    }

    #[test]
    fn what_invalidates_says_what_to_do() {
        let record = judged(|c| {
            c.host_after = HostState {
                on_battery: Some(true),
                foreign_cpus: Some(3.0),
                ..HostState::default()
            };
            set(c, Metric::Top1Agreement, &[0.0]);
        });
        assert_eq!(record.findings.len(), 3);
        assert!(record.findings.iter().all(|f| !f.hint.is_empty()), "{:?}", record.findings);
    }
}
