-- Why: all processes tell here what they see of a channel account: whether its notices come, and how fast its channel
-- lets itself be asked (docs/design.md sections 6 and 11). A row that nobody can end is marked for a person.
-- Locks: query_due against writers while its new index is made, which no row enters yet. How long: milliseconds, or a second
-- for each few million rows that wait there.

CREATE TABLE account_health (
    account_id integer PRIMARY KEY,
    -- When the counts below were true; they fade from here.
    folded_at timestamptz NOT NULL,
    timely double precision NOT NULL CHECK (timely >= 0),
    missed double precision NOT NULL CHECK (missed >= 0),
    asked double precision NOT NULL CHECK (asked >= 0),
    noticed_at timestamptz,
    rate_per_s double precision CHECK (rate_per_s > 0),
    cut_at timestamptz,
    CHECK (timely = 0 OR noticed_at IS NOT NULL),
    CHECK ((rate_per_s IS NULL) = (cut_at IS NULL))
-- A few rows, written each second by everybody: room for new versions on the same page keeps its index as it is.
) WITH (fillfactor = 20);

-- A question that no channel answers goes on slowly for ever; here is what a person must look at (I6).
ALTER TABLE query_due ADD COLUMN needs_person boolean NOT NULL DEFAULT false;
-- The runner's transaction forbids `concurrently`, and reading this narrow table once is short.
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX query_due_needs_person ON query_due (lane, order_id) WHERE needs_person;
