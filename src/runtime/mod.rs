//! Gets frameworks onto the machine: pinned and hashed packages, downloaded, unpacked and found again.

mod child;
mod extract;
mod fetch;
mod hash;
mod install;
mod installed;
mod lock;
mod models;
mod python;
mod registry;
mod script;

pub use child::{ChildError, PythonChild, Reply};
pub use extract::{ExtractError, Limits, extract};
pub use fetch::{Download, FetchError, Progress, download};
pub use hash::{sha256_bytes, sha256_file};
pub use install::{Plan, RuntimeError, install, plan, remove};
pub use installed::{Installed, check, choose, find, override_variable};
pub use lock::{Lock, Package, Python, lock, locks, platform};
pub use models::{PullError, Pulled, PulledFile, SourceChoice, pull};
pub use python::{PythonEnv, examine, python_env};
pub use registry::{Registry, RegistryError, resolve};
pub use script::{ScriptError, ScriptLimits, run_script};
