-- name: metadata
SELECT key, value FROM metadata WHERE owner = :owner ORDER BY key_folded;

-- name: add_metadata
INSERT INTO metadata (owner, key_folded, key, value) VALUES (:owner, :key_folded, :key, :value);
