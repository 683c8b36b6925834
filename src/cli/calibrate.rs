//! `calibrate`: anchors measured here correct every later prediction for this device.

use std::path::{Path, PathBuf};

use super::{CliError, CliResult, Format, Output, bench, exit};
use crate::catalog::{self, Catalog};
use crate::formats::gguf;
use crate::model::ModelSpec;
use crate::predict::Calibration;
use crate::probe::{self, LiveHost, ProbeOptions};
use crate::record::{CaseRecord, RunRecord};

/// Measure one or two models here, so that predictions for this device start from its own speed.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  edge-advisor calibrate --model smollm2-135m
  edge-advisor calibrate --model model.gguf --backend candle --precision Q4_0,Q8_0
  edge-advisor calibrate reports/20261122-101500-llm-1a2b3c")]
pub struct Args {
    /// Records of `bench` made on this device.
    #[arg(value_name = "RUN", required_unless_present = "model")]
    records: Vec<PathBuf>,
    /// Measure this model now: a catalogue name or a file.
    #[arg(long, short)]
    model: Option<String>,
    /// Backends to measure on.
    #[arg(long, short, default_value = "all", requires = "model")]
    backend: String,
    /// Precisions to measure at: one for each kernel that matters.
    #[arg(long, short, default_value = "Q4_0,Q8_0", requires = "model")]
    precision: String,
}

pub fn run(args: &Args, output: &Output) -> CliResult {
    if !matches!(output.format, Format::Human | Format::Json) {
        return Err(CliError::usage("calibrate prints human or json"));
    }
    let mut runs = args.records.clone();
    if let Some(model) = &args.model {
        runs.extend(measure(model, args, output)?);
    }
    let records = runs
        .iter()
        .map(|p| RunRecord::load(p).map_err(CliError::from_error))
        .collect::<Result<Vec<_>, _>>()?;
    let device = probe::run(&LiveHost::new(), ProbeOptions::default()).device();
    let fresh = Calibration::from_records(&records, &device.id, shape_of);
    if fresh.anchors.is_empty() {
        return Err(CliError::new(exit::NOTHING, "no completed generation case of this device")
            .hint("`edge-advisor bench --model NAME` shows why a case did not complete"));
    }
    let mut all = stored(&device.id);
    all.device.clone_from(&device.id);
    all.merge(fresh);
    store(&all)?;
    match output.format {
        Format::Json => output.json(&all)?,
        _ => output.data(&table(&all))?,
    }
    Ok(exit::OK)
}

/// Runs `bench --quick` into a directory of its own and returns the runs it made.
fn measure(model: &str, args: &Args, output: &Output) -> Result<Vec<PathBuf>, CliError> {
    let dir = crate::dirs::data().join("calibration").join("runs");
    let cells = ["--backend", &args.backend, "--precision", &args.precision];
    bench::run_into(&dir, &[&["--quick", "--model", model][..], &cells].concat(), output)
}

/// The shape of a case's model: from the file that ran where it is GGUF, else from the catalogue.
pub(super) fn shape_of(case: &CaseRecord) -> Option<ModelSpec> {
    let variants = crate::dirs::cache().join("variants");
    let file = case.variant.as_ref().map(|v| variants.join(&v.path)).filter(|p| p.is_file());
    if let Some(spec) = file.and_then(|p| gguf::to_spec(&gguf::Gguf::open(&p).ok()?).ok()) {
        return Some(spec);
    }
    Catalog::load().ok()?.get(&case.case.model).ok().map(catalog::build)
}

fn path(device: &str) -> PathBuf {
    let safe: String = device.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
    crate::dirs::data().join("calibration").join(format!("{safe}.json"))
}

/// What was calibrated of a device before; nothing where there is no file or it does not read.
pub(super) fn stored(device: &str) -> Calibration {
    std::fs::read(path(device))
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default()
}

fn store(c: &Calibration) -> Result<(), CliError> {
    let path = path(&c.device);
    let parent = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent)?;
    let mut file = tempfile::NamedTempFile::new_in(parent)?;
    serde_json::to_writer_pretty(&mut file, c).map_err(|e| CliError::setup(e.to_string()))?;
    file.persist(&path).map_err(|e| CliError::from(e.error))?;
    Ok(())
}

fn table(c: &Calibration) -> String {
    let mut table = tabled::builder::Builder::default();
    table.push_record(["Backend", "On", "Model", "Precision", "Task", "Measured / class model"]);
    for a in &c.anchors {
        table.push_record([
            a.framework.clone(),
            a.processor.clone(),
            a.model.chars().filter(|c| !c.is_control()).take(24).collect(),
            a.precision.to_string(),
            a.task().to_owned(),
            format!("{:.2}", a.ratio()),
        ]);
    }
    format!(
        "{}\n\nPredictions for this device now start from these anchors.\n",
        table.build().with(tabled::settings::Style::blank())
    )
}
