-- name: date_kept
UPDATE kept SET since = :now WHERE sequence IN (
    SELECT sequence FROM kept WHERE since IS NULL ORDER BY sequence LIMIT :limit);

-- name: kept_as_configured
SELECT * FROM kept WHERE kind = :kind AND keep IS NULL AND since < :before ORDER BY since LIMIT :limit;

-- name: kept_as_wished
SELECT * FROM kept WHERE kind = :kind AND keep IS NOT NULL AND since + keep * 86400.0 < :now
ORDER BY since + keep * 86400.0 LIMIT :limit;

-- name: kept_discarded
SELECT * FROM kept WHERE kind = 'failure' AND keep IS NOT NULL AND keep < 0.0 ORDER BY sequence LIMIT :limit;

-- name: kept_failure
SELECT * FROM kept WHERE path = :path AND kind = 'failure';

-- name: keep_failure
UPDATE kept SET keep = :keep WHERE path = :path AND kind = 'failure';

-- name: forget_kept
DELETE FROM kept WHERE sequence = :sequence AND path = :path;

-- name: delivery_removed
UPDATE deliveries SET removed = :now WHERE job = :owner AND path = :path;

-- name: result_of_item_removed
UPDATE inbox_items SET removed = :now WHERE job = :owner AND (path = :path OR duplicate_of IS NOT NULL);

-- name: links_to_result
SELECT path FROM inbox_items
WHERE job = :owner AND duplicate_of IS NOT NULL AND path IS NOT NULL AND path <> :path;

-- name: failure_of_item_removed
UPDATE inbox_items SET removed = :now WHERE id = :owner AND path = :path;

-- name: original_removed
UPDATE inbox_items SET original_removed = :now WHERE id = :owner AND original = :path;

-- name: original_kept
UPDATE inbox_items SET original = :path WHERE id = :id;
