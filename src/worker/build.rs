//! Which build of this program runs the cases: the widest one beside it that this CPU can run, else itself.

use std::io;
use std::path::{Path, PathBuf};

use crate::record::BuildInfo;

/// A build for more than the target guarantees: `edge-advisor-worker-NAME`.
struct Level {
    /// As compilers name it (`-C target-cpu`).
    name: &'static str,
    /// What it is compiled for, as [`BuildInfo`] names it.
    isa: &'static [&'static str],
    runs_here: fn() -> bool,
}

/// Widest first, by the levels of the x86-64 psABI. One for x86-64-v4 decoded as fast as v3's and read prompts a tenth
/// slower (docs/reliability.md), so there is none.
#[cfg(target_arch = "x86_64")]
const LEVELS: [Level; 1] = {
    macro_rules! all {
        ($($feature:tt)*) => { || $(is_x86_feature_detected!($feature))&&* };
    }
    [Level {
        name: "x86-64-v3",
        isa: &["sse2", "sse4.2", "avx", "avx2", "fma", "f16c"],
        runs_here: all!("avx2" "bmi1" "bmi2" "f16c" "fma" "lzcnt" "movbe"),
    }]
};
#[cfg(not(target_arch = "x86_64"))]
const LEVELS: [Level; 0] = [];

/// The program that runs the cases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerBuild {
    pub executable: PathBuf,
    /// Instruction sets it was compiled for; more is chosen at run time.
    pub compiled_isa: Vec<String>,
}

impl WorkerBuild {
    /// Looks beside the running program and in `../libexec/edge-advisor`.
    ///
    /// # Errors
    /// The system does not tell where the running program is.
    pub fn find() -> io::Result<Self> {
        let this = std::env::current_exe()?;
        let dir = this.parent().unwrap_or(Path::new("."));
        let wide = LEVELS.iter().filter(|level| (level.runs_here)()).find_map(|level| {
            let name =
                format!("edge-advisor-worker-{}{}", level.name, std::env::consts::EXE_SUFFIX);
            let places = [dir.join(&name), dir.join("../libexec/edge-advisor").join(&name)];
            let executable = places.into_iter().find(|p| p.is_file())?;
            let compiled_isa = level.isa.iter().map(|f| (*f).to_owned()).collect();
            Some(Self { executable, compiled_isa })
        });
        let itself =
            || Self { executable: this.clone(), compiled_isa: BuildInfo::current().compiled_isa };
        Ok(wide.unwrap_or_else(itself))
    }
}
