-- name: fact
SELECT value FROM facts WHERE key = :key;

-- name: put_fact
INSERT INTO facts (key, value) VALUES (:key, :value)
ON CONFLICT (key) DO UPDATE SET value = excluded.value;
