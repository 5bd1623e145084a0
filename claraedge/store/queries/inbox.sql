-- name: add_item
INSERT INTO inbox_items (id, folder, name, pipeline, deliver, state, fingerprint, content, size, first_seen, changed)
VALUES (:id, :folder, :name, :pipeline, :deliver, 'claimed', :fingerprint, :content, :size, :first_seen, :now);

-- name: drop_item
DELETE FROM inbox_items WHERE id = :id AND state IN ('claimed', 'parked');

-- name: item_held
UPDATE inbox_items SET state = :state, reason = :reason, mend = :mend, changed = :now
WHERE id = :id AND state IN ('claimed', 'parked');

-- name: item_submitted
UPDATE inbox_items SET state = 'submitted', reason = '', mend = '', job = :job, changed = :now
WHERE id = :id AND state IN ('claimed', 'parked');

-- name: item_ended
UPDATE inbox_items SET state = :state, reason = :reason, path = :path, changed = :now
WHERE id = :id AND state = 'submitted';

-- name: item_failed
UPDATE inbox_items SET state = 'failed', reason = :reason, mend = '', path = :path, changed = :now
WHERE id = :id AND state IN ('claimed', 'parked');

-- name: claimed_items
SELECT * FROM inbox_items WHERE state IN ('claimed', 'parked') ORDER BY sequence;

-- name: items
SELECT i.*, d.reason AS delivery_reason FROM inbox_items i LEFT JOIN deliveries d ON d.job = i.job
WHERE i.state = COALESCE(:state, i.state) ORDER BY i.sequence;

-- name: item
SELECT * FROM inbox_items WHERE id = :id;
