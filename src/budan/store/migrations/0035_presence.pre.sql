-- Why: an order that waited while nobody of ours was there, or while the database was away, was told of as if its notice
-- had been lost. Nobody can write down then that they are away, so each role is seen every second, and the first who
-- comes back writes down since when nobody was.
-- Locks: none on what exists. How long: two empty tables.

-- The last moment at which any process of a role reached the database.
CREATE TABLE presence (
    role text PRIMARY KEY CHECK (role IN ('serve', 'worker')),
    seen_at timestamptz NOT NULL
);

-- A stretch in which none did. `cause` is what the first who came back knows: a process that had tried meanwhile says
-- that the database was away.
CREATE TABLE outage (
    role text NOT NULL CHECK (role IN ('serve', 'worker')),
    began_at timestamptz NOT NULL,
    ended_at timestamptz NOT NULL,
    cause text NOT NULL CHECK (cause IN ('we_were_down', 'database_away')),
    PRIMARY KEY (role, began_at),
    CHECK (ended_at > began_at)
);
CREATE INDEX outage_ended_at ON outage (ended_at);
