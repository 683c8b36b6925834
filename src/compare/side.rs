//! One side of a comparison: every process run of every case, from one or more records of one device.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::comparison::SideInfo;
use crate::model::{Case, Metric};
use crate::record::{CaseRecord, RunRecord};

#[derive(Debug, thiserror::Error)]
pub enum SideError {
    #[error("no record in `{0}`")]
    Empty(String),
    #[error("`{label}` holds run `{run_id}` twice: one run must not count as two")]
    SameRunTwice { label: String, run_id: String },
    #[error("record `{run_id}` holds run {run} of `{case}` twice: it was edited or merged by hand")]
    DuplicateCase { run_id: String, case: String, run: u32 },
    #[error("record `{run_id}` holds `{metric}` of `{case}` twice: it was edited by hand")]
    DuplicateMetric { run_id: String, case: String, metric: Metric },
    #[error("`{label}` mixes records of different devices: {devices}")]
    MixedDevices { label: String, devices: String },
}

/// One completed process run of a case.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    /// When it started, where the record tells a believable time.
    pub started: Option<Timestamp>,
    pub samples: BTreeMap<Metric, Vec<f64>>,
}

/// All that one side has of a case.
#[derive(Debug, Clone)]
pub(crate) struct SideCase {
    pub case: Case,
    /// Completed runs, in order of start (of record and run where times are unknown).
    pub runs: Vec<Run>,
    /// Why other runs have no valid numbers.
    pub failures: Vec<String>,
    /// Known limits: unsupported, skipped.
    pub limits: Vec<String>,
    /// What its energy counters cover (`CPU package`, `GPU board`).
    pub energy_scopes: BTreeSet<String>,
}

/// A side, checked for what would make its numbers count wrongly.
#[derive(Debug, Clone)]
pub struct Side {
    pub info: SideInfo,
    /// `release` or `debug` builds that made its records.
    pub(crate) profiles: BTreeSet<String>,
    pub(crate) cases: BTreeMap<String, SideCase>,
    pub(crate) notes: Vec<String>,
    pub(crate) seed: u64,
}

impl Side {
    /// Collects records; `label` is what the user called the side.
    pub fn new(label: &str, records: &[RunRecord]) -> Result<Self, SideError> {
        let first = records.first().ok_or_else(|| SideError::Empty(label.to_owned()))?;
        check_runs_once(label, records)?;
        check_one_device(label, records)?;
        let mut notes = Vec::new();
        let mut cases: BTreeMap<String, SideCase> = BTreeMap::new();
        for record in records {
            check_duplicates(record)?;
            let clock = clock(record, label, &mut notes);
            note_state(record, label, &mut notes);
            for case in &record.cases {
                add(&mut cases, case, clock);
            }
        }
        for case in cases.values_mut() {
            // A stable sort: unknown times keep the order of the records.
            case.runs.sort_by_key(|r| r.started);
        }
        let runs = cases.values().map(|c| c.runs.len()).max().unwrap_or(0);
        let info = SideInfo {
            label: label.to_owned(),
            run_ids: records.iter().map(|r| r.header.run_id.clone()).collect(),
            device: first.header.device.id.clone(),
            device_name: first.header.device.name.clone(),
            created: first.header.created.clone(),
            build: format!("{} ({})", first.header.build.version, first.header.build.profile),
            runs,
        };
        let profiles = records.iter().map(|r| r.header.build.profile.clone()).collect();
        Ok(Self { info, profiles, cases, notes, seed: first.header.seed })
    }

    /// Ids of its cases, in order.
    pub fn case_ids(&self) -> impl Iterator<Item = &str> {
        self.cases.keys().map(String::as_str)
    }
}

fn check_runs_once(label: &str, records: &[RunRecord]) -> Result<(), SideError> {
    let mut seen = BTreeSet::new();
    match records.iter().find(|r| !seen.insert(r.header.run_id.as_str())) {
        None => Ok(()),
        Some(r) => Err(SideError::SameRunTwice {
            label: label.to_owned(),
            run_id: r.header.run_id.clone(),
        }),
    }
}

fn check_one_device(label: &str, records: &[RunRecord]) -> Result<(), SideError> {
    let devices: BTreeSet<&str> = records.iter().map(|r| r.header.device.id.as_str()).collect();
    if devices.len() < 2 {
        return Ok(());
    }
    let devices = devices.into_iter().collect::<Vec<_>>().join(", ");
    Err(SideError::MixedDevices { label: label.to_owned(), devices })
}

/// A case may appear again after a failed try (a resumed run), but has one result a run.
fn check_duplicates(record: &RunRecord) -> Result<(), SideError> {
    let run_id = || record.header.run_id.clone();
    let mut done = BTreeSet::new();
    for case in &record.cases {
        let id = case.case.id();
        let mut metrics = BTreeSet::new();
        if let Some(series) = case.series.iter().find(|s| !metrics.insert(s.metric)) {
            let metric = series.metric;
            return Err(SideError::DuplicateMetric { run_id: run_id(), case: id, metric });
        }
        if case.outcome.is_completed() && !done.insert((id.clone(), case.run)) {
            return Err(SideError::DuplicateCase { run_id: run_id(), case: id, run: case.run });
        }
    }
    Ok(())
}

/// Whether the record's times can be believed: they parse and never run backwards past the start.
fn clock(record: &RunRecord, label: &str, notes: &mut Vec<String>) -> bool {
    let created = record.header.created.parse::<Timestamp>().ok();
    let finished = record.end.as_ref().and_then(|e| e.finished.parse::<Timestamp>().ok());
    let starts = record.cases.iter().map(|c| c.started.parse::<Timestamp>().ok());
    let before =
        |a: Option<Timestamp>, b: Option<Timestamp>| matches!((a, b), (Some(a), Some(b)) if a < b);
    let backwards = before(finished, created) || starts.clone().any(|s| before(s, created));
    if backwards {
        notes.push(format!(
            "{label}: the clock went backwards during run {}; its times are not used",
            record.header.run_id
        ));
    }
    !backwards
}

fn note_state(record: &RunRecord, label: &str, notes: &mut Vec<String>) {
    let run = &record.header.run_id;
    match &record.end {
        _ if record.truncated => {
            notes.push(format!("{label}: run {run} was cut off while writing a case"));
        }
        None => notes.push(format!("{label}: run {run} did not finish")),
        Some(end) if end.interrupted => {
            notes.push(format!("{label}: run {run} was stopped by the user"));
        }
        Some(_) => {}
    }
    if record.header.quick {
        notes.push(format!("{label}: run {run} is a --quick run with few samples"));
    }
}

fn add(cases: &mut BTreeMap<String, SideCase>, record: &CaseRecord, clock: bool) {
    let entry = cases.entry(record.case.id()).or_insert_with(|| SideCase {
        case: record.case.clone(),
        runs: Vec::new(),
        failures: Vec::new(),
        limits: Vec::new(),
        energy_scopes: BTreeSet::new(),
    });
    if record.outcome.is_completed() {
        let scope = record.energy.iter().map(|e| e.scope.clone()).filter(|s| !s.is_empty());
        entry.energy_scopes.extend(scope);
        let samples = record.series.iter().map(|s| (s.metric, s.samples.clone())).collect();
        let started = record.started.parse().ok().filter(|_| clock);
        entry.runs.push(Run { started, samples });
        return;
    }
    let why = format!("{}: {}", record.outcome.word(), record.outcome.reason());
    if record.outcome.is_failure() {
        entry.failures.push(why);
    } else {
        entry.limits.push(why);
    }
}
