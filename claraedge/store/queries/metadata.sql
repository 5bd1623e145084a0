-- name: metadata
SELECT key, value FROM metadata WHERE owner = :owner ORDER BY key_folded;

-- name: add_metadata
INSERT INTO metadata (owner, key_folded, key, value) VALUES (:owner, :key_folded, :key, :value);

-- name: drop_metadata
DELETE FROM metadata WHERE owner = :owner AND key_folded = :key_folded;

-- name: forget_metadata
DELETE FROM metadata WHERE owner = :owner;
