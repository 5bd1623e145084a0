-- What stopped jobs leave in the state, in the order of their ends. Retention removes from here what was
-- kept for long enough, or what is too much. Triggers add the rows, so that no job can be forgotten.

CREATE TABLE artifacts (
    sequence INTEGER PRIMARY KEY,   -- order of the ends, whatever the clock says
    job TEXT NOT NULL UNIQUE REFERENCES jobs (id),
    payload TEXT,                   -- NULL: removed
    logs INTEGER NOT NULL DEFAULT 1,    -- 0: removed
    stopped REAL NOT NULL,          -- Unix seconds, by the clock at that time
    measured INTEGER NOT NULL DEFAULT 0,
    payload_size INTEGER NOT NULL DEFAULT 0,    -- bytes that its removal frees
    log_size INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE UNIQUE INDEX artifacts_payload ON artifacts (payload) WHERE payload IS NOT NULL;
CREATE INDEX artifacts_payloads ON artifacts (sequence, stopped, payload_size) WHERE payload IS NOT NULL;
CREATE INDEX artifacts_logs ON artifacts (sequence, stopped, log_size) WHERE logs = 1;
CREATE INDEX artifacts_unmeasured ON artifacts (sequence) WHERE measured = 0;
CREATE INDEX artifacts_stopped ON artifacts (stopped);

CREATE TRIGGER artifacts_of_job AFTER UPDATE OF state ON jobs
WHEN OLD.state <> 3 AND NEW.state = 3
BEGIN
    INSERT INTO artifacts (job, payload, stopped)
    SELECT NEW.id, p.id, NEW.stopped FROM (SELECT 1) LEFT JOIN payloads p
        ON p.id = NEW.payload AND p.deleted IS NULL;
END;

CREATE TRIGGER artifacts_without_payload AFTER UPDATE OF deleted ON payloads
WHEN NEW.deleted IS NOT NULL
BEGIN
    UPDATE artifacts SET payload = NULL, payload_size = 0 WHERE payload = NEW.id;
END;
