ALTER TABLE jobs ADD COLUMN ran REAL NOT NULL DEFAULT 0;  -- seconds that its operators ran, as counted
ALTER TABLE jobs ADD COLUMN ran_since REAL;               -- BOOTTIME from which it counts on

ALTER TABLE jobs ADD COLUMN ending INTEGER;               -- the status that it is to end with, by a decision

ALTER TABLE operators ADD COLUMN retries INTEGER NOT NULL DEFAULT 0;  -- attempts that failed and were followed by one more
ALTER TABLE operators ADD COLUMN not_before REAL;                     -- when the next one may begin
ALTER TABLE operators ADD COLUMN began REAL;                          -- BOOTTIME of the attempt's start
