//! Collects GPUs of every vendor, each once.

use super::nvidia;
use crate::model::DeviceProblem;
use crate::probe::host::Host;
use crate::probe::nvml::NvmlSnapshot;
use crate::probe::pci::PciDevice;
use crate::probe::report::Gpu;

pub(crate) fn read(
    host: &dyn Host,
    pci: &[PciDevice],
    problems: &mut Vec<DeviceProblem>,
) -> Vec<Gpu> {
    let nvidia_here = pci.iter().any(|d| d.vendor() == "10de" && d.class >> 8 == 3);
    let mut gpus = Vec::new();
    match host.nvml() {
        NvmlSnapshot::Ready { driver, cuda, gpus: list } => {
            gpus.extend(list.iter().map(|n| nvidia::gpu(n, &driver, &cuda)));
        }
        NvmlSnapshot::Broken { why } => problems.push(DeviceProblem {
            what: format!("NVML does not initialise: {why}"),
            hint: "check that the NVIDIA driver is loaded and matches its library".into(),
        }),
        NvmlSnapshot::TimedOut => problems.push(DeviceProblem {
            what: "NVML did not answer in time".into(),
            hint: "the NVIDIA driver may be stuck; `nvidia-smi` will hang as well".into(),
        }),
        NvmlSnapshot::Absent if nvidia_here => problems.push(DeviceProblem {
            what: "an NVIDIA GPU without its driver's library (libnvidia-ml)".into(),
            hint: "install the NVIDIA driver, or run with the container toolkit's --gpus".into(),
        }),
        NvmlSnapshot::Absent => {}
    }
    gpus
}
