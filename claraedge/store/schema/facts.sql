-- Single values, and the metadata of pipelines, jobs, reusable payloads and models.

CREATE TABLE facts (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE metadata (
    owner TEXT NOT NULL,            -- id of a pipeline, job, reusable payload or model
    key_folded TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (owner, key_folded)
) STRICT, WITHOUT ROWID;

-- Files of the state that nobody needs: they wait for their row, or their row is gone. Every other file
-- that no row names belongs to a newer database than this one, and is kept.
CREATE TABLE disposable (
    path TEXT PRIMARY KEY           -- relative to the state; stands also for names that continue it with a hyphen
) STRICT, WITHOUT ROWID;
