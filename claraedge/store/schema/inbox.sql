-- Entries that are seen and not claimed yet: their ids and their place in the order outlive a restart.
CREATE TABLE inbox_seen (
    id TEXT PRIMARY KEY,
    folder TEXT NOT NULL,           -- absolute path of the trigger's folder
    name BLOB NOT NULL,             -- raw bytes of the path below it
    first_seen REAL NOT NULL
) STRICT, WITHOUT ROWID;

ALTER TABLE inbox_items ADD COLUMN inside BLOB NOT NULL DEFAULT X'';    -- path of the entry's folder below `folder`
ALTER TABLE inbox_items ADD COLUMN members BLOB NOT NULL DEFAULT X'';   -- of a group: paths below `folder`, each ended by a NUL
ALTER TABLE inbox_items ADD COLUMN options TEXT NOT NULL DEFAULT '{}';  -- JSON: what the trigger says of it
ALTER TABLE inbox_items ADD COLUMN digest TEXT;         -- sha256 of its content
ALTER TABLE inbox_items ADD COLUMN work TEXT;           -- digest of (content, definition, parameters): equal ones are duplicates
ALTER TABLE inbox_items ADD COLUMN duplicate_of TEXT;   -- id of the item whose job did its work
CREATE INDEX inbox_items_by_work ON inbox_items (work, sequence) WHERE work IS NOT NULL;
CREATE INDEX inbox_items_duplicates ON inbox_items (state) WHERE duplicate_of IS NOT NULL;
