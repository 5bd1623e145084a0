CREATE TABLE routes (
    sequence INTEGER PRIMARY KEY,   -- order of creation
    id TEXT NOT NULL UNIQUE,        -- route-...
    prefix TEXT NOT NULL UNIQUE,
    created REAL NOT NULL
) STRICT;

CREATE TABLE routed_endpoints (
    deployment TEXT NOT NULL REFERENCES deployments (id) ON DELETE CASCADE,
    component TEXT NOT NULL,        -- comp-...
    endpoint TEXT NOT NULL,
    component_name TEXT NOT NULL,
    route TEXT NOT NULL REFERENCES routes (id) ON DELETE CASCADE,
    PRIMARY KEY (deployment, component, endpoint)
) STRICT, WITHOUT ROWID;
CREATE INDEX endpoints_of_routes ON routed_endpoints (route);
