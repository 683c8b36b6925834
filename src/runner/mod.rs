//! Turns a suite into cases and drives them through workers; every case is on disk before the next begins.

mod cooldown;
mod graph;
mod plan;
mod prepare;
mod quality;
mod reference;
mod run;
mod validity;

pub use plan::{Plan, PlanError, PlannedCase, Resolve};
pub use quality::QualityPlan;
pub use run::{RunError, RunEvent, RunSummary, Runner};
