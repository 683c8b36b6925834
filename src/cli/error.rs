//! The one error a command ends with: cause, hint, exit code.

use super::exit;

pub type CliResult = Result<u8, CliError>;

/// Printed as `error: <cause>`, a blank line and `hint: <hint>`.
#[derive(Debug)]
pub struct CliError {
    pub cause: String,
    pub hint: Option<String>,
    pub code: u8,
    /// True for a reader that went away (`| head`): not an error.
    pub broken_pipe: bool,
}

impl CliError {
    pub fn new(code: u8, cause: impl Into<String>) -> Self {
        Self { cause: cause.into(), hint: None, code, broken_pipe: false }
    }
    /// Wrong or missing input: exit code 3.
    pub fn setup(cause: impl Into<String>) -> Self {
        Self::new(exit::SETUP, cause)
    }
    /// Wrong arguments that clap cannot see: exit code 2.
    pub fn usage(cause: impl Into<String>) -> Self {
        Self::new(exit::USAGE, cause)
    }
    /// A library error with its chain of sources, exit code 3.
    pub fn from_error(error: impl std::error::Error) -> Self {
        let mut cause = error.to_string();
        let mut source = error.source();
        while let Some(e) = source {
            let text = e.to_string();
            if !cause.contains(&text) {
                cause.push_str(": ");
                cause.push_str(&text);
            }
            source = e.source();
        }
        Self::setup(cause)
    }
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl From<std::io::Error> for CliError {
    fn from(e: std::io::Error) -> Self {
        let broken_pipe = e.kind() == std::io::ErrorKind::BrokenPipe;
        Self { broken_pipe, ..Self::new(exit::UNEXPECTED, e.to_string()) }
    }
}
