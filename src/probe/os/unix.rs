//! POSIX calls shared by Linux, Android and macOS.

use std::ffi::CString;

use crate::probe::host::{Access, Ulimit};

/// Asks the kernel without opening: opening some device nodes has effects.
pub(crate) fn access(path: &str) -> Access {
    let Ok(c_path) = CString::new(path) else { return Access::Absent };
    // SAFETY: the pointer is a NUL-terminated string that outlives the call.
    if unsafe { libc::access(c_path.as_ptr(), libc::R_OK | libc::W_OK) } == 0 {
        return Access::Usable;
    }
    match std::io::Error::last_os_error().kind() {
        std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => Access::Absent,
        _ => Access::Denied,
    }
}

pub(crate) fn disk_free(path: &str) -> Option<u64> {
    let c_path = CString::new(path).ok()?;
    // SAFETY: statvfs is plain data and valid when zeroed.
    let mut stat: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are valid for the call.
    if unsafe { libc::statvfs(c_path.as_ptr(), &raw mut stat) } != 0 {
        return None;
    }
    #[expect(clippy::useless_conversion, reason = "the fields' widths differ between platforms")]
    u64::from(stat.f_bavail).checked_mul(u64::from(stat.f_frsize))
}

pub(crate) fn ulimit(which: Ulimit) -> Option<u64> {
    let resource = match which {
        Ulimit::AddressSpace => libc::RLIMIT_AS,
        Ulimit::LockedMemory => libc::RLIMIT_MEMLOCK,
        Ulimit::OpenFiles => libc::RLIMIT_NOFILE,
    };
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the struct is valid for writing.
    let ok = unsafe { libc::getrlimit(resource, &raw mut limit) } == 0;
    (ok && limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur)
}

pub(crate) fn is_root() -> bool {
    // SAFETY: no arguments, cannot fail.
    unsafe { libc::geteuid() == 0 }
}
