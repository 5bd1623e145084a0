CREATE TABLE deliveries (
    job TEXT PRIMARY KEY REFERENCES jobs (id),
    folder TEXT NOT NULL,           -- result folder: <pipeline>/<slug>-<8 digits of the job id>
    outputs TEXT NOT NULL,          -- JSON [operator or operator/output] that the trigger names
    item TEXT,                      -- the inbox item, where there is one
    state TEXT NOT NULL,            -- waiting (job runs), due, parked, done
    reason TEXT NOT NULL DEFAULT '',
    path TEXT,                      -- where the results or the failure are, once done
    size INTEGER NOT NULL DEFAULT 0,    -- bytes of what was delivered
    removed REAL                    -- when retention removed `path`
) STRICT, WITHOUT ROWID;
CREATE INDEX deliveries_due ON deliveries (state) WHERE state <> 'done';
