//! `predictor`: fit the speed model to public rows, and judge it on rows it has not seen.

use std::fmt::Write as _;
use std::fs::File;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use tabled::builder::Builder;
use tabled::settings::{Padding, Style};

use super::calibrate::shape_of;
use super::{CliError, CliResult, Format, Output, exit};
use crate::predict::{Evaluation, Held, LoadRow, Params, Rows, RowsError, Score};
use crate::record::RunRecord;

/// Fit the speed predictor to measured rows, or score it on rows it has not seen.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Fit the parameters to a table of measured rows.
    #[command(after_help = "Example:
  edge-advisor predictor fit data/measured_public.csv --load data/load_times.csv -o profiles/predictor.toml")]
    Fit {
        /// Measured rows; those with a quality flag are left out.
        rows: PathBuf,
        /// Device specifications, columns as data/devices.csv; the built-in table by default.
        #[arg(long, value_name = "CSV")]
        devices: Option<PathBuf>,
        /// Measured load times (columns of data/load_times.csv), fitted into the same file.
        #[arg(long, value_name = "CSV")]
        load: Option<PathBuf>,
        /// Where to write the parameters.
        #[arg(long, short, value_name = "FILE")]
        output: PathBuf,
    },
    /// The load times in records of `bench`, as a table that `fit --load` reads (CSV).
    #[command(after_help = "Example:
  edge-advisor bench --model smollm2-135m --cold-load --runs 3 && edge-advisor predictor load-times reports/*")]
    LoadTimes {
        /// Directories of runs.
        #[arg(required = true, value_name = "RUN")]
        runs: Vec<PathBuf>,
    },
    /// Score predictions against a table of measured rows.
    #[command(after_help = "Examples:
  edge-advisor predictor evaluate rows.csv
  edge-advisor predictor evaluate data/measured_public.csv --leave-one-device-out --format markdown")]
    Evaluate {
        /// Measured rows; those with a quality flag are left out.
        rows: PathBuf,
        /// Fit without each device in turn and score on that device, instead of using the built-in parameters.
        #[arg(long)]
        leave_one_device_out: bool,
        /// Fit without a fifth of the models in turn and score on them: how well more models on known devices are predicted.
        #[arg(long, conflicts_with = "leave_one_device_out")]
        cross_validate: bool,
        /// Device specifications, columns as data/devices.csv; the built-in table by default.
        #[arg(long, value_name = "CSV")]
        devices: Option<PathBuf>,
        /// Parameters to score instead of the built-in ones.
        #[arg(long, value_name = "FILE", conflicts_with_all = ["leave_one_device_out", "cross_validate"])]
        params: Option<PathBuf>,
        /// Print every row with its prediction by a fit that has not seen it (CSV) instead of the scores.
        #[arg(long)]
        each_row: bool,
    },
}

pub fn run(args: &Args, output: &Output) -> CliResult {
    match &args.command {
        Command::Fit { rows, devices, load, output: path } => {
            fit(rows, devices.as_deref(), load.as_deref(), path, output)
        }
        Command::LoadTimes { runs } => load_times(runs, output),
        Command::Evaluate {
            rows,
            leave_one_device_out,
            cross_validate,
            devices,
            params,
            each_row,
        } => {
            let rows = read(rows, devices.as_deref())?;
            if *each_row {
                let held = if *cross_validate { Held::Fold } else { Held::Device };
                return print_rows(&rows, held, output);
            }
            let evaluation = if *leave_one_device_out {
                rows.leave_one_device_out()
            } else if *cross_validate {
                rows.cross_validate()
            } else {
                match params {
                    Some(path) => rows.evaluate(&load(path)?),
                    None => rows.evaluate(Params::embedded()),
                }
            };
            print(&evaluation, output)
        }
    }
}

fn fit(
    rows: &Path,
    devices: Option<&Path>,
    load: Option<&Path>,
    path: &Path,
    output: &Output,
) -> CliResult {
    let data = read(rows, devices)?;
    let mut command = format!("edge-advisor predictor fit {}", rows.display());
    let mut loads = Vec::new();
    if let Some(load) = load {
        command.push_str(&format!(" --load {}", load.display()));
        let e = |e: RowsError| CliError::setup(format!("`{}`: {e}", load.display()));
        loads = LoadRow::read(open(load)?).map_err(e)?;
    }
    command.push_str(&format!(" -o {}", path.display()));
    let params = data.fit(&command, &loads);
    let text = params.to_toml();
    std::fs::write(path, text)
        .map_err(|e| CliError::setup(format!("cannot write `{}`: {e}", path.display())))?;
    output.note(format!(
        "fitted to {} rows of {} devices: {}",
        params.meta.rows,
        params.meta.devices,
        path.display()
    ));
    Ok(exit::OK)
}

fn read(path: &Path, devices: Option<&Path>) -> Result<Rows, CliError> {
    let table = match devices {
        Some(p) => Some(
            std::fs::read(p)
                .map_err(|e| CliError::setup(format!("cannot read `{}`: {e}", p.display())))?,
        ),
        None => None,
    };
    Rows::read(open(path)?, table.as_deref(), false).map_err(|e| {
        CliError::setup(format!("`{}`: {e}", path.display()))
            .hint("the columns are those of data/measured_public.csv")
    })
}

fn open(path: &Path) -> Result<File, CliError> {
    File::open(path).map_err(|e| CliError::setup(format!("cannot read `{}`: {e}", path.display())))
}

fn load_times(runs: &[PathBuf], output: &Output) -> CliResult {
    let load = |p: &PathBuf| RunRecord::load(p).map_err(CliError::from_error);
    let records = runs.iter().map(load).collect::<Result<Vec<_>, _>>()?;
    let rows = LoadRow::of_records(&records, shape_of);
    if rows.is_empty() {
        return Err(CliError::new(exit::NOTHING, "no completed case on a CPU in these runs"));
    }
    let mut table = csv::Writer::from_writer(Vec::new());
    for row in rows {
        table.serialize(row).map_err(|e| CliError::setup(e.to_string()))?;
    }
    let bytes = table.into_inner().map_err(|e| CliError::setup(e.to_string()))?;
    output.data(&String::from_utf8_lossy(&bytes))?;
    Ok(exit::OK)
}

fn load(path: &Path) -> Result<Params, CliError> {
    let text = std::fs::read_to_string(path)
        .map_err(|e| CliError::setup(format!("cannot read `{}`: {e}", path.display())))?;
    Params::parse(&text).map_err(CliError::from_error)
}

fn print(e: &Evaluation, output: &Output) -> CliResult {
    match output.format {
        Format::Json => output.json(e)?,
        Format::Csv => return Err(CliError::usage("evaluate prints human, markdown or json")),
        Format::Human => output.data(&render(e, Style::blank()))?,
        Format::Markdown => output.data(&render(e, Style::markdown()))?,
    }
    Ok(if e.predicted == 0 { exit::NOTHING } else { exit::OK })
}

fn render<T, B, L, R, H, V, const HN: usize, const VN: usize>(
    e: &Evaluation,
    style: Style<T, B, L, R, H, V, HN, VN>,
) -> String
where
    Style<T, B, L, R, H, V, HN, VN>: tabled::settings::TableOption<
            tabled::grid::records::vec_records::VecRecords<
                tabled::grid::records::vec_records::Text<String>,
            >,
            tabled::grid::config::ColoredConfig,
            tabled::grid::dimension::CompleteDimension,
        > + Clone,
{
    let mut text = String::new();
    for task in [crate::predict::Task::Decode, crate::predict::Task::Prefill] {
        let scores: Vec<&Score> = e.scores.iter().filter(|s| s.task == task).collect();
        if scores.is_empty() {
            continue;
        }
        let mut table = Builder::default();
        table.push_record([
            "Rows of",
            "Method",
            "Rows",
            "Dev.",
            "Median",
            "p90",
            "<=20 %",
            "By device",
            "In 90 %",
        ]);
        for s in scores {
            table.push_record(cells(s));
        }
        let _ = writeln!(
            text,
            "{}\n\n{}\n",
            title(task),
            table.build().with(style.clone()).with(Padding::zero())
        );
    }
    text.push_str("By device: median of their medians / p90 where each weighs the same.\nIn 90 %: rows / mean over devices in the interval.\n\n");
    let _ = writeln!(
        text,
        "{} rows, {} flagged (left out), {} predicted",
        e.rows, e.flagged, e.predicted
    );
    for (reason, n) in &e.not_predicted {
        let _ = writeln!(text, "not predicted: {n} rows, {reason}");
    }
    text
}

fn title(task: crate::predict::Task) -> &'static str {
    match task {
        crate::predict::Task::Decode => "Decode: absolute error of tokens a second",
        crate::predict::Task::Prefill => "Prefill: absolute error of tokens a second",
    }
}

fn cells(s: &Score) -> [String; 9] {
    let whole = |v: f64| format!("{:.0}%", v * 100.0);
    let percent = |v: f64| if v >= 1.0 { whole(v) } else { format!("{:.1}%", v * 100.0) };
    [
        s.group.clone(),
        s.method.to_owned(),
        s.rows.to_string(),
        s.devices.to_string(),
        percent(s.median_ape),
        percent(s.p90_ape),
        whole(s.within_20),
        format!("{:.1}/{}", s.device_median_ape * 100.0, whole(s.device_p90_ape)),
        match (s.coverage, s.device_coverage) {
            (Some(rows), Some(devices)) => format!("{:.0}/{:.0}%", rows * 100.0, devices * 100.0),
            _ => "-".to_owned(),
        },
    ]
}

fn print_rows(rows: &Rows, held: Held, output: &Output) -> CliResult {
    let mut text = String::from("device,backend,model,test,measured,predicted\n");
    for r in rows.residuals(held) {
        let quoted = |s: &str| format!("\"{}\"", s.replace('"', "'"));
        let _ = writeln!(
            text,
            "{},{},{},{},{},{:.3}",
            quoted(&r.0),
            quoted(&r.1),
            quoted(&r.2),
            quoted(&r.3),
            r.4,
            r.5
        );
    }
    output.data(&text)?;
    Ok(exit::OK)
}
