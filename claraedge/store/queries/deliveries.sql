-- name: add_delivery
INSERT INTO deliveries (job, folder, outputs, item, state) VALUES (:job, :folder, :outputs, :item, 'waiting');

-- name: delivery_due
UPDATE deliveries SET state = 'due' WHERE job = :job AND state = 'waiting';

-- name: delivery_parked
UPDATE deliveries SET state = 'parked', reason = :reason WHERE job = :job;

-- name: delivery_done
UPDATE deliveries SET state = 'done', reason = '', path = :path WHERE job = :job;

-- name: deliveries_due
SELECT * FROM deliveries WHERE state IN ('due', 'parked') ORDER BY job;

-- name: delivery
SELECT * FROM deliveries WHERE job = :job;
