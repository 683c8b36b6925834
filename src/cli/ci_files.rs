//! Files and messages for CI systems, shared by `compare` and `gate`.

use std::io::Write;
use std::path::{Path, PathBuf};

use super::{CliError, Format, Output};
use crate::compare::Comparison;
use crate::report::ci;

/// Where else the result goes.
#[derive(Debug, clap::Args)]
pub(super) struct CiFiles {
    /// Write JUnit XML.
    #[arg(long, value_name = "FILE", help_heading = "CI output")]
    junit: Option<PathBuf>,
    /// Write SARIF 2.1.0.
    #[arg(long, value_name = "FILE", help_heading = "CI output")]
    sarif: Option<PathBuf>,
    /// Write a GitLab code-quality report.
    #[arg(long, value_name = "FILE", help_heading = "CI output")]
    code_quality: Option<PathBuf>,
    /// Write head's values as a GitLab metrics report (OpenMetrics).
    #[arg(long, value_name = "FILE", help_heading = "CI output")]
    metrics: Option<PathBuf>,
    /// Write Markdown, e.g. for a comment.
    #[arg(long, value_name = "FILE", help_heading = "CI output")]
    markdown: Option<PathBuf>,
    /// Write the JSON that `--format json` prints.
    #[arg(long, value_name = "FILE", help_heading = "CI output")]
    json: Option<PathBuf>,
    /// Print GitHub annotations and append to its step summary [default: on in GitHub Actions].
    #[arg(long, help_heading = "CI output")]
    github: bool,
}

impl CiFiles {
    /// Writes every file asked for; each is whole or absent. `artifact` is what findings point at.
    pub(super) fn write(&self, comparison: &Comparison, artifact: &str) -> Result<(), CliError> {
        if let Some(path) = &self.junit {
            let xml = ci::junit::render(comparison).map_err(CliError::from_error)?;
            write_whole(path, &xml)?;
        }
        if let Some(path) = &self.sarif {
            write_whole(path, &ci::sarif::render(comparison, artifact))?;
        }
        if let Some(path) = &self.code_quality {
            write_whole(path, &ci::gitlab::code_quality(comparison, artifact))?;
        }
        if let Some(path) = &self.metrics {
            write_whole(path, &ci::gitlab::metrics(comparison))?;
        }
        if let Some(path) = &self.markdown {
            write_whole(path, &ci::markdown::render(comparison))?;
        }
        if let Some(path) = &self.json {
            let text = serde_json::to_string_pretty(comparison).map_err(CliError::from_error)?;
            write_whole(path, &(text + "\n"))?;
        }
        if self.github || std::env::var_os("GITHUB_ACTIONS").is_some_and(|v| v == "true") {
            github(comparison)?;
        }
        Ok(())
    }
}

/// Annotations go to stderr, which the runner reads like stdout, so that stdout stays data.
fn github(comparison: &Comparison) -> Result<(), CliError> {
    std::io::stderr().write_all(ci::github::annotations(comparison).as_bytes())?;
    let Some(path) = std::env::var_os("GITHUB_STEP_SUMMARY").filter(|p| !p.is_empty()) else {
        return Ok(());
    };
    let path = PathBuf::from(path);
    std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(&path)
        .and_then(|mut file| file.write_all(ci::markdown::render(comparison).as_bytes()))
        .map_err(|e| cannot_write(&path, &e))
}

fn cannot_write(path: &Path, e: &std::io::Error) -> CliError {
    CliError::setup(format!("cannot write `{}`: {e}", path.display()))
        .hint("the directory must exist and be writable")
}

/// Writes a file that is whole or absent.
pub(super) fn write_whole(path: &Path, text: &str) -> Result<(), CliError> {
    let dir = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let write = || -> std::io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(dir)?;
        file.write_all(text.as_bytes())?;
        file.as_file().sync_all()?;
        readable(file.as_file())?;
        file.persist(path).map_err(|e| e.error)?;
        Ok(())
    };
    write().map_err(|e| cannot_write(path, &e))
}

/// Temporary files are private; a report is for the next CI step too.
#[cfg(unix)]
fn readable(file: &std::fs::File) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(std::fs::Permissions::from_mode(0o644))
}
#[cfg(not(unix))]
fn readable(_file: &std::fs::File) -> std::io::Result<()> {
    Ok(())
}

/// Prints the comparison on stdout in the chosen format.
pub(super) fn print(
    comparison: &Comparison,
    all: bool,
    command: &str,
    output: &Output,
) -> Result<(), CliError> {
    match output.format {
        Format::Human => output.data(&ci::terminal::render(comparison, all)),
        Format::Json => output.json(comparison),
        Format::Markdown => output.data(&ci::markdown::render(comparison)),
        Format::Csv => Err(CliError::usage(format!("`{command}` has no CSV output"))
            .hint("use --format json; `report` writes a run's numbers as CSV")),
    }
}
