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

-- name: payloads_named
SELECT id, deleted FROM payloads WHERE id IN (SELECT value FROM json_each(:names));

-- name: items_named
SELECT id, state FROM inbox_items WHERE id IN (SELECT value FROM json_each(:names));

-- name: open_payloads
SELECT id FROM payloads WHERE type = 2 AND deleted IS NULL
UNION
SELECT p.id FROM jobs j JOIN payloads p ON p.id = j.payload WHERE j.state < 3 AND p.deleted IS NULL;

-- name: payload_files
SELECT name, size, mode, blob, sha256 FROM payload_files WHERE payload = :payload ORDER BY CAST(name AS BLOB);

-- name: payload_files_after
SELECT name, size, mode, blob, sha256 FROM payload_files WHERE payload = :payload AND name > :after ORDER BY name;

-- name: payload_files_in
SELECT name, size, mode, blob, sha256 FROM payload_files
WHERE payload = :payload AND name > :after AND name < :end ORDER BY name;

-- name: payload_file_after
SELECT name, size, mode, blob, sha256 FROM payload_files
WHERE payload = :payload AND name > :name AND name < :end ORDER BY name LIMIT 1;

-- name: payload_file_from
SELECT name, size, mode, blob, sha256 FROM payload_files
WHERE payload = :payload AND name >= :name AND name < :end ORDER BY name LIMIT 1;

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
