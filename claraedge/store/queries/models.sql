-- name: models
SELECT id, name, type, generation, sequence FROM models WHERE sequence > :after ORDER BY sequence;

-- name: model
SELECT id, name, type, generation FROM models WHERE id = :id;

-- name: model_of_name
SELECT id, name, type, generation FROM models WHERE name = :name;

-- name: put_model
INSERT INTO models (id, name, type, generation, created)
VALUES (:id, :name, :type, :generation, :created)
ON CONFLICT (id) DO UPDATE SET type = excluded.type, generation = excluded.generation;

-- name: drop_model
DELETE FROM models WHERE id = :id;

-- name: model_sets
SELECT id, sequence FROM model_sets WHERE kind = :kind AND sequence > :after ORDER BY sequence;

-- name: model_set
SELECT id FROM model_sets WHERE id = :id AND kind = :kind;

-- name: add_model_set
INSERT INTO model_sets (id, kind, created) VALUES (:id, :kind, :created);

-- name: drop_model_set
DELETE FROM model_sets WHERE id = :id;

-- name: model_set_members
SELECT m.id, m.name, m.type, m.generation
FROM model_set_members s JOIN models m ON m.id = s.model
WHERE s.model_set = :id ORDER BY s.position;

-- name: add_model_set_member
INSERT INTO model_set_members (model_set, model, position) VALUES (:id, :model, :position);

-- name: clear_model_set
DELETE FROM model_set_members WHERE model_set = :id;

-- name: leave_model_sets
DELETE FROM model_set_members WHERE model = :model;
