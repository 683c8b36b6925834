//! A large aligned buffer, on huge pages where the kernel has them.

use std::alloc::{Layout, alloc_zeroed, dealloc};

/// Two MiB: a huge page on x86 and on Arm with 4 KiB pages.
const ALIGN: usize = 2 << 20;

/// Zeroed memory that one thread owns and touched first.
pub(crate) struct Buffer {
    pointer: *mut u8,
    layout: Layout,
}

impl Buffer {
    /// `None` where the system has not that much.
    pub fn new(bytes: usize) -> Option<Self> {
        let layout = Layout::from_size_align(bytes.max(64), ALIGN).ok()?;
        // SAFETY: the layout is not empty.
        let pointer = unsafe { alloc_zeroed(layout) };
        if pointer.is_null() {
            return None;
        }
        #[cfg(any(target_os = "linux", target_os = "android"))]
        // SAFETY: the range is ours; advice changes no content and may fail without harm.
        unsafe {
            libc::madvise(pointer.cast(), layout.size(), libc::MADV_HUGEPAGE);
        }
        let mut buffer = Self { pointer, layout };
        // Pages exist, and belong to this thread's NUMA node, once they are written; ones keep sums finite.
        buffer.floats().fill(1.0);
        Some(buffer)
    }

    pub fn floats(&mut self) -> &mut [f64] {
        // SAFETY: initialised, aligned for f64, and borrowed mutably through `self`.
        unsafe { std::slice::from_raw_parts_mut(self.pointer.cast(), self.layout.size() / 8) }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout.
        unsafe { dealloc(self.pointer, self.layout) }
    }
}
