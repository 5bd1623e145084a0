-- name: add_payload
INSERT INTO payloads (id, type, created) VALUES (:id, :type, :created);

-- name: payload
SELECT p.id, p.type, p.created, p.sealed, j.id AS job
FROM payloads p LEFT JOIN jobs j ON j.payload = p.id
WHERE p.id = :id AND p.deleted IS NULL;

-- name: seal_payload
UPDATE payloads SET sealed = 1 WHERE id = :id;

-- name: unsealed_payloads
SELECT id FROM payloads WHERE sealed = 0 AND deleted IS NULL;

-- name: payload_files
SELECT name, size, mode, blob FROM payload_files WHERE payload = :payload ORDER BY CAST(name AS BLOB);

-- name: payload_file
SELECT name, size, mode, blob FROM payload_files WHERE payload = :payload AND name = :name;

-- name: payload_files_below
SELECT name FROM payload_files
WHERE payload = :payload AND name >= :folder || '/' AND name < :folder || '0' LIMIT 1;

-- name: put_payload_file
INSERT INTO payload_files (payload, name, size, mode, blob) VALUES (:payload, :name, :size, :mode, :blob)
ON CONFLICT (payload, name) DO UPDATE SET size = excluded.size, mode = excluded.mode, blob = excluded.blob;

-- name: payload_blobs
SELECT blob FROM payload_files WHERE payload = :payload;
