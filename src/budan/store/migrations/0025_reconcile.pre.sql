-- Why: what comparing a channel's bill with our books found is kept: each run with what both sides came to, each
-- difference with its age, owner, notes and end (docs/design.md sections 2 and 5).
-- Locks: SHARE on refund and its partitions while an index is made. How long: nothing where nothing was refunded yet,
-- about a second for a million refunds.

-- What a channel takes of a payment by its contract, from a day on: fees are judged by it.
CREATE TABLE account_contract (
    account_id integer NOT NULL REFERENCES channel_account (id),
    effective_from date NOT NULL,
    rate_e6 integer NOT NULL CHECK (rate_e6 BETWEEN 0 AND 1000000),
    set_by text NOT NULL CHECK (length(set_by) BETWEEN 1 AND 80),
    set_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (account_id, effective_from)
);

-- One bill that was read and compared. The same bytes are compared once as a part of their day and once as all of it; a
-- bill that replaces another, or goes on where a part ended, is another run.
CREATE TABLE reconcile_run (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id integer NOT NULL REFERENCES channel_account (id),
    day date NOT NULL,
    -- Of the unpacked bytes; of no bytes where the channel says that it has nothing of that day.
    digest bytea NOT NULL CHECK (length(digest) = 32),
    origin text NOT NULL CHECK (origin IN ('channel', 'file')),
    is_partial boolean NOT NULL,
    -- Who loaded a file.
    loaded_by text NOT NULL DEFAULT '',
    lines bigint NOT NULL CHECK (lines >= 0),
    rate_e6 integer,
    fee_e5 bigint NOT NULL,
    begun_at timestamptz NOT NULL,
    ended_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (account_id, day, digest, is_partial)
);

-- The tie-out of a run: what both sides have of each kind under each verdict.
CREATE TABLE reconcile_tally (
    run_id bigint NOT NULL REFERENCES reconcile_run (id) ON DELETE CASCADE,
    kind text NOT NULL CHECK (kind IN ('payment', 'refund', 'reversal')),
    verdict text NOT NULL CHECK (
        verdict IN (
            'matched', 'neighbour_day', 'returned', 'there_only', 'here_only', 'currency_differs', 'amount_differs',
            'status_differs', 'fee_differs', 'double', 'unknown_number', 'other_environment'
        )
    ),
    their_rows bigint NOT NULL,
    their_minor bigint NOT NULL,
    our_rows bigint NOT NULL,
    our_minor bigint NOT NULL,
    PRIMARY KEY (run_id, kind, verdict)
);

-- One difference of an account's day, whatever number of runs found it. `subject` is what it is about: our number, else
-- the channel's; `occurrence` tells the rows of one number apart.
CREATE TABLE discrepancy (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id integer NOT NULL REFERENCES channel_account (id),
    day date NOT NULL,
    kind text NOT NULL CHECK (kind IN ('payment', 'refund', 'reversal')),
    subject text NOT NULL CHECK (length(subject) BETWEEN 1 AND 128),
    occurrence integer NOT NULL CHECK (occurrence >= 0),
    verdict text NOT NULL CHECK (
        verdict IN (
            'there_only', 'here_only', 'currency_differs', 'amount_differs', 'status_differs', 'fee_differs', 'double',
            'unknown_number', 'other_environment'
        )
    ),
    run_id bigint NOT NULL REFERENCES reconcile_run (id),
    -- Where it is in the run's bill; NULL where it is not there.
    line_no bigint,
    channel_no text,
    happened_at timestamptz,
    status text,
    currency text NOT NULL,
    their_minor bigint,
    our_minor bigint,
    fee_e5 bigint,
    -- Our row, where there is one.
    lane smallint,
    order_id bigint,
    ordinal smallint,
    -- `asked`: its trade or refund was made due, and the channel's answer is waited for. `awaited`: it may stand in the
    -- neighbouring day's bill, which nobody has read yet.
    state text NOT NULL CHECK (state IN ('open', 'asked', 'awaited', 'resolved')),
    owner text CHECK (length(owner) BETWEEN 1 AND 80),
    found_at timestamptz NOT NULL DEFAULT now(),
    resolved_at timestamptz,
    resolution text CHECK (
        resolution IN ('repaired', 'neighbour_day', 'gone', 'accepted', 'corrected', 'refunded', 'claimed')
    ),
    CHECK ((state = 'resolved') = (resolved_at IS NOT NULL)),
    CHECK ((state = 'resolved') = (resolution IS NOT NULL)),
    CHECK ((lane IS NULL) = (order_id IS NULL)),
    UNIQUE (account_id, day, kind, subject, occurrence)
);
CREATE INDEX discrepancy_unresolved ON discrepancy (account_id, day) WHERE state <> 'resolved';

-- What persons, and the program itself, wrote to a difference.
CREATE TABLE discrepancy_note (
    discrepancy_id bigint NOT NULL REFERENCES discrepancy (id) ON DELETE CASCADE,
    number integer NOT NULL CHECK (number > 0),
    written_by text NOT NULL CHECK (length(written_by) BETWEEN 1 AND 80),
    written_at timestamptz NOT NULL DEFAULT now(),
    note text NOT NULL CHECK (length(note) BETWEEN 1 AND 500),
    PRIMARY KEY (discrepancy_id, number)
);

-- Rows of a bill that are ours, of another day: that day's own run looks here before it misses them.
CREATE TABLE bill_sighting (
    account_id integer NOT NULL REFERENCES channel_account (id),
    order_id bigint NOT NULL,
    ordinal smallint NOT NULL,
    kind text NOT NULL CHECK (kind IN ('payment', 'refund', 'reversal')),
    bill_day date NOT NULL,
    PRIMARY KEY (account_id, order_id, ordinal, kind, bill_day)
);

-- Refunds are found by the day on which they went back, up to a year after their order. Few, so this costs little.
-- A partitioned table takes no index concurrently (PostgreSQL, CREATE INDEX).
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX refund_refunded_at ON refund (refunded_at) WHERE state = 'succeeded';
