-- Why: a merchant's webhook secret is changed with an overlap, in which what we send is signed with the old one too, so
-- that the merchant misses no event. Who changed it, and why, is kept.
-- Locks: webhook_endpoint, exclusive. How long: milliseconds, for it holds a row for each merchant, and what is checked and
-- indexed of it is NULL everywhere.

ALTER TABLE webhook_endpoint ADD COLUMN old_sealed_secret bytea;
ALTER TABLE webhook_endpoint ADD COLUMN old_until timestamptz;
-- A table of some thousands of rows is checked within the lock that this statement takes anyhow.
-- squawk-ignore constraint-missing-not-valid
ALTER TABLE webhook_endpoint ADD CONSTRAINT webhook_endpoint_old_together
CHECK ((old_sealed_secret IS NULL) = (old_until IS NULL));
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX webhook_endpoint_old_until ON webhook_endpoint (old_until) WHERE old_until IS NOT NULL;

-- What persons did to an endpoint's secret. Names are recorded as given: the command line has no accounts.
CREATE TABLE endpoint_act (
    endpoint_id integer NOT NULL REFERENCES webhook_endpoint (id),
    ordinal smallint NOT NULL CHECK (ordinal > 0),
    kind text NOT NULL CHECK (kind IN ('rotate', 'end_overlap')),
    acted_by text NOT NULL CHECK (length(acted_by) BETWEEN 1 AND 80),
    reason text NOT NULL CHECK (length(reason) BETWEEN 1 AND 500),
    acted_at timestamptz NOT NULL,
    -- Until when the secret of before signs beside the new one; NULL where it signs no more.
    old_until timestamptz,
    PRIMARY KEY (endpoint_id, ordinal)
);
