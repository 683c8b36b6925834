//! A suite multiplied out into cases. A cell that cannot run stays in the plan with its reason.

use std::collections::BTreeMap;
use std::path::PathBuf;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_pcg::Pcg64;

use crate::backend::{self, Availability, Backend, BackendDevice};
use crate::model::{Case, CaseOutcome, ModelKind, Precision, ProcessorKind, Protocol, Workload};
use crate::suite::{Group, Suite};

#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    #[error("unknown backend `{name}`")]
    UnknownBackend { name: String, known: Vec<String> },
    #[error("unknown precision `{name}`")]
    UnknownPrecision { name: String },
    #[error("backend `{backend}` has no precision {precision}")]
    NotOffered { backend: String, precision: Precision, offered: Vec<String> },
    #[error("{why}")]
    Model { why: String, hint: String },
    #[error("the suite asks for no case")]
    Empty,
}

/// Finds a model by catalogue name or path: its name and its source file.
pub type Resolve<'a> = &'a dyn Fn(&str) -> Result<(String, PathBuf), PlanError>;

/// The devices that a backend's framework lists, or why it cannot.
pub type Listed<'a> = &'a dyn Fn(&str) -> Result<Vec<BackendDevice>, String>;

/// One case with what is needed to run it.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedCase {
    pub case: Case,
    pub source: PathBuf,
    /// Set where it is known beforehand that the case cannot run.
    pub skip: Option<CaseOutcome>,
}

/// What a run will do.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    pub cases: Vec<PlannedCase>,
    pub runs: u32,
    pub protocol: Protocol,
    pub seed: u64,
}

impl Plan {
    /// Multiplies a suite out. `threads` is what 0 stands for.
    pub fn expand(
        suite: &Suite,
        resolve: Resolve<'_>,
        listed: Listed<'_>,
        threads: u32,
        seed: u64,
    ) -> Result<Self, PlanError> {
        let mut cases = Vec::new();
        for group in &suite.group {
            expand_group(group, resolve, listed, threads, &mut cases)?;
        }
        if cases.is_empty() {
            return Err(PlanError::Empty);
        }
        let mut seen = std::collections::BTreeSet::new();
        cases.retain(|c| seen.insert(c.case.id()));
        Ok(Self { cases, runs: suite.runs, protocol: suite.protocol.protocol(), seed })
    }

    /// Indices into `cases` in executed order, with the run each belongs to.
    ///
    /// Every round holds each case once, shuffled anew, so that slow drift of the host hits all cases alike.
    pub fn order(&self) -> Vec<(u32, usize)> {
        let mut rng = Pcg64::seed_from_u64(self.seed);
        let mut order = Vec::with_capacity(self.cases.len() * self.runs as usize);
        for run in 0..self.runs {
            let mut round: Vec<usize> = (0..self.cases.len()).collect();
            round.shuffle(&mut rng);
            order.extend(round.into_iter().map(|i| (run, i)));
        }
        order
    }
}

fn expand_group(
    group: &Group,
    resolve: Resolve<'_>,
    listed: Listed<'_>,
    threads: u32,
    cases: &mut Vec<PlannedCase>,
) -> Result<(), PlanError> {
    let option_sets = product(&group.options);
    for model in &group.models {
        let (name, source) = resolve(model)?;
        for backend in backends(&group.backends, &group.workloads)? {
            let devices = match unavailable(backend) {
                Some(why) => group.devices.iter().map(|d| (d.clone(), Some(why.clone()))).collect(),
                None => devices(backend.info().id, &group.devices, listed),
            };
            for workload in &group.workloads {
                for precision in precisions(backend, &group.precisions, workload)? {
                    for (device, skip) in &devices {
                        for &t in &group.threads {
                            for options in &option_sets {
                                let case = Case {
                                    model: name.clone(),
                                    precision,
                                    backend: backend.info().id.to_owned(),
                                    device: device.clone(),
                                    workload: workload.clone(),
                                    threads: if t == 0 { threads } else { t },
                                    options: options.clone(),
                                };
                                let (source, skip) = (source.clone(), skip.clone());
                                cases.push(PlannedCase { case, source, skip });
                            }
                        }
                    }
                }
            }
        }
    }
    Ok(())
}

fn backends(
    names: &[String],
    workloads: &[Workload],
) -> Result<Vec<&'static dyn Backend>, PlanError> {
    // Text engines know nothing of graphs: `all` means those of the trade.
    let fits = |b: &&dyn Backend| {
        let kinds = b.info().kinds;
        workloads.iter().any(|w| match w {
            Workload::Generate { .. } => kinds.contains(&ModelKind::Llm),
            Workload::Infer { .. } => kinds.iter().any(|k| *k != ModelKind::Llm),
        })
    };
    let mut found = Vec::new();
    for name in names {
        if name == "all" {
            found.extend(backend::all().iter().copied().filter(|b| b.info().listed).filter(fits));
        } else {
            let backend = backend::find(name).ok_or_else(|| PlanError::UnknownBackend {
                name: name.clone(),
                known: backend::all().iter().map(|b| b.info().id.to_owned()).collect(),
            })?;
            found.push(backend);
        }
    }
    Ok(found)
}

fn precisions(
    backend: &dyn Backend,
    names: &[String],
    workload: &Workload,
) -> Result<Vec<Precision>, PlanError> {
    let offered = backend.precisions(workload);
    if names.iter().any(|n| n == "all") {
        return Ok(backend.usual_precisions(workload).to_vec());
    }
    let several_backends_share_the_list = names.len() > 1;
    let mut found = Vec::new();
    for name in names {
        let precision: Precision =
            name.parse().map_err(|_| PlanError::UnknownPrecision { name: name.clone() })?;
        if offered.contains(&precision) {
            found.push(precision);
        } else if !several_backends_share_the_list {
            return Err(PlanError::NotOffered {
                backend: backend.info().id.to_owned(),
                precision,
                offered: offered.iter().map(ToString::to_string).collect(),
            });
        }
    }
    Ok(found)
}

/// The ids that `names` stand for; a word that stands for none here stays, with the reason.
fn devices(
    backend: &str,
    names: &[String],
    listed: Listed<'_>,
) -> Vec<(String, Option<CaseOutcome>)> {
    let ids = |name: &String| {
        let Some(fits) = kinds(name) else { return vec![(name.clone(), None)] };
        let skip = |reason| vec![(name.clone(), Some(CaseOutcome::Skipped { reason }))];
        let all = match listed(backend) {
            Ok(all) => all,
            Err(why) => {
                let error = format!("its devices cannot be listed: {why}");
                return vec![(name.clone(), Some(CaseOutcome::Failed { error }))];
            }
        };
        let (usable, others): (Vec<_>, Vec<_>) =
            all.iter().filter(|d| fits(d.kind)).partition(|d| d.problem.is_empty());
        let found: Vec<_> =
            usable.iter().filter(|d| !d.alias).map(|d| (d.id.clone(), None)).collect();
        match (found.is_empty(), others.first()) {
            (false, _) => found,
            (true, Some(d)) => skip(format!("{} is not usable: {}", d.id, d.problem)),
            (true, None) => skip(format!("it lists no such device here: {name}")),
        }
    };
    names.iter().flat_map(ids).collect()
}

/// The kinds of device that a word stands for; `None` for an id.
fn kinds(word: &str) -> Option<fn(ProcessorKind) -> bool> {
    match word {
        "all" => Some(|_| true),
        "gpu" => Some(|k| matches!(k, ProcessorKind::IntegratedGpu | ProcessorKind::DiscreteGpu)),
        "npu" => Some(|k| k == ProcessorKind::Npu),
        _ => None,
    }
}

fn unavailable(backend: &dyn Backend) -> Option<CaseOutcome> {
    match backend.availability() {
        Availability::Ready { .. } => None,
        Availability::NotInstalled { hint } => {
            Some(CaseOutcome::Skipped { reason: format!("not installed: {hint}") })
        }
        Availability::NotCompiled { feature } => Some(CaseOutcome::Skipped {
            reason: format!("not compiled in: build with `--features {feature}`"),
        }),
        Availability::Unsupported { reason } => Some(CaseOutcome::Unsupported { reason }),
    }
}

fn product(options: &BTreeMap<String, Vec<String>>) -> Vec<BTreeMap<String, String>> {
    let mut sets = vec![BTreeMap::new()];
    for (key, values) in options {
        sets = sets
            .into_iter()
            .flat_map(|set| {
                values.iter().map(move |v| {
                    let mut set = set.clone();
                    set.insert(key.clone(), v.clone());
                    set
                })
            })
            .collect();
    }
    sets
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(text: &str, seed: u64) -> Result<Plan, PlanError> {
        let suite = Suite::parse("test", text).unwrap();
        let resolve = |m: &str| Ok((m.to_owned(), PathBuf::from("m.gguf")));
        let device = |id: &str, kind, problem: &str| BackendDevice {
            id: id.into(),
            kind,
            problem: problem.into(),
            name: String::new(),
            memory_total_bytes: None,
            memory_free_bytes: None,
            alias: false,
        };
        let listed = |_: &str| {
            Ok(vec![
                device("cpu", ProcessorKind::Cpu, ""),
                device("Vulkan0", ProcessorKind::IntegratedGpu, ""),
                device("CUDA0", ProcessorKind::DiscreteGpu, ""),
                device("NPU", ProcessorKind::Npu, "no driver"),
                BackendDevice { alias: true, ..device("AUTO", ProcessorKind::Cpu, "") },
            ])
        };
        Plan::expand(&suite, &resolve, &listed, 2, seed)
    }

    #[test]
    fn a_kind_of_device_stands_for_those_that_the_framework_can_use() {
        let devices = |word: &str| {
            let text = SUITE.replace("'cpu'", &format!("'{word}'"));
            let cases = plan(&text, 1).unwrap().cases;
            let of = |c: &PlannedCase| {
                (c.case.device.clone(), c.skip.as_ref().map(|s| s.reason().to_string()))
            };
            let mut found: Vec<_> = cases.iter().map(of).collect();
            found.sort();
            found.dedup();
            found
        };
        let ready = |id: &str| (id.to_owned(), None);
        assert_eq!(devices("all"), [ready("CUDA0"), ready("Vulkan0"), ready("cpu")]);
        assert_eq!(devices("gpu"), [ready("CUDA0"), ready("Vulkan0")]);
        assert_eq!(devices("Vulkan0"), [ready("Vulkan0")]);
        let why = "NPU is not usable: no driver".to_owned();
        assert_eq!(devices("npu"), [("npu".to_owned(), Some(why))]);
    }

    const SUITE: &str = "name='t'\nruns=3\n[[group]]\nmodels=['m']\nbackends=['fault']\n\
        devices=['cpu']\nthreads=[0,1]\noptions={fault=['ok','slow']}\n\
        workloads=[{kind='generate',prompt=8,decode=4}]\n";

    #[test]
    fn a_suite_is_the_product_of_its_lists() {
        let plan = plan(SUITE, 1).unwrap();
        // 3 precisions x 2 thread counts x 2 option values.
        assert_eq!(plan.cases.len(), 12);
        assert_eq!(plan.order().len(), 36);
        assert!(plan.cases.iter().any(|c| c.case.id() == "m/F16/fault/cpu/pp8+tg4/t2/fault=slow"));
    }

    #[test]
    fn the_order_depends_on_the_seed_alone_and_each_round_holds_every_case() {
        let (a, b) = (plan(SUITE, 7).unwrap().order(), plan(SUITE, 7).unwrap().order());
        assert_eq!(a, b);
        assert_ne!(a, plan(SUITE, 8).unwrap().order());
        for round in a.chunks(12) {
            let mut cases: Vec<usize> = round.iter().map(|(_, i)| *i).collect();
            cases.sort_unstable();
            assert_eq!(cases, (0..12).collect::<Vec<_>>());
        }
    }

    #[test]
    fn an_unknown_backend_or_precision_is_named() {
        let text = SUITE.replace("'fault'", "'falt'");
        assert!(matches!(plan(&text, 1), Err(PlanError::UnknownBackend { .. })));
        let text = SUITE.replace("threads=", "precisions=['Q9']\nthreads=");
        assert!(matches!(plan(&text, 1), Err(PlanError::UnknownPrecision { .. })));
        let text = SUITE.replace("threads=", "precisions=['Q2_K']\nthreads=");
        assert!(matches!(plan(&text, 1), Err(PlanError::NotOffered { .. })));
    }
}
