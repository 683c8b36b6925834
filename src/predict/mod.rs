//! What to expect before anything ran here: memory plan, decode, prefill, first token, load, with intervals.

mod calibration;
mod devices;
mod estimate;
mod evaluate;
mod fit;
mod load;
mod memory;
mod observation;
mod params;
mod peers;
mod predictor;
mod rows;
mod settings;
mod shapes;
mod train;

pub use calibration::{Anchor, Calibration};
pub use estimate::{Bottleneck, Estimate, NoPrediction, Prediction, Query, Rung};
pub use evaluate::{Evaluation, Rows, Score};
pub use load::{LoadParams, LoadRow};
pub use memory::{KvGroup, KvPrecision, MemoryPlan, PlanFor, RoleBytes, memory_plan};
pub use observation::Task;
pub use params::{Interval, Meta, Params, ParamsError, SpeedParams};
pub use predictor::{Predictor, energy_per_token, planned};
pub use rows::RowsError;
pub use train::Held;

#[cfg(test)]
mod tests;
