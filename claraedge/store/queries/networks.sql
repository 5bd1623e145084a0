-- name: add_network
INSERT INTO networks (id, name, kind, distro, interface, restart, labels, wanted, created)
VALUES (:id, :name, :kind, :distro, :interface, :restart, :labels, 1, :created);

-- name: networks
SELECT * FROM networks ORDER BY sequence;

-- name: network
SELECT * FROM networks WHERE id = :text OR name = :text;

-- name: count_networks
SELECT count(*) AS count FROM networks;

-- name: set_network_unwanted
UPDATE networks SET wanted = 0 WHERE id = :id;

-- name: drop_network
DELETE FROM networks WHERE id = :id AND wanted = 0;

-- name: members_of_network
SELECT d.id, d.name, m.place FROM network_members AS m JOIN deployments AS d ON d.id = m.deployment
WHERE m.network = :network AND d.stopped IS NULL ORDER BY d.sequence;

-- name: networks_of_deployment
SELECT m.component, m.network, m.place FROM network_members AS m
JOIN networks AS n ON n.id = m.network
WHERE m.deployment = :deployment ORDER BY n.sequence, m.component;

-- name: add_network_member
INSERT INTO network_members (deployment, component, network, place)
VALUES (:deployment, :component, :network, :place);
