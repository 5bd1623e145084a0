-- name: add_bag_job
INSERT INTO bag_jobs (id, name, deployment, deployment_name, package, component, component_name,
                      instance, definition, wanted, was_up, reason, payload, created)
VALUES (:id, :name, :deployment, :deployment_name, :package, :component, :component_name,
        :instance, :definition, 1, 0, '', '', :created);

-- name: bag_job
SELECT * FROM bag_jobs WHERE id = :id;

-- name: bag_jobs_by_prefix
SELECT id FROM bag_jobs WHERE id >= :prefix AND id < :end ORDER BY id LIMIT 2;

-- name: live_bag_job_of_name
SELECT id FROM bag_jobs
WHERE deployment = :deployment AND component = :component AND name = :name AND over IS NULL;

-- name: bag_jobs
SELECT * FROM bag_jobs ORDER BY sequence;

-- name: bag_jobs_of_deployment
SELECT * FROM bag_jobs WHERE deployment = :deployment ORDER BY sequence;

-- name: live_bag_jobs
SELECT * FROM bag_jobs WHERE over IS NULL ORDER BY sequence;

-- name: set_bag_job_unwanted
UPDATE bag_jobs SET wanted = 0 WHERE id = :id AND over IS NULL;

-- name: set_bag_job_up
UPDATE bag_jobs SET was_up = 1 WHERE id = :id;

-- name: set_bag_job_over
UPDATE bag_jobs SET over = :over, reason = :reason, ended = :now WHERE id = :id AND over IS NULL;

-- name: set_bag_job_payload
UPDATE bag_jobs SET payload = :payload WHERE id = :id;

-- name: set_bag_job_definition
UPDATE bag_jobs SET definition = :definition WHERE id = :id;

-- name: old_bag_jobs
SELECT id FROM bag_jobs AS j
WHERE over IS NOT NULL AND NOT EXISTS (SELECT 1 FROM bags AS b WHERE b.job = j.id)
ORDER BY sequence DESC LIMIT -1 OFFSET :keep;

-- name: drop_bag_job
DELETE FROM bag_jobs WHERE id = :id AND over IS NOT NULL;

-- name: add_bag
INSERT OR IGNORE INTO bags (id, job, name, payload, status, reason, size, messages, created)
VALUES (:id, :job, :name, '', :status, '', :size, 0, :created);

-- name: bag
SELECT * FROM bags WHERE id = :id;

-- name: bags_by_prefix
SELECT id FROM bags WHERE id >= :prefix AND id < :end ORDER BY id LIMIT 2;

-- name: bags
SELECT * FROM bags ORDER BY sequence;

-- name: bags_of_job
SELECT * FROM bags WHERE job = :job ORDER BY sequence;

-- name: set_bag_stored
UPDATE bags SET name = :name, payload = :payload, status = :status, reason = :reason, size = :size,
                started = :started, ended = :ended, messages = :messages
WHERE id = :id;

-- name: set_bag_reason
UPDATE bags SET reason = :reason WHERE id = :id AND reason <> :reason;

-- name: drop_bag
DELETE FROM bags WHERE id = :id;
