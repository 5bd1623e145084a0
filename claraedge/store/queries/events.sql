-- name: newest_event
SELECT COALESCE((SELECT seq FROM sqlite_sequence WHERE name = 'events'), 0) AS number;

-- name: oldest_event
SELECT MIN(number) AS number FROM events;

-- name: events_after
SELECT number, time, kind, job, body FROM events WHERE number > :number ORDER BY number LIMIT :limit;

-- name: prune_events
DELETE FROM events
WHERE time < :before OR number <= (SELECT seq FROM sqlite_sequence WHERE name = 'events') - :keep;

-- name: snapshot_open_jobs
SELECT 'job' AS kind, e.job, e.body FROM jobs j INDEXED BY jobs_open JOIN job_event e ON e.subject = j.id
WHERE j.state < 3 ORDER BY j.sequence;

-- name: snapshot_job
SELECT 'job' AS kind, job, body FROM job_event WHERE subject = :job;

-- name: snapshot_operators
SELECT 'operator' AS kind, job, body FROM operator_event WHERE job = :job ORDER BY position;

-- name: snapshot_messages
SELECT 'message' AS kind, job, json_object('job', job, 'text', text) AS body
FROM job_messages WHERE job = :job ORDER BY position;

-- name: snapshot_pipelines
SELECT 'pipeline' AS kind, e.job, e.body FROM pipeline_event e JOIN pipelines p ON p.id = e.subject
WHERE p.removed IS NULL ORDER BY p.sequence;

-- name: snapshot_items
SELECT 'item' AS kind, e.job, e.body
FROM inbox_items i INDEXED BY inbox_items_open JOIN item_event e ON e.subject = i.id
WHERE i.state NOT IN ('delivered', 'failed') ORDER BY i.sequence;
