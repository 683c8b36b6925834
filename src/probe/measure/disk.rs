//! Sequential read speed of the disk that models lie on, past the page cache.

use std::path::Path;

use crate::probe::capability::Rate;

#[cfg(any(target_os = "linux", target_os = "android"))]
const BYTES: usize = 192 << 20;

/// Writes a file, drops it from the page cache and reads it back; `Err` says why there is no number.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn read_rate(dir: &Path) -> Result<Rate, String> {
    use std::io::{Read, Seek, Write};
    use std::os::fd::AsRawFd;
    use std::time::{Duration, Instant};

    use super::stable::{self, Effort};

    let say = |e: std::io::Error| format!("disk speed not measured: {e}");
    std::fs::create_dir_all(dir).map_err(say)?;
    let mut file = tempfile::tempfile_in(dir).map_err(say)?;
    let mut block = incompressible(4 << 20);
    for _ in 0..BYTES / block.len() {
        file.write_all(&block).map_err(say)?;
    }
    file.sync_all().map_err(say)?;
    let fd = file.as_raw_fd();
    let mut failed = None;
    let effort = Effort { least: 3, most: 5, budget: Duration::from_secs(2) };
    let rate = stable::repeat(effort, || {
        // SAFETY: a valid descriptor; advice changes no content.
        unsafe { libc::posix_fadvise(fd, 0, 0, libc::POSIX_FADV_DONTNEED) };
        let start = Instant::now();
        let mut read = file.rewind().map(|()| 0);
        while let Ok(total) = read {
            match file.read(&mut block) {
                Ok(0) => break,
                Ok(n) => read = Ok(total + n),
                Err(e) => read = Err(e),
            }
        }
        match read {
            Ok(total) => total as f64 / start.elapsed().as_secs_f64() / 1e9,
            Err(e) => {
                failed = Some(e);
                0.0
            }
        }
    });
    match failed {
        Some(e) => Err(say(e)),
        None => Ok(rate),
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn read_rate(_dir: &Path) -> Result<Rate, String> {
    Err("disk speed not measured: this system has no way to drop a file from its cache".into())
}

/// A file system that compresses would read zeros for nothing.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn incompressible(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..bytes / 8).flat_map(|_| next()).collect()
}
