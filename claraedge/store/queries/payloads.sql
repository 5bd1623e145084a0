-- name: add_payload
INSERT INTO payloads (id, type, created) VALUES (:id, :type, :created);

-- name: payload
SELECT p.id, p.type, p.created, p.sealed, j.id AS job, j.state AS job_state,
    d.state AS delivery, d.reason AS delivery_reason
FROM payloads p LEFT JOIN jobs j ON j.payload = p.id LEFT JOIN deliveries d ON d.job = j.id
WHERE p.id = :id AND p.deleted IS NULL;

-- name: seal_payload
UPDATE payloads SET sealed = 1 WHERE id = :id;

-- name: drop_payload_file
DELETE FROM payload_files WHERE payload = :payload AND name = :name;

-- name: drop_payload_files
DELETE FROM payload_files WHERE payload = :payload;

-- name: payload_deleted
UPDATE payloads SET deleted = :now, sealed = 1 WHERE id = :id AND deleted IS NULL;

-- name: payloads
SELECT id FROM payloads WHERE deleted IS NULL;

-- name: deleted_payloads
SELECT id FROM payloads WHERE deleted IS NOT NULL;

-- name: items_without_payload
SELECT id, state FROM inbox_items WHERE id NOT IN (SELECT id FROM payloads);

-- name: open_payloads
SELECT p.id FROM payloads p LEFT JOIN jobs j ON j.payload = p.id
WHERE p.deleted IS NULL AND (p.sealed = 0 OR j.state < 3);

-- name: payload_files
SELECT name, size, mode, blob, sha256 FROM payload_files WHERE payload = :payload ORDER BY CAST(name AS BLOB);

-- name: payload_files_after
SELECT name, size, mode, blob, sha256 FROM payload_files WHERE payload = :payload AND name > :after ORDER BY name;

-- name: payload_file
SELECT name, size, mode, blob, sha256 FROM payload_files WHERE payload = :payload AND name = :name;

-- name: payload_files_below
SELECT name FROM payload_files
WHERE payload = :payload AND name >= :folder || '/' AND name < :folder || '0' LIMIT 1;

-- name: put_payload_file
INSERT INTO payload_files (payload, name, size, mode, blob, sha256)
VALUES (:payload, :name, :size, :mode, :blob, :sha256)
ON CONFLICT (payload, name) DO UPDATE SET size = excluded.size, mode = excluded.mode,
    blob = excluded.blob, sha256 = excluded.sha256;
