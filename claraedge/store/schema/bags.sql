CREATE TABLE bag_jobs (
    sequence INTEGER PRIMARY KEY,   -- order of creation
    id TEXT NOT NULL UNIQUE,        -- bagjob-...
    name TEXT NOT NULL,
    deployment TEXT NOT NULL,       -- its record may be dropped before
    deployment_name TEXT NOT NULL,
    package TEXT NOT NULL,
    component TEXT NOT NULL,        -- comp-...
    component_name TEXT NOT NULL,
    instance TEXT NOT NULL,         -- inst-...
    definition TEXT NOT NULL,       -- JSON: packages.bag_jobs.BagJobDefinition
    wanted INTEGER NOT NULL,        -- 0: it was to stop
    was_up INTEGER NOT NULL,
    over TEXT,                      -- Stopped or Error; NULL: it has not ended
    reason TEXT NOT NULL,
    payload TEXT NOT NULL,          -- empty: it has none yet
    created REAL NOT NULL,
    ended REAL
) STRICT;
CREATE UNIQUE INDEX bag_jobs_by_name ON bag_jobs (deployment, component, name) WHERE over IS NULL;
CREATE INDEX bag_jobs_of_deployments ON bag_jobs (deployment);
CREATE INDEX live_bag_jobs ON bag_jobs (sequence) WHERE over IS NULL;

CREATE TABLE bags (
    sequence INTEGER PRIMARY KEY,   -- order in which they were found
    id TEXT NOT NULL UNIQUE,        -- bag-...
    job TEXT NOT NULL REFERENCES bag_jobs (id) ON DELETE CASCADE,
    name TEXT NOT NULL,             -- in the payload
    payload TEXT NOT NULL,          -- empty: it is not stored yet
    status TEXT NOT NULL,
    reason TEXT NOT NULL,
    size INTEGER NOT NULL,          -- bytes
    started REAL,
    ended REAL,
    messages INTEGER NOT NULL,
    created REAL NOT NULL
) STRICT;
CREATE INDEX bags_of_jobs ON bags (job);
CREATE INDEX bags_of_payloads ON bags (payload, name) WHERE payload <> '';
CREATE INDEX bag_jobs_of_payloads ON bag_jobs (payload) WHERE payload <> '';

-- A bag is a file of a payload, which any client may remove: then there is no bag.
CREATE TRIGGER bag_removed AFTER DELETE ON payload_files BEGIN
    DELETE FROM bags WHERE payload <> '' AND payload = OLD.payload AND name = OLD.name;
END;

CREATE TRIGGER bag_payload_deleted AFTER UPDATE OF deleted ON payloads
WHEN NEW.deleted IS NOT NULL
BEGIN
    UPDATE bag_jobs SET payload = '' WHERE payload <> '' AND payload = NEW.id;
END;
