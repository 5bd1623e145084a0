-- name: add_delivery
INSERT INTO deliveries (job, folder, outputs, item, state) VALUES (:job, :folder, :outputs, :item, 'waiting');

-- name: delivery_due
UPDATE deliveries SET state = 'due' WHERE job = :job AND state = 'waiting';

-- name: delivery_parked
UPDATE deliveries SET state = 'parked', reason = :reason WHERE job = :job AND state <> 'done';

-- name: delivery_done
UPDATE deliveries SET state = 'done', reason = '', path = :path WHERE job = :job;

-- name: deliveries_due
SELECT d.*, i.name AS item_name, i.folder AS item_folder, i.first_seen
FROM deliveries d JOIN jobs j ON j.id = d.job LEFT JOIN inbox_items i ON i.id = d.item
WHERE d.state IN ('due', 'parked') ORDER BY j.sequence;

-- name: delivery
SELECT d.*, i.name AS item_name, i.folder AS item_folder, i.first_seen
FROM deliveries d LEFT JOIN inbox_items i ON i.id = d.item WHERE d.job = :job;
