//! What `BASE` and `HEAD` on a command line mean, shared by the commands that compare.

use std::path::{Path, PathBuf};

use super::{CliError, exit};
use crate::compare::{Policy, Side, SideError};
use crate::record::{RecordError, RunRecord};

/// Loads the records behind a path.
pub(super) fn records(path: &Path) -> Result<Vec<RunRecord>, CliError> {
    RunRecord::load_all(path).map_err(record_error)
}

/// What to do about a record that cannot be used.
pub(super) fn record_error(e: RecordError) -> CliError {
    let hint = match &e {
        RecordError::Read { .. } => {
            "give a run directory that `bench` made, a record file, or `baseline:NAME`"
        }
        RecordError::Newer { .. } => "read it with the edge-advisor that wrote it, or update",
        RecordError::NotARecord { .. } => {
            "a record is the `record.ndjson` of a run directory that `bench` made"
        }
        RecordError::Damaged { .. } => "measure again; numbers of a damaged file are not used",
        RecordError::InUse(_) => "wait until the other run has ended, or stop it",
        RecordError::Write { .. } => "choose a directory that can be written",
    };
    CliError::from_error(e).hint(hint)
}

/// Records as one side of a comparison.
pub(super) fn side(label: &str, records: &[RunRecord]) -> Result<Side, CliError> {
    Side::new(label, records).map_err(|e| match e {
        SideError::MixedDevices { .. } => CliError::new(exit::NOT_COMPARABLE, e.to_string())
            .hint("compare one device at a time; the fingerprint is in each record's header"),
        other => CliError::from_error(other).hint("use records as `bench` wrote them"),
    })
}

/// Base and head, where base may be `baseline:NAME` for head's device.
pub(super) fn pair(base: &str, head: &str, baselines: &Path) -> Result<(Side, Side), CliError> {
    let head_records = records(Path::new(head))?;
    let base_records = match base.strip_prefix("baseline:") {
        Some(name) => {
            let device = &head_records[0].header.device.id;
            super::baseline::find(name, device, baselines)?
        }
        None => records(Path::new(base))?,
    };
    Ok((side(base, &base_records)?, side(head, &head_records)?))
}

/// The policy in a file, or the built-in one.
pub(super) fn policy(path: Option<&PathBuf>) -> Result<Policy, CliError> {
    let Some(path) = path else { return Ok(Policy::default()) };
    let text = std::fs::read_to_string(path).map_err(|e| {
        CliError::setup(format!("cannot read policy `{}`: {e}", path.display()))
            .hint("`edge-advisor gate init RECORD` writes one")
    })?;
    Policy::parse(&text).map_err(|e| {
        let hint = match e.suggestion() {
            Some(word) => format!("did you mean `{word}`?"),
            None => {
                "`edge-advisor gate check FILE` validates; docs/statistics.md lists the keys".into()
            }
        };
        CliError::setup(format!("policy `{}`: {e}", path.display())).hint(hint)
    })
}
