//! Where edge-advisor keeps what it downloads, makes and measures. The only home of `directories`.

use std::path::PathBuf;

use directories::ProjectDirs;

/// Models, runtimes, history, baselines: kept until the user removes them.
///
/// `EDGE_ADVISOR_DATA_DIR` overrides the platform's data directory.
pub fn data() -> PathBuf {
    choose("EDGE_ADVISOR_DATA_DIR", |dirs| dirs.data_dir().to_owned())
}

/// Variants, probe measurements, references: can be made again.
///
/// `EDGE_ADVISOR_CACHE_DIR` overrides the platform's cache directory.
pub fn cache() -> PathBuf {
    choose("EDGE_ADVISOR_CACHE_DIR", |dirs| dirs.cache_dir().to_owned())
}

fn choose(variable: &str, default: impl Fn(&ProjectDirs) -> PathBuf) -> PathBuf {
    if let Some(dir) = std::env::var_os(variable).filter(|v| !v.is_empty()) {
        return PathBuf::from(dir);
    }
    // No home directory (a bare container): keep things beside the work.
    ProjectDirs::from("", "", "edge-advisor")
        .map_or_else(|| PathBuf::from(".edge-advisor"), |d| default(&d))
}
