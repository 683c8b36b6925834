//! `models list`: the catalogue as a table.

use clap::Args;
use serde::Serialize;

use super::{Kind, count, kind_name};
use crate::catalog::{Catalog, Entry, build, find_model, models_dir};
use crate::cli::{CliError, CliResult, Format, Output, exit};
use crate::model::ModelKind;

/// Lists the models that are known by name.
#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Only names and titles that contain this.
    filter: Option<String>,
    #[arg(long, value_enum)]
    kind: Option<Kind>,
    /// Only models that are on this machine.
    #[arg(long)]
    here: bool,
}

#[derive(Serialize)]
struct Row<'a> {
    #[serde(flatten)]
    entry: &'a Entry,
    active_parameters: u64,
    /// Where it is on this machine.
    path: Option<String>,
}

pub(super) fn run(args: &ListArgs, output: &Output) -> CliResult {
    let catalog = Catalog::load()?;
    let dir = models_dir();
    let filter = args.filter.as_deref().unwrap_or_default().to_lowercase();
    let rows: Vec<Row> = catalog
        .entries()
        .iter()
        .filter(|e| args.kind.is_none_or(|k| ModelKind::from(k) == e.kind))
        .filter(|e| e.name.contains(&filter) || e.title.to_lowercase().contains(&filter))
        .map(|entry| Row {
            entry,
            active_parameters: build(entry).active_parameters,
            path: find_model(&dir.join(&entry.name)).map(|p| p.display().to_string()),
        })
        .filter(|row| !args.here || row.path.is_some())
        .collect();
    if output.format == Format::Json {
        output.json(&rows)?;
        return Ok(exit::OK);
    }
    if rows.is_empty() {
        return Err(CliError::new(exit::NOTHING, "no model matches")
            .hint("`edge-advisor models list` shows all"));
    }
    output.data(&table(&rows))?;
    let here = rows.iter().filter(|r| r.path.is_some()).count();
    output.note(format!("{} models, {here} on this machine", rows.len()));
    Ok(exit::OK)
}

fn table(rows: &[Row]) -> String {
    let mut text = format!(
        "{:<30} {:<10} {:>6} {:>6} {:>7}  {:<8} {}\n",
        "NAME", "KIND", "PARAMS", "ACTIVE", "CONTEXT", "FROM", "HERE"
    );
    for row in rows {
        let entry = row.entry;
        let active = match row.active_parameters == build(entry).parameters {
            true => "-".to_owned(),
            false => count(row.active_parameters),
        };
        let context = match entry.shape.as_ref().map_or(0, |s| s.context) {
            0 => "-".to_owned(),
            n if n >= 1024 => format!("{}k", n / 1024),
            n => n.to_string(),
        };
        let line = format!(
            "{:<30} {:<10} {:>6} {active:>6} {context:>7}  {:<8} {}",
            entry.name,
            kind_name(entry.kind),
            count(entry.parameters),
            sources(entry),
            if row.path.is_some() { "yes" } else { "" },
        );
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn sources(entry: &Entry) -> &'static str {
    match (entry.hub.is_empty(), entry.package.is_empty()) {
        (false, false) => "hub pypi",
        (false, true) => "hub",
        (true, false) => "pypi",
        // Its shape can still be planned for and measured.
        (true, true) => "shape",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_fits_80_columns() {
        let catalog = Catalog::load_with(None).unwrap();
        let rows: Vec<Row> = catalog
            .entries()
            .iter()
            .map(|entry| Row {
                entry,
                active_parameters: build(entry).active_parameters,
                path: Some("x".into()),
            })
            .collect();
        for line in table(&rows).lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }
}
