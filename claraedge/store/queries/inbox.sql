-- name: add_item
INSERT INTO inbox_items (id, folder, inside, name, members, pipeline, deliver, options, state, fingerprint, content, size, first_seen, keep_originals_days, changed)
VALUES (:id, :folder, :inside, :name, :members, :pipeline, :deliver, :options, 'claimed', :fingerprint, :content, :size, :first_seen, :keep_originals_days, :now);

-- name: drop_item
DELETE FROM inbox_items WHERE id = :id AND state IN ('claimed', 'parked');

-- name: item_blocked
UPDATE inbox_items SET state = :state, reason = :reason, remedy = :remedy, changed = :now
WHERE id = :id AND state IN ('claimed', 'parked');

-- name: item_submitted
UPDATE inbox_items SET state = 'submitted', reason = '', remedy = '', job = :job, digest = :digest, work = :work,
    duplicate_of = :duplicate_of, changed = :now
WHERE id = :id AND state IN ('claimed', 'parked');

-- name: item_ended
UPDATE inbox_items SET state = :state, reason = :reason, path = :path, changed = :now
WHERE id = :id AND state = 'submitted';

-- name: item_failed
UPDATE inbox_items SET state = 'failed', reason = :reason, remedy = '', path = :path, changed = :now
WHERE id = :id AND state IN ('claimed', 'parked');

-- name: claimed_items
SELECT * FROM inbox_items
WHERE state NOT IN ('delivered', 'failed') AND state IN ('claimed', 'parked') ORDER BY sequence;

-- name: all_items
SELECT i.*, d.reason AS delivery_reason FROM inbox_items i LEFT JOIN deliveries d ON d.job = i.job
ORDER BY i.sequence;

-- name: open_items
SELECT i.*, d.reason AS delivery_reason
FROM inbox_items i INDEXED BY inbox_items_open LEFT JOIN deliveries d ON d.job = i.job
WHERE i.state NOT IN ('delivered', 'failed') ORDER BY i.sequence;

-- name: failed_items
SELECT i.*, d.reason AS delivery_reason
FROM inbox_items i INDEXED BY inbox_items_failed LEFT JOIN deliveries d ON d.job = i.job
WHERE i.state = 'failed' ORDER BY i.sequence;

-- name: item
SELECT i.*, d.reason AS delivery_reason FROM inbox_items i LEFT JOIN deliveries d ON d.job = i.job
WHERE i.id = :id;

-- name: earlier_part
SELECT job FROM inbox_items
WHERE name = :name AND folder = :folder AND id <> :id AND members <> X'' AND job IS NOT NULL
ORDER BY sequence DESC LIMIT 1;

-- name: done_before
SELECT i.id, i.name, i.job, i.state, i.path, i.removed FROM inbox_items i
WHERE i.work = :work AND i.id <> :id AND i.duplicate_of IS NULL ORDER BY i.sequence DESC LIMIT 1;

-- name: duplicates
SELECT i.*, o.name AS of_name, o.path AS of_path FROM inbox_items i JOIN inbox_items o ON o.id = i.duplicate_of
WHERE i.duplicate_of IS NOT NULL AND i.state = 'submitted' ORDER BY i.sequence;

-- name: finish_duplicate
UPDATE inbox_items SET state = 'delivered', reason = :reason, path = :path, original = :original, changed = :now
WHERE id = :id AND state = 'submitted';

-- name: no_duplicate
UPDATE inbox_items SET state = 'claimed', job = NULL, duplicate_of = NULL, digest = NULL, work = NULL, changed = :now
WHERE id = :id AND state = 'submitted' AND duplicate_of IS NOT NULL;

-- name: results_are_gone
UPDATE inbox_items SET removed = :now WHERE id = :id AND removed IS NULL;

-- name: item_put_back
UPDATE inbox_items SET reason = :reason, changed = :now WHERE id = :id AND state = 'failed';

-- name: seen
SELECT * FROM inbox_seen WHERE NOT EXISTS (SELECT 1 FROM inbox_items i WHERE i.id = inbox_seen.id);

-- name: see
INSERT OR REPLACE INTO inbox_seen (id, folder, name, first_seen) VALUES (:id, :folder, :name, :first_seen);

-- name: unsee
DELETE FROM inbox_seen WHERE id = :id;

-- name: unsee_claimed
DELETE FROM inbox_seen WHERE EXISTS (SELECT 1 FROM inbox_items i WHERE i.id = inbox_seen.id);

-- name: item_counts
SELECT
    (SELECT COUNT(*) FROM inbox_items
        WHERE state NOT IN ('delivered', 'failed') AND state = 'claimed') AS claimed,
    (SELECT COUNT(*) FROM inbox_items
        WHERE state NOT IN ('delivered', 'failed') AND state = 'parked') AS parked,
    (SELECT COUNT(*) FROM inbox_items
        WHERE state NOT IN ('delivered', 'failed') AND state = 'submitted') AS submitted,
    (SELECT COUNT(*) FROM inbox_items WHERE state = 'failed' AND removed IS NULL) AS failed;
