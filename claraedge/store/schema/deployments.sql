CREATE TABLE deployments (
    sequence INTEGER PRIMARY KEY,   -- order of creation
    id TEXT NOT NULL UNIQUE,        -- dep-...
    name TEXT NOT NULL,
    package TEXT NOT NULL REFERENCES packages (id) ON DELETE CASCADE,
    package_name TEXT NOT NULL,
    package_version TEXT NOT NULL,
    plan_id TEXT NOT NULL,
    plan_name TEXT NOT NULL,
    plan TEXT NOT NULL,             -- JSON: deployments.model.DeploymentPlan
    pending TEXT,                   -- JSON: the plan that an update is changing it to; NULL: none
    wanted INTEGER NOT NULL,        -- 0: it was undeployed
    phase TEXT NOT NULL,
    faults TEXT NOT NULL,           -- JSON [{code, message}]
    labels TEXT NOT NULL,           -- JSON {key: value}
    generation INTEGER NOT NULL,
    created REAL NOT NULL,
    updated REAL NOT NULL,
    reserved REAL,                  -- since when it has its memory and GPUs; NULL: it never had them
    stopped REAL
) STRICT;
CREATE UNIQUE INDEX deployments_by_name ON deployments (name) WHERE stopped IS NULL;
CREATE INDEX deployments_of_packages ON deployments (package);

CREATE TABLE deployment_dependencies (
    deployment TEXT NOT NULL REFERENCES deployments (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    needs TEXT NOT NULL,            -- id of the deployment that must not be undeployed before
    PRIMARY KEY (deployment, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX deployment_dependents ON deployment_dependencies (needs);

CREATE TABLE deployed_executables (
    deployment TEXT NOT NULL REFERENCES deployments (id) ON DELETE CASCADE,
    executable TEXT NOT NULL,       -- exec-...
    image TEXT NOT NULL,            -- id of the image; empty: not resolved yet
    gpus TEXT NOT NULL,             -- CDI names, separated by commas
    was_up INTEGER NOT NULL,
    restarts INTEGER NOT NULL,
    reason TEXT NOT NULL,
    over TEXT,                      -- Stopped or Error: it is not started again
    PRIMARY KEY (deployment, executable)
) STRICT, WITHOUT ROWID;

CREATE VIEW deployment_event AS
SELECT id AS subject, NULL AS job, json_object(
    'id', id, 'name', name, 'package', package, 'phase', phase, 'undeployed', wanted = 0,
    'generation', generation,
    'restarts', (SELECT COALESCE(SUM(restarts), 0) FROM deployed_executables WHERE deployment = id),
    'failed', (SELECT COUNT(*) FROM deployed_executables WHERE deployment = id AND over = 'Error'),
    'removed', json('false')
) AS body FROM deployments;

CREATE TRIGGER deployment_created AFTER INSERT ON deployments BEGIN
    INSERT INTO events (time, kind, job, body)
    SELECT (julianday('now') - 2440587.5) * 86400.0, 'deployment', NULL, body
    FROM deployment_event WHERE subject = NEW.id;
END;

CREATE TRIGGER deployment_changed AFTER UPDATE OF phase, wanted, generation ON deployments
WHEN (OLD.phase, OLD.wanted, OLD.generation) IS NOT (NEW.phase, NEW.wanted, NEW.generation)
BEGIN
    INSERT INTO events (time, kind, job, body)
    SELECT (julianday('now') - 2440587.5) * 86400.0, 'deployment', NULL, body
    FROM deployment_event WHERE subject = NEW.id;
END;

CREATE TRIGGER executable_changed AFTER UPDATE OF restarts, over ON deployed_executables
WHEN (OLD.restarts, OLD.over) IS NOT (NEW.restarts, NEW.over)
BEGIN
    INSERT INTO events (time, kind, job, body)
    SELECT (julianday('now') - 2440587.5) * 86400.0, 'deployment', NULL, body
    FROM deployment_event WHERE subject = NEW.deployment;
END;

CREATE TRIGGER deployment_removed BEFORE DELETE ON deployments BEGIN
    INSERT INTO events (time, kind, job, body)
    SELECT (julianday('now') - 2440587.5) * 86400.0, 'deployment', NULL,
        json_set(body, '$.removed', json('true'))
    FROM deployment_event WHERE subject = OLD.id;
END;
