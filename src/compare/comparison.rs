//! The result of a comparison, as every renderer and the JSON output see it.

use serde::{Deserialize, Serialize};

use crate::model::Metric;

/// The verdict on one metric of one case, or on a case as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Worse than allowed, beyond chance.
    Regressed,
    /// Measured in base, and gone, failed or invalid in head.
    Lost,
    /// The data allow neither pass nor regressed.
    Inconclusive,
    /// There is nothing sound to compare with.
    NotComparable,
    /// Better by more than the limit, beyond chance.
    Improved,
    /// A regression as large as the limit is ruled out.
    Pass,
    /// In head only: nothing to compare with yet.
    New,
    /// A known limit on both sides (unsupported, skipped).
    NotRun,
}

impl Verdict {
    /// Words for tables; the serialized form is the same with underscores.
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Regressed => "regressed",
            Verdict::Lost => "lost",
            Verdict::Inconclusive => "inconclusive",
            Verdict::NotComparable => "not comparable",
            Verdict::Improved => "improved",
            Verdict::Pass => "pass",
            Verdict::New => "new",
            Verdict::NotRun => "not run",
        }
    }

    /// True where a gate fails because of it.
    pub fn is_failure(self) -> bool {
        matches!(self, Verdict::Regressed | Verdict::Lost)
    }
}

/// How an estimate was made; decides what it can claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Design {
    /// Base and head alternated on one machine: a block design.
    Interleaved,
    /// Several runs a side, one side after the other: Welch, plus the shift between sessions.
    Separate,
    /// One run on a side at least: the spread between runs is assumed from the policy.
    SingleRun,
    /// The same pieces of text on both sides.
    PairedChunks,
    /// The same numbers on both sides.
    Identical,
}

impl Design {
    pub fn word(self) -> &'static str {
        match self {
            Design::Interleaved => "interleaved",
            Design::Separate => "separate",
            Design::SingleRun => "single run",
            Design::PairedChunks => "paired chunks",
            Design::Identical => "identical",
        }
    }
}

/// What a row is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Subject {
    /// A metric of a case.
    Metric { case: String, metric: Metric },
    /// The geometric mean of a metric's ratios over all cases.
    Geomean { metric: Metric, cases: usize },
    /// A case that has no numbers to compare.
    Case { case: String },
}

impl Subject {
    pub fn case(&self) -> &str {
        match self {
            Subject::Metric { case, .. } | Subject::Case { case } => case,
            Subject::Geomean { .. } => "geometric mean of all cases",
        }
    }

    pub fn metric(&self) -> Option<Metric> {
        match self {
            Subject::Metric { metric, .. } | Subject::Geomean { metric, .. } => Some(*metric),
            Subject::Case { .. } => None,
        }
    }

    /// Metric key, or `case` for a whole case.
    pub fn metric_key(&self) -> &'static str {
        self.metric().map_or("case", Metric::key)
    }
}

/// One judged quantity. Changes are head against base: percent, or a plain difference where `absolute`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Row {
    #[serde(flatten)]
    pub subject: Subject,
    pub verdict: Verdict,
    /// One sentence for a reader.
    pub reason: String,
    /// False where the policy shows the row only.
    pub gates: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub design: Option<Design>,
    pub runs_base: usize,
    pub runs_head: usize,
    /// Median (mean for quality) over runs, in the metric's unit.
    pub base: Option<f64>,
    pub head: Option<f64>,
    /// True where the change is a difference in the metric's unit, not percent.
    #[serde(default)]
    pub absolute: bool,
    pub change: Option<f64>,
    /// 95 % interval of the change.
    pub change_low: Option<f64>,
    pub change_high: Option<f64>,
    /// Adjusted for the number of metrics: the smallest false-alarm rate at which this row alarms.
    pub p_adjusted: Option<f64>,
    /// Largest change for the worse that the policy allows, on the scale of `change`.
    pub limit: Option<f64>,
    /// A/A floor: spread between process runs of one side, percent (measured, or assumed for single runs).
    pub noise_percent: Option<f64>,
    /// The smallest regression these data catch 19 times in 20, on the scale of `change`.
    pub detectable: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum GoalVerdict {
    Met,
    Missed,
    Inconclusive,
    NotComparable,
}

impl GoalVerdict {
    pub fn word(self) -> &'static str {
        match self {
            GoalVerdict::Met => "met",
            GoalVerdict::Missed => "missed",
            GoalVerdict::Inconclusive => "inconclusive",
            GoalVerdict::NotComparable => "not comparable",
        }
    }
}

/// A goal or absolute limit, judged on head alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct GoalRow {
    pub name: String,
    pub case: String,
    pub metric: Metric,
    pub verdict: GoalVerdict,
    pub reason: String,
    /// The value judged: a ratio to the reference, or the metric itself.
    pub value: Option<f64>,
    pub low: Option<f64>,
    pub high: Option<f64>,
    /// `>= 2.00x F16` and the like.
    pub wanted: String,
}

/// Where a side came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SideInfo {
    /// Path or name as given.
    pub label: String,
    pub run_ids: Vec<String>,
    pub device: String,
    pub device_name: String,
    pub created: String,
    pub build: String,
    /// Process runs of its best-covered case.
    pub runs: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Overall {
    Pass,
    Regressed,
    NotComparable,
    Inconclusive,
}

impl Overall {
    pub fn word(self) -> &'static str {
        match self {
            Overall::Pass => "pass",
            Overall::Regressed => "regressed",
            Overall::NotComparable => "not comparable",
            Overall::Inconclusive => "inconclusive",
        }
    }
}

/// Two sides, judged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Comparison {
    pub schema_version: u32,
    pub overall: Overall,
    pub base: SideInfo,
    pub head: SideInfo,
    /// Worst first within a case, cases in order of id; geometric means last.
    pub rows: Vec<Row>,
    #[serde(default)]
    pub goals: Vec<GoalRow>,
    /// What a reader should know before trusting the verdicts.
    #[serde(default)]
    pub notes: Vec<String>,
}

impl Comparison {
    pub const SCHEMA_VERSION: u32 = 1;

    pub fn count(&self, verdict: Verdict) -> usize {
        self.rows.iter().filter(|r| r.verdict == verdict).count()
    }

    /// Rows that fail the gate.
    pub fn failures(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(|r| r.gates && r.verdict.is_failure())
    }

    pub fn missed_goals(&self) -> impl Iterator<Item = &GoalRow> {
        self.goals.iter().filter(|g| g.verdict == GoalVerdict::Missed)
    }

    /// The largest A/A floor of a gating row, percent.
    pub fn noise_floor(&self) -> Option<f64> {
        let floors = self.rows.iter().filter(|r| r.gates).filter_map(|r| r.noise_percent);
        floors.max_by(f64::total_cmp)
    }
}
