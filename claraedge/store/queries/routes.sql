-- name: add_route
INSERT INTO routes (id, prefix, created) VALUES (:id, :prefix, :created);

-- name: routes
SELECT id, prefix, created FROM routes ORDER BY sequence;

-- name: route
SELECT id, prefix, created FROM routes WHERE id = :text OR prefix = :text;

-- name: count_routes
SELECT count(*) AS count FROM routes;

-- name: target_of_route
SELECT d.id AS deployment, d.name AS deployment_name, e.component, e.component_name, e.endpoint
FROM routed_endpoints AS e JOIN deployments AS d ON d.id = e.deployment
WHERE e.route = :route AND d.stopped IS NULL;

-- name: add_routed_endpoint
INSERT INTO routed_endpoints (deployment, component, endpoint, component_name, route)
VALUES (:deployment, :component, :endpoint, :component_name, :route);

-- name: drop_route
DELETE FROM routes WHERE id = :id;
