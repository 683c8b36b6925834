//! The arithmetic: weight blocks times activations, and the small vector functions between matrices.
//!
//! Unsafe code is in `x86`, `rows`, `isa` and `half_floats`; the rest is safe and compiled once per instruction set.

mod activations;
mod dequant;
mod dtype;
pub(in crate::backend) mod floats;
mod half_floats;
mod isa;
mod rows;
mod x86;

pub use activations::{Activations, Needs};
pub use dequant::dequantize;
pub use dtype::Dtype;
pub use half_floats::{narrow, widen};
pub use isa::Isa;
pub use rows::{Kernel, multiply};

#[cfg(test)]
mod tests;
