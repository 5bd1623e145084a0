-- name: impossible_values
SELECT 'definitions' FROM definitions WHERE NOT json_valid(files)
UNION ALL SELECT 'jobs' FROM jobs
WHERE state NOT BETWEEN 1 AND 3 OR status NOT BETWEEN 1 AND 5 OR priority NOT BETWEEN 1 AND 4
    OR NOT json_valid(coalesce(snapshot, '{}')) OR NOT json_valid(coalesce(variables, '{}'))
UNION ALL SELECT 'operators' FROM operators WHERE status NOT BETWEEN 1 AND 4
UNION ALL SELECT 'deliveries' FROM deliveries WHERE NOT json_valid(outputs)
UNION ALL SELECT 'inbox_items' FROM inbox_items
WHERE NOT json_valid(deliver) OR NOT json_valid(options)
UNION ALL SELECT 'payloads' FROM payloads WHERE type NOT IN (1, 2)
UNION ALL SELECT 'events' FROM events WHERE NOT json_valid(body)
LIMIT 1;
