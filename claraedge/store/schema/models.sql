CREATE TABLE models (
    sequence INTEGER PRIMARY KEY,   -- order of the first uploads
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL UNIQUE,      -- of its folder, and in the inference server
    type INTEGER NOT NULL,          -- numbers of the wire: 1 TensorFlow, 2 TensorRT, 3 PyTorch
    generation INTEGER NOT NULL,    -- counts the uploads; names the folder of the present files
    created REAL NOT NULL
) STRICT;

CREATE TABLE model_sets (
    sequence INTEGER PRIMARY KEY,   -- order of creation
    id TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,             -- catalog, instance
    created REAL NOT NULL
) STRICT;

CREATE TABLE model_set_members (
    model_set TEXT NOT NULL REFERENCES model_sets (id),
    model TEXT NOT NULL REFERENCES models (id),
    position INTEGER NOT NULL,
    PRIMARY KEY (model_set, model)
) STRICT, WITHOUT ROWID;
CREATE INDEX model_set_members_of_model ON model_set_members (model);
