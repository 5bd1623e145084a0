-- Folders in the outbox, among the failures and among the originals: counted, and removed when they were
-- kept for long enough. Triggers add the rows, which outlive those of jobs and items.

CREATE TABLE kept (
    sequence INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,             -- result, failure, original
    owner TEXT NOT NULL,            -- the job of a result or of its failure, else the item
    path TEXT NOT NULL UNIQUE,      -- of the folder, absolute
    size INTEGER NOT NULL,          -- bytes of all files
    keep REAL,                      -- days; NULL: as configured for its kind; < 0: remove it now
    since REAL                      -- Unix seconds; NULL: no trusted clock has seen it yet
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

CREATE TRIGGER kept_removed AFTER DELETE ON kept
BEGIN
    UPDATE kept_totals SET count = count - 1, size = size - OLD.size WHERE kind = OLD.kind;
END;

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
