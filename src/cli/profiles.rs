//! `profiles list|show|validate`: the device profiles and what is wrong with one's own.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{CliError, CliResult, Format, Output, exit};
use crate::model::{Device, Fact, ProcessorKind, Source};
use crate::profile::{Library, Overrides, Profile, ProfileError, read_file};
use crate::report::{paragraph, plain};

/// Device profiles: published figures of devices that are not here.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  edge-advisor profiles list jetson\n  edge-advisor profiles show rpi-5 --ram 8\n  edge-advisor profiles validate my-board.toml"
)]
pub struct ProfilesArgs {
    /// Directory of profiles that add to or override the built-in ones.
    #[arg(long, global = true, value_name = "DIR", env = "EDGE_ADVISOR_PROFILES")]
    profiles: Option<PathBuf>,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// All profiles, or those whose id, name or class contains a word.
    List { filter: Option<String> },
    /// One profile with the source of every figure.
    Show {
        id: String,
        /// Memory of the device in GiB, where it comes in several sizes.
        #[arg(long, value_name = "GIB", value_parser = positive)]
        ram: Option<f64>,
    },
    /// Checks profile files.
    Validate {
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
}

impl From<ProfileError> for CliError {
    fn from(e: ProfileError) -> Self {
        let hint = match &e {
            ProfileError::Unknown { .. } => "`edge-advisor profiles list WORD` searches",
            ProfileError::Read { .. } => "check the path and its permissions",
            ProfileError::Invalid { .. } => {
                "`edge-advisor profiles show rpi-5` prints a good one's content"
            }
        };
        CliError::setup(e.to_string()).hint(hint)
    }
}

pub fn run(args: &ProfilesArgs, output: &Output) -> CliResult {
    let library = Library::new(args.profiles.as_deref());
    match &args.action {
        Action::List { filter } => list(&library, filter.as_deref().unwrap_or_default(), output),
        Action::Show { id, ram } => {
            let profile = library.load(id)?;
            let overrides = Overrides { ram_gib: *ram, ..Overrides::default() };
            match output.format {
                Format::Json => output.json(&profile)?,
                _ => output.data(&describe(&profile, &profile.device(&overrides)))?,
            }
            Ok(exit::OK)
        }
        Action::Validate { files } => validate(files, output),
    }
}

fn list(library: &Library, filter: &str, output: &Output) -> CliResult {
    let filter = filter.to_lowercase();
    let wanted = |p: &Profile| {
        let class = format!("{:?}", p.class);
        [&p.id, &p.name, &p.vendor, &class].iter().any(|t| t.to_lowercase().contains(&filter))
    };
    let found: Vec<Profile> = library.all()?.into_iter().filter(wanted).collect();
    if output.format == Format::Json {
        output.json(&found)?;
        return Ok(exit::OK);
    }
    if found.is_empty() {
        return Err(CliError::new(exit::NOTHING, format!("no profile matches `{filter}`"))
            .hint("`edge-advisor profiles list` shows all"));
    }
    let mut text = format!("{:<29}{:<12}{:>9} {:>9}  {}\n", "ID", "CLASS", "MEMORY", "GB/S", "NPU");
    for p in &found {
        let memory = p.processors.iter().find_map(|x| x.memory_gb).map_or_else(
            || p.memory.options_gb.last().map_or("-".into(), |g| format!("<={g:.0} GB")),
            |g| format!("{g:.0} GB"),
        );
        let bandwidth = p
            .processors
            .iter()
            .filter_map(|x| x.bandwidth_gbs)
            .chain(p.memory.bandwidth_gbs)
            .fold(0.0, f64::max);
        let npu = p.processors.iter().find(|x| x.kind == ProcessorKind::Npu);
        text.push_str(&format!(
            "{:<29}{:<12}{memory:>9} {:>9}  {}\n",
            p.id,
            format!("{:?}", p.class).to_lowercase(),
            if bandwidth > 0.0 { format!("{bandwidth:.0}") } else { "-".into() },
            npu.map_or("-", |n| n.name.as_str()).chars().take(16).collect::<String>(),
        ));
    }
    output.data(&text)?;
    output.note(format!("{} profiles", found.len()));
    Ok(exit::OK)
}

fn describe(p: &Profile, d: &Device) -> String {
    let mut t = format!("{} ({})\n", p.name, p.id);
    t.push_str(&format!("  class       {}\n", format!("{:?}", p.class).to_lowercase()));
    t.push_str(&format!("  systems     {}\n", p.os.join(", ")));
    let gib = d.limits.memory_bytes as f64 / (1u64 << 30) as f64;
    let usable = d.limits.memory_available_bytes as f64 / (1u64 << 30) as f64;
    if p.cpu.is_some() || d.cpu_processor().is_some() {
        t.push_str(&format!(
            "  memory      {gib:.0} GiB, about {usable:.1} usable by one process\n"
        ));
        t.push_str(&format!(
            "  cpu         {} cores ({} fast, {} slow), {}\n",
            d.cpu.threads, d.cpu.performance_cores, d.cpu.efficiency_cores, d.cpu.arch
        ));
    }
    for x in &d.processors {
        t.push_str(&format!("\n  {} {}\n", x.id, x.name));
        let apis: Vec<String> = x
            .apis
            .iter()
            .filter_map(|a| serde_json::to_value(a).ok()?.as_str().map(str::to_owned))
            .collect();
        if !apis.is_empty() {
            t.push_str(&format!("    through     {}\n", apis.join(", ")));
        }
        if let Some(m) = &x.memory_bytes {
            t.push_str(&format!(
                "    {:<12}{:>8.0} GiB      {}\n",
                "memory",
                m.value as f64 / (1u64 << 30) as f64,
                tag(&m.source)
            ));
        }
        for (name, unit, fact) in [
            ("bandwidth", "GB/s", &x.bandwidth_gbs),
            ("fp32", "TFLOP/s", &x.fp32_tflops),
            ("fp16", "TFLOP/s", &x.fp16_tflops),
            ("int8", "TOP/s", &x.int8_tops),
        ] {
            if let Some(Fact { value, source }) = fact {
                t.push_str(&format!("    {name:<12}{value:>8.1} {unit:<8} {}\n", tag(source)));
            }
        }
    }
    let mut line = |label: &str, text: &str| {
        t.push_str(&paragraph(&format!("  {label:<12}"), &plain(text), 80));
    };
    line("confidence", &p.confidence);
    line("source", &p.source);
    if !p.unverified.is_empty() {
        line("unverified", &p.unverified.join(", "));
    }
    for problem in &d.problems {
        line("note", &format!("{} ({})", problem.what, problem.hint));
    }
    t
}

fn tag(source: &Source) -> &'static str {
    match source {
        Source::Measured => "measured",
        Source::Reported { .. } => "reported",
        Source::Inferred { .. } => "inferred",
        Source::Published { .. } => "published",
        Source::Override => "given",
    }
}

fn validate(files: &[PathBuf], output: &Output) -> CliResult {
    let mut bad = 0;
    let mut results = Vec::new();
    for file in files {
        let result = read_file(file);
        bad += u32::from(result.is_err());
        let problem = result.as_ref().err().map(ToString::to_string);
        results.push(
            serde_json::json!({ "file": file, "valid": problem.is_none(), "problem": problem }),
        );
        if output.format != Format::Json {
            output.data(&match problem {
                None => format!("{}: ok", file.display()),
                Some(e) => format!("{}: {e}", file.display()),
            })?;
        }
    }
    if output.format == Format::Json {
        output.json(&results)?;
    }
    Ok(if bad > 0 { exit::SETUP } else { exit::OK })
}

/// A positive finite number, for clap.
pub(super) fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(v) if v.is_finite() && v > 0.0 => Ok(v),
        _ => Err("expected a number above 0".to_owned()),
    }
}
