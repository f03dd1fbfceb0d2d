-- The decisions as PostgreSQL keeps them: audit trail, and waiting room for rows that have not appeared.
-- Runs in assay's own schema (search_path). Times are of this server or of the record, as each column says.

-- One decision a (transaction, revision): the first record that was written. applied: nothing is left to do for the
-- transaction's row; false while the row has not appeared, or somebody held it when it was to be written.
CREATE TABLE fraud_decisions (
    transaction_id  text COLLATE "C" NOT NULL,
    revision        integer NOT NULL,
    record          text COLLATE "C" NOT NULL,   -- which record of the log it was
    score           real NOT NULL,
    flagged         boolean NOT NULL,
    threshold       real,
    model           text NOT NULL,
    model_version   text NOT NULL,
    model_sha256    text NOT NULL,
    degraded        boolean NOT NULL,
    source          text NOT NULL,
    occurred_at     timestamptz NOT NULL,        -- of the payment, by its own account
    scored_at       timestamptz NOT NULL,
    took_micros     bigint NOT NULL,
    reasons         jsonb,                       -- null: none
    explanation     jsonb,                       -- null: not explained
    transaction     jsonb NOT NULL,              -- the payment, without labels
    base_minor      bigint NOT NULL,             -- its amount in minor units of the base currency
    rate            smallint NOT NULL,           -- 0 fresh, 1 stale, 2 missing
    kafka_partition integer NOT NULL,
    kafka_offset    bigint NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now(),
    applied         boolean NOT NULL,
    tries           integer NOT NULL DEFAULT 0,  -- since the first one
    next_try        timestamptz,                 -- null once applied
    PRIMARY KEY (transaction_id, revision)
);
-- Only what waits is in these two.
CREATE INDEX fraud_decisions_due ON fraud_decisions (next_try) WHERE NOT applied;
CREATE INDEX fraud_decisions_waiting ON fraud_decisions (created_at) WHERE NOT applied;

-- What was answered where no score could be had in time, for audit. Never in a transaction's row.
CREATE TABLE fraud_fallbacks (
    record          text COLLATE "C" PRIMARY KEY,
    transaction_id  text COLLATE "C" NOT NULL,
    scored_at       timestamptz NOT NULL,
    decision        jsonb NOT NULL,
    transaction     jsonb NOT NULL,
    base_minor      bigint NOT NULL,
    rate            smallint NOT NULL,
    kafka_partition integer NOT NULL,
    kafka_offset    bigint NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX fraud_fallbacks_by_id ON fraud_fallbacks (transaction_id, scored_at);

-- Records that came when another record had their (transaction, revision), for audit.
CREATE TABLE fraud_superseded (
    record          text COLLATE "C" PRIMARY KEY,
    transaction_id  text COLLATE "C" NOT NULL,
    revision        integer NOT NULL,
    scored_at       timestamptz NOT NULL,
    decision        jsonb NOT NULL,
    kafka_partition integer NOT NULL,
    kafka_offset    bigint NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX fraud_superseded_by_id ON fraud_superseded (transaction_id);

-- How far the log of decisions is kept here. Informative: what counts are the consumer group's offsets. Its commit is
-- the one that waits for the disk, after those of the batch that did not.
CREATE TABLE fraud_progress (
    kafka_partition integer PRIMARY KEY,
    kafka_offset    bigint NOT NULL,             -- of the last record kept
    written_at      timestamptz NOT NULL
) WITH (fillfactor = 50);
