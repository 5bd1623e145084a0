-- name: add_definition
INSERT INTO definitions (digest, files) VALUES (:digest, :files) ON CONFLICT DO NOTHING;

-- name: definition
SELECT files FROM definitions WHERE digest = :digest;

-- name: add_pipeline
INSERT INTO pipelines (id, name, name_folded, definition, created)
VALUES (:id, :name, :name_folded, :definition, :created);

-- name: pipeline
SELECT id, name, definition, created, source FROM pipelines WHERE id = :id AND removed IS NULL;

-- name: pipeline_ever
SELECT id, definition, source FROM pipelines WHERE id = :id;

-- name: update_pipeline
UPDATE pipelines SET name = :name, name_folded = :name_folded, definition = :definition
WHERE id = :id AND removed IS NULL;

-- name: remove_pipeline
UPDATE pipelines SET removed = :now WHERE id = :id AND removed IS NULL;

-- name: drop_unused_definition
DELETE FROM definitions WHERE digest = :digest
    AND NOT EXISTS (SELECT 1 FROM pipelines WHERE definition = :digest)
    AND NOT EXISTS (SELECT 1 FROM jobs WHERE definition = :digest);

-- name: newest_pipeline_of_name
SELECT id, name, definition, created, source FROM pipelines
WHERE name_folded = :name_folded AND removed IS NULL ORDER BY sequence DESC LIMIT 1;

-- name: pipelines
SELECT id, name, definition, created, source, sequence FROM pipelines
WHERE removed IS NULL AND sequence > :after ORDER BY sequence;

-- name: file_pipelines
SELECT id, name, definition, created, source, removed FROM pipelines
WHERE source IS NOT NULL ORDER BY sequence;

-- name: put_file_pipeline
INSERT INTO pipelines (id, name, name_folded, definition, created, source)
VALUES (:id, :name, :name_folded, :definition, :now, :source)
ON CONFLICT (id) DO UPDATE SET name = :name, name_folded = :name_folded, definition = :definition,
    removed = NULL
WHERE source IS NOT NULL;

-- name: pipeline_without_its_file
SELECT id, name, source FROM pipelines
WHERE source IS NOT NULL AND removed IS NOT NULL AND (id = :id OR name_folded = :name_folded)
ORDER BY sequence DESC LIMIT 1;
