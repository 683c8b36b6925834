//! `gate --live`: runs base and head in turn (ABBA) and adds rounds until the verdict is clear or the cap is reached.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{CliError, Output, exit};
use crate::compare::{Comparison, Judging, Overall, Policy, compare, looks};

/// Exit codes of a `bench` that left a usable record: done, and some cases failed.
const USABLE: [i32; 2] = [exit::OK as i32, exit::SOME_FAILED as i32];

#[derive(Debug, clap::Args)]
pub(super) struct LiveArgs {
    /// Run both sides here, interleaved, instead of reading records.
    #[arg(long, requires_all = ["base_command", "head_command"], help_heading = "Live")]
    live: bool,
    /// Base: a command that leaves a record under `{out}`, or a directory or git revision in which `--run` is run.
    #[arg(
        long = "base",
        id = "base_command",
        value_name = "CMD|DIR|REV",
        requires = "live",
        help_heading = "Live"
    )]
    base: Option<String>,
    /// The same for head.
    #[arg(
        long = "head",
        id = "head_command",
        value_name = "CMD|DIR|REV",
        requires = "live",
        help_heading = "Live"
    )]
    head: Option<String>,
    /// Command for sides that are a directory or a revision; it builds, measures, and leaves a record under `{out}`.
    #[arg(long = "run", value_name = "CMD", requires = "live", help_heading = "Live")]
    command: Option<String>,
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
    let out = std::path::absolute(&args.out).map_err(CliError::from_error)?;
    let side = |name: &str, given: &Option<String>| {
        Side::new(name, given.as_deref().unwrap_or_default(), args.command.as_deref())
    };
    let sides = [side("base", &args.base)?, side("head", &args.head)?];
    let used = std::fs::read_dir(&out).is_ok_and(|mut entries| entries.next().is_some());
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
                sides[side].measure(&out.join(name).join(format!("{:03}", done + 1)))?;
            }
            done += 1;
        }
        let load = |name: &str| {
            let path = out.join(name);
            super::sides::side(&path.to_string_lossy(), &super::sides::records(&path)?)
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

/// One side of the comparison: what to run, and where.
struct Side {
    command: String,
    directory: PathBuf,
    /// Dropped with the side.
    _checkout: Option<Checkout>,
}

impl Side {
    /// `given` is a command where it holds `{out}`, else a directory, else a git revision, which is checked out.
    fn new(name: &str, given: &str, run: Option<&str>) -> Result<Self, CliError> {
        let here = PathBuf::from(".");
        if given.contains("{out}") {
            return Ok(Side { command: given.to_owned(), directory: here, _checkout: None });
        }
        let Some(command) = run.filter(|c| c.contains("{out}")) else {
            return Err(CliError::usage(format!("nothing leaves a record for --{name} `{given}`"))
                .hint("name `{out}`: --base 'edge-advisor bench --out {out}', or a directory or revision and --run CMD"));
        };
        let command = command.to_owned();
        if Path::new(given).is_dir() {
            return Ok(Side { command, directory: given.into(), _checkout: None });
        }
        let checkout = Checkout::new(given)?;
        Ok(Side { command, directory: checkout.path(), _checkout: Some(checkout) })
    }

    fn measure(&self, out: &Path) -> Result<(), CliError> {
        std::fs::create_dir_all(out).map_err(|e| {
            CliError::setup(format!("cannot make `{}`: {e}", out.display()))
                .hint("choose a directory that can be written with `--out`")
        })?;
        let line = self.command.replace("{out}", &quoted(&out.to_string_lossy()));
        // The command's own stdout is not this command's data.
        let mut command = shell(&line);
        command.current_dir(&self.directory).stdin(Stdio::null()).stdout(Stdio::null());
        let status =
            command.status().map_err(|e| CliError::setup(format!("cannot run `{line}`: {e}")))?;
        match status.code() {
            Some(code) if USABLE.contains(&code) => Ok(()),
            Some(code) => Err(CliError::setup(format!("`{line}` ended with exit code {code}"))
                .hint("run it by hand; a gate needs both commands to work")),
            None => Err(CliError::new(exit::INTERRUPTED, format!("`{line}` was killed"))),
        }
    }
}

/// A git revision in a working tree of its own, removed when dropped.
struct Checkout(tempfile::TempDir);

impl Checkout {
    fn new(revision: &str) -> Result<Self, CliError> {
        let failed = |why: String| {
            CliError::setup(format!("`{revision}` is no directory, and git cannot check it out: {why}"))
                .hint("a side is a command with `{out}`, a directory, or a revision of the repository here")
        };
        let dir = tempfile::TempDir::new().map_err(|e| failed(e.to_string()))?;
        let checkout = Self(dir);
        // A revision never starts with a dash: an option must not be smuggled in.
        if revision.is_empty() || revision.starts_with('-') {
            return Err(failed("not a revision".to_owned()));
        }
        let output = Command::new("git")
            .args(["worktree", "add", "--quiet", "--detach"])
            .arg(checkout.path())
            .arg(revision)
            .output()
            .map_err(|e| failed(e.to_string()))?;
        if output.status.success() {
            return Ok(checkout);
        }
        let text = String::from_utf8_lossy(&output.stderr);
        Err(failed(text.lines().last().unwrap_or("no reason given").to_owned()))
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("tree")
    }
}

impl Drop for Checkout {
    fn drop(&mut self) {
        let remove = ["worktree", "remove", "--force"];
        let _ = Command::new("git").args(remove).arg(self.path()).stderr(Stdio::null()).status();
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
