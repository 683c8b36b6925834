//! The list of formats a report can be written in.

use super::view::View;
use super::{csv, json, markdown, parquet};

/// A file format of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReportFormat {
    Html,
    Csv,
    Json,
    Md,
    Parquet,
}

impl ReportFormat {
    pub const ALL: &'static [ReportFormat] = &[
        ReportFormat::Html,
        ReportFormat::Csv,
        ReportFormat::Json,
        ReportFormat::Md,
        ReportFormat::Parquet,
    ];

    /// Also its name on the command line.
    pub fn extension(self) -> &'static str {
        match self {
            ReportFormat::Html => "html",
            ReportFormat::Csv => "csv",
            ReportFormat::Json => "json",
            ReportFormat::Md => "md",
            ReportFormat::Parquet => "parquet",
        }
    }

    /// The whole file. The same view gives the same bytes.
    pub fn render(self, view: &View) -> Vec<u8> {
        match self {
            ReportFormat::Html => super::html::render(view).into_bytes(),
            ReportFormat::Csv => csv::render(view).into_bytes(),
            ReportFormat::Json => json::render(view).into_bytes(),
            ReportFormat::Md => markdown::render(view).into_bytes(),
            ReportFormat::Parquet => parquet::render(view),
        }
    }
}
