-- name: add_delivery
INSERT INTO deliveries (job, folder, outputs, item, state) VALUES (:job, :folder, :outputs, :item, 'waiting');

-- name: delivery_due
UPDATE deliveries SET state = 'due' WHERE job = :job AND state = 'waiting';

-- name: delivery_parked
UPDATE deliveries SET state = 'parked', reason = :reason WHERE job = :job AND state <> 'done';

-- name: delivery_done
UPDATE deliveries SET state = 'done', reason = '', path = :path, size = :size WHERE job = :job AND state <> 'done';

-- name: deliveries_due
SELECT d.*, j.status, i.name AS item_name, i.folder AS item_folder, i.first_seen, i.keep_originals_days
FROM deliveries d INDEXED BY deliveries_due JOIN jobs j ON j.id = d.job LEFT JOIN inbox_items i ON i.id = d.item
WHERE d.state <> 'done' AND d.state IN ('due', 'parked') AND (j.status = :status) = :healthy ORDER BY j.sequence;

-- name: delivery
SELECT d.*, j.status, i.name AS item_name, i.folder AS item_folder, i.first_seen, i.keep_originals_days
FROM deliveries d JOIN jobs j ON j.id = d.job LEFT JOIN inbox_items i ON i.id = d.item WHERE d.job = :job;

-- name: delivery_counts
SELECT state, COUNT(*) AS count FROM deliveries WHERE state <> 'done' GROUP BY state;

-- name: kept_totals
SELECT kind, count, size FROM kept_totals;
