CREATE TABLE payloads (
    id TEXT PRIMARY KEY,
    type INTEGER NOT NULL,          -- 1 a job's own, 2 reusable
    created REAL NOT NULL,
    sealed INTEGER NOT NULL DEFAULT 0,  -- 1: clients can no longer change it
    deleted REAL
) STRICT, WITHOUT ROWID;
CREATE INDEX payloads_reusable ON payloads (id) WHERE type = 2;
CREATE INDEX payloads_deleted ON payloads (deleted) WHERE deleted IS NOT NULL;

CREATE TABLE payload_files (
    payload TEXT NOT NULL REFERENCES payloads (id),
    name TEXT NOT NULL,             -- relative to the payload's root, as a client sees it
    size INTEGER NOT NULL,          -- bytes
    mode INTEGER NOT NULL,          -- permission bits, as reported
    blob BLOB NOT NULL,             -- path of the bytes, relative to the payload's folder
    sha256 TEXT,                    -- of the bytes, hex; NULL: not computed
    PRIMARY KEY (payload, name)
) STRICT, WITHOUT ROWID;
