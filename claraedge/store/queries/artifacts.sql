-- name: unmeasured_artifacts
SELECT job, payload, logs FROM artifacts WHERE measured = 0 ORDER BY sequence LIMIT :limit;

-- name: artifacts_measured
UPDATE artifacts SET measured = 1, log_size = :log_size,
    payload_size = CASE WHEN payload IS NULL THEN 0 ELSE :payload_size END
WHERE job = :job;

-- name: artifact_totals
SELECT * FROM artifact_totals;

-- name: oldest_payloads
SELECT a.sequence, a.job, a.payload, a.stopped, a.payload_size AS size, j.status, d.state AS delivery
FROM artifacts a INDEXED BY artifacts_payloads JOIN jobs j ON j.id = a.job LEFT JOIN deliveries d ON d.job = a.job
WHERE a.payload IS NOT NULL AND a.sequence > :after AND COALESCE(d.state, 'done') = 'done'
ORDER BY a.sequence LIMIT :limit;

-- name: aged_payloads
SELECT a.sequence, a.job, a.payload, a.stopped, a.payload_size AS size, j.status, d.state AS delivery
FROM artifacts a INDEXED BY artifacts_payloads_by_age JOIN jobs j ON j.id = a.job LEFT JOIN deliveries d ON d.job = a.job
WHERE a.payload IS NOT NULL AND a.stopped < :before AND (a.stopped, a.sequence) > (:since, :after)
    AND COALESCE(d.state, 'done') = 'done'
ORDER BY a.stopped, a.sequence LIMIT :limit;

-- name: oldest_logs
SELECT a.sequence, a.job, a.payload, a.stopped, a.log_size AS size, j.status, d.state AS delivery
FROM artifacts a INDEXED BY artifacts_logs JOIN jobs j ON j.id = a.job LEFT JOIN deliveries d ON d.job = a.job
WHERE a.logs = 1 AND a.sequence > :after AND COALESCE(d.state, 'done') = 'done'
ORDER BY a.sequence LIMIT :limit;

-- name: aged_logs
SELECT a.sequence, a.job, a.payload, a.stopped, a.log_size AS size, j.status, d.state AS delivery
FROM artifacts a INDEXED BY artifacts_logs_by_age JOIN jobs j ON j.id = a.job LEFT JOIN deliveries d ON d.job = a.job
WHERE a.logs = 1 AND a.stopped < :before AND (a.stopped, a.sequence) > (:since, :after)
    AND COALESCE(d.state, 'done') = 'done'
ORDER BY a.stopped, a.sequence LIMIT :limit;

-- name: oldest_jobs
SELECT a.sequence, a.job, a.payload, a.stopped, a.payload_size + a.log_size AS size, j.status, d.state AS delivery
FROM artifacts a JOIN jobs j ON j.id = a.job LEFT JOIN deliveries d ON d.job = a.job
WHERE a.sequence > :after AND COALESCE(d.state, 'done') = 'done'
ORDER BY a.sequence LIMIT :limit;

-- name: aged_jobs
SELECT a.sequence, a.job, a.payload, a.stopped, a.payload_size + a.log_size AS size, j.status, d.state AS delivery
FROM artifacts a INDEXED BY artifacts_by_age JOIN jobs j ON j.id = a.job LEFT JOIN deliveries d ON d.job = a.job
WHERE a.stopped < :before AND (a.stopped, a.sequence) > (:since, :after)
    AND COALESCE(d.state, 'done') = 'done'
ORDER BY a.stopped, a.sequence LIMIT :limit;

-- name: logs_gone
UPDATE artifacts SET logs = 0, log_size = 0 WHERE job = :job;

-- name: stopped_job
SELECT j.payload, p.deleted, d.state AS delivery
FROM jobs j JOIN payloads p ON p.id = j.payload LEFT JOIN deliveries d ON d.job = j.id
WHERE j.id = :job AND j.state = 3;

-- name: forget_artifacts
DELETE FROM artifacts WHERE job = :job;

-- name: forget_delivery
DELETE FROM deliveries WHERE job = :job;

-- name: forget_item
DELETE FROM inbox_items WHERE job = :job;

-- name: forget_failed_items
DELETE FROM inbox_items WHERE sequence IN (
    SELECT sequence FROM inbox_items INDEXED BY inbox_items_failed
    WHERE state = 'failed' AND job IS NULL AND changed < :before LIMIT :limit);

-- name: forget_payload
DELETE FROM payloads WHERE id = :payload AND deleted IS NOT NULL;

-- name: forget_deleted_payloads
DELETE FROM payloads WHERE id IN (
    SELECT p.id FROM payloads p WHERE p.deleted < :before
        AND NOT EXISTS (SELECT 1 FROM jobs WHERE payload = p.id)
        AND NOT EXISTS (SELECT 1 FROM payload_files WHERE payload = p.id) LIMIT :limit);

-- name: forget_definitions
DELETE FROM definitions WHERE NOT EXISTS (SELECT 1 FROM jobs WHERE definition = digest)
    AND digest NOT IN (SELECT definition FROM pipelines);

-- name: evicting_job
SELECT id FROM jobs WHERE state < 3 AND ending = 4 LIMIT 1;
