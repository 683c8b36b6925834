//! Judges a measured case before it counts: each check is a function, each result a typed finding.

use crate::model::{CaseOutcome, Device, Finding, FindingKind, Isa, Metric, Protocol};
use crate::probe;
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
/// Working set when bandwidth is measured again: beyond any cache.
const ROOFLINE_BYTES: u64 = 1 << 30;
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
    /// Memory bandwidth measured anew, in GB/s: the machine may have been busy, or its memory shared, the first time.
    bandwidth_now: &'a dyn Fn() -> Option<f64>,
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
    let threads = record.case.threads;
    let bandwidth_now = || {
        let bytes = ROOFLINE_BYTES.min(device.limits.memory_available_bytes / 5);
        let best = |kernel| Some(probe::ram_bandwidth(kernel, threads, bytes)?.gbs.best);
        ["read", "triad"].into_iter().filter_map(best).max_by(f64::total_cmp)
    };
    let build = &BuildInfo::current();
    judge_as(record, &Context { device, protocol, build, bandwidth_now: &bandwidth_now });
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
    // What an engine holds may be more than what it reads: repacked weights are there twice.
    let file = record.variant.as_ref().map(|v| v.size_bytes).filter(|n| *n > 0);
    let held = record.session.weight_bytes?;
    let bytes = file.unwrap_or(held).min(held) as f64 * record.session.read_share.unwrap_or(1.0);
    // A model that fits the last-level cache is not bound by memory.
    if bytes < device.cpu.l3_bytes.unwrap_or(0) as f64 * 2.0 {
        return None;
    }
    let rate = stats::median(record.samples(Metric::DecodeTokS))?;
    let needed = bytes * rate / 1e9;
    if needed <= bandwidth.value * ROOFLINE_SLACK {
        return None;
    }
    let reached = bandwidth.value.max((context.bandwidth_now)().unwrap_or(0.0));
    (needed > reached * ROOFLINE_SLACK).then(|| {
        let detail = format!(
            "decode would need {needed:.1} GB/s of weights, measured bandwidth is {reached:.1} GB/s",
        );
        let finding = match needed > reached * ROOFLINE_BROKEN {
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
mod tests;
