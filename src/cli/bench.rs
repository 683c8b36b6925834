//! `bench`: a suite, or a few flags that make one, run and recorded.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Args as ClapArgs;

use super::progress::Progress;
use super::sides::record_error;
use super::{CliError, CliResult, Format, Output, devices, exit, synthetic};
use crate::catalog;
use crate::dirs;
use crate::formats;
use crate::model::{Device, Metric, ModelKind, Protocol, Workload};
use crate::probe;
use crate::quality::{self, Chunks};
use crate::record::{BuildInfo, RecordWriter, RunHeader, RunRecord, SCHEMA_VERSION};
use crate::runner::{Plan, PlanError, QualityPlan, RunSummary, Runner};
use crate::runtime;
use crate::stats;
use crate::suite::{self, Group, ProtocolChoice, Suite};
use crate::worker::{Supervisor, WorkerBuild};

const EXAMPLES: &str = "Examples:
  edge-advisor bench --model smollm2-135m --backend candle --quick
  edge-advisor bench --model model.gguf --backend candle,llama.cpp --precision Q8_0,Q4_0
  edge-advisor bench --synthetic llama-3.1-8b --backend llama.cpp --precision Q4_K_M --quick
  edge-advisor bench --suite llm --runs 5 --dry-run
  edge-advisor bench --model model.gguf --backend llama.cpp --precision Q4_0 --sustain 10m
  edge-advisor bench --resume reports/20261122-101500-llm-1a2b3c";

/// Measure variants of a model on the backends that are here.
#[derive(Debug, ClapArgs)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// A suite: a TOML file, or the name of a built-in one (`llm`, `embedding`, `vision`, `speech` and others).
    #[arg(long, conflicts_with_all = ["model", "resume"])]
    suite: Option<String>,
    /// Models: catalogue names or files.
    #[arg(long, short, value_delimiter = ',', required_unless_present_any = ["suite", "resume", "synthetic"])]
    model: Vec<String>,
    /// Catalogue models that are not here: their exact shapes with random weights, for speed and memory alone.
    #[arg(long, value_name = "NAME", value_delimiter = ',', conflicts_with_all = ["model", "suite", "resume", "corpus"])]
    synthetic: Vec<String>,
    /// Backends, or `all`.
    #[arg(long, short, value_delimiter = ',', default_value = "all")]
    backend: Vec<String>,
    /// Precisions, or `all` that the backend can make.
    #[arg(long, short, value_delimiter = ',', default_value = "all")]
    precision: Vec<String>,
    /// Devices as the backend names them (see `runtime doctor`), or `gpu`, `npu`, `all` that it can use.
    #[arg(long, value_delimiter = ',', default_value = "all")]
    device: Vec<String>,
    /// Thread counts; 0 for all this process may use.
    #[arg(long, short, value_delimiter = ',', default_value = "0")]
    threads: Vec<u32>,
    /// Measure with 1, 2, 4 ... and all threads, and say which is fastest: more can be slower.
    #[arg(long, conflicts_with_all = ["threads", "suite", "resume"])]
    sweep_threads: bool,
    /// Prompt length of the prefill measurement (pp).
    #[arg(long, default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..=1_048_576))]
    prompt: u32,
    /// Tokens of the decode measurement (tg).
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=1_048_576))]
    decode: u32,
    /// Context depths to measure at.
    #[arg(long, value_delimiter = ',', default_value = "0")]
    depth: Vec<u32>,
    /// Inputs of one inference, for models that are no LLM.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    batch: u32,
    /// Tokens, samples or picture side of one inference, where the model leaves it open; 0 for the usual.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=1_048_576))]
    length: u32,
    /// Backend options; repeat a key for one case a value (`--option kv=f16 --option kv=q8_0`).
    #[arg(long = "option", value_name = "KEY=VALUE", value_parser = key_value)]
    options: Vec<(String, String)>,
    /// Few samples: a look, not a verdict. Said so in the report.
    #[arg(long)]
    quick: bool,
    /// Process runs of each case, the unit that `compare` and `gate` count.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    runs: Option<u32>,
    /// Seed of the case order, the prompts and the resampling [default: from the clock].
    #[arg(long)]
    seed: Option<u64>,
    /// Longest time in seconds without a sign of life before a worker is killed.
    #[arg(long)]
    deadline: Option<f64>,
    /// Memory at which a worker is killed [default: what this process may use].
    #[arg(long, value_name = "SIZE", value_parser = super::size::parse)]
    max_worker_memory: Option<u64>,
    /// CPU time others may use while a case runs, in CPUs, before it is invalid [default: 0.25].
    #[arg(long, value_name = "CPUS")]
    max_foreign_cpus: Option<f64>,
    /// Longest wait in seconds before a case for the device to cool down [default: 30, with --quick 5].
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    cooldown: Option<f64>,
    /// Go on decoding (or inferring) for that long after each case's samples, and show how speed and heat develop.
    #[arg(long, value_name = "TIME", value_parser = super::size::duration)]
    sustain: Option<f64>,
    /// Load once more before, with the file out of the page cache, as after a boot (Linux).
    #[arg(long)]
    cold_load: bool,
    /// Do not measure quality.
    #[arg(long)]
    no_quality: bool,
    /// Text to measure quality on, UTF-8 [default: the corpus that ships].
    #[arg(long, value_name = "FILE", conflicts_with = "no_quality")]
    corpus: Option<PathBuf>,
    /// A llama.cpp build of your own: its llama-bench measures instead of the managed library.
    #[arg(long, value_name = "DIR")]
    llama_cpp_dir: Option<PathBuf>,
    /// Do not add the run to this machine's history.
    #[arg(long)]
    no_history: bool,
    /// Label kept in the record.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = key_value)]
    labels: Vec<(String, String)>,
    /// Directory to make the run's directory in.
    #[arg(long, short, default_value = "reports")]
    out: PathBuf,
    /// Continue the run in that directory.
    #[arg(long, value_name = "RUN")]
    resume: Option<PathBuf>,
    /// Print the plan and stop.
    #[arg(long)]
    dry_run: bool,
    /// Exit with 0 although cases are invalid.
    #[arg(long)]
    allow_invalid: bool,
}

/// What the user wants kept, and that weights are random where they are.
fn labels(args: &Args) -> BTreeMap<String, String> {
    let synthetic = ("weights".to_owned(), "synthetic".to_owned());
    let ours = (!args.synthetic.is_empty()).then_some(synthetic);
    args.labels.iter().cloned().chain(ours).collect()
}

/// Seconds up to a day.
fn seconds(text: &str) -> Result<f64, String> {
    let fits = |s: &f64| (0.0..=86_400.0).contains(s);
    text.parse().ok().filter(fits).ok_or_else(|| "expected seconds, 0 to 86400".to_owned())
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((k, v)) if !k.is_empty() => Ok((k.to_owned(), v.to_owned())),
        _ => Err("expected KEY=VALUE".to_owned()),
    }
}

/// Runs `bench` inside another command, exactly as the command line would, but without its data on stdout.
pub(super) fn run_inside(words: &[&str], output: &Output) -> CliResult {
    #[derive(clap::Parser)]
    #[command(name = "bench")]
    struct Line {
        #[command(flatten)]
        args: Args,
    }
    let line = <Line as clap::Parser>::try_parse_from(
        std::iter::once("bench").chain(words.iter().copied()),
    )
    .map_err(|e| CliError::usage(e.to_string()))?;
    run(&line.args, &Output { nested: true, ..output.clone() })
}

/// As [`run_inside`], into `dir`: the runs it made; an error where it made none.
pub(super) fn run_into(
    dir: &Path,
    words: &[&str],
    output: &Output,
) -> Result<Vec<PathBuf>, CliError> {
    let runs = || -> Vec<PathBuf> {
        std::fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path()).collect()
    };
    let (before, out) = (runs(), dir.to_string_lossy());
    let outcome = run_inside(&[words, &["--out", &out]].concat(), output);
    let made: Vec<PathBuf> = runs().into_iter().filter(|d| !before.contains(d)).collect();
    match outcome {
        Err(e) if made.is_empty() => Err(e),
        _ => Ok(made),
    }
}

/// Runs the command.
pub(crate) fn run(args: &Args, output: &Output) -> CliResult {
    if let Some(dir) = &args.llama_cpp_dir {
        if !dir.is_dir() {
            return Err(CliError::setup(format!("`{}` is no directory", dir.display()))
                .hint("give the directory that holds llama-bench"));
        }
        runtime::choose("llama.cpp", std::path::absolute(dir)?);
    }
    if let Some(dir) = &args.resume {
        return resume(args, dir, output);
    }
    let suite = wanted_suite(args, output)?;
    let report = match args.dry_run {
        true => probe::run(&probe::LiveHost::new(), probe::ProbeOptions::default()),
        false => probe::run_with_essentials(|| ()),
    };
    let device = report.device();
    let seed = args.seed.unwrap_or_else(clock_seed);
    let plan = plan(&suite, &device, seed)?;
    if args.dry_run {
        return print_plan(&plan, output);
    }
    let header = RunHeader {
        schema_version: SCHEMA_VERSION,
        run_id: run_id(&suite.name, seed),
        created: now(),
        build: BuildInfo {
            compiled_isa: WorkerBuild::find()?.compiled_isa,
            ..BuildInfo::current()
        },
        command: std::env::args().collect(),
        suite: suite.name.clone(),
        seed,
        quick: plan.protocol.samples_min < Protocol::default().samples_min,
        protocol: plan.protocol.clone(),
        device,
        probe: serde_json::to_value(&report).unwrap_or_default(),
        labels: labels(args),
        request: Some(suite),
    };
    let dir = args.out.join(&header.run_id);
    let mut writer = RecordWriter::create(&dir, &header).map_err(|e| {
        CliError::from_error(e).hint("choose a directory that can be written with `--out DIR`")
    })?;
    execute(args, &plan, &header, None, &mut writer, &dir, output)
}

fn resume(args: &Args, dir: &Path, output: &Output) -> CliResult {
    let record = RunRecord::load(dir).map_err(record_error)?;
    let Some(suite) = record.header.request.clone() else {
        return Err(CliError::setup("the record does not hold its suite, so it cannot be resumed"));
    };
    let device = probe::run(&probe::LiveHost::new(), probe::ProbeOptions::default()).device();
    if device.id != record.header.device.id {
        return Err(CliError::new(exit::NOT_COMPARABLE, "the record was made on another device")
            .hint("start a new run here; numbers of two devices do not belong in one record"));
    }
    let plan = plan(&suite, &device, record.header.seed)?;
    let mut writer = RecordWriter::resume(dir).map_err(record_error)?;
    let header = record.header.clone();
    execute(args, &plan, &header, Some(&record), &mut writer, dir, output)
}

fn execute(
    args: &Args,
    plan: &Plan,
    header: &RunHeader,
    done: Option<&RunRecord>,
    writer: &mut RecordWriter,
    dir: &Path,
    output: &Output,
) -> CliResult {
    let stop = stop_on_interrupt();
    let deadline = args.deadline.unwrap_or(plan.protocol.deadline_s);
    let deadline = Duration::try_from_secs_f64(deadline)
        .map_err(|_| CliError::usage("`--deadline` must be a number of seconds above 0"))?;
    let mut supervisor = Supervisor::new(deadline, stop)?;
    if let Some(dir) = &args.llama_cpp_dir {
        let variable = runtime::override_variable("llama.cpp");
        supervisor.environment.push((variable, std::path::absolute(dir)?));
    }
    supervisor.memory_limit =
        args.max_worker_memory.or(Some(header.device.limits.memory_bytes).filter(|&m| m > 0));
    let runner = Runner {
        plan,
        device: &header.device,
        supervisor,
        cache: dirs::cache().join("variants"),
        corpus: corpus_file(args)?,
        quality: quality_plan(args, header.quick)?,
        now,
    };
    let mut progress = Progress::new(output);
    let summary = runner.run(writer, done, &mut |event| progress.on(&event)).map_err(|e| {
        CliError::from_error(e).hint("results up to here are kept; free space and use `--resume`")
    })?;
    progress.finish();
    finish(args, &summary, dir, output)
}

/// The text that importance matrices come from, as a file that workers can read.
fn corpus_file(args: &Args) -> Result<PathBuf, CliError> {
    if let Some(path) = &args.corpus {
        return Ok(path.clone());
    }
    let path = dirs::cache().join(concat!("corpus-", env!("CARGO_PKG_VERSION"), ".txt"));
    if std::fs::read(&path).ok().as_deref() != Some(quality::default_corpus().as_bytes()) {
        let dir = dirs::cache();
        let write = || -> std::io::Result<()> {
            std::fs::create_dir_all(&dir)?;
            let mut file = tempfile::NamedTempFile::new_in(&dir)?;
            std::io::Write::write_all(&mut file, quality::default_corpus().as_bytes())?;
            file.persist(&path).map(drop).map_err(|e| e.error)
        };
        write().map_err(|e| {
            CliError::setup(format!("cannot write to the cache `{}`: {e}", dir.display()))
                .hint("free space there, or name another directory with EDGE_ADVISOR_CACHE_DIR")
        })?;
    }
    Ok(path)
}

/// What quality is measured on; `None` with `--no-quality`.
fn quality_plan(args: &Args, quick: bool) -> Result<Option<QualityPlan>, CliError> {
    if args.no_quality || !args.synthetic.is_empty() {
        return Ok(None);
    }
    let corpus = match &args.corpus {
        Some(path) => quality::load_corpus(path)
            .map_err(|e| CliError::from_error(e).hint("a corpus is a text file in UTF-8"))?,
        None => quality::default_corpus().to_owned(),
    };
    let chunks = if quick { Chunks::QUICK } else { Chunks::DEFAULT };
    Ok(Some(QualityPlan { corpus, chunks, cache: dirs::cache().join("references") }))
}

fn finish(args: &Args, s: &RunSummary, dir: &Path, output: &Output) -> CliResult {
    let path = dir.display().to_string();
    if output.format == Format::Json {
        output.json(&serde_json::json!({
            "run": path, "completed": s.completed, "failed": s.failed, "invalid": s.invalid,
            "not_run": s.not_run, "interrupted": s.interrupted, "noise": s.noise,
        }))?;
    } else {
        output.data(&path)?;
    }
    output.note(format!(
        "{} completed, {} failed, {} invalid, {} not run",
        s.completed, s.failed, s.invalid, s.not_run
    ));
    if args.sweep_threads {
        let record = RunRecord::load(dir).map_err(CliError::from_error)?;
        sweep(&record).into_iter().for_each(|line| output.note(line));
    }
    if let [Some(before), Some(after)] = s.noise {
        let high = if before.max(after) > probe::HIGH_NOISE {
            ": high, do not trust small differences"
        } else {
            ""
        };
        output.note(format!(
            "host noise {:.1} % before, {:.1} % after{high}",
            before * 100.0,
            after * 100.0
        ));
    }
    if !args.no_history {
        super::history::keep(dir, output);
    }
    if s.interrupted {
        output.note(format!("stopped; go on with: edge-advisor bench --resume {path}"));
        return Ok(exit::INTERRUPTED);
    }
    output.note(format!("report: edge-advisor report {path}"));
    let bad = s.failed + if args.allow_invalid { 0 } else { s.invalid };
    Ok(match (s.completed + s.invalid, bad) {
        (0, _) => exit::NOTHING,
        (_, 0) => exit::OK,
        _ => exit::SOME_FAILED,
    })
}

/// The suite that the flags name or spell.
fn wanted_suite(args: &Args, output: &Output) -> Result<Suite, CliError> {
    let mut suite = match &args.suite {
        Some(name) => load_suite(name)?,
        None => suite_of_flags(args, models(args, output)?),
    };
    if args.quick {
        suite.protocol = ProtocolChoice::Custom(Protocol::quick());
    }
    if let Some(runs) = args.runs {
        suite.runs = runs;
    }
    let mut protocol = suite.protocol.protocol();
    protocol.foreign_cpus_max = args.max_foreign_cpus.unwrap_or(protocol.foreign_cpus_max);
    protocol.cooldown_s = args.cooldown.unwrap_or(protocol.cooldown_s);
    protocol.sustain_s = args.sustain.unwrap_or(protocol.sustain_s);
    protocol.cold_load |= args.cold_load;
    suite.protocol = ProtocolChoice::Custom(protocol);
    Ok(suite)
}

fn load_suite(name: &str) -> Result<Suite, CliError> {
    let parsed = match suite::builtin(name) {
        Some(text) => Suite::parse(name, text),
        None => Suite::load(Path::new(name)),
    };
    parsed.map_err(|e| {
        let known: Vec<&str> = suite::BUILTIN.iter().map(|(n, _)| *n).collect();
        CliError::from_error(e)
            .hint(format!("a suite is a TOML file or one of: {}", known.join(", ")))
    })
}

/// The models that are named, those that are to be synthesised as files.
fn models(args: &Args, output: &Output) -> Result<Vec<String>, CliError> {
    let made = |name: &String| {
        let path = synthetic::of_name(name, &args.precision, output)?;
        path.into_os_string()
            .into_string()
            .map_err(|p| CliError::setup(format!("`{}` is not UTF-8", Path::new(&p).display())))
    };
    let synthetic = args.synthetic.iter().map(made);
    args.model.iter().cloned().map(Ok).chain(synthetic).collect()
}

fn suite_of_flags(args: &Args, models: Vec<String>) -> Suite {
    let mut options: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (k, v) in &args.options {
        options.entry(k.clone()).or_default().push(v.clone());
    }
    let workload =
        |&depth: &u32| Workload::Generate { prompt: args.prompt, decode: args.decode, depth };
    let (graphs, texts): (Vec<String>, Vec<String>) =
        models.into_iter().partition(|name| is_graph(name));
    let group = |models: Vec<String>, workloads| Group {
        models,
        backends: args.backend.clone(),
        precisions: args.precision.clone(),
        devices: args.device.clone(),
        workloads,
        threads: if args.sweep_threads { thread_counts() } else { args.threads.clone() },
        options: options.clone(),
    };
    let infer = vec![Workload::Infer { batch: args.batch, length: args.length }];
    let groups = [group(texts, args.depth.iter().map(workload).collect()), group(graphs, infer)];
    Suite {
        name: "bench".to_owned(),
        description: String::new(),
        protocol: ProtocolChoice::Custom(Protocol::default()),
        runs: 1,
        group: groups.into_iter().filter(|g| !g.models.is_empty()).collect(),
    }
}

/// Powers of two below the number of threads this process may use, and that number.
fn thread_counts() -> Vec<u32> {
    let all = std::thread::available_parallelism().map_or(1, |n| n.get() as u32);
    let powers = std::iter::successors(Some(1u32), |n| n.checked_mul(2));
    powers.take_while(|n| *n < all).chain([all]).collect()
}

/// A line for each case that ran with several thread counts: its median decode speed by threads.
fn sweep(record: &RunRecord) -> Vec<String> {
    let mut found: BTreeMap<String, BTreeMap<u32, f64>> = BTreeMap::new();
    for c in record.cases.iter().filter(|c| c.outcome.is_completed()) {
        let mut case = c.case.clone();
        let threads = std::mem::take(&mut case.threads);
        if let Some(rate) = stats::median(c.samples(Metric::DecodeTokS)) {
            found.entry(case.id()).or_default().insert(threads, rate);
        }
    }
    let line = |(id, rates): (String, BTreeMap<u32, f64>)| {
        let best = rates.iter().max_by(|a, b| a.1.total_cmp(b.1)).map(|(t, _)| *t)?;
        let all: Vec<String> = rates.iter().map(|(t, r)| format!("{t}: {r:.1}")).collect();
        let id = id.trim_end_matches("/t0");
        Some(format!("{id}: decode tok/s by threads {}; fastest with {best}", all.join(", ")))
    };
    found.into_iter().filter(|(_, rates)| rates.len() > 1).filter_map(line).collect()
}

/// True for a model that is run by one inference a call: embedding, vision, speech, as ONNX or safetensors.
fn is_graph(name: &str) -> bool {
    let Ok(model) = catalog::resolve_model(name) else { return false };
    if model.path.extension().is_some_and(|e| e == "gguf") {
        return false;
    }
    let kind = model.entry.map(|e| e.kind);
    let read = || formats::inspect(&model.path).ok().map(|i| i.spec.kind);
    kind.or_else(read).is_some_and(|k| k != ModelKind::Llm)
}

fn plan(suite: &Suite, device: &Device, seed: u64) -> Result<Plan, CliError> {
    // Asking starts a worker: once a backend, however many models and names ask.
    let answers = RefCell::new(BTreeMap::new());
    let listed = |backend: &str| {
        let mut answers = answers.borrow_mut();
        let answer = answers.entry(backend.to_owned()).or_insert_with(|| devices::of(backend));
        match answer.problem.as_str() {
            "" => Ok(answer.devices.clone()),
            why => Err(why.to_owned()),
        }
    };
    Plan::expand(suite, &resolve, &listed, device.cpu.threads.max(1), seed).map_err(|e| {
        let hint = match &e {
            PlanError::UnknownBackend { known, .. } => {
                Some(format!("backends: {}", known.join(", ")))
            }
            PlanError::UnknownPrecision { .. } => {
                Some("names are those of the field: F16, Q8_0, Q4_K_M, INT8_SYM ...".to_owned())
            }
            PlanError::NotOffered { offered, .. } => {
                Some(format!("it offers: {}", offered.join(", ")))
            }
            PlanError::Model { hint, .. } => Some(hint.clone()),
            PlanError::Empty => Some("no listed backend has one of those precisions".to_owned()),
        };
        let error = CliError::from_error(e);
        match hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    })
}

/// A model by path or by catalogue name.
fn resolve(name: &str) -> Result<(String, PathBuf), PlanError> {
    match catalog::resolve_model(name) {
        Ok(model) => Ok((model.name, model.path)),
        Err(e) => Err(PlanError::Model { why: e.to_string(), hint: e.hint() }),
    }
}

fn print_plan(plan: &Plan, output: &Output) -> CliResult {
    if output.format == Format::Json {
        let cases: Vec<_> = plan
            .cases
            .iter()
            .map(|c| serde_json::json!({ "id": c.case.id(), "case": c.case, "skip": c.skip }))
            .collect();
        output.json(&serde_json::json!({
            "seed": plan.seed, "runs": plan.runs, "protocol": plan.protocol, "cases": cases,
        }))?;
        return Ok(exit::OK);
    }
    let mut text = String::new();
    for planned in &plan.cases {
        text.push_str(&planned.case.id());
        if let Some(skip) = &planned.skip {
            text.push_str(&format!("\n    {}: {}", skip.word(), skip.reason()));
        }
        text.push('\n');
    }
    output.data(&text)?;
    let runnable = plan.cases.iter().filter(|c| c.skip.is_none()).count();
    output.note(format!(
        "{} cases, {runnable} of them can run, {} process runs each, seed {}",
        plan.cases.len(),
        plan.runs,
        plan.seed
    ));
    Ok(exit::OK)
}

/// The first Ctrl-C ends the run in order; the second ends the program.
fn stop_on_interrupt() -> Arc<AtomicBool> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    let _ = ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::Relaxed) {
            std::process::exit(i32::from(exit::INTERRUPTED));
        }
    });
    stop
}

/// RFC 3339, UTC, whole seconds.
fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn clock_seed() -> u64 {
    jiff::Timestamp::now().as_nanosecond() as u64
}

fn run_id(suite: &str, seed: u64) -> String {
    let time = jiff::Timestamp::now().strftime("%Y%m%d-%H%M%S").to_string();
    let name: String = suite
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' })
        .take(40)
        .collect();
    format!("{time}-{name}-{:06x}", (seed ^ u64::from(std::process::id())) & 0xff_ffff)
}
