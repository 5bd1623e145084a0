CREATE TABLE jobs (
    sequence INTEGER PRIMARY KEY,   -- order of creation
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    pipeline TEXT NOT NULL,         -- id; the pipeline may have been removed
    pipeline_name TEXT NOT NULL,
    payload TEXT NOT NULL UNIQUE REFERENCES payloads (id),
    definition TEXT NOT NULL REFERENCES definitions (digest),
    state INTEGER NOT NULL,         -- numbers of the wire: 1 pending, 2 running, 3 stopped
    status INTEGER NOT NULL,        -- 1 healthy, 2 faulted, 3 canceled, 4 evicted, 5 terminated
    priority INTEGER NOT NULL,      -- 1 lower, 2 normal, 3 higher, 4 immediate
    queue_position INTEGER UNIQUE,  -- order of Start; NULL: never started
    cancel_reason TEXT,             -- set: the job is being cancelled, or was
    created REAL NOT NULL,
    started REAL,
    stopped REAL,
    ran REAL NOT NULL DEFAULT 0,    -- seconds that its operators have run
    ran_since REAL,                 -- BOOTTIME since which time is added to `ran`
    ending INTEGER,                 -- the status that a decision gives it when it ends
    -- Large values are last: reading one of the others reads no further page.
    variables TEXT,                 -- JSON object, from Start on
    snapshot TEXT                   -- the resolved pipeline, from Start on
) STRICT;
CREATE INDEX jobs_not_stopped ON jobs (queue_position) WHERE state < 3;
CREATE INDEX jobs_open ON jobs (sequence) WHERE state < 3;
CREATE INDEX jobs_unhealthy ON jobs (status) WHERE status > 1;
CREATE INDEX jobs_of_pipeline ON jobs (pipeline);
CREATE INDEX jobs_of_definition ON jobs (definition);   -- also for the foreign key
-- With what a search compares and what never changes, so that it reads the rows of matches only.
CREATE INDEX jobs_by_creation ON jobs (created, id, name, pipeline, pipeline_name);
CREATE INDEX jobs_by_end ON jobs (stopped) WHERE stopped IS NOT NULL;

CREATE VIEW listed_jobs AS
SELECT sequence, id, name, pipeline, payload, state, status, priority, created, started, stopped,
    (SELECT json_group_object(key, value) FROM metadata WHERE owner = id) AS metadata
FROM jobs;

CREATE TABLE job_messages (
    job TEXT NOT NULL REFERENCES jobs (id),
    position INTEGER NOT NULL,
    time REAL NOT NULL,
    text TEXT NOT NULL,
    PRIMARY KEY (job, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE operators (
    job TEXT NOT NULL REFERENCES jobs (id),
    position INTEGER NOT NULL,
    name TEXT NOT NULL,
    status INTEGER NOT NULL,        -- 1 pending, 2 running, 3 completed, 4 faulted
    attempt INTEGER NOT NULL DEFAULT 0,       -- of the running or the last one; 0: none yet
    interruptions INTEGER NOT NULL DEFAULT 0, -- attempts that the machine ended
    image TEXT,                     -- id that the attempt ran
    container TEXT,                 -- Podman's id of the attempt's container
    exit_code INTEGER,
    boot TEXT,                      -- the kernel's boot id when it was started
    created REAL NOT NULL,
    started REAL,
    stopped REAL,
    retries INTEGER NOT NULL DEFAULT 0, -- failed attempts that were followed by another one
    not_before REAL,                -- Unix seconds: the next attempt starts no earlier
    began REAL,                     -- BOOTTIME of the attempt's start
    PRIMARY KEY (job, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX operators_running ON operators (job) WHERE status = 2;
