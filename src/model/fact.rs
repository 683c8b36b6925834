//! A value and where it came from, so that a guess never looks like a reading.

use serde::{Deserialize, Serialize};

/// Where a fact came from, strongest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Source {
    /// Timed or counted on this device by us.
    Measured,
    /// Read from the operating system, firmware or a driver; `by` names the file, call or tool.
    Reported { by: String },
    /// Derived from other facts by a named rule.
    Inferred { rule: String },
    /// A published figure; `from` names the source.
    Published { from: String },
    /// Given by the user.
    Override,
}

/// A value together with its [`Source`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Fact<T> {
    pub value: T,
    pub source: Source,
}

impl<T> Fact<T> {
    pub fn measured(value: T) -> Self {
        Self { value, source: Source::Measured }
    }
    pub fn reported(value: T, by: impl Into<String>) -> Self {
        Self { value, source: Source::Reported { by: by.into() } }
    }
    pub fn inferred(value: T, rule: impl Into<String>) -> Self {
        Self { value, source: Source::Inferred { rule: rule.into() } }
    }
    pub fn published(value: T, from: impl Into<String>) -> Self {
        Self { value, source: Source::Published { from: from.into() } }
    }
}
