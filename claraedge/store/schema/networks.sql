CREATE TABLE networks (
    sequence INTEGER PRIMARY KEY,   -- order of creation
    id TEXT NOT NULL UNIQUE,        -- net-...
    name TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,             -- native, routed
    distro TEXT NOT NULL,           -- of ROS; empty: none
    interface TEXT NOT NULL,
    restart TEXT NOT NULL,          -- restart policy of its ROS master
    labels TEXT NOT NULL,           -- JSON {key: value}
    wanted INTEGER NOT NULL,        -- 0: it was deleted
    created REAL NOT NULL
) STRICT;

CREATE TABLE network_members (
    deployment TEXT NOT NULL REFERENCES deployments (id) ON DELETE CASCADE,
    component TEXT NOT NULL,        -- comp-...
    network TEXT NOT NULL REFERENCES networks (id) ON DELETE CASCADE,
    place INTEGER NOT NULL,         -- of its address, counted from the end of the network
    PRIMARY KEY (deployment, component, network)
) STRICT, WITHOUT ROWID;
CREATE INDEX members_of_networks ON network_members (network);
