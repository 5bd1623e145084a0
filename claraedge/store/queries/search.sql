-- name: find_jobs_before
SELECT * FROM searched_jobs
WHERE (created, id) < (:time, :id) AND 1 << stage & :stages
    AND (:pipeline = '' OR pipeline = :pipeline OR pipeline_name = :pipeline)
    AND (:word = '' OR instr(lower(name), :word) OR instr(lower(pipeline_name), :word) OR instr(id, :prefix) = 1
        OR id IN (SELECT owner FROM metadata m WHERE instr(lower(m.value), :word)))
    AND (:other_word = '' OR instr(lower(name), :other_word) OR instr(lower(pipeline_name), :other_word)
        OR instr(id, :other_prefix) = 1 OR id IN (SELECT owner FROM metadata m WHERE instr(lower(m.value), :other_word)))
ORDER BY created DESC, id DESC;

-- name: find_jobs_after
SELECT * FROM searched_jobs
WHERE (created, id) > (:time, :id) AND 1 << stage & :stages
    AND (:pipeline = '' OR pipeline = :pipeline OR pipeline_name = :pipeline)
    AND (:word = '' OR instr(lower(name), :word) OR instr(lower(pipeline_name), :word) OR instr(id, :prefix) = 1
        OR id IN (SELECT owner FROM metadata m WHERE instr(lower(m.value), :word)))
    AND (:other_word = '' OR instr(lower(name), :other_word) OR instr(lower(pipeline_name), :other_word)
        OR instr(id, :other_prefix) = 1 OR id IN (SELECT owner FROM metadata m WHERE instr(lower(m.value), :other_word)))
ORDER BY created, id;

-- name: jobs_of_ids
SELECT * FROM searched_jobs WHERE id IN (SELECT value FROM json_each(:ids));

-- name: all_jobs_count
SELECT COUNT(*) AS count FROM jobs;

-- name: ended_job_counts
SELECT status, COUNT(*) AS count FROM jobs WHERE status > 1 GROUP BY status;

-- name: find_items_before
SELECT * FROM searched_items
WHERE (first_seen, id) < (:time, :id) AND (:states = '' OR instr(:states, ',' || state || ','))
    AND (:word = '' OR instr(lower(CAST(name AS TEXT)), :word) OR instr(lower(pipeline), :word)
        OR instr(id, :prefix) = 1
        OR pipeline IN (SELECT p.id FROM pipelines p WHERE instr(lower(p.name), :word))
        OR job IN (SELECT owner FROM metadata m WHERE instr(lower(m.value), :word))
        OR job IS NULL AND EXISTS (
            SELECT 1 FROM json_each(options, '$.metadata') o WHERE instr(lower(o.value), :word)))
    AND (:other_word = '' OR instr(lower(CAST(name AS TEXT)), :other_word) OR instr(lower(pipeline), :other_word)
        OR instr(id, :other_prefix) = 1
        OR pipeline IN (SELECT p.id FROM pipelines p WHERE instr(lower(p.name), :other_word))
        OR job IN (SELECT owner FROM metadata m WHERE instr(lower(m.value), :other_word))
        OR job IS NULL AND EXISTS (
            SELECT 1 FROM json_each(options, '$.metadata') o WHERE instr(lower(o.value), :other_word)))
    AND (:pipeline = '' OR pipeline_id = :pipeline OR pipeline_name = :pipeline)
ORDER BY first_seen DESC, id DESC;

-- name: find_items_after
SELECT * FROM searched_items
WHERE (first_seen, id) > (:time, :id) AND (:states = '' OR instr(:states, ',' || state || ','))
    AND (:word = '' OR instr(lower(CAST(name AS TEXT)), :word) OR instr(lower(pipeline), :word)
        OR instr(id, :prefix) = 1
        OR pipeline IN (SELECT p.id FROM pipelines p WHERE instr(lower(p.name), :word))
        OR job IN (SELECT owner FROM metadata m WHERE instr(lower(m.value), :word))
        OR job IS NULL AND EXISTS (
            SELECT 1 FROM json_each(options, '$.metadata') o WHERE instr(lower(o.value), :word)))
    AND (:other_word = '' OR instr(lower(CAST(name AS TEXT)), :other_word) OR instr(lower(pipeline), :other_word)
        OR instr(id, :other_prefix) = 1
        OR pipeline IN (SELECT p.id FROM pipelines p WHERE instr(lower(p.name), :other_word))
        OR job IN (SELECT owner FROM metadata m WHERE instr(lower(m.value), :other_word))
        OR job IS NULL AND EXISTS (
            SELECT 1 FROM json_each(options, '$.metadata') o WHERE instr(lower(o.value), :other_word)))
    AND (:pipeline = '' OR pipeline_id = :pipeline OR pipeline_name = :pipeline)
ORDER BY first_seen, id;

-- name: items_of_ids
SELECT * FROM searched_items WHERE id IN (SELECT value FROM json_each(:ids));

-- name: all_items_count
SELECT COUNT(*) AS count FROM inbox_items;

-- name: open_item_counts
SELECT state, COUNT(*) AS count FROM inbox_items
WHERE state NOT IN ('delivered', 'failed') GROUP BY state;

-- name: failed_item_counts
SELECT COUNT(*) AS count,
    COALESCE(SUM(removed IS NULL AND path IS NOT NULL AND substr(reason, 1, length(:again)) <> :again), 0)
        AS retryable
FROM inbox_items WHERE state = 'failed';


-- name: claimed_as_items
SELECT i.*, '' AS delivery_reason FROM inbox_items i
WHERE i.state NOT IN ('delivered', 'failed') AND i.state IN ('claimed', 'parked');
