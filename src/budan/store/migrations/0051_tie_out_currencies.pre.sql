-- Why: a day ties out in each currency, and stays so while its differences end: what was counted on each side is kept
-- apart from what was found, each run keeps which differences it found and what they count as, and no sum is of two
-- currencies. A run of before has no row in the new tables: its report says that it is not known to tie out, and its bill,
-- when it comes again, is compared anew.
-- Locks: reconcile_tally and discrepancy, exclusive; SHARE ROW EXCLUSIVE on reconcile_run for a new table's reference.
-- How long: below a second; the tables, a few rows a day.

-- Old code, which knows no currency here, writes on while this release comes.
ALTER TABLE reconcile_tally ADD COLUMN currency text NOT NULL DEFAULT 'CNY';
-- The new key allows all that the old one did, so no client loses what it relied on.
-- squawk-ignore ban-drop-constraint
ALTER TABLE reconcile_tally DROP CONSTRAINT reconcile_tally_pkey;
-- A few rows a run: see the head.
-- squawk-ignore adding-serial-primary-key-field, constraint-missing-not-valid
ALTER TABLE reconcile_tally ADD PRIMARY KEY (run_id, kind, currency, verdict);

-- Of our side of a difference, where it is not the bill's.
ALTER TABLE discrepancy ADD COLUMN our_currency text;

-- What a run counted on each side before it compared any row.
CREATE TABLE reconcile_side (
    run_id bigint NOT NULL REFERENCES reconcile_run (id) ON DELETE CASCADE,
    kind text NOT NULL CHECK (kind IN ('payment', 'refund', 'reversal')),
    currency text NOT NULL,
    their_rows bigint NOT NULL CHECK (their_rows >= 0),
    their_minor bigint NOT NULL,
    our_rows bigint NOT NULL CHECK (our_rows >= 0),
    our_minor bigint NOT NULL,
    PRIMARY KEY (run_id, kind, currency)
);

-- A difference that a run found, and the row that it counts as on each side: NULL where it counts as none there. A later
-- bill of the day changes the difference, and never what this run found. Both ids are read in the transaction that
-- writes them, a hundred thousand at a time: to have each checked once more took longer than to write them all. A row of
-- either that is gone is seen: the run does not tie out then.
CREATE TABLE reconcile_finding (
    run_id bigint NOT NULL,
    discrepancy_id bigint NOT NULL,
    their_currency text,
    their_minor bigint,
    our_currency text,
    our_minor bigint,
    PRIMARY KEY (run_id, discrepancy_id),
    CHECK ((their_currency IS NULL) = (their_minor IS NULL)),
    CHECK ((our_currency IS NULL) = (our_minor IS NULL))
);
