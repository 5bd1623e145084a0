-- name: operator_containers
SELECT container, job, name FROM operators WHERE status = 2 AND container IS NOT NULL;
