//! Judges a measured case before it counts: each check is a function, each result a typed finding.

use crate::model::{CaseOutcome, Device, Finding, FindingKind, Metric, Protocol};
use crate::record::CaseRecord;
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

/// What a check may look at beside the case.
struct Context<'a> {
    device: &'a Device,
    protocol: &'a Protocol,
}

type Check = fn(&CaseRecord, &Context<'_>) -> Option<Finding>;

/// Every check, one line each.
const CHECKS: &[Check] = &[
    not_a_number,
    foreign_load,
    throttled,
    on_battery,
    swapping,
    beyond_roofline,
    unstable,
    debug_build,
];

/// Adds the findings, and turns a completed case invalid where one says so.
pub(crate) fn judge(record: &mut CaseRecord, device: &Device, protocol: &Protocol) {
    if record.outcome.is_completed() {
        let context = Context { device, protocol };
        let found: Vec<Finding> =
            CHECKS.iter().filter_map(|check| check(record, &context)).collect();
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
    let (a, b) = (before.clock_mhz?, after.clock_mhz?);
    // A clock that was idle-low before says nothing.
    (b < a * CLOCK_KEPT
        && before.temperature_c.zip(after.temperature_c).is_some_and(|(x, y)| y > x))
    .then(|| {
        let detail = format!("the clock fell from {a:.0} to {b:.0} MHz while it grew hotter");
        Finding::note(FindingKind::Throttled, detail)
    })
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
    (pages > 256).then(|| {
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

fn debug_build(_: &CaseRecord, _: &Context<'_>) -> Option<Finding> {
    cfg!(debug_assertions).then(|| {
        Finding::note(FindingKind::DebugBuild, "measured with a debug build of edge-advisor")
            .with_hint("use `cargo run --release`")
    })
}
