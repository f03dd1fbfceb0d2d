-- The models of all instances: what is wanted, and who changed what. Runs in assay's own schema (search_path).

-- Every change: who, when, from what, to what, why, and how the gates were met (a JSON array). Instances write their own, and
-- those of a time without PostgreSQL later: change_id is drawn by the instance, so that the same change is one row.
CREATE TABLE fraud_model_changes (
    change_id    text COLLATE "C" PRIMARY KEY,
    changed_at   timestamptz NOT NULL,           -- by the instance's clock
    action       text COLLATE "C" NOT NULL,
    changed_by   text NOT NULL,
    why          text NOT NULL,
    from_model   text,
    from_version text,
    from_digest  text,
    to_model     text,
    to_version   text,
    to_digest    text,
    basis_points integer,                        -- share of a challenger or canary, of 10,000
    gates        jsonb NOT NULL,
    written_at   timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX fraud_model_changes_by_time ON fraud_model_changes (changed_at);

-- The version that every instance is to have in force: one row, which the newest wish fills.
CREATE TABLE fraud_model_wanted (
    one           boolean PRIMARY KEY DEFAULT true CHECK (one),
    model         text NOT NULL,
    model_version text NOT NULL,
    digest        text NOT NULL,
    changed_at    timestamptz NOT NULL,
    changed_by    text NOT NULL,
    why           text NOT NULL,
    back_model    text,                          -- the version that was rolled back for it
    back_version  text,
    back_digest   text
);

-- Which version was wanted when; active_until is null for the one that is. An instance that could not follow says so in its log.
CREATE VIEW active_models AS
SELECT changed_at AS active_from, lead(changed_at) OVER (ORDER BY changed_at, change_id) AS active_until,
       to_model AS model, to_version AS model_version, to_digest AS digest, changed_by, why
  FROM fraud_model_changes WHERE action IN ('activated', 'rolled_back');
