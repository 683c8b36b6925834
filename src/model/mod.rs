//! The vocabulary every other module speaks: plain data, no I/O, no third-party types but serde's.

mod case;
mod device;
mod fact;
mod host_state;
mod metric;
mod outcome;
mod precision;
mod spec;
mod tensor;
mod variant;

pub use case::{Case, Protocol, Workload};
pub use device::{
    ComputeApi, CpuFacts, Device, DeviceClass, DeviceProblem, Isa, Limits, Processor, ProcessorKind,
};
pub use fact::{Fact, Source};
pub use host_state::{Cooldown, EnergyFacts, HeatPoint, HostState};
pub use metric::{Direction, Metric, Unit};
pub use outcome::{CaseOutcome, Finding, FindingKind, Phase};
pub use precision::{Family, Precision, PrecisionClass};
pub use spec::{Attention, ModelKind, ModelSpec, Role, TensorSpec};
pub use tensor::{Tensor, TensorData, TensorType};
pub use variant::{TypeCount, Variant};
