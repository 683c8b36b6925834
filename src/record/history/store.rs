//! Opening the store, adding and removing runs. One transaction a run: a killed writer leaves nothing behind.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use super::migrate::migrate;
use crate::record::{CaseRecord, RunRecord};
use crate::stats;

const FILE_NAME: &str = "history.sqlite";
/// How long a writer waits for another one.
const BUSY: Duration = Duration::from_secs(30);

#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    #[error("cannot open the history `{path}`: {source}")]
    Open { path: PathBuf, source: rusqlite::Error },
    #[error("cannot make the history's directory `{path}`: {source}")]
    Directory { path: PathBuf, source: std::io::Error },
    #[error("the history has version {found}, this build knows up to {known}")]
    Newer { found: i64, known: i64 },
    #[error("history: {0}")]
    Database(#[from] rusqlite::Error),
    #[error("history holds a run that cannot be read: {0}")]
    Content(#[from] serde_json::Error),
    #[error("no run `{0}` in the history")]
    NoRun(String),
    #[error("`{start}` begins {count} runs in the history")]
    Ambiguous { start: String, count: usize },
}

/// An open store.
#[derive(Debug)]
pub struct History {
    pub(super) connection: Connection,
}

impl History {
    /// Opens the store in the data directory, made where it is missing.
    pub fn open_default() -> Result<Self, HistoryError> {
        Self::open(&crate::dirs::data().join(FILE_NAME))
    }

    pub fn open(path: &Path) -> Result<Self, HistoryError> {
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir)
                .map_err(|source| HistoryError::Directory { path: dir.to_owned(), source })?;
        }
        let open = || -> Result<Connection, rusqlite::Error> {
            let connection = Connection::open(path)?;
            connection.busy_timeout(BUSY)?;
            connection.pragma_update(None, "journal_mode", "WAL")?;
            connection.pragma_update(None, "synchronous", "NORMAL")?;
            connection.pragma_update(None, "foreign_keys", "ON")?;
            Ok(connection)
        };
        let mut connection =
            open().map_err(|source| HistoryError::Open { path: path.to_owned(), source })?;
        migrate(&mut connection)?;
        Ok(Self { connection })
    }

    /// Adds a run, or replaces what is stored of it (a resumed run has more cases now).
    pub fn add(&mut self, record: &RunRecord) -> Result<(), HistoryError> {
        self.add_all(std::slice::from_ref(record))
    }

    /// Adds runs in one transaction: all or none.
    pub fn add_all(&mut self, records: &[RunRecord]) -> Result<(), HistoryError> {
        let transaction =
            self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for record in records {
            insert(&transaction, record)?;
        }
        Ok(transaction.commit()?)
    }

    /// Removes the runs beyond the newest `keep` of each device and suite, never a baseline. Returns how many.
    pub fn prune(&mut self, keep: u32) -> Result<usize, HistoryError> {
        let transaction =
            self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let removed = transaction.execute(
            "DELETE FROM runs WHERE id IN (
                SELECT id FROM (
                    SELECT id, row_number() OVER (
                        PARTITION BY device_id, suite ORDER BY created_ms DESC, id DESC
                    ) AS place FROM runs
                ) WHERE place > ?1
            ) AND id NOT IN (SELECT run FROM baselines)",
            [keep],
        )?;
        transaction.commit()?;
        if removed > 0 {
            self.connection.execute_batch("VACUUM")?;
        }
        Ok(removed)
    }

    /// Names stored runs as a baseline, in place of what the name meant for their devices.
    pub fn save_baseline(&mut self, name: &str, run_ids: &[String]) -> Result<(), HistoryError> {
        let transaction =
            self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut rows = Vec::new();
        for run_id in run_ids {
            let row = transaction
                .query_row("SELECT id, device_id FROM runs WHERE run_id = ?1", [run_id], |r| {
                    Ok((r.get::<_, i64>(0)?, r.get::<_, String>(1)?))
                })
                .optional()?
                .ok_or_else(|| HistoryError::NoRun(run_id.clone()))?;
            rows.push(row);
        }
        for (_, device) in &rows {
            let sql = "DELETE FROM baselines WHERE name = ?1 AND device_id = ?2";
            transaction.execute(sql, params![name, device])?;
        }
        for (run, device) in &rows {
            let sql = "INSERT OR IGNORE INTO baselines(name, device_id, run) VALUES (?1, ?2, ?3)";
            transaction.execute(sql, params![name, device, run])?;
        }
        Ok(transaction.commit()?)
    }
}

fn insert(transaction: &Transaction<'_>, record: &RunRecord) -> Result<(), HistoryError> {
    let header = &record.header;
    let completed = record.cases.iter().filter(|c| c.outcome.is_completed()).count();
    // Replaced in place: the row keeps its id, so baselines still point at it.
    let run: i64 = transaction
        .prepare_cached(
            "INSERT INTO runs(run_id, created, created_ms, device_id, device_name, suite, version,
                labels, cases, completed, header, ending, truncated)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)
            ON CONFLICT(run_id) DO UPDATE SET created = ?2, created_ms = ?3, device_id = ?4,
                device_name = ?5, suite = ?6, version = ?7, labels = ?8, cases = ?9,
                completed = ?10, header = ?11, ending = ?12, truncated = ?13
            RETURNING id",
        )?
        .query_row(
            params![
                header.run_id,
                header.created,
                milliseconds(&header.created),
                header.device.id,
                header.device.name,
                header.suite,
                header.build.version,
                serde_json::to_string(&header.labels)?,
                record.cases.len() as i64,
                completed as i64,
                serde_json::to_string(header)?,
                record.end.as_ref().map(serde_json::to_string).transpose()?,
                record.truncated,
            ],
            |r| r.get(0),
        )?;
    transaction.prepare_cached("DELETE FROM cases WHERE run = ?1")?.execute([run])?;
    transaction.prepare_cached("DELETE FROM results WHERE run = ?1")?.execute([run])?;
    for (position, case) in record.cases.iter().enumerate() {
        insert_case(transaction, run, position as i64, case)?;
    }
    Ok(())
}

fn insert_case(
    transaction: &Transaction<'_>,
    run: i64,
    position: i64,
    case: &CaseRecord,
) -> Result<(), HistoryError> {
    let text = serde_json::to_string(case)?;
    transaction
        .prepare_cached("INSERT INTO cases(run, position, record) VALUES (?1, ?2, ?3)")?
        .execute(params![run, position, text])?;
    if !case.outcome.is_completed() {
        return Ok(());
    }
    let case_id: i64 = transaction
        .prepare_cached(
            "INSERT INTO case_ids(name) VALUES (?1)
            ON CONFLICT(name) DO UPDATE SET name = name RETURNING id",
        )?
        .query_row([case.case.id()], |r| r.get(0))?;
    let mut result = transaction.prepare_cached(
        "INSERT OR REPLACE INTO results(case_id, metric, run, position, value, samples)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    for series in &case.series {
        // Quality is defined as a mean over chunks, the rest is summarized by its median.
        let quality = series.metric.is_quality();
        let centre =
            if quality { stats::mean(&series.samples) } else { stats::median(&series.samples) };
        if let Some(value) = centre {
            let samples = series.samples.len() as i64;
            result.execute(params![case_id, series.metric.key(), run, position, value, samples])?;
        }
    }
    Ok(())
}

/// Milliseconds since 1970; 0 for a time that does not parse, which sorts it first.
fn milliseconds(created: &str) -> i64 {
    created.parse::<jiff::Timestamp>().map_or(0, |t| t.as_millisecond())
}
