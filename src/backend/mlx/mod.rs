//! MLX: the pinned Python packages, driven by scripts of ours; nothing is linked.

mod backend;
mod config;
mod prepare;
mod recipe;
mod session;

pub(crate) use backend::Mlx;

use serde_json::Value;

use super::BackendError;
use crate::runtime::{PythonChild, PythonEnv, python_env};

/// Runtime name and registry key.
const NAME: &str = "mlx";
/// Longest silence of a script. The harness ends a worker long before, unless it was told to wait.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(3600);

fn environment() -> Result<PythonEnv, BackendError> {
    python_env(NAME).ok_or_else(|| BackendError::NotInstalled { hint: backend::INSTALL.to_owned() })
}

/// Runs a script to its one answer.
fn run(
    env: &PythonEnv,
    script: &str,
    request: &Value,
    progress: &mut dyn FnMut(f64, &str),
) -> Result<Value, BackendError> {
    Ok(PythonChild::start(env, script, &[])?.call(request, PATIENCE, progress)?.value)
}
