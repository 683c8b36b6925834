//! Pure maths on slices of numbers: summaries, intervals, tests, multiplicity, trends. No I/O, no domain types.

mod moderate;
mod multiplicity;
mod quantile;
mod ratio;
mod resample;
mod student;
mod summary;
mod trend;

pub use moderate::{Variance, moderate};
pub use multiplicity::{benjamini_hochberg, holm};
pub use quantile::{median, percentile, quantile_type7};
pub use ratio::{
    Estimate, Ratio, blocked_difference, mean_difference, paired_difference, ratio_interval,
    sample_ratio,
};
pub use resample::{median_interval, median_standard_error};
pub use student::{student_quantile, student_upper_tail};
pub use summary::{Summary, geometric_mean, mean, standard_deviation, summarize};
pub use trend::{Plateau, change_points, plateau, warmed_up};
