-- Payments of which a person said that their row will not come: they hold no figure of completeness any more. Their decisions
-- stay, and a row that comes all the same is completed. Runs in assay's own schema (search_path).
CREATE TABLE fraud_dismissed_rows (
    transaction_id  text COLLATE "C" PRIMARY KEY,
    dismissed_at    timestamptz NOT NULL DEFAULT now(),
    dismissed_by    text NOT NULL,
    reason          text NOT NULL
);

-- The view of before, but for what waits: its probes stay one look into an index each.
CREATE OR REPLACE VIEW fraud_completeness AS
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
           (SELECT count(*) FROM (SELECT FROM fraud_decisions AS d WHERE NOT applied AND revision = 0
                                     AND NOT EXISTS (SELECT FROM fraud_dismissed_rows AS r
                                                      WHERE r.transaction_id = d.transaction_id OFFSET 0) LIMIT 100000) AS few)
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
          FROM fraud_decisions AS d
         WHERE NOT applied AND revision = 0
           AND NOT EXISTS (SELECT FROM fraud_dismissed_rows AS r WHERE r.transaction_id = d.transaction_id OFFSET 0)
         ORDER BY occurred_at LIMIT 1) AS waiting ON true
  ) AS figures;
