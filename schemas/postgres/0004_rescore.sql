-- How far each `assay rescore` is: what a command that is run again takes up. Runs in assay's own schema (search_path).
-- One at a time: whoever writes here holds the advisory lock of rescores.
CREATE TABLE fraud_rescores (
    run             text COLLATE "C" PRIMARY KEY, -- 16 hexadecimal digits: its records are named RUN-…
    fingerprint     text NOT NULL,                -- SHA-256 of what was asked for, the model's hash included
    arguments       text NOT NULL,                -- the same for a person
    model           text NOT NULL,
    model_version   text NOT NULL,
    model_sha256    text NOT NULL,
    wanted          jsonb NOT NULL,               -- from and to (UTC milliseconds, to not included), replace
    position        jsonb,                        -- the last payment that is done; null before the first one
    tally           jsonb NOT NULL,               -- what became of the payments until then
    state           text NOT NULL CHECK (state IN ('running', 'done')),
    started_at      timestamptz NOT NULL DEFAULT now(),
    saved_at        timestamptz NOT NULL DEFAULT now(),
    ended_at        timestamptz
);
CREATE INDEX fraud_rescores_running ON fraud_rescores (started_at) WHERE state = 'running';
