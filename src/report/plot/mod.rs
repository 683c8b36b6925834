//! Plots as SVG text. Colours are CSS variables of the page, so that one drawing serves light and dark.

mod bars;
mod canvas;
mod figures;
mod labels;
mod panel;
mod points;

pub use figures::{Figure, figures};
