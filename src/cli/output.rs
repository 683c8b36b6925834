//! How commands print: format choice, stdout that survives a closed pipe, notes on stderr.

use std::io::{self, IsTerminal, Write};

use super::CliError;

/// Output format of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Format {
    /// For a person at a terminal.
    #[default]
    Human,
    /// For scripts; the fields are documented in docs/schemas.
    Json,
    Markdown,
    Csv,
}

/// Global options and the two streams.
#[derive(Debug, Clone, Default)]
pub struct Output {
    pub format: Format,
    pub quiet: bool,
    /// True for a command inside another: stdout is not its own.
    pub nested: bool,
}

impl Output {
    /// Writes data to stdout.
    pub fn data(&self, text: &str) -> Result<(), CliError> {
        if self.nested {
            return Ok(());
        }
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        if !text.ends_with('\n') {
            out.write_all(b"\n")?;
        }
        out.flush()?;
        Ok(())
    }

    /// Writes a value as pretty JSON to stdout.
    pub fn json(&self, value: &impl serde::Serialize) -> Result<(), CliError> {
        let text = serde_json::to_string_pretty(value)
            .map_err(|e| CliError::new(super::exit::UNEXPECTED, e.to_string()))?;
        self.data(&text)
    }

    /// A line for the person on stderr, unless `--quiet`.
    pub fn note(&self, text: impl AsRef<str>) {
        if !self.quiet {
            let _ = writeln!(io::stderr(), "{}", text.as_ref());
        }
    }

    /// Whether progress bars make sense.
    pub fn progress(&self) -> bool {
        !self.quiet && io::stderr().is_terminal()
    }
}
