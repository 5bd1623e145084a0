-- The numbered log of state changes. Triggers write it, so that no change can be forgotten and each
-- event is committed with its change. The views alone define the body of an event.

CREATE TABLE events (
    number INTEGER PRIMARY KEY AUTOINCREMENT,   -- never used again, also not after pruning
    time REAL NOT NULL,                         -- Unix seconds
    kind TEXT NOT NULL,                         -- job, operator, message, delivery, pipeline, item, deployment
    job TEXT,                                   -- the job that it belongs to, where there is one
    body TEXT NOT NULL                          -- JSON
) STRICT;
CREATE INDEX events_by_time ON events (time);

CREATE VIEW job_event AS
SELECT id AS subject, id AS job, json_object(
    'job', id, 'name', name, 'pipeline', pipeline, 'payload', payload, 'state', state,
    'status', status, 'priority', priority, 'queued', queue_position IS NOT NULL,
    'cancelling', cancel_reason IS NOT NULL
) AS body FROM jobs;

CREATE VIEW operator_event AS
SELECT job, position, json_object(
    'job', job, 'name', name, 'status', status, 'attempt', attempt, 'exit_code', exit_code
) AS body FROM operators;

CREATE VIEW delivery_event AS
SELECT job AS subject, job, json_object(
    'job', job, 'state', state, 'reason', reason, 'path', path
) AS body FROM deliveries;

CREATE VIEW pipeline_event AS
SELECT id AS subject, NULL AS job, json_object(
    'id', id, 'name', name, 'removed', removed IS NOT NULL
) AS body FROM pipelines;

CREATE VIEW item_event AS
SELECT id AS subject, job, json_object(
    'id', id, 'name', hex(name), 'folder', folder, 'pipeline', pipeline, 'state', state,
    'reason', reason, 'job', job
) AS body FROM inbox_items;

CREATE TRIGGER job_created AFTER INSERT ON jobs BEGIN
    INSERT INTO events (time, kind, job, body)
    SELECT (julianday('now') - 2440587.5) * 86400.0, 'job', job, body
    FROM job_event WHERE subject = NEW.id;
END;

CREATE TRIGGER job_changed AFTER UPDATE OF state, status, queue_position, cancel_reason ON jobs
WHEN (OLD.state, OLD.status, OLD.queue_position, OLD.cancel_reason)
    IS NOT (NEW.state, NEW.status, NEW.queue_position, NEW.cancel_reason)
BEGIN
    INSERT INTO events (time, kind, job, body)
    SELECT (julianday('now') - 2440587.5) * 86400.0, 'job', job, body
    FROM job_event WHERE subject = NEW.id;
END;

CREATE TRIGGER job_removed BEFORE DELETE ON jobs BEGIN
    INSERT INTO events (time, kind, job, body)
    SELECT (julianday('now') - 2440587.5) * 86400.0, 'job', job,
        json_set(body, '$.removed', json('true'))
    FROM job_event WHERE subject = OLD.id;
END;

CREATE TRIGGER operator_changed AFTER UPDATE OF status, attempt ON operators
WHEN OLD.status <> NEW.status
BEGIN
    INSERT INTO events (time, kind, job, body)
    SELECT (julianday('now') - 2440587.5) * 86400.0, 'operator', job, body
    FROM operator_event WHERE job = NEW.job AND position = NEW.position;
END;

CREATE TRIGGER message_added AFTER INSERT ON job_messages BEGIN
    INSERT INTO events (time, kind, job, body)
    VALUES (
        (julianday('now') - 2440587.5) * 86400.0, 'message', NEW.job,
        json_object('job', NEW.job, 'text', NEW.text)
    );
END;

CREATE TRIGGER delivery_changed AFTER UPDATE OF state ON deliveries
WHEN OLD.state <> NEW.state
BEGIN
    INSERT INTO events (time, kind, job, body)
    SELECT (julianday('now') - 2440587.5) * 86400.0, 'delivery', job, body
    FROM delivery_event WHERE subject = NEW.job;
END;

CREATE TRIGGER pipeline_created AFTER INSERT ON pipelines BEGIN
    INSERT INTO events (time, kind, job, body)
    SELECT (julianday('now') - 2440587.5) * 86400.0, 'pipeline', NULL, body
    FROM pipeline_event WHERE subject = NEW.id;
END;

CREATE TRIGGER pipeline_changed AFTER UPDATE OF name, definition, removed ON pipelines BEGIN
    INSERT INTO events (time, kind, job, body)
    SELECT (julianday('now') - 2440587.5) * 86400.0, 'pipeline', NULL, body
    FROM pipeline_event WHERE subject = NEW.id;
END;

CREATE TRIGGER item_claimed AFTER INSERT ON inbox_items BEGIN
    INSERT INTO events (time, kind, job, body)
    SELECT (julianday('now') - 2440587.5) * 86400.0, 'item', job, body
    FROM item_event WHERE subject = NEW.id;
END;

CREATE TRIGGER item_changed AFTER UPDATE OF state, reason, job ON inbox_items
WHEN (OLD.state, OLD.reason, OLD.job) IS NOT (NEW.state, NEW.reason, NEW.job)
BEGIN
    INSERT INTO events (time, kind, job, body)
    SELECT (julianday('now') - 2440587.5) * 86400.0, 'item', job, body
    FROM item_event WHERE subject = NEW.id;
END;
