-- Why: the job `reconcile` fetches the bill of each channel account's day once it is ready, and goes on asking until it
-- is there; which one is waited for, since when and why, is a row, so that no restart forgets it and people see it.
-- Differences are looked for by their order (its timeline), and counted by their age.
-- Locks: SHARE on discrepancy while an index is made, SHARE ROW EXCLUSIVE on channel_account and reconcile_run for the
-- new table's references. How long: below a second; differences are few.

-- One day of an account whose channel serves bills. `ready_at` is the channel's own promise. `code` and `message` tell
-- why there is no bill yet: the channel's words, or ours.
CREATE TABLE bill_day (
    account_id integer NOT NULL REFERENCES channel_account (id),
    day date NOT NULL,
    state text NOT NULL CHECK (state IN ('waiting', 'compared', 'missed')),
    ready_at timestamptz NOT NULL,
    due_at timestamptz NOT NULL,
    attempts integer NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    asked_at timestamptz,
    code text NOT NULL DEFAULT '',
    message text NOT NULL DEFAULT '',
    run_id bigint REFERENCES reconcile_run (id),
    PRIMARY KEY (account_id, day),
    CHECK ((state = 'compared') = (run_id IS NOT NULL))
);
CREATE INDEX bill_day_open ON bill_day (due_at) WHERE state <> 'compared';

-- A small table of differences, not of payments: see the head.
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX discrepancy_order ON discrepancy (lane, order_id) WHERE order_id IS NOT NULL;
