CREATE TABLE packages (
    sequence INTEGER PRIMARY KEY,   -- order of creation
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    version TEXT NOT NULL,
    content TEXT NOT NULL,          -- JSON: what deployments need of it, with the ids of its parts
    manifest TEXT NOT NULL,         -- JSON, in the form of rapyuta.io's module
    created REAL NOT NULL,
    UNIQUE (name, version)
) STRICT;
