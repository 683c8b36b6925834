//! What to expect before anything ran here: memory plan, decode, prefill, first token, load, with intervals.

mod estimate;
mod memory;
mod params;
mod predictor;

pub use estimate::{Bottleneck, Estimate, NoPrediction, Prediction, Query, Rung};
pub use memory::{KvGroup, KvPrecision, MemoryPlan, RoleBytes, memory_plan};
pub use params::{Params, ParamsError};
pub use predictor::Predictor;
