-- The log of each job: what happened to it, in the order of the commits. Triggers write it, so that no
-- change can be forgotten. It is kept as long as the job.

CREATE TABLE job_log (
    sequence INTEGER PRIMARY KEY,   -- order of the changes, whatever the clock says
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
