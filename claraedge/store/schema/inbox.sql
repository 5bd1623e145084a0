CREATE TABLE inbox_items (
    sequence INTEGER PRIMARY KEY,   -- order of the claims
    id TEXT NOT NULL UNIQUE,        -- also that of the payload that is made of it
    folder TEXT NOT NULL,           -- absolute path of the folder that it was dropped into
    name BLOB NOT NULL,             -- raw bytes of the entry's name
    pipeline TEXT NOT NULL,         -- name or id, as the trigger has it
    deliver TEXT NOT NULL,          -- JSON [operator or operator/output] that the trigger names
    state TEXT NOT NULL,            -- claimed, parked, submitted, delivered, failed
    reason TEXT NOT NULL DEFAULT '',
    remedy TEXT NOT NULL DEFAULT '',    -- what a person can do, often a command
    fingerprint TEXT NOT NULL,      -- of all stat values of the entry and what is in it
    content TEXT NOT NULL,          -- of those that a rename leaves as they are
    size INTEGER NOT NULL,          -- bytes
    job TEXT REFERENCES jobs (id),
    path TEXT,                      -- where its results or its failure lie
    first_seen REAL NOT NULL,
    changed REAL NOT NULL,
    inside BLOB NOT NULL DEFAULT X'',   -- path of the entry's folder below `folder`
    members BLOB NOT NULL DEFAULT X'',  -- of a group: paths below `folder`, each ended by a NUL
    options TEXT NOT NULL DEFAULT '{}', -- JSON: the options of its trigger
    digest TEXT,                    -- sha256 of its content
    work TEXT,                      -- digest of (content, definition, parameters); equal ones are duplicates
    duplicate_of TEXT,              -- id of the item whose job did its work
    keep_originals_days REAL,       -- NULL: as configured; 0: not at all
    original TEXT,                  -- folder of the original that is kept; a failure has its own
    original_removed REAL,          -- when retention removed that
    removed REAL                    -- when retention removed `path`
) STRICT;
CREATE INDEX inbox_items_open ON inbox_items (state) WHERE state NOT IN ('delivered', 'failed');
CREATE INDEX inbox_items_failed ON inbox_items (changed, removed, job) WHERE state = 'failed';
CREATE INDEX inbox_items_by_time ON inbox_items (first_seen, id);
CREATE INDEX inbox_items_by_work ON inbox_items (work, sequence) WHERE work IS NOT NULL;
CREATE INDEX inbox_items_duplicates ON inbox_items (state) WHERE duplicate_of IS NOT NULL;
-- The foreign key is checked when a job is removed.
CREATE INDEX inbox_items_of_job ON inbox_items (job) WHERE job IS NOT NULL;
-- Groups by their name: for a study that arrives in parts, the job of the part before is found.
CREATE INDEX inbox_items_groups ON inbox_items (name, folder, sequence) WHERE members <> X'';

-- Entries that were seen and are not claimed: their ids and their order survive a restart.
CREATE TABLE inbox_seen (
    id TEXT PRIMARY KEY,
    folder TEXT NOT NULL,           -- absolute path of the trigger's folder
    name BLOB NOT NULL,             -- raw bytes of the path below it
    first_seen REAL NOT NULL
) STRICT, WITHOUT ROWID;
