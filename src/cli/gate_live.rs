//! `gate --live`: runs base and head in turn (ABBA) and adds rounds until the verdict is clear or the cap is reached.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{CliError, Output, exit, sides};
use crate::compare::{Comparison, Judging, Overall, Policy, compare, looks};

/// Exit codes of a `bench` that left a usable record: done, and some cases failed.
const USABLE: [i32; 2] = [exit::OK as i32, exit::SOME_FAILED as i32];

#[derive(Debug, clap::Args)]
pub(super) struct LiveArgs {
    /// Run both sides here, interleaved, instead of reading records.
    #[arg(long, requires_all = ["base_command", "head_command"], help_heading = "Live")]
    live: bool,
    /// Command that measures base and leaves a record under `{out}`.
    #[arg(
        long = "base",
        id = "base_command",
        value_name = "CMD",
        requires = "live",
        help_heading = "Live"
    )]
    base: Option<String>,
    /// The same for head.
    #[arg(
        long = "head",
        id = "head_command",
        value_name = "CMD",
        requires = "live",
        help_heading = "Live"
    )]
    head: Option<String>,
    /// Directory that keeps the records, as `base/NNN` and `head/NNN`; it must be new or empty.
    #[arg(
        long,
        value_name = "DIR",
        requires = "live",
        default_value = "gate-runs",
        help_heading = "Live"
    )]
    out: PathBuf,
}

/// Measures and judges. Every record stays in the output directory, so `gate OUT/base OUT/head` repeats the verdict.
pub(super) fn run(
    args: &LiveArgs,
    policy: &Policy,
    output: &Output,
) -> Result<Comparison, CliError> {
    let commands = [args.base.as_deref().unwrap_or(""), args.head.as_deref().unwrap_or("")];
    for (command, side) in commands.iter().zip(["base", "head"]) {
        if !command.contains("{out}") {
            return Err(CliError::usage(format!("the --{side} command has no `{{out}}`"))
                .hint("e.g. --base 'edge-advisor bench --suite llm --out {out}'"));
        }
    }
    let used = std::fs::read_dir(&args.out).is_ok_and(|mut entries| entries.next().is_some());
    if used {
        return Err(CliError::setup(format!("`{}` is not empty", args.out.display()))
            .hint("old runs must not mix with new ones: give another directory with `--out`"));
    }
    let all = looks(policy.runs, policy.max_runs);
    let mut done = 0;
    let mut last = None;
    for (i, look) in all.iter().enumerate() {
        while done < look.runs {
            // A block is base, head, head, base: slow drift hits both sides alike.
            let order = if done % 2 == 0 { [0, 1] } else { [1, 0] };
            for side in order {
                let name = ["base", "head"][side];
                output.note(format!("run {} of {}: {name}", done + 1, look.runs));
                measure(commands[side], &args.out.join(name).join(format!("{:03}", done + 1)))?;
            }
            done += 1;
        }
        let load = |name: &str| {
            let path = args.out.join(name);
            sides::side(&path.to_string_lossy(), &sides::records(&path)?)
        };
        let judging = Judging::share(policy, look.share);
        let mut comparison = compare(&load("base")?, &load("head")?, policy, judging);
        comparison.notes.push(format!(
            "look {} of {} at {} runs a side; it may spend {:.1} % of the error budget",
            i + 1,
            all.len(),
            look.runs,
            look.share * 100.0
        ));
        if comparison.overall != Overall::Inconclusive {
            return Ok(comparison);
        }
        last = Some(comparison);
    }
    last.ok_or_else(|| CliError::new(exit::UNEXPECTED, "the schedule of looks is empty"))
}

fn measure(command: &str, out: &Path) -> Result<(), CliError> {
    std::fs::create_dir_all(out).map_err(|e| {
        CliError::setup(format!("cannot make `{}`: {e}", out.display()))
            .hint("choose a directory that can be written with `--out`")
    })?;
    let line = command.replace("{out}", &quoted(&out.to_string_lossy()));
    // The command's own stdout is not this command's data.
    let status = shell(&line).stdin(Stdio::null()).stdout(Stdio::null()).status();
    let status = status.map_err(|e| CliError::setup(format!("cannot run `{line}`: {e}")))?;
    match status.code() {
        Some(code) if USABLE.contains(&code) => Ok(()),
        Some(code) => Err(CliError::setup(format!("`{line}` ended with exit code {code}"))
            .hint("run it by hand; a gate needs both commands to work")),
        None => Err(CliError::new(exit::INTERRUPTED, format!("`{line}` was killed"))),
    }
}

#[cfg(unix)]
fn shell(line: &str) -> Command {
    let mut command = Command::new("sh");
    command.arg("-c").arg(line);
    command
}
#[cfg(unix)]
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(windows)]
fn shell(line: &str) -> Command {
    use std::os::windows::process::CommandExt;
    let mut command = Command::new("cmd");
    command.arg("/C").raw_arg(line);
    command
}
#[cfg(windows)]
fn quoted(text: &str) -> String {
    format!("\"{text}\"")
}
