//! Reading the store: lists, whole records, trends, baselines.

use rusqlite::{OptionalExtension, Row, params};
use serde::Serialize;

use super::store::{History, HistoryError};
use crate::model::Metric;
use crate::record::RunRecord;
use crate::stats;

/// Which runs to list: empty fields match everything.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Fingerprint id.
    pub device: Option<String>,
    pub suite: Option<String>,
    /// Most rows, newest first.
    pub limit: Option<u32>,
}

/// One run in a list.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunRow {
    pub run_id: String,
    pub created: String,
    pub device_id: String,
    pub device_name: String,
    pub suite: String,
    pub version: String,
    pub cases: u64,
    pub completed: u64,
    /// Names of the baselines it belongs to.
    pub baselines: Vec<String>,
}

/// One run's value of a case and metric: the median over its process runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Point {
    pub run_id: String,
    pub created: String,
    pub value: f64,
    pub runs: usize,
    /// True where the level steps with this point. Advisory.
    pub step: bool,
}

/// How a metric of a case went over time on one device.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Trend {
    pub case: String,
    pub metric: Metric,
    pub device_id: String,
    pub device_name: String,
    pub points: Vec<Point>,
}

const RUN_COLUMNS: &str = "SELECT run_id, created, device_id, device_name, suite, version, cases,
    completed, (SELECT group_concat(name, char(10)) FROM baselines WHERE run = runs.id) FROM runs";

fn run_row(r: &Row<'_>) -> rusqlite::Result<RunRow> {
    let count = |i| r.get::<_, i64>(i).map(|n| n.max(0) as u64);
    let names: Option<String> = r.get(8)?;
    Ok(RunRow {
        run_id: r.get(0)?,
        created: r.get(1)?,
        device_id: r.get(2)?,
        device_name: r.get(3)?,
        suite: r.get(4)?,
        version: r.get(5)?,
        cases: count(6)?,
        completed: count(7)?,
        baselines: names.map_or(Vec::new(), |n| n.lines().map(str::to_owned).collect()),
    })
}

impl History {
    /// Runs, newest first.
    pub fn runs(&self, filter: &Filter) -> Result<Vec<RunRow>, HistoryError> {
        let sql = format!(
            "{RUN_COLUMNS} WHERE (?1 IS NULL OR device_id = ?1) AND (?2 IS NULL OR suite = ?2)
            ORDER BY created_ms DESC, id DESC LIMIT ?3"
        );
        let limit = filter.limit.map_or(-1, i64::from);
        let mut query = self.connection.prepare(&sql)?;
        let rows = query.query_map(params![filter.device, filter.suite, limit], run_row)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// A whole record, by its run id or the start of one.
    pub fn record(&self, run_id: &str) -> Result<RunRecord, HistoryError> {
        let id = self.resolve(run_id)?;
        let (header, ending, truncated) = self.connection.query_row(
            "SELECT header, ending, truncated FROM runs WHERE id = ?1",
            [id],
            |r| Ok((r.get::<_, String>(0)?, r.get::<_, Option<String>>(1)?, r.get(2)?)),
        )?;
        let mut query =
            self.connection.prepare("SELECT record FROM cases WHERE run = ?1 ORDER BY position")?;
        let lines = query.query_map([id], |r| r.get::<_, String>(0))?;
        let mut cases = Vec::new();
        for line in lines {
            cases.push(serde_json::from_str(&line?)?);
        }
        Ok(RunRecord {
            header: serde_json::from_str(&header)?,
            cases,
            end: ending.map(|e| serde_json::from_str(&e)).transpose()?,
            truncated,
        })
    }

    fn resolve(&self, start: &str) -> Result<i64, HistoryError> {
        let exact = self
            .connection
            .query_row("SELECT id FROM runs WHERE run_id = ?1", [start], |r| r.get(0))
            .optional()?;
        if let Some(id) = exact {
            return Ok(id);
        }
        let mut query = self
            .connection
            .prepare("SELECT id FROM runs WHERE substr(run_id, 1, length(?1)) = ?1")?;
        let ids: Vec<i64> = query.query_map([start], |r| r.get(0))?.collect::<Result<_, _>>()?;
        match ids.as_slice() {
            [id] => Ok(*id),
            [] => Err(HistoryError::NoRun(start.to_owned())),
            many => Err(HistoryError::Ambiguous { start: start.to_owned(), count: many.len() }),
        }
    }

    /// Ids of cases that have results, in order.
    pub fn case_ids(&self) -> Result<Vec<String>, HistoryError> {
        let mut query = self.connection.prepare("SELECT name FROM case_ids ORDER BY name")?;
        let names = query.query_map([], |r| r.get(0))?;
        Ok(names.collect::<Result<_, _>>()?)
    }

    /// A metric of a case over time, one trend a device that has it, oldest run first.
    pub fn trends(&self, case: &str, metric: Metric) -> Result<Vec<Trend>, HistoryError> {
        let mut query = self.connection.prepare(
            "SELECT runs.run_id, runs.created, runs.device_id, runs.device_name, results.value
            FROM case_ids
            JOIN results ON results.case_id = case_ids.id AND results.metric = ?2
            JOIN runs ON runs.id = results.run
            WHERE case_ids.name = ?1
            ORDER BY runs.device_id, runs.created_ms, runs.id, results.position",
        )?;
        type Found = (String, String, String, String, f64);
        let rows = query.query_map(params![case, metric.key()], |r| {
            Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?, r.get(4)?))
        })?;
        let rows: Vec<Found> = rows.collect::<Result<_, _>>()?;
        let trend = |rows: &[Found]| {
            let points = rows.chunk_by(|a, b| a.0 == b.0).map(|runs| {
                let values: Vec<f64> = runs.iter().map(|r| r.4).collect();
                Point {
                    run_id: runs[0].0.clone(),
                    created: runs[0].1.clone(),
                    value: stats::median(&values).unwrap_or(f64::NAN),
                    runs: values.len(),
                    step: false,
                }
            });
            let mut points: Vec<Point> = points.collect();
            let values: Vec<f64> = points.iter().map(|p| p.value).collect();
            for step in stats::change_points(&values) {
                points[step].step = true;
            }
            Trend {
                case: case.to_owned(),
                metric,
                device_id: rows[0].2.clone(),
                device_name: rows[0].3.clone(),
                points,
            }
        };
        Ok(rows.chunk_by(|a, b| a.2 == b.2).map(trend).collect())
    }

    /// Baselines: name, device id, run id.
    pub fn baselines(&self) -> Result<Vec<(String, String, String)>, HistoryError> {
        let mut query = self.connection.prepare(
            "SELECT baselines.name, baselines.device_id, runs.run_id FROM baselines
            JOIN runs ON runs.id = baselines.run ORDER BY 1, 2, runs.created_ms, 3",
        )?;
        let rows = query.query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}
