//! `gate`: lets a release pass or stops it, by a policy; `gate init` and `gate check` make and check one.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use clap::Subcommand;

use super::{CliError, CliResult, Format, Output, ci_files, exit, gate_live, sides};
use crate::compare::{Comparison, Judging, Overall, Policy, compare, policy_from_noise};
use crate::model::Metric;
use crate::report::ci;

const EXAMPLES: &str = "Examples:
  edge-advisor gate reports/main reports/pr --policy gate.toml --junit gate.xml
  edge-advisor gate baseline:v1.2 reports/pr
  edge-advisor gate --live --policy gate.toml \\
      --base 'old/edge-advisor bench --suite llm --out {out}' \\
      --head 'new/edge-advisor bench --suite llm --out {out}'
  edge-advisor gate --live --base origin/main --head . --run './measure.sh {out}'
  edge-advisor gate init reports/main --out gate.toml
  edge-advisor gate check gate.toml reports/main

Exit codes: 0 pass, 10 regressed or a goal missed, 11 inconclusive, 12 not comparable.
What the verdicts mean and why: docs/statistics.md.";

/// Judge a release against a baseline: pass, regressed, inconclusive or not comparable.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Option<Action>,
    /// The runs to compare with: a path, or `baseline:NAME`.
    #[arg(required_unless_present = "live", conflicts_with = "live")]
    base: Option<String>,
    /// The runs in question.
    #[arg(required_unless_present = "live", conflicts_with = "live")]
    head: Option<PathBuf>,
    /// Limits, goals and noise to judge by [default: built in].
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Show passes too.
    #[arg(long)]
    all: bool,
    /// Where baselines are kept in a repository.
    #[arg(long, value_name = "DIR", default_value = super::baseline::DIRECTORY)]
    baselines: PathBuf,
    #[command(flatten)]
    live: gate_live::LiveArgs,
    #[command(flatten)]
    files: ci_files::CiFiles,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Write a policy with limits that fit the noise of measured runs.
    Init {
        /// Runs of one device: best several, or one made with `bench --runs 5`.
        record: PathBuf,
        /// The file to write; it must not exist.
        #[arg(long, short, default_value = "gate.toml")]
        out: PathBuf,
    },
    /// Validate a policy and list what is in force.
    Check {
        policy: PathBuf,
        /// Check its case globs against these runs too.
        record: Option<PathBuf>,
    },
}

pub(crate) fn run(args: &Args, output: &Output) -> CliResult {
    match &args.action {
        Some(Action::Init { record, out }) => return init(record, out, output),
        Some(Action::Check { policy, record }) => return check(policy, record.as_deref(), output),
        None => {}
    }
    let policy = sides::policy(args.policy.as_ref())?;
    let comparison = match (&args.base, &args.head) {
        (Some(base), Some(head)) => {
            let (base, head) = sides::pair(base, &head.to_string_lossy(), &args.baselines)?;
            compare(&base, &head, &policy, Judging::once(&policy))
        }
        _ => gate_live::run(&args.live, &policy, output)?,
    };
    finish(args, &comparison, output)
}

fn finish(args: &Args, comparison: &Comparison, output: &Output) -> CliResult {
    args.files.write(comparison, &super::compare::artifact(args.policy.as_ref()))?;
    ci_files::print(comparison, args.all, "gate", output)?;
    if output.format != Format::Human {
        output.note(ci::headline(comparison));
    }
    Ok(match comparison.overall {
        Overall::Pass => exit::OK,
        Overall::Regressed => exit::REGRESSED,
        Overall::Inconclusive => exit::INCONCLUSIVE,
        Overall::NotComparable => exit::NOT_COMPARABLE,
    })
}

fn init(record: &Path, out: &Path, output: &Output) -> CliResult {
    if out.exists() {
        return Err(CliError::setup(format!("`{}` exists", out.display())).hint(
            "choose another file with `--out`; a policy is edited by hand and never replaced",
        ));
    }
    let side = sides::side(&record.to_string_lossy(), &sides::records(record)?)?;
    ci_files::write_whole(out, &policy_from_noise(&side))?;
    output.note(format!("wrote {}", out.display()));
    if side.info.runs < 2 {
        output
            .note("one run a case: its noise is not known, so the defaults stay (bench --runs 5)");
    }
    Ok(exit::OK)
}

fn check(path: &Path, record: Option<&Path>, output: &Output) -> CliResult {
    let policy = sides::policy(Some(&path.to_owned()))?;
    if let Some(record) = record {
        check_globs(&policy, path, record)?;
    }
    if output.format == Format::Json {
        output.json(&rules_as_json(&policy))?;
    } else {
        output.data(&rules_as_text(&policy))?;
    }
    Ok(exit::OK)
}

fn check_globs(policy: &Policy, path: &Path, record: &Path) -> Result<(), CliError> {
    let side = sides::side(&record.to_string_lossy(), &sides::records(record)?)?;
    let ids: Vec<&str> = side.case_ids().chain(["geomean"]).collect();
    match policy.unmatched_cases(&ids).first() {
        None => Ok(()),
        Some(glob) => Err(CliError::setup(format!(
            "policy `{}`: case glob `{glob}` matches no case of `{}`",
            path.display(),
            record.display()
        ))
        .hint(format!("its first case is `{}`", ids.first().unwrap_or(&"-")))),
    }
}

fn rules_as_text(policy: &Policy) -> String {
    let mut out = format!(
        "false alarms {} % a gate, {} to {} runs a side, {} goal(s)\n\n{:<22} {:>6} {:>10} {:>14}\n",
        policy.false_alarm_percent,
        policy.runs,
        policy.max_runs,
        policy.goals.len(),
        "metric (any case)",
        "gates",
        "limit",
        "noise assumed"
    );
    for &metric in Metric::ALL {
        let rule = policy.rule_for(metric, "");
        let unit = if rule.absolute { "" } else { " %" };
        let _ = writeln!(
            out,
            "{:<22} {:>6} {:>10} {:>12} %",
            metric.key(),
            if rule.gates { "yes" } else { "no" },
            format!("{}{unit}", rule.limit),
            rule.noise_percent
        );
    }
    out
}

fn rules_as_json(policy: &Policy) -> serde_json::Value {
    let rules: Vec<_> = Metric::ALL
        .iter()
        .map(|&metric| {
            let rule = policy.rule_for(metric, "");
            serde_json::json!({
                "metric": metric,
                "gates": rule.gates,
                "limit": rule.limit,
                "absolute": rule.absolute,
                "noise_percent": rule.noise_percent,
            })
        })
        .collect();
    serde_json::json!({
        "false_alarm_percent": policy.false_alarm_percent,
        "runs": policy.runs,
        "max_runs": policy.max_runs,
        "goals": policy.goals.iter().map(|g| &g.name).collect::<Vec<_>>(),
        "rules": rules,
    })
}
