-- Up to when every transaction has its full decision, and up to when its row: what the auditor found last, dead letters
-- and what became of them, and the view that tells. docs/COMPLETENESS.md explains each figure.

-- The newest claim of the auditor; one row. As of that moment every message that was read and is not named below had a
-- full decision or a dead letter that is in fraud_dead_letters.
CREATE TABLE fraud_claim (
    one              boolean PRIMARY KEY DEFAULT true CHECK (one),
    as_of            timestamptz NOT NULL,       -- of the auditor's clock
    watermark        timestamptz,                -- of the payments; null: not known
    held_by          text NOT NULL,
    stored           timestamptz,                -- decisions up to here are in fraud_decisions
    stored_held_by   text NOT NULL,
    undecided        bigint NOT NULL,            -- messages
    oldest_undecided timestamptz
) WITH (fillfactor = 50);

-- How far the dead letters are in the table below.
CREATE TABLE fraud_letters_read (
    kafka_partition  integer PRIMARY KEY,
    next_offset      bigint NOT NULL
) WITH (fillfactor = 50);

-- Where dead letters came from and what became of them; never what they say.
CREATE TABLE fraud_dead_letters (
    source_topic      text COLLATE "C" NOT NULL,
    source_partition  integer NOT NULL,
    source_offset     bigint NOT NULL,
    destination       text COLLATE "C" NOT NULL, -- who refused it; empty: the stream
    letter_partition  integer NOT NULL,
    letter_offset     bigint NOT NULL,
    code              text NOT NULL,
    source_time       timestamptz NOT NULL,      -- when it happened or, where that is not known, was taken
    holds             text NOT NULL CHECK (holds IN ('decided', 'applied', 'nothing')),
    -- retried: sent again, and not known to have an end yet; settled: sent again, decided or refused anew
    state             text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'retried', 'settled', 'dismissed')),
    retried_partition integer,
    retried_offset    bigint,
    changed_at        timestamptz,
    changed_by        text,
    reason            text,
    PRIMARY KEY (source_topic, source_partition, source_offset, destination)
);
-- Only what holds a figure is in this one.
CREATE INDEX fraud_dead_letters_holding ON fraud_dead_letters (holds, source_time)
    WHERE state IN ('open', 'retried') AND holds <> 'nothing';
CREATE INDEX fraud_dead_letters_by_place ON fraud_dead_letters (letter_partition, letter_offset);

-- Who has a fallback alone: the auditor clears the mark when there is a full decision.
ALTER TABLE fraud_fallbacks
    ADD COLUMN occurred_ms bigint GENERATED ALWAYS AS ((transaction ->> 'occurred_at')::bigint) STORED,
    ADD COLUMN undecided boolean NOT NULL DEFAULT true,
    ADD COLUMN dismissed_at timestamptz,
    ADD COLUMN dismissed_by text,
    ADD COLUMN dismissed_reason text;
CREATE INDEX fraud_fallbacks_undecided ON fraud_fallbacks (occurred_ms, record) WHERE undecided;

-- Decisions that wait for their row, by the time of their payment. Only what waits is in it.
CREATE INDEX fraud_decisions_waiting_by_time ON fraud_decisions (occurred_at) INCLUDE (transaction_id)
    WHERE NOT applied AND revision = 0;

-- One row. No table of others is read, and of assay's own only the ends of the indexes above. Counts stop at 100,000.
CREATE VIEW fraud_completeness AS
SELECT figures.as_of, figures.watermark,
       CASE WHEN figures.as_of IS NULL THEN 'no auditor has looked yet'
            WHEN letter_before = figures.watermark THEN letter_words
            WHEN fallback_before = figures.watermark THEN fallback_words
            ELSE claim_held_by END AS held_by,
       figures.applied_watermark,
       CASE WHEN figures.as_of IS NULL THEN 'no auditor has looked yet'
            WHEN letter_before = figures.applied_watermark THEN letter_words
            WHEN fallback_before = figures.applied_watermark THEN fallback_words
            WHEN refused_before = figures.applied_watermark THEN refused_words
            WHEN waiting_before = figures.applied_watermark THEN waiting_words
            ELSE stored_held_by END AS applied_held_by,
       figures.undecided, figures.oldest_undecided, figures.waiting, figures.oldest_waiting,
       figures.open_letters, figures.oldest_open_letter
  FROM (
    SELECT claim.as_of, claim.held_by AS claim_held_by, claim.stored_held_by,
           -- What is not known stays so: least() passes over nulls.
           CASE WHEN claim.watermark IS NOT NULL
                THEN least(claim.watermark, letter.at - past, fallback.at - past) END AS watermark,
           CASE WHEN claim.stored IS NOT NULL
                THEN least(claim.stored, letter.at - past, fallback.at - past, refused.at - past, waiting.at - past)
                END AS applied_watermark,
           letter.at - past AS letter_before, letter.words AS letter_words,
           refused.at - past AS refused_before, refused.words AS refused_words,
           fallback.at - past AS fallback_before, fallback.words AS fallback_words,
           waiting.at - past AS waiting_before, waiting.words AS waiting_words,
           coalesce(claim.undecided, 0)
             + (SELECT count(*) FROM (SELECT FROM fraud_fallbacks WHERE undecided LIMIT 100000) AS few) AS undecided,
           least(claim.oldest_undecided, fallback.at) AS oldest_undecided,
           (SELECT count(*) FROM (SELECT FROM fraud_decisions WHERE NOT applied AND revision = 0 LIMIT 100000) AS few)
             AS waiting,
           waiting.at AS oldest_waiting,
           (SELECT count(*) FROM (SELECT FROM fraud_dead_letters
                                   WHERE state IN ('open', 'retried') AND holds <> 'nothing' LIMIT 100000) AS few)
             AS open_letters,
           least(letter.at, refused.at) AS oldest_open_letter
      FROM (VALUES (interval '1 millisecond')) AS one (past)
      LEFT JOIN fraud_claim AS claim ON claim.one
      LEFT JOIN LATERAL (
        SELECT source_time AS at, format('dead letter %s:%s (%s, %s) of %s %s:%s', letter_partition, letter_offset, code,
                                         state, source_topic, source_partition, source_offset) AS words
          FROM fraud_dead_letters WHERE state IN ('open', 'retried') AND holds <> 'nothing' AND holds = 'decided'
         ORDER BY source_time LIMIT 1) AS letter ON true
      LEFT JOIN LATERAL (
        SELECT source_time AS at, format('dead letter %s:%s (%s, %s) of %s %s:%s', letter_partition, letter_offset, code,
                                         state, source_topic, source_partition, source_offset) AS words
          FROM fraud_dead_letters WHERE state IN ('open', 'retried') AND holds <> 'nothing' AND holds = 'applied'
         ORDER BY source_time LIMIT 1) AS refused ON true
      LEFT JOIN LATERAL (
        -- The probe stays one: a join could read all decisions.
        SELECT timestamptz 'epoch' + occurred_ms * interval '1 millisecond' AS at,
               format('transaction %s has a fallback alone', transaction_id) AS words
          FROM fraud_fallbacks AS f
         WHERE undecided AND NOT EXISTS (SELECT FROM fraud_decisions AS d
                                          WHERE d.transaction_id = f.transaction_id AND d.revision = 0 OFFSET 0)
         ORDER BY occurred_ms LIMIT 1) AS fallback ON true
      LEFT JOIN LATERAL (
        SELECT occurred_at AS at, format('the row of %s has not appeared', transaction_id) AS words
          FROM fraud_decisions WHERE NOT applied AND revision = 0
         ORDER BY occurred_at LIMIT 1) AS waiting ON true
  ) AS figures;
