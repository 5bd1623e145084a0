-- name: add_job
INSERT INTO jobs (id, name, pipeline, pipeline_name, payload, definition, state, status, priority, created)
VALUES (:id, :name, :pipeline, :pipeline_name, :payload, :definition, 1, 1, :priority, :created);

-- name: job
SELECT * FROM jobs WHERE id = :id;

-- name: job_messages
SELECT text FROM job_messages WHERE job = :job ORDER BY position;

-- name: add_job_message
INSERT INTO job_messages (job, position, time, text)
SELECT :job, COALESCE(MAX(position) + 1, 0), :time, :text FROM job_messages WHERE job = :job;

-- name: job_log
SELECT time, what, operator, attempt, number, exit_code, text FROM job_log
WHERE job = :job ORDER BY sequence;

-- name: job_queued
SELECT time FROM job_log WHERE job = :job AND what = 'queued' LIMIT 1;

-- name: open_job_counts
SELECT
    CASE WHEN state = 2 THEN 'running' WHEN queue_position IS NULL THEN 'unstarted' ELSE 'queued' END
        AS state,
    COUNT(*) AS count
FROM jobs WHERE state < 3 GROUP BY 1;

-- name: newest_record
SELECT time FROM job_log ORDER BY sequence DESC LIMIT 1;

-- name: unstarted_jobs
SELECT id, payload, created FROM jobs WHERE state < 3 AND queue_position IS NULL ORDER BY sequence;

-- name: forget_job_log
DELETE FROM job_log WHERE job = :job;

-- name: forget_messages
DELETE FROM job_messages WHERE job = :job;

-- name: forget_job
DELETE FROM jobs WHERE id = :id;

-- name: open_jobs
SELECT * FROM listed_jobs WHERE state < 3
    AND sequence > :after AND sequence <= :last AND 1 << state & :states AND 1 << status & :statuses
    AND (:pipelines IS NULL OR pipeline IN (SELECT value FROM json_each(:pipelines)))
    AND (:created_after IS NULL OR created > :created_after)
    AND (:completed_before IS NULL OR stopped < :completed_before)
ORDER BY sequence;

-- name: jobs_of_status
SELECT * FROM listed_jobs WHERE status = :only AND status > 1
    AND sequence > :after AND sequence <= :last AND 1 << state & :states AND 1 << status & :statuses
    AND (:pipelines IS NULL OR pipeline IN (SELECT value FROM json_each(:pipelines)))
    AND (:created_after IS NULL OR created > :created_after)
    AND (:completed_before IS NULL OR stopped < :completed_before)
ORDER BY sequence;

-- name: jobs_of_pipeline
SELECT * FROM listed_jobs WHERE pipeline = :only
    AND sequence > :after AND sequence <= :last AND 1 << state & :states AND 1 << status & :statuses
    AND (:pipelines IS NULL OR pipeline IN (SELECT value FROM json_each(:pipelines)))
    AND (:created_after IS NULL OR created > :created_after)
    AND (:completed_before IS NULL OR stopped < :completed_before)
ORDER BY sequence;

-- name: all_jobs
SELECT * FROM listed_jobs WHERE sequence > :after AND sequence <= :last AND 1 << state & :states AND 1 << status & :statuses
    AND (:pipelines IS NULL OR pipeline IN (SELECT value FROM json_each(:pipelines)))
    AND (:created_after IS NULL OR created > :created_after)
    AND (:completed_before IS NULL OR stopped < :completed_before)
ORDER BY sequence;

-- name: first_created_after
SELECT MIN(sequence) AS number FROM jobs INDEXED BY jobs_by_creation WHERE created > :time;

-- name: last_completed_before
SELECT MAX(sequence) AS number FROM jobs INDEXED BY jobs_by_end WHERE stopped < :time;

-- name: started_jobs
SELECT * FROM jobs WHERE state < 3 AND queue_position IS NOT NULL ORDER BY queue_position;

-- name: queue_job
UPDATE jobs SET snapshot = :snapshot, variables = :variables,
    queue_position = (SELECT COALESCE(MAX(queue_position), 0) + 1 FROM jobs)
WHERE id = :id AND queue_position IS NULL AND state = 1;

-- name: job_snapshot
UPDATE jobs SET snapshot = :snapshot WHERE id = :id;

-- name: job_running
UPDATE jobs SET state = 2, started = COALESCE(started, :now) WHERE id = :id AND state = 1;

-- name: job_stopped
UPDATE jobs SET state = 3, status = :status, stopped = :now WHERE id = :id AND state < 3;

-- name: job_cancelling
UPDATE jobs SET cancel_reason = :reason WHERE id = :id AND cancel_reason IS NULL AND state < 3;

-- name: job_ending
UPDATE jobs SET ending = :status WHERE id = :id AND state < 3;

-- name: status_counts
SELECT
    (SELECT COUNT(*) FROM jobs WHERE state < 3 AND state = 1 AND queue_position IS NOT NULL) AS pending,
    (SELECT COUNT(*) FROM jobs WHERE state < 3 AND state = 2) AS running,
    (SELECT COUNT(*) FROM inbox_items
        WHERE state NOT IN ('delivered', 'failed') AND state = 'parked') AS parked,
    (SELECT COUNT(*) FROM inbox_items WHERE state = 'failed' AND removed IS NULL) AS failed,
    (SELECT count FROM kept_totals WHERE kind = 'result') AS results,
    (SELECT size FROM kept_totals WHERE kind = 'result') AS result_bytes,
    (SELECT count FROM kept_totals WHERE kind = 'failure') AS failures,
    (SELECT size FROM kept_totals WHERE kind = 'failure') AS failure_bytes,
    (SELECT count FROM kept_totals WHERE kind = 'original') AS originals,
    (SELECT size FROM kept_totals WHERE kind = 'original') AS original_bytes;

-- name: add_operator
INSERT INTO operators (job, position, name, status, created)
VALUES (:job, :position, :name, 1, :created);

-- name: operators
SELECT * FROM operators WHERE job = :job ORDER BY position;

-- name: drop_operators
DELETE FROM operators WHERE job = :job;

-- name: operator_attempt
UPDATE operators SET attempt = :attempt, image = :image, container = NULL, exit_code = NULL
WHERE job = :job AND name = :name;

-- name: operator_running
UPDATE operators SET status = 2, container = :container, boot = :boot, started = :now, stopped = NULL,
    began = :elapsed, not_before = NULL
WHERE job = :job AND name = :name;

-- name: operator_retry
UPDATE operators SET status = 1, retries = retries + 1, not_before = :not_before, exit_code = :exit_code,
    started = NULL
WHERE job = :job AND name = :name;

-- name: job_ran
UPDATE jobs SET ran = ran + COALESCE(MAX(0, :elapsed - ran_since), 0),
    ran_since = CASE WHEN EXISTS (SELECT 1 FROM operators WHERE job = :job AND status = 2)
        THEN :elapsed END
WHERE id = :job;

-- name: job_paused
UPDATE jobs SET ran = ran + MAX(0, :elapsed - ran_since), ran_since = NULL
WHERE id = :job AND ran_since IS NOT NULL;

-- name: forget_other_boots
UPDATE jobs SET ran_since = NULL WHERE state < 3 AND ran_since IS NOT NULL AND NOT EXISTS (
    SELECT 1 FROM operators WHERE job = jobs.id AND status = 2 AND boot = :boot);

-- name: operator_ended
UPDATE operators SET status = :status, exit_code = :exit_code, stopped = :now
WHERE job = :job AND name = :name;

-- name: operator_interrupted
UPDATE operators SET status = 1, interruptions = interruptions + 1, started = NULL
WHERE job = :job AND name = :name;

-- name: operator_again
UPDATE operators SET status = 1, started = NULL WHERE job = :job AND name = :name;

-- name: running_containers
SELECT o.job, o.name, o.attempt FROM operators o INDEXED BY operators_running JOIN jobs j ON j.id = o.job
WHERE o.status = 2 AND j.state < 3;
