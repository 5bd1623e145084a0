-- What stopped jobs left, in the order of their ends: what goes first when it has been kept for long
-- enough, or when there is too much of it. Triggers keep it, so that no job can be forgotten.

CREATE TABLE leavings (
    sequence INTEGER PRIMARY KEY,   -- order of the ends, whatever the clock did
    job TEXT NOT NULL UNIQUE REFERENCES jobs (id),
    payload TEXT,                   -- NULL: gone
    logs INTEGER NOT NULL DEFAULT 1,    -- 0: gone
    stopped REAL NOT NULL,          -- Unix seconds, by the clock of then
    measured INTEGER NOT NULL DEFAULT 0,
    payload_size INTEGER NOT NULL DEFAULT 0,    -- bytes that its removal gives back
    log_size INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE UNIQUE INDEX leavings_payload ON leavings (payload) WHERE payload IS NOT NULL;
CREATE INDEX leavings_payloads ON leavings (sequence, stopped, payload_size) WHERE payload IS NOT NULL;
CREATE INDEX leavings_logs ON leavings (sequence, stopped, log_size) WHERE logs = 1;
CREATE INDEX leavings_unmeasured ON leavings (sequence) WHERE measured = 0;
CREATE INDEX leavings_stopped ON leavings (stopped);

CREATE TRIGGER leaving_of_job AFTER UPDATE OF state ON jobs
WHEN OLD.state <> 3 AND NEW.state = 3
BEGIN
    INSERT INTO leavings (job, payload, stopped)
    SELECT NEW.id, p.id, NEW.stopped FROM (SELECT 1) LEFT JOIN payloads p
        ON p.id = NEW.payload AND p.deleted IS NULL;
END;

CREATE TRIGGER leaving_without_payload AFTER UPDATE OF deleted ON payloads
WHEN NEW.deleted IS NOT NULL
BEGIN
    UPDATE leavings SET payload = NULL, payload_size = 0 WHERE payload = NEW.id;
END;

-- Result folders whose jobs are forgotten: they are still there, and counted.
CREATE TABLE forgotten_results (
    kind TEXT PRIMARY KEY,          -- delivered, undelivered
    count INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO forgotten_results (kind, count) VALUES ('delivered', 0), ('undelivered', 0);

CREATE TRIGGER result_of_forgotten_job BEFORE DELETE ON deliveries
WHEN OLD.state = 'done'
BEGIN
    UPDATE forgotten_results SET count = count + 1
    WHERE kind = (SELECT CASE status WHEN 1 THEN 'delivered' ELSE 'undelivered' END
        FROM jobs WHERE id = OLD.job);
END;

-- Items belong to their jobs, and the foreign key is looked at when a job goes.
CREATE INDEX inbox_items_of_job ON inbox_items (job) WHERE job IS NOT NULL;

-- Jobs that have stopped already.
INSERT INTO leavings (job, payload, stopped)
SELECT j.id, p.id, COALESCE(j.stopped, j.created)
FROM jobs j LEFT JOIN payloads p ON p.id = j.payload AND p.deleted IS NULL
WHERE j.state = 3 ORDER BY j.sequence;
