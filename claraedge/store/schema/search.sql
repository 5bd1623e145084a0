-- What a search compares and shows. A row of these views is read only if it may match.

CREATE VIEW searched_jobs AS
SELECT id, name, pipeline, pipeline_name, payload,
    CASE state WHEN 3 THEN status + 3 WHEN 2 THEN 3 ELSE 1 + (queue_position IS NOT NULL) END AS stage,
    priority, created, started, stopped, cancel_reason IS NOT NULL AS cancelling,
    state = 3 AND status = 1 AND (
        EXISTS (SELECT 1 FROM payloads p WHERE p.id = payload AND p.deleted IS NULL)
        OR EXISTS (SELECT 1 FROM deliveries d
            WHERE d.job = jobs.id AND d.state = 'done' AND d.path IS NOT NULL AND d.removed IS NULL)
    ) AS has_results
FROM jobs;

CREATE VIEW searched_items AS
SELECT i.*, d.reason AS delivery_reason,
    COALESCE(j.pipeline, p.id, '') AS pipeline_id,
    COALESCE(j.pipeline_name, p.name, i.pipeline) AS pipeline_name,
    CASE j.state WHEN 3 THEN j.status + 3 WHEN 2 THEN 3
        WHEN 1 THEN 1 + (j.queue_position IS NOT NULL) END AS stage,
    j.priority, j.started, j.stopped, j.cancel_reason IS NOT NULL AS cancelling,
    i.state = 'delivered' AND (
        i.path IS NOT NULL AND i.removed IS NULL
        OR j.status = 1 AND EXISTS (SELECT 1 FROM payloads p WHERE p.id = j.payload AND p.deleted IS NULL)
    ) AS has_results
FROM inbox_items i
LEFT JOIN jobs j ON j.id = i.job
LEFT JOIN deliveries d ON d.job = i.job
LEFT JOIN pipelines p ON p.id = i.pipeline;
