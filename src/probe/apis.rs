//! Which compute APIs answer: by loading their loaders, not by guessing from hardware.

use super::host::{Host, Loader};
use super::report::ApiState;
use crate::model::ComputeApi;

/// API, library, and the directories where its drivers register.
type Row = (ComputeApi, &'static str, &'static [&'static str]);

const LINUX: &[Row] = &[
    (ComputeApi::Cuda, "libcuda.so.1", &[]),
    (ComputeApi::Vulkan, "libvulkan.so.1", &["/usr/share/vulkan/icd.d", "/etc/vulkan/icd.d"]),
    (ComputeApi::OpenCl, "libOpenCL.so.1", &["/etc/OpenCL/vendors"]),
    (ComputeApi::Rocm, "libamdhip64.so", &[]),
    (ComputeApi::LevelZero, "libze_loader.so.1", &[]),
    (ComputeApi::Sycl, "libsycl.so.8", &[]),
];
const ANDROID: &[Row] =
    &[(ComputeApi::Vulkan, "libvulkan.so", &[]), (ComputeApi::OpenCl, "libOpenCL.so", &[])];
const MACOS: &[Row] =
    &[(ComputeApi::Metal, "/System/Library/Frameworks/Metal.framework/Metal", &[])];
const WINDOWS: &[Row] = &[
    (ComputeApi::Cuda, "nvcuda.dll", &[]),
    (ComputeApi::Vulkan, "vulkan-1.dll", &[]),
    (ComputeApi::OpenCl, "OpenCL.dll", &[]),
    (ComputeApi::DirectMl, "DirectML.dll", &[]),
    (ComputeApi::LevelZero, "ze_loader.dll", &[]),
];

pub(crate) fn read(host: &dyn Host, os: &str) -> Vec<ApiState> {
    let table = match os {
        "macos" => MACOS,
        "windows" => WINDOWS,
        "android" => ANDROID,
        _ => LINUX,
    };
    let states = table.iter().map(|(api, library, dirs)| ApiState {
        api: *api,
        library: (*library).to_owned(),
        state: host.loader(library),
        drivers: dirs.iter().flat_map(|d| drivers(host, d)).collect(),
    });
    states.collect()
}

fn drivers(host: &dyn Host, dir: &str) -> Vec<String> {
    let names = host.list(dir).into_iter().take(64);
    names
        .filter(|n| n.ends_with(".json") || n.ends_with(".icd"))
        .map(|n| super::parse::clean(&n))
        .collect()
}

/// Whether an API can be used: its library loads, and it does not say that it has no device.
pub(crate) fn usable(apis: &[ApiState], api: ComputeApi) -> bool {
    apis.iter().any(|a| {
        let Loader::Loads { devices } = a.state else { return false };
        // Vulkan's loader does not count: a registered driver stands for its devices.
        let registered =
            api != ComputeApi::Vulkan || !a.drivers.is_empty() || !a.library.ends_with(".so.1");
        a.api == api && devices != Some(0) && registered
    })
}
