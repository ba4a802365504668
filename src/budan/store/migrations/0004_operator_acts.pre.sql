-- Why: what persons do to orders is kept with their names and reasons, and needs two of them where money hangs on it
-- (docs/design.md I4); a contradiction keeps its whole statement, so that a release can decide it again; a rejected
-- notice keeps what verifies it once the key is right; one "no such trade" that comes twice counts once (I5).
-- Locks: trade, contradiction, notice_rejected and remedy, exclusive, in the order in which the door takes them.
-- How long: milliseconds, and one pass over the remedies: an index of those few is built while no remedy is written.

ALTER TABLE trade ADD COLUMN not_found_asked_at timestamptz;

ALTER TABLE contradiction ADD COLUMN statement jsonb;

-- A partitioned table takes no concurrent build; remedies are few.
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX remedy_completed_at ON remedy (completed_at);

ALTER TABLE notice_rejected ADD COLUMN headers jsonb;
ALTER TABLE notice_rejected ADD COLUMN body_bytes integer;

-- A hold is one person's act. A release and a person's evidence are proposals until another person confirms them.
-- Names are recorded as given: the command line has no accounts.
CREATE TABLE operator_act (
    lane smallint NOT NULL,
    order_id bigint NOT NULL,
    ordinal smallint NOT NULL CHECK (ordinal > 0),
    kind text NOT NULL CHECK (kind IN ('hold', 'release', 'evidence')),
    acted_by text NOT NULL CHECK (length(acted_by) BETWEEN 1 AND 80),
    reason text NOT NULL CHECK (length(reason) BETWEEN 1 AND 500),
    acted_at timestamptz NOT NULL,
    -- What a proposal asks for beyond its kind.
    wish jsonb NOT NULL,
    confirmed_by text,
    confirmed_at timestamptz,
    PRIMARY KEY (lane, order_id, ordinal),
    CHECK ((confirmed_by IS NULL) = (confirmed_at IS NULL)),
    CHECK (kind <> 'hold' OR confirmed_by IS NULL),
    CHECK (lower(confirmed_by) <> lower(acted_by))
) PARTITION BY RANGE (order_id);

-- A contradiction that a release settled: the same statement, should it come again, holds the order no more.
CREATE TABLE settled_contradiction (
    lane smallint NOT NULL,
    order_id bigint NOT NULL,
    attempt smallint NOT NULL,
    digest bytea NOT NULL,
    -- The release: its ordinal among the order's acts.
    act smallint NOT NULL,
    -- Cleared by the channel's fresh word, or accepted by two persons as it stands.
    how text NOT NULL CHECK (how IN ('cleared', 'accepted')),
    PRIMARY KEY (lane, order_id, attempt, digest)
) PARTITION BY RANGE (order_id);
