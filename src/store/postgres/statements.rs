//! Every statement on assay's tables and on the payments' table, as text. Built once; values are parameters, names quoted.
//!
//! Invariant: the payments' table is read and written by its key's index only, and a row of it is locked with
//! `FOR NO KEY UPDATE SKIP LOCKED` and written by the same statement.

use super::options::{Fourth, PostgresOptions};

/// `name` as an identifier.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Names of the configuration, as the catalogue spells them.
#[derive(Debug, Clone)]
pub(super) struct Names {
    pub(super) schema: String,
    pub(super) rows_schema: String,
    pub(super) rows: String,
    pub(super) key: String,
    pub(super) score: String,
    pub(super) version: String,
    pub(super) flag: String,
    pub(super) fourth: Fourth,
}

impl Names {
    /// The names of these options, or each fault in them.
    pub(super) fn of(options: &PostgresOptions) -> Result<Self, Vec<String>> {
        let rows = &options.rows;
        let (rows_schema, table) = rows.table.split_once('.').unwrap_or(("public", &rows.table));
        let names = Self {
            schema: options.schema.clone(),
            rows_schema: rows_schema.to_owned(),
            rows: table.to_owned(),
            key: rows.key.clone(),
            score: rows.score.clone(),
            version: rows.version.clone(),
            flag: rows.flag.clone(),
            fourth: rows.fourth.clone(),
        };
        let mut faults = Vec::new();
        let tables = [("schema", &names.schema), ("rows' schema", &names.rows_schema), ("rows' table", &names.rows)];
        for (what, name) in tables.into_iter().chain(names.columns()) {
            if name.is_empty() || name.len() > 63 || name.contains('\0') {
                faults.push(format!("the {what} is named {name:?} and must have 1 to 63 bytes"));
            }
        }
        if names.schema.starts_with("pg_") {
            faults.push(format!("the schema {:?} is PostgreSQL's own: choose a name without pg_", names.schema));
        }
        let columns: Vec<_> = names.columns().collect();
        for (at, (what, name)) in columns.iter().enumerate() {
            if let Some((other, _)) = columns.iter().take(at).find(|(_, earlier)| earlier == name) {
                faults.push(format!("the {what} and the {other} are both {name:?} and must be two columns"));
            }
        }
        if faults.is_empty() { Ok(names) } else { Err(faults) }
    }

    /// (what it is, its name) of each column.
    pub(super) fn columns(&self) -> impl Iterator<Item = (&'static str, &String)> {
        let fourth = match &self.fourth {
            Fourth::None => None,
            Fourth::Revision(name) => Some(("revision column", name)),
            Fourth::Time(name) => Some(("time column", name)),
        };
        let four = [
            ("key column", &self.key),
            ("score column", &self.score),
            ("version column", &self.version),
            ("flag column", &self.flag),
        ];
        four.into_iter().chain(fourth)
    }

    /// A table of assay's own.
    pub(super) fn own(&self, table: &str) -> String {
        format!("{}.{table}", quoted(&self.schema))
    }
}

/// What the check found of the payments' table.
#[derive(Debug, Clone)]
pub(super) struct Target {
    /// The key's collation, quoted: ids are compared by it, else its index could not be used.
    pub(super) collation: String,
    /// What turns the stored `real` into the score column's type, without losing a digit.
    pub(super) score_cast: &'static str,
}

/// The statements that write.
#[derive(Debug, Clone)]
pub(super) struct Texts {
    /// A batch of full decisions, each id once.
    pub(super) write: String,
    /// The same, with the rows left alone: everything waits.
    pub(super) store: String,
    pub(super) supersede: String,
    pub(super) fallback: String,
    pub(super) progress: String,
    /// Tries what is due again.
    pub(super) complete: String,
    /// Puts off what could not be tried.
    pub(super) put_off: String,
    pub(super) oldest: String,
    pub(super) count: String,
    /// Taken together by who writes first decisions, alone by who writes later revisions; `None` where the row itself
    /// tells its revision.
    pub(super) share: Option<String>,
    pub(super) exclude: Option<String>,
}

/// The columns of a decision that a batch brings, in the order of its parameters: name, type of the array, and how a
/// value becomes the column's.
const COLUMNS: [(&str, &str, &str); 20] = [
    ("transaction_id", "text[]", "i.transaction_id"),
    ("revision", "integer[]", "i.revision"),
    ("record", "text[]", "i.record"),
    ("score", "real[]", "i.score"),
    ("flagged", "boolean[]", "i.flagged"),
    ("threshold", "real[]", "i.threshold"),
    ("model", "text[]", "i.model"),
    ("model_version", "text[]", "i.model_version"),
    ("model_sha256", "text[]", "i.model_sha256"),
    ("degraded", "boolean[]", "i.degraded"),
    ("source", "text[]", "i.source"),
    ("occurred_at", "bigint[]", "timestamptz 'epoch' + i.occurred_at * interval '1 millisecond'"),
    ("scored_at", "bigint[]", "timestamptz 'epoch' + i.scored_at * interval '1 millisecond'"),
    ("took_micros", "bigint[]", "i.took_micros"),
    ("reasons", "text[]", "i.reasons::jsonb"),
    ("explanation", "text[]", "i.explanation::jsonb"),
    ("transaction", "text[]", "i.transaction::jsonb"),
    ("base_minor", "bigint[]", "i.base_minor"),
    ("rate", "smallint[]", "i.rate"),
    ("kafka_partition", "integer[]", "i.kafka_partition"),
];

/// A young decision's next try. Below half of what a row may take to be completed, with the caller's pause on top.
const YOUNG_PAUSE: &str = "interval '200 milliseconds'";

impl Texts {
    pub(super) fn of(names: &Names, target: &Target) -> Self {
        let (decisions, superseded) = (names.own("fraud_decisions"), names.own("fraud_superseded"));
        let rows = format!("{}.{}", quoted(&names.rows_schema), quoted(&names.rows));
        let key = format!("t.{}", quoted(&names.key));
        let collation = &target.collation;
        // One probe of the key's index and one lock, where it is free, for each row of `outer`.
        let free = |outer: &str| {
            format!(
                "LEFT JOIN LATERAL (SELECT true AS free FROM {rows} AS t WHERE {key} = {outer}.transaction_id COLLATE {collation}
                   FOR NO KEY UPDATE SKIP LOCKED) AS found ON true"
            )
        };
        // Why arrays: `key = ANY (array)` restricts the table itself, so that the plan probes the key's index whatever the
        // statistics say. A join could be planned as a scan of the whole index while the table is small, and the plan kept.
        let update = |from: &str| {
            format!(
                "listed AS MATERIALIZED (
                   SELECT array_agg(transaction_id) AS ids, array_agg(revision) AS revisions, array_agg(score) AS scores,
                          array_agg(model_version) AS versions, array_agg(flagged) AS flags, array_agg(scored_at) AS times
                     FROM {from} WHERE applied),
                 written AS (
                   UPDATE {rows} AS t SET {}
                    WHERE {key} = ANY ((SELECT ids FROM listed)::text[] COLLATE {collation}) AND {})",
                assignments(names, target, &place_in("l.ids", &key)),
                guard(names, &decisions, &key)
            )
        };
        let (columns, parameters, values) = insertion();
        let insert = |join: &str, free: &str| {
            format!(
                "INSERT INTO {decisions} AS d ({columns}, kafka_offset, applied, next_try)
                 SELECT {values}, i.kafka_offset, {free}, CASE WHEN {free} THEN NULL ELSE now() + {YOUNG_PAUSE} END
                   FROM {parameters} {join}
                     ON CONFLICT (transaction_id, revision) DO NOTHING"
            )
        };
        let returning = "RETURNING transaction_id, revision, score, flagged, model_version, scored_at, applied";
        let write = format!(
            "WITH stored AS ({} {returning}), {}
             SELECT count(*), count(*) FILTER (WHERE applied) FROM stored",
            insert(&free("i"), "found.free IS NOT NULL"),
            update("stored")
        );
        let store =
            format!("WITH stored AS ({} {returning}) SELECT count(*), 0::bigint FROM stored", insert("", "false"));
        let supersede = format!(
            "INSERT INTO {superseded} (transaction_id, revision, record, scored_at, decision, kafka_partition, kafka_offset)
             SELECT i.transaction_id, i.revision, i.record, timestamptz 'epoch' + i.scored_at * interval '1 millisecond',
                    i.decision::jsonb, i.kafka_partition, i.kafka_offset
               FROM unnest($1::text[], $2::integer[], $3::text[], $4::bigint[], $5::text[], $6::integer[], $7::bigint[])
                    AS i(transaction_id, revision, record, scored_at, decision, kafka_partition, kafka_offset)
               JOIN {decisions} AS d ON d.transaction_id = i.transaction_id COLLATE \"C\" AND d.revision = i.revision
              WHERE d.record <> i.record COLLATE \"C\" ON CONFLICT (record) DO NOTHING"
        );
        let complete = format!(
            "WITH due AS MATERIALIZED (
               SELECT * FROM {decisions} WHERE NOT applied AND next_try <= now() ORDER BY next_try LIMIT $1
                  FOR NO KEY UPDATE SKIP LOCKED),
             ordered AS MATERIALIZED (
               SELECT due.*, EXISTS (SELECT FROM {decisions} AS later
                        WHERE later.transaction_id = due.transaction_id AND later.revision > due.revision) AS outrun
                 FROM due ORDER BY transaction_id, revision),
             tried AS MATERIALIZED (
               SELECT ordered.transaction_id, ordered.revision, ordered.score, ordered.flagged, ordered.model_version,
                      ordered.scored_at, found.free IS NOT NULL AND NOT outrun AS applied,
                      found.free IS NOT NULL OR outrun AS done
                 FROM ordered {}),
             {},
             noted AS (
               UPDATE {decisions} AS d SET applied = tried.done, tries = d.tries + 1,
                      next_try = CASE WHEN tried.done THEN NULL ELSE now() + {} END
                 FROM tried WHERE d.transaction_id = tried.transaction_id AND d.revision = tried.revision)
             SELECT count(*), count(*) FILTER (WHERE done) FROM tried",
            free("ordered"),
            update("tried"),
            pause("d")
        );
        let put_off = format!(
            "WITH due AS MATERIALIZED (
               SELECT transaction_id, revision FROM {decisions} WHERE NOT applied AND next_try <= now()
                ORDER BY next_try LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED)
             UPDATE {decisions} AS d SET tries = d.tries + 1, next_try = now() + greatest(interval '5 seconds', {})
               FROM due WHERE d.transaction_id = due.transaction_id AND d.revision = due.revision",
            pause("d")
        );
        let advisory = |way: &str| {
            let text = format!("SELECT pg_advisory_xact_lock{way}(hashtextextended($1, 0))");
            (!matches!(names.fourth, Fourth::Revision(_))).then_some(text)
        };
        Self {
            write,
            store,
            supersede,
            fallback: format!(
                "INSERT INTO {} (transaction_id, record, scored_at, decision, transaction, base_minor, rate, kafka_partition, kafka_offset)
                 SELECT i.transaction_id, i.record, timestamptz 'epoch' + i.scored_at * interval '1 millisecond',
                        i.decision::jsonb, i.transaction::jsonb, i.base_minor, i.rate, i.kafka_partition, i.kafka_offset
                   FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::bigint[], $7::smallint[],
                               $8::integer[], $9::bigint[])
                        AS i(transaction_id, record, scored_at, decision, transaction, base_minor, rate, kafka_partition, kafka_offset)
                     ON CONFLICT (record) DO NOTHING",
                names.own("fraud_fallbacks")
            ),
            progress: format!(
                "INSERT INTO {} AS p (kafka_partition, kafka_offset, written_at)
                 SELECT i.kafka_partition, i.kafka_offset, now()
                   FROM unnest($1::integer[], $2::bigint[]) AS i(kafka_partition, kafka_offset)
                  WHERE set_config('synchronous_commit', 'on', true) = 'on'
                     ON CONFLICT (kafka_partition) DO UPDATE
                        SET kafka_offset = greatest(p.kafka_offset, excluded.kafka_offset), written_at = excluded.written_at",
                names.own("fraud_progress")
            ),
            complete,
            put_off,
            oldest: format!(
                "SELECT (extract(epoch FROM now() - min(created_at)) * 1000)::bigint FROM {decisions} WHERE NOT applied"
            ),
            count: format!("SELECT count(*) FROM {decisions} WHERE NOT applied"),
            share: advisory("_shared"),
            exclude: advisory(""),
        }
    }
}

/// The columns of an insertion, the arrays they come from, and their values.
fn insertion() -> (String, String, String) {
    let listed = |part: fn(usize, &(&str, &str, &str)) -> String| {
        COLUMNS.iter().enumerate().map(|(at, column)| part(at, column)).collect::<Vec<_>>().join(", ")
    };
    let columns = listed(|_, (name, _, _)| (*name).to_owned());
    let arrays = listed(|at, (_, array, _)| format!("${}::{array}", at + 1));
    let parameters = format!("unnest({arrays}, ${}::bigint[]) AS i({columns}, kafka_offset)", COLUMNS.len() + 1);
    let values = listed(|_, (_, _, value)| (*value).to_owned());
    (columns, parameters, values)
}

/// Where a row's key stands in an array of ids.
fn place_in(ids: &str, key: &str) -> String {
    format!("array_position({ids}, {key}::text COLLATE \"C\")")
}

fn assignments(names: &Names, target: &Target, place: &str) -> String {
    let mut columns = vec![quoted(&names.score), quoted(&names.version), quoted(&names.flag)];
    let mut values = vec![
        format!("(l.scores)[p.place]{}", target.score_cast),
        "(l.versions)[p.place]".into(),
        "(l.flags)[p.place]".into(),
    ];
    match &names.fourth {
        Fourth::None => {}
        Fourth::Revision(name) => {
            columns.push(quoted(name));
            values.push("(l.revisions)[p.place]".to_owned());
        }
        Fourth::Time(name) => {
            columns.push(quoted(name));
            values.push("(l.times)[p.place]".to_owned());
        }
    }
    format!(
        "({}) = (SELECT {} FROM listed AS l CROSS JOIN LATERAL (SELECT {place} AS place OFFSET 0) AS p)",
        columns.join(", "),
        values.join(", ")
    )
}

/// A lower revision never replaces a higher one: the row's own says so, else the decisions that are stored.
fn guard(names: &Names, decisions: &str, key: &str) -> String {
    let revision = format!("((SELECT revisions FROM listed))[{}]", place_in("(SELECT ids FROM listed)", key));
    match &names.fourth {
        Fourth::Revision(name) => {
            let held = quoted(name);
            format!("(t.{held} IS NULL OR t.{held} <= {revision})")
        }
        Fourth::None | Fourth::Time(_) => format!(
            "NOT EXISTS (SELECT FROM {decisions} AS later
               WHERE later.transaction_id = {key}::text COLLATE \"C\" AND later.revision > {revision})"
        ),
    }
}

/// How long a decision waits for its next try: as good as not in its first minute, then an eighth of its age, so that the
/// pauses grow as a geometric series, up to ten minutes.
fn pause(decision: &str) -> String {
    format!(
        "CASE WHEN now() - {decision}.created_at < interval '1 minute' THEN {YOUNG_PAUSE}
              ELSE least(interval '10 minutes', (now() - {decision}.created_at) / 8) END"
    )
}

/// The statements that read: the first decision of each id, one of a revision (null: the newest), and the newest fallback.
pub(super) fn finding(names: &Names) -> (String, String, String) {
    let columns = "d.transaction::text, d.base_minor, d.rate, d.revision, d.score, d.flagged, d.threshold, d.model,
                d.model_version, d.model_sha256, d.degraded, d.source,
                (extract(epoch FROM d.scored_at) * 1000)::bigint, d.took_micros, d.reasons::text, d.explanation::text";
    let decisions = names.own("fraud_decisions");
    let first = format!(
        "SELECT i.place, {columns}
           FROM unnest($1::text[]) WITH ORDINALITY AS i(transaction_id, place)
           JOIN LATERAL (SELECT * FROM {decisions} AS one WHERE one.transaction_id = i.transaction_id COLLATE \"C\"
                          ORDER BY one.revision LIMIT 1) AS d ON true"
    );
    let revision = format!(
        "SELECT 1::bigint, {columns} FROM {decisions} AS d
          WHERE d.transaction_id = $1 COLLATE \"C\" AND ($2::integer IS NULL OR d.revision = $2)
          ORDER BY d.revision DESC LIMIT 1"
    );
    let fallback = format!(
        "SELECT i.place, d.transaction::text, d.base_minor, d.rate, d.decision::text
           FROM unnest($1::text[]) WITH ORDINALITY AS i(transaction_id, place)
           JOIN LATERAL (SELECT * FROM {} AS one WHERE one.transaction_id = i.transaction_id COLLATE \"C\"
                          ORDER BY one.scored_at DESC, one.created_at DESC LIMIT 1) AS d ON true",
        names.own("fraud_fallbacks")
    );
    (first, revision, fallback)
}
