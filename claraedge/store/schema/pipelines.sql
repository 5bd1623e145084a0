CREATE TABLE definitions (
    digest TEXT PRIMARY KEY,        -- sha256 of the files, so that equal ones are stored once
    files TEXT NOT NULL             -- JSON [{path, content}]
) STRICT, WITHOUT ROWID;

CREATE TABLE pipelines (
    sequence INTEGER PRIMARY KEY,   -- order of creation
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    name_folded TEXT NOT NULL,
    definition TEXT NOT NULL REFERENCES definitions (digest),
    created REAL NOT NULL,
    removed REAL,
    source TEXT                     -- path of the file in pipelines.d, whose removal removes the pipeline and
                                    -- whose return brings it back under the same id; NULL: created by a client
) STRICT;
CREATE INDEX pipelines_by_name ON pipelines (name_folded, sequence) WHERE removed IS NULL;
CREATE UNIQUE INDEX pipelines_of_files ON pipelines (source) WHERE source IS NOT NULL;
