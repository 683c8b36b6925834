//! The database schema, a step a version. Steps are only ever added.

use rusqlite::{Connection, TransactionBehavior};

use super::store::HistoryError;

/// One step a version; `user_version` counts the steps taken.
const STEPS: &[&str] = &["
    CREATE TABLE runs (
        id INTEGER PRIMARY KEY,
        run_id TEXT NOT NULL UNIQUE,
        created TEXT NOT NULL,
        created_ms INTEGER NOT NULL,
        device_id TEXT NOT NULL,
        device_name TEXT NOT NULL,
        suite TEXT NOT NULL,
        version TEXT NOT NULL,
        labels TEXT NOT NULL,
        cases INTEGER NOT NULL,
        completed INTEGER NOT NULL,
        header TEXT NOT NULL,
        ending TEXT,
        truncated INTEGER NOT NULL
    );
    CREATE INDEX runs_by_time ON runs(created_ms);
    CREATE TABLE cases (
        run INTEGER NOT NULL REFERENCES runs(id) ON DELETE CASCADE,
        position INTEGER NOT NULL,
        record TEXT NOT NULL,
        PRIMARY KEY (run, position)
    ) WITHOUT ROWID;
    CREATE TABLE case_ids (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
    CREATE TABLE results (
        case_id INTEGER NOT NULL REFERENCES case_ids(id),
        metric TEXT NOT NULL,
        run INTEGER NOT NULL REFERENCES runs(id) ON DELETE CASCADE,
        position INTEGER NOT NULL,
        value REAL NOT NULL,
        samples INTEGER NOT NULL,
        PRIMARY KEY (case_id, metric, run, position)
    ) WITHOUT ROWID;
    CREATE INDEX results_by_run ON results(run);
    CREATE TABLE baselines (
        name TEXT NOT NULL,
        device_id TEXT NOT NULL,
        run INTEGER NOT NULL REFERENCES runs(id) ON DELETE CASCADE,
        PRIMARY KEY (name, device_id, run)
    ) WITHOUT ROWID;
"];

/// Brings the database to this build's version; refuses a newer one.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), HistoryError> {
    let version = |c: &Connection| c.query_row("PRAGMA user_version", [], |r| r.get::<_, i64>(0));
    let known = STEPS.len() as i64;
    if version(connection)? == known {
        return Ok(());
    }
    // Another process may migrate at the same time: look again once the lock is held.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found = version(&transaction)?;
    if found > known || found < 0 {
        return Err(HistoryError::Newer { found, known });
    }
    for step in &STEPS[found as usize..] {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "user_version", known)?;
    Ok(transaction.commit()?)
}
