//! The few questions that need a system call: one small file an operating system.

#![allow(unsafe_code)]

#[cfg(any(target_os = "linux", target_os = "android"))]
mod linux;
#[cfg(target_os = "macos")]
mod macos;
#[cfg(not(unix))]
mod other;
#[cfg(unix)]
mod unix;

#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) use linux::{affinity, hwcap};
#[cfg(target_os = "macos")]
pub(crate) use macos::{affinity, hwcap};
#[cfg(not(unix))]
pub(crate) use other::{access, affinity, disk_free, hwcap, is_root, ulimit};
#[cfg(unix)]
pub(crate) use unix::{access, disk_free, is_root, ulimit};
