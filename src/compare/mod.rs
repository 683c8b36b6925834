//! What changed between two sets of runs, and whether a policy lets it pass. Pure: records in, verdicts out.

mod comparison;
mod estimate;
mod goals;
mod init;
mod judge;
mod metrics;
mod policy;
mod policy_keys;
mod schedule;
mod side;

pub use comparison::{
    Comparison, Design, GoalRow, GoalVerdict, Overall, Row, SideInfo, Subject, Verdict,
};
pub use init::policy_from_noise;
pub use judge::{Judging, compare};
pub use policy::{GoalRule, OnInconclusive, Policy, PolicyError, RuleFor};
pub use schedule::{Look, looks};
pub use side::{Side, SideError};
