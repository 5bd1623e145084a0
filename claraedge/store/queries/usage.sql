-- name: running_jobs
SELECT id, started, stopped FROM jobs INDEXED BY jobs_not_stopped WHERE state < 3 AND state = 2;

-- name: lately_stopped_jobs
SELECT id, started, stopped FROM jobs WHERE stopped >= :since AND stopped <= :now
ORDER BY stopped DESC LIMIT :most;

-- name: snapshot_of_job
SELECT snapshot FROM jobs WHERE id = :job;

-- name: operator_log
SELECT time, operator, number FROM job_log WHERE job = :job AND what = 'operator' ORDER BY sequence;

-- name: reserving_deployments
SELECT plan, reserved, stopped FROM deployments
WHERE reserved IS NOT NULL AND (stopped IS NULL OR stopped >= :since);

-- name: reserving_networks
SELECT created FROM networks WHERE distro <> '' AND wanted = 1;

-- name: reserving_bag_jobs
SELECT created, ended FROM bag_jobs WHERE was_up = 1 AND (ended IS NULL OR ended >= :since);
