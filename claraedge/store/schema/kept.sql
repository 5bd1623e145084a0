-- What lies in the outbox, in the folder of failures and in that of the originals: counted, and removed
-- when it was kept for long enough. Triggers keep it. It outlives the rows of jobs and items.

CREATE TABLE kept (
    sequence INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,             -- result, failure, original
    owner TEXT NOT NULL,            -- the job of a result or of its failure, else the item
    path TEXT NOT NULL UNIQUE,      -- of the folder, absolute
    size INTEGER NOT NULL,          -- bytes of all files
    keep REAL,                      -- days; NULL: as configured for its kind
    since REAL                      -- Unix seconds; NULL: not seen yet by a clock that is trusted
) STRICT;
CREATE INDEX kept_undated ON kept (sequence) WHERE since IS NULL;
CREATE INDEX kept_as_configured ON kept (kind, since) WHERE keep IS NULL;
CREATE INDEX kept_as_wished ON kept (kind, since + keep * 86400.0) WHERE keep IS NOT NULL;

CREATE TABLE kept_totals (
    kind TEXT PRIMARY KEY,
    count INTEGER NOT NULL,
    size INTEGER NOT NULL           -- bytes
) STRICT, WITHOUT ROWID;
INSERT INTO kept_totals (kind, count, size) VALUES ('result', 0, 0), ('failure', 0, 0), ('original', 0, 0);

CREATE TRIGGER kept_counted AFTER INSERT ON kept
BEGIN
    UPDATE kept_totals SET count = count + 1, size = size + NEW.size WHERE kind = NEW.kind;
END;

CREATE TRIGGER kept_measured AFTER UPDATE OF size ON kept
BEGIN
    UPDATE kept_totals SET size = size + NEW.size - OLD.size WHERE kind = NEW.kind;
END;

CREATE TRIGGER kept_gone AFTER DELETE ON kept
BEGIN
    UPDATE kept_totals SET count = count - 1, size = size - OLD.size WHERE kind = OLD.kind;
END;

ALTER TABLE deliveries ADD COLUMN size INTEGER NOT NULL DEFAULT 0;  -- bytes of what was delivered
ALTER TABLE deliveries ADD COLUMN removed REAL;             -- when `path` was removed, for its age
ALTER TABLE inbox_items ADD COLUMN keep_originals_days REAL;        -- NULL: as configured; 0: not at all
ALTER TABLE inbox_items ADD COLUMN original TEXT;           -- folder of the kept original; a failure holds its own
ALTER TABLE inbox_items ADD COLUMN original_removed REAL;   -- when that was removed, for its age
ALTER TABLE inbox_items ADD COLUMN removed REAL;            -- when `path` was removed, for its age
ALTER TABLE payload_files ADD COLUMN sha256 TEXT;           -- of the bytes, hex, where it was taken

CREATE TRIGGER kept_delivery AFTER UPDATE OF state ON deliveries
WHEN NEW.state = 'done' AND OLD.state <> 'done' AND NEW.path IS NOT NULL
BEGIN
    INSERT INTO kept (kind, owner, path, size)
    SELECT CASE status WHEN 1 THEN 'result' ELSE 'failure' END, NEW.job, NEW.path, NEW.size
    FROM jobs WHERE id = NEW.job
    ON CONFLICT (path) DO UPDATE SET kind = excluded.kind, owner = excluded.owner,
        size = excluded.size, since = NULL;
END;

CREATE TRIGGER kept_failed_item AFTER UPDATE OF state ON inbox_items
WHEN NEW.state = 'failed' AND OLD.state <> 'failed' AND NEW.job IS NULL AND NEW.path IS NOT NULL
BEGIN
    INSERT INTO kept (kind, owner, path, size) VALUES ('failure', NEW.id, NEW.path, NEW.size)
    ON CONFLICT (path) DO UPDATE SET size = excluded.size, since = NULL;
END;

CREATE TRIGGER kept_original AFTER UPDATE OF original ON inbox_items
WHEN NEW.original IS NOT NULL AND OLD.original IS NOT NEW.original
BEGIN
    INSERT INTO kept (kind, owner, path, size, keep)
    VALUES ('original', NEW.id, NEW.original, NEW.size, NEW.keep_originals_days)
    ON CONFLICT (path) DO UPDATE SET owner = excluded.owner, size = excluded.size,
        keep = excluded.keep, since = NULL;
END;

-- What was put there before; its size was not recorded.
INSERT INTO kept (kind, owner, path, size)
SELECT CASE j.status WHEN 1 THEN 'result' ELSE 'failure' END, d.job, d.path, 0
FROM deliveries d JOIN jobs j ON j.id = d.job WHERE d.state = 'done' AND d.path IS NOT NULL
ON CONFLICT (path) DO NOTHING;
INSERT INTO kept (kind, owner, path, size)
SELECT 'failure', id, path, size FROM inbox_items
WHERE state = 'failed' AND job IS NULL AND path IS NOT NULL
ON CONFLICT (path) DO NOTHING;

-- Counted whether their jobs are forgotten or not.
DROP TRIGGER result_of_forgotten_job;
UPDATE kept_totals SET count = count + (SELECT count FROM forgotten_results WHERE kind = 'delivered')
WHERE kind = 'result';
UPDATE kept_totals SET count = count + (SELECT count FROM forgotten_results WHERE kind = 'undelivered')
WHERE kind = 'failure';
DROP TABLE forgotten_results;
