-- name: operator_containers
SELECT container, job, name FROM operators INDEXED BY operators_running WHERE status = 2 AND container IS NOT NULL;
