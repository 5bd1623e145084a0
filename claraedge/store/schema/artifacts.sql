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
CREATE INDEX artifacts_payloads ON artifacts (sequence) WHERE payload IS NOT NULL;
CREATE INDEX artifacts_logs ON artifacts (sequence) WHERE logs = 1;
CREATE INDEX artifacts_unmeasured ON artifacts (sequence) WHERE measured = 0;
CREATE INDEX artifacts_by_age ON artifacts (stopped, sequence);
CREATE INDEX artifacts_payloads_by_age ON artifacts (stopped, sequence) WHERE payload IS NOT NULL;
CREATE INDEX artifacts_logs_by_age ON artifacts (stopped, sequence) WHERE logs = 1;

-- Counts and bytes of all rows, so that a check of the limits reads one row.
CREATE TABLE artifact_totals (
    jobs INTEGER NOT NULL,
    payloads INTEGER NOT NULL,
    payload_bytes INTEGER NOT NULL,
    logs INTEGER NOT NULL,
    log_bytes INTEGER NOT NULL
) STRICT;
INSERT INTO artifact_totals (jobs, payloads, payload_bytes, logs, log_bytes) VALUES (0, 0, 0, 0, 0);

CREATE TRIGGER artifacts_counted AFTER INSERT ON artifacts
BEGIN
    UPDATE artifact_totals SET jobs = jobs + 1,
        payloads = payloads + (NEW.payload IS NOT NULL), payload_bytes = payload_bytes + NEW.payload_size,
        logs = logs + NEW.logs, log_bytes = log_bytes + NEW.log_size;
END;

CREATE TRIGGER artifacts_recounted AFTER UPDATE OF payload, payload_size, logs, log_size ON artifacts
BEGIN
    UPDATE artifact_totals SET
        payloads = payloads + (NEW.payload IS NOT NULL) - (OLD.payload IS NOT NULL),
        payload_bytes = payload_bytes + NEW.payload_size - OLD.payload_size,
        logs = logs + NEW.logs - OLD.logs, log_bytes = log_bytes + NEW.log_size - OLD.log_size;
END;

CREATE TRIGGER artifacts_discounted AFTER DELETE ON artifacts
BEGIN
    UPDATE artifact_totals SET jobs = jobs - 1,
        payloads = payloads - (OLD.payload IS NOT NULL), payload_bytes = payload_bytes - OLD.payload_size,
        logs = logs - OLD.logs, log_bytes = log_bytes - OLD.log_size;
END;

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
