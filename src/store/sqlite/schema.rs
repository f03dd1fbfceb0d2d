//! The schema of the log and its migrations, by `PRAGMA user_version`.
//!
//! A migration is never changed once released: the next one is appended. A file of a later version is refused.

use rusqlite::Connection;

use super::StoreError;

/// Migration n brings a file from version n to n + 1.
pub(super) const MIGRATIONS: [&str; 3] = [
    "
CREATE TABLE models (
    model_id    INTEGER PRIMARY KEY,
    name        TEXT NOT NULL,
    version     TEXT NOT NULL,
    sha256      TEXT NOT NULL,
    threshold   REAL NOT NULL,
    UNIQUE (name, version, sha256, threshold)
) STRICT;

-- Which model came into force when.
CREATE TABLE activations (
    activated_at INTEGER NOT NULL,
    model_id     INTEGER NOT NULL REFERENCES models
) STRICT;

-- A transaction with its full decision; the decision's columns are null until there is one.
-- Times are UTC milliseconds; rate is 0 fresh, 1 stale, 2 missing; extra is a JSON array of (name, value).
CREATE TABLE transactions (
    number         INTEGER PRIMARY KEY,
    transaction_id TEXT NOT NULL,
    occurred_at    INTEGER NOT NULL,
    customer_id    TEXT NOT NULL,
    terminal_id    TEXT NOT NULL,
    amount_minor   INTEGER NOT NULL,
    currency       TEXT NOT NULL,
    base_minor     INTEGER NOT NULL,
    rate           INTEGER NOT NULL,
    merchant_id    TEXT,
    product_id     TEXT,
    country        TEXT,
    channel        TEXT,
    card_id        TEXT,
    device_id      TEXT,
    extra          TEXT,
    revision       INTEGER,
    score          REAL,
    flagged        INTEGER,
    degraded       INTEGER,
    model_id       INTEGER REFERENCES models,
    model_version  TEXT,
    source         TEXT,
    scored_at      INTEGER,
    took_micros    INTEGER,
    reasons        TEXT
) STRICT;
CREATE UNIQUE INDEX transactions_by_id ON transactions (transaction_id);
CREATE INDEX transactions_by_time ON transactions (occurred_at);
CREATE INDEX transactions_undecided ON transactions (occurred_at) WHERE revision IS NULL;

-- The features as the decision used them: one JSON document a transaction. By number, so that documents are appended
-- and fill their pages; a key of text would scatter them and take three times the room.
CREATE TABLE features (
    number   INTEGER PRIMARY KEY REFERENCES transactions,
    document TEXT NOT NULL
) STRICT;
CREATE VIEW features_used AS SELECT transaction_id, document FROM features JOIN transactions USING (number);

-- Every verdict; one whose transaction is not in the log waits for it.
CREATE TABLE labels (
    transaction_id TEXT NOT NULL,
    labelled_at    INTEGER NOT NULL,
    is_fraud       INTEGER NOT NULL,
    source         TEXT NOT NULL,
    PRIMARY KEY (transaction_id, labelled_at, is_fraud, source)
) STRICT, WITHOUT ROWID;

-- What was answered before there was a full decision, for audit.
CREATE TABLE fallbacks (
    fallback_id    INTEGER PRIMARY KEY,
    transaction_id TEXT NOT NULL,
    answered_at    INTEGER NOT NULL,
    decision       TEXT NOT NULL
) STRICT;
CREATE INDEX fallbacks_by_id ON fallbacks (transaction_id);

CREATE VIEW decisions AS
    SELECT transaction_id, occurred_at, revision, score, flagged, threshold, name AS model, model_version,
           sha256 AS model_sha256, degraded, source, scored_at, took_micros, reasons
    FROM transactions JOIN models USING (model_id);
",
    "
-- How the contributions of reasons add up, a JSON object; null where a decision was not explained.
ALTER TABLE transactions ADD COLUMN explanation TEXT;
DROP VIEW decisions;
CREATE VIEW decisions AS
    SELECT transaction_id, occurred_at, revision, score, flagged, threshold, name AS model, model_version,
           sha256 AS model_sha256, degraded, source, scored_at, took_micros, reasons, explanation
    FROM transactions JOIN models USING (model_id);
",
    "
-- Every change of the models in force: who, when, from what, to what, why, and how the gates were met (a JSON array).
CREATE TABLE model_changes (
    change_id    INTEGER PRIMARY KEY,
    change       TEXT NOT NULL,
    changed_at   INTEGER NOT NULL,
    action       TEXT NOT NULL,
    changed_by   TEXT NOT NULL,
    why          TEXT NOT NULL,
    from_model   TEXT,
    from_version TEXT,
    from_digest  TEXT,
    to_model     TEXT,
    to_version   TEXT,
    to_digest    TEXT,
    basis_points INTEGER,
    gates        TEXT NOT NULL
) STRICT;
INSERT INTO model_changes (change, changed_at, action, changed_by, why, to_model, to_version, to_digest, gates)
    SELECT '', activated_at, 'started', 'assay', 'a start, before changes were recorded', name, version, '', '[]'
    FROM activations JOIN models USING (model_id) ORDER BY activations.rowid;
DROP TABLE activations;

-- Which version decided when; active_until is null for the one that does. A version of an empty digest is from before
-- digests were recorded.
CREATE VIEW active_models AS
    SELECT changed_at AS active_from, lead(changed_at) OVER (ORDER BY change_id) AS active_until,
           to_model AS model, to_version AS model_version, to_digest AS digest, changed_by, why
    FROM model_changes WHERE action IN ('started', 'activated', 'rolled_back');
",
];

/// Brings the file to this program's version.
pub(super) fn migrate(connection: &mut Connection, file: &str) -> Result<(), StoreError> {
    let found: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let found = usize::try_from(found).unwrap_or(usize::MAX);
    let Some(missing) = MIGRATIONS.get(found..) else {
        return Err(StoreError::Version { file: file.to_owned(), found, known: MIGRATIONS.len() });
    };
    for (step, migration) in missing.iter().enumerate() {
        let change = connection.transaction()?;
        change.execute_batch(migration)?;
        change.execute_batch(&format!("PRAGMA user_version = {}", found + step + 1))?;
        change.commit()?;
    }
    Ok(())
}
