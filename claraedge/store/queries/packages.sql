-- name: add_package
INSERT INTO packages (id, name, version, content, manifest, created)
VALUES (:id, :name, :version, :content, :manifest, :created);

-- name: packages
SELECT id, name, version, content, created, sequence FROM packages WHERE sequence > :after ORDER BY sequence;

-- name: package
SELECT id, content, manifest, created FROM packages WHERE id = :id;

-- name: package_of_version
SELECT id, content, manifest, created FROM packages WHERE name = :name AND version = :version;

-- name: newest_package_of_name
SELECT id, content, manifest, created FROM packages WHERE name = :name
ORDER BY sequence DESC LIMIT 1;

-- name: packages_of_prefix
SELECT id, name, version FROM packages WHERE id >= :prefix AND id < :end ORDER BY id LIMIT 11;

-- name: drop_package
DELETE FROM packages WHERE id = :id;
