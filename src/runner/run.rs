//! The run itself: prepare, measure in order, judge, append.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::cooldown::Cooling;
use super::graph::{self, GraphInputs, Graphs};
use super::plan::{Plan, PlannedCase};
use super::prepare::{self, Key, Prepared};
use super::quality::{self, QualityPlan, Tasks};
use super::validity;
use crate::backend::OpenRequest;
use crate::dirs;
use crate::formats::gguf::{self, Gguf};
use crate::model::{
    CaseOutcome, Cooldown, Device, Finding, FindingKind, HeatPoint, Metric, Phase, Variant,
    Workload,
};
use crate::predict::{KvPrecision, PlanFor, memory_plan};
use crate::probe::{self, LiveHost, LoadMonitor};
use crate::record::{
    CaseRecord, RecordError, RecordWriter, RunEnd, RunRecord, Series, SessionFacts,
};
use crate::stats;
use crate::worker::{Ended, Event, GraphTask, MeasureRequest, QualityTask, Request, Supervisor};

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// What a listener is told.
#[derive(Debug)]
pub enum RunEvent<'a> {
    Preparing {
        key: String,
        fraction: f64,
        step: &'a str,
    },
    CaseStarted {
        index: usize,
        total: usize,
        id: String,
    },
    /// Waiting for the device to be as cool as at the start of the run.
    Cooling {
        celsius: f64,
        target: f64,
    },
    Phase(Phase),
    Sample {
        metric: Metric,
        value: f64,
        warmup: bool,
    },
    CaseFinished(&'a CaseRecord),
}

/// How a run went.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct RunSummary {
    pub completed: usize,
    pub failed: usize,
    pub invalid: usize,
    pub not_run: usize,
    pub interrupted: bool,
    /// Host noise before and after the cases, as fractions (see [`probe::host_noise`]).
    pub noise: [Option<f64>; 2],
}

impl RunSummary {
    fn count(&mut self, outcome: &CaseOutcome) {
        match outcome {
            CaseOutcome::Completed => self.completed += 1,
            CaseOutcome::Invalid { .. } => self.invalid += 1,
            o if o.is_failure() => self.failed += 1,
            _ => self.not_run += 1,
        }
    }
}

/// Drives one plan into one record.
pub struct Runner<'a> {
    pub plan: &'a Plan,
    pub device: &'a Device,
    pub supervisor: Supervisor,
    /// Root of the variant cache.
    pub cache: PathBuf,
    /// Text that importance matrices are computed from.
    pub corpus: PathBuf,
    /// `None` where quality is not asked for.
    pub quality: Option<QualityPlan>,
    pub now: fn() -> String,
}

impl Runner<'_> {
    /// Runs what `done` does not hold yet and appends to `writer`.
    pub fn run(
        &self,
        writer: &mut RecordWriter,
        done: Option<&RunRecord>,
        on_event: &mut dyn FnMut(RunEvent<'_>),
    ) -> Result<RunSummary, RunError> {
        let mut summary = RunSummary::default();
        let finished: BTreeSet<(String, u32)> = done
            .into_iter()
            .flat_map(|r| &r.cases)
            .inspect(|c| summary.count(&c.outcome))
            .map(|c| (c.case.id(), c.run))
            .collect();
        let order = self.plan.order();
        let open: Vec<(usize, u32, &PlannedCase)> = order
            .iter()
            .enumerate()
            .map(|(position, (run, i))| (position, *run, &self.plan.cases[*i]))
            .filter(|(_, run, planned)| !finished.contains(&(planned.case.id(), *run)))
            .collect();
        let wanted: Vec<PlannedCase> = open.iter().map(|(_, _, p)| (*p).clone()).collect();
        let mut graphs = graph::make_all(&wanted, &self.cache, &mut |model| {
            let key = format!("inputs of {model}");
            on_event(RunEvent::Preparing { key, fraction: 0.0, step: "making" });
        });
        let prepared = prepare::prepare_all(
            &wanted,
            &self.cache,
            Some(&self.corpus),
            &graphs,
            &self.supervisor,
            &mut |key, fraction, step| {
                let key = format!("{} {} {}", key.backend, key.model, key.precision);
                on_event(RunEvent::Preparing { key, fraction, step });
            },
        );
        let Some(prepared) = prepared else {
            return self.end(writer, summary, true);
        };
        let tasks = match &self.quality {
            Some(plan) => {
                let step = &mut |model: &str| {
                    let key = format!("quality reference of {model}");
                    on_event(RunEvent::Preparing { key, fraction: 0.0, step: "running" });
                };
                let (cache, supervisor) = (&self.cache, &self.supervisor);
                graph::references(&wanted, &mut graphs, cache, supervisor, step)
                    .and_then(|()| quality::prepare_all(plan, &wanted, cache, supervisor, step))
            }
            None => Some(Tasks::new()),
        };
        let Some(tasks) = tasks else {
            return self.end(writer, summary, true);
        };
        let host = LiveHost::new();
        if !open.is_empty() {
            summary.noise[0] = probe::host_noise(&host);
        }
        let devices = open.iter().map(|(_, _, planned)| planned.case.device.as_str());
        let cooling = Cooling::start(&host, devices);
        for (position, run, planned) in open {
            on_event(RunEvent::CaseStarted {
                index: position,
                total: order.len(),
                id: planned.case.id(),
            });
            let before = Instant::now();
            let record = CaseRecord::new(planned.case.clone(), (self.now)());
            let mut record = CaseRecord { run, order: position as u32, ..record };
            if planned.skip.is_none() {
                record.cooldown = self.cool_down(&cooling, &host, planned, on_event);
            }
            let stopped =
                self.case(planned, &prepared, (&tasks, &graphs), &host, &mut record, on_event);
            if stopped {
                return self.end(writer, summary, true);
            }
            record.wall_s = before.elapsed().as_secs_f64();
            summary.count(&record.outcome);
            writer.case(&without_places(record.clone()))?;
            on_event(RunEvent::CaseFinished(&record));
        }
        if summary.noise[0].is_some() {
            summary.noise[1] = probe::host_noise(&host);
        }
        self.end(writer, summary, false)
    }

    fn cool_down(
        &self,
        cooling: &Cooling,
        host: &LiveHost,
        planned: &PlannedCase,
        on_event: &mut dyn FnMut(RunEvent<'_>),
    ) -> Option<Cooldown> {
        let longest = self.plan.protocol.cooldown_s;
        cooling.wait(host, &planned.case.device, longest, &mut |time, celsius, target| {
            on_event(RunEvent::Cooling { celsius, target });
            std::thread::sleep(time);
            !self.supervisor.stop.load(Ordering::Relaxed)
        })
    }

    fn end(
        &self,
        writer: &mut RecordWriter,
        mut summary: RunSummary,
        interrupted: bool,
    ) -> Result<RunSummary, RunError> {
        summary.interrupted = interrupted || self.supervisor.stop.load(Ordering::Relaxed);
        writer.end(&RunEnd {
            finished: (self.now)(),
            interrupted: summary.interrupted,
            noise_before: summary.noise[0],
            noise_after: summary.noise[1],
        })?;
        Ok(summary)
    }

    /// Fills `record`; true where the user stopped the run.
    fn case(
        &self,
        planned: &PlannedCase,
        prepared: &BTreeMap<Key, Prepared>,
        (tasks, graphs): (&Tasks, &Graphs),
        host: &LiveHost,
        record: &mut CaseRecord,
        on_event: &mut dyn FnMut(RunEvent<'_>),
    ) -> bool {
        if let Some(outcome) = &planned.skip {
            record.outcome = outcome.clone();
            return false;
        }
        let graph = match graphs.get(&graph::key(planned)) {
            Some(Err(why)) => {
                record.outcome = graph::outcome(why);
                return false;
            }
            other => other.and_then(|g| g.as_ref().ok()),
        };
        let variant = match prepared.get(&Key::of(planned)) {
            Some(Ok(variant)) => variant.clone(),
            Some(Err((outcome, stderr))) => {
                record.outcome = outcome.clone();
                record.stderr_tail = stderr.clone();
                return false;
            }
            None => return true,
        };
        record.variant = Some(self.portable(&variant));
        if let Some(reason) = too_large(&variant, planned, self.device) {
            record.outcome = CaseOutcome::Skipped { reason };
            return false;
        }
        record.host_before = probe::host_state(host);
        let monitor = LoadMonitor::start(host, &[]);
        // Quality does not change from run to run.
        let quality = tasks.get(&planned.source).filter(|_| record.run == 0);
        let task = quality.and_then(|t| t.as_ref().ok().cloned());
        let why = graph.and_then(|_| graph::why(&variant, self.device));
        let stopped = self.measure(variant, planned, task, graph, record, on_event);
        record.findings.extend(why);
        for note in graph.into_iter().flat_map(|g| &g.notes) {
            record.findings.push(Finding::note(FindingKind::Note, note.clone()));
        }
        if let Some(Err(why)) = quality {
            let detail = format!("quality not measured: {why}");
            record.findings.push(Finding::note(FindingKind::Note, detail));
        }
        // The worker has ended, so its time counts as ours.
        record.host_after = probe::host_state(host);
        record.host_after.foreign_cpus = monitor.foreign_cpus(host, &[]);
        if !stopped {
            validity::judge(record, self.device, &self.plan.protocol);
            record.drop_simulated_speed();
        }
        stopped
    }

    /// The variant as a record keeps it: its place in the cache, not this machine's paths.
    fn portable(&self, variant: &Variant) -> Variant {
        let name = variant.path.file_name().map(PathBuf::from).unwrap_or_default();
        let path = variant.path.strip_prefix(&self.cache).map_or(name, PathBuf::from);
        Variant { path, ..variant.clone() }
    }

    fn measure(
        &self,
        variant: Variant,
        planned: &PlannedCase,
        quality: Option<QualityTask>,
        graph: Option<&GraphInputs>,
        record: &mut CaseRecord,
        on_event: &mut dyn FnMut(RunEvent<'_>),
    ) -> bool {
        let case = &planned.case;
        let request = Request::Measure(Box::new(MeasureRequest {
            backend: case.backend.clone(),
            open: OpenRequest {
                variant,
                device: case.device.clone(),
                threads: case.threads,
                workload: case.workload.clone(),
                context: context_of(&case.workload).max(quality.as_ref().map_or(0, longest)),
                options: case.options.clone(),
            },
            protocol: self.plan.protocol.clone(),
            seed: self.plan.seed,
            quality,
            graph: graph.map(|g| GraphTask {
                // Quality does not change from run to run.
                reference: g.task.reference.clone().filter(|_| record.run == 0),
                ..g.task.clone()
            }),
        }));
        let mut series: BTreeMap<Metric, Series> = BTreeMap::new();
        let mut facts = SessionFacts::default();
        let mut findings: Vec<Finding> = Vec::new();
        let (mut heat, mut sustained, mut energy) = (Vec::new(), Vec::new(), None);
        let result = self.supervisor.run(&request, &mut |event| match event {
            Event::Phase { phase } => on_event(RunEvent::Phase(phase)),
            Event::Sample { metric, value, warmup } => {
                let value = value.unwrap_or(f64::NAN);
                let s = series.entry(metric).or_insert_with(|| Series {
                    metric,
                    warmup: Vec::new(),
                    samples: Vec::new(),
                });
                if warmup {
                    s.warmup.push(value)
                } else {
                    s.samples.push(value)
                }
                on_event(RunEvent::Sample { metric, value, warmup });
            }
            Event::Facts { facts: f } => facts = *f,
            Event::Heat { point } => match point.speed {
                Some(_) => sustained.push(point),
                None => heat.push(point),
            },
            Event::Energy { facts } => energy = Some(*facts),
            Event::Finding { finding } => findings.push(finding),
            _ => {}
        });
        findings.append(&mut facts.findings);
        record.series = series.into_values().collect();
        record.session = SessionFacts { read_share: read_share(&planned.source), ..facts };
        record.findings = findings;
        let speeds: Vec<f64> = sustained.iter().filter_map(|p: &HeatPoint| p.speed).collect();
        if let Some(plateau) = stats::plateau(&speeds).filter(|p| p.start > 0.0) {
            let samples = vec![plateau.level / plateau.start];
            let metric = Metric::SustainedRatio;
            record.series.push(Series { metric, warmup: Vec::new(), samples });
        }
        (record.heat, record.sustained, record.energy) = (heat, sustained, energy);
        match result.ended {
            Ended::Stopped => return true,
            Ended::Done => record.outcome = CaseOutcome::Completed,
            Ended::Outcome(outcome) => {
                record.outcome = outcome;
                record.stderr_tail = result.stderr_tail;
            }
        }
        false
    }
}

/// Positions that must fit at once: the prompt and one decode step, or the decode run, behind the depth.
fn context_of(workload: &Workload) -> u32 {
    match *workload {
        Workload::Generate { prompt, decode, depth } => {
            (prompt.max(decode) + depth).saturating_add(8)
        }
        Workload::Infer { .. } => 0,
    }
}

/// Tokens of the longest chunk.
fn longest(task: &QualityTask) -> u32 {
    task.chunks.iter().map(Vec::len).max().unwrap_or(0) as u32
}

/// A file larger than the memory the process may use cannot run from it.
fn too_large(variant: &Variant, planned: &PlannedCase, device: &Device) -> Option<String> {
    let limit = device.limits.memory_bytes;
    (planned.case.device == "cpu" && limit > 0 && variant.size_bytes > limit).then(|| {
        format!(
            "the model's {} MiB are more than the {} MiB of memory this process may use",
            variant.size_bytes >> 20,
            limit >> 20
        )
    })
}

/// See [`SessionFacts::read_share`]; `None` where the source has no header that tells.
fn read_share(source: &Path) -> Option<f64> {
    let spec = gguf::to_spec(&Gguf::open(source).ok()?).ok()?;
    let q =
        PlanFor { precision: None, context: 1, kv: KvPrecision::F16, backend: "", cpu_isa: &[] };
    let plan = memory_plan(&spec, &q);
    (plan.weights > 0).then(|| plan.weights_per_token as f64 / plan.weights as f64)
}

/// Leaves no place of this machine in what engines and converters said: records are shared.
fn without_places(mut record: CaseRecord) -> CaseRecord {
    let places = [(dirs::cache(), "<cache>"), (dirs::data(), "<data>")];
    let texts = (record.findings.iter_mut().map(|f| &mut f.detail))
        .chain(record.outcome.text_mut())
        .chain([&mut record.stderr_tail]);
    for text in texts {
        for (place, name) in places.iter().filter(|(p, _)| p.is_absolute()) {
            *text = text.replace(&*place.to_string_lossy(), name);
        }
    }
    record
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Case, Precision};

    #[test]
    fn what_is_written_names_no_directory_of_this_machine() {
        let case = Case {
            model: "m".into(),
            precision: Precision::F32,
            backend: "null".into(),
            device: "cpu".into(),
            threads: 1,
            workload: Workload::Generate { prompt: 1, decode: 1, depth: 0 },
            options: BTreeMap::new(),
        };
        let mut record = CaseRecord::new(case, String::new());
        let path = dirs::cache().join("variants/m/F32.onnx");
        let said = format!("cannot load `{}`", path.display());
        record.outcome = CaseOutcome::Failed { error: said.clone() };
        record.findings.push(Finding::note(FindingKind::Note, said.clone()));
        record.stderr_tail = said;
        let kept = without_places(record);
        let expected = "cannot load `<cache>/variants/m/F32.onnx`";
        assert_eq!(kept.outcome.reason(), expected);
        assert_eq!(
            (kept.findings[0].detail.as_str(), kept.stderr_tail.as_str()),
            (expected, expected)
        );
    }
}
