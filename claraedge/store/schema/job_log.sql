-- What happened to each job, in the order in which it was committed: a job's own log. Triggers write
-- it, so that no change can be forgotten. It is kept for as long as the job is.

CREATE TABLE job_log (
    sequence INTEGER PRIMARY KEY,   -- order of the changes, whatever the clock did
    job TEXT NOT NULL REFERENCES jobs (id),
    time REAL NOT NULL,             -- Unix seconds
    what TEXT NOT NULL,             -- created, queued, started, operator, message, canceling, stopped
    operator TEXT,
    attempt INTEGER,
    number INTEGER,                 -- status of the job or the operator, as on the wire
    exit_code INTEGER,
    text TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX job_log_of_job ON job_log (job, sequence);

CREATE TRIGGER log_job_created AFTER INSERT ON jobs BEGIN
    INSERT INTO job_log (job, time, what, text)
    VALUES (NEW.id, NEW.created, 'created', NEW.pipeline_name);
END;

CREATE TRIGGER log_job_queued AFTER UPDATE OF queue_position ON jobs
WHEN OLD.queue_position IS NULL AND NEW.queue_position IS NOT NULL
BEGIN
    INSERT INTO job_log (job, time, what)
    VALUES (NEW.id, ROUND((julianday('now') - 2440587.5) * 86400.0, 3), 'queued');
END;

CREATE TRIGGER log_job_started AFTER UPDATE OF state ON jobs
WHEN OLD.state <> 2 AND NEW.state = 2
BEGIN
    INSERT INTO job_log (job, time, what) VALUES (NEW.id, NEW.started, 'started');
END;

CREATE TRIGGER log_job_canceling AFTER UPDATE OF cancel_reason ON jobs
WHEN OLD.cancel_reason IS NULL AND NEW.cancel_reason IS NOT NULL
BEGIN
    INSERT INTO job_log (job, time, what, text)
    VALUES (NEW.id, ROUND((julianday('now') - 2440587.5) * 86400.0, 3), 'canceling', NEW.cancel_reason);
END;

CREATE TRIGGER log_job_stopped AFTER UPDATE OF state ON jobs
WHEN OLD.state <> 3 AND NEW.state = 3
BEGIN
    INSERT INTO job_log (job, time, what, number)
    VALUES (NEW.id, NEW.stopped, 'stopped', NEW.status);
END;

CREATE TRIGGER log_operator AFTER UPDATE OF status ON operators
WHEN OLD.status <> NEW.status
BEGIN
    INSERT INTO job_log (job, time, what, operator, attempt, number, exit_code)
    VALUES (
        NEW.job,
        CASE NEW.status
            WHEN 2 THEN NEW.started
            WHEN 1 THEN ROUND((julianday('now') - 2440587.5) * 86400.0, 3)
            ELSE NEW.stopped
        END,
        'operator', NEW.name, NEW.attempt, NEW.status, NEW.exit_code
    );
END;

CREATE TRIGGER log_message AFTER INSERT ON job_messages BEGIN
    INSERT INTO job_log (job, time, what, text) VALUES (NEW.job, NEW.time, 'message', NEW.text);
END;

-- Jobs that are there already, as far as their rows tell.
INSERT INTO job_log (job, time, what, operator, attempt, number, exit_code, text)
SELECT job, time, what, operator, attempt, number, exit_code, text FROM (
    SELECT id AS job, created AS time, 0 AS rank, 'created' AS what, NULL AS operator,
        NULL AS attempt, NULL AS number, NULL AS exit_code, pipeline_name AS text FROM jobs
    UNION ALL SELECT id, started, 1, 'started', NULL, NULL, NULL, NULL, ''
        FROM jobs WHERE started IS NOT NULL
    UNION ALL SELECT job, started, 2, 'operator', name, attempt, 2, NULL, ''
        FROM operators WHERE started IS NOT NULL
    UNION ALL SELECT job, stopped, 3, 'operator', name, attempt, status, exit_code, ''
        FROM operators WHERE stopped IS NOT NULL
    UNION ALL SELECT job, time, 4, 'message', NULL, NULL, NULL, NULL, text FROM job_messages
    UNION ALL SELECT id, stopped, 5, 'stopped', NULL, NULL, status, NULL, ''
        FROM jobs WHERE stopped IS NOT NULL
) ORDER BY time, rank;
