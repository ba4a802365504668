-- Why: what merchants are paid (docs/design.md section 10): each merchant's days are settled once, each line of what we
-- owe it goes into one batch, and a batch is paid out and may come back.
-- Locks: merchant, exclusive, for milliseconds: constant defaults rewrite nothing; orders, SHARE, while the index of the
-- few that are held is built. How long: one pass over the orders, about a second for each million.

-- A day ends by the merchant's own calendar and is settled so many days later. Less than the minimum waits for the next
-- day; of each batch a share stays here for so many days, for refunds that are still to come.
ALTER TABLE merchant
ADD COLUMN settles_zone text NOT NULL DEFAULT 'Asia/Shanghai' CHECK (length(settles_zone) BETWEEN 1 AND 64),
ADD COLUMN settles_after_days integer NOT NULL DEFAULT 1 CHECK (settles_after_days BETWEEN 1 AND 90),
ADD COLUMN payout_minor_min bigint NOT NULL DEFAULT 1 CHECK (payout_minor_min > 0),
ADD COLUMN hold_back_bp integer NOT NULL DEFAULT 0 CHECK (hold_back_bp BETWEEN 0 AND 10000),
ADD COLUMN hold_back_days integer NOT NULL DEFAULT 7 CHECK (hold_back_days BETWEEN 1 AND 365);

-- How far a merchant is settled: the last day that was looked at, and the end of the last day that has a batch. What
-- was booked before that end is in a batch or waits.
CREATE TABLE settlement_mark (
    lane smallint NOT NULL,
    merchant_id integer NOT NULL,
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    settled_day date NOT NULL,
    batched_at timestamptz NOT NULL,
    PRIMARY KEY (lane, merchant_id, currency)
);

-- One batch for each merchant, currency and day. Its id is drawn like an order's, so that its postings share a
-- partition with the orders of that time.
CREATE TABLE settlement_batch (
    lane smallint NOT NULL,
    id bigint NOT NULL,
    merchant_id integer NOT NULL,
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    day date NOT NULL,
    zone text NOT NULL,
    -- The end of the day, by the merchant's calendar: what has its moment before it is in this batch.
    ends_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL,
    lines integer NOT NULL CHECK (lines >= 0),
    late_lines integer NOT NULL CHECK (late_lines BETWEEN 0 AND lines),
    -- The sum of its lines; negative where refunds outweigh payments and what is released covers them.
    total_minor bigint NOT NULL,
    held_back_minor bigint NOT NULL CHECK (held_back_minor >= 0),
    released_minor bigint NOT NULL CHECK (released_minor >= 0),
    payout_minor bigint NOT NULL CHECK (payout_minor > 0),
    release_on date NOT NULL,
    -- The batch that gave back what this one held back.
    released_in bigint,
    state text NOT NULL CHECK (state IN ('open', 'paid_out', 'returned')),
    version integer NOT NULL DEFAULT 1 CHECK (version > 0),
    -- Payouts that were made of it: a returned one may be made again.
    payouts smallint NOT NULL DEFAULT 0 CHECK (payouts BETWEEN 0 AND 99),
    bank_reference text CHECK (length(bank_reference) BETWEEN 1 AND 64),
    changed_by text CHECK (length(changed_by) BETWEEN 1 AND 80),
    changed_at timestamptz,
    return_reason text CHECK (length(return_reason) BETWEEN 1 AND 500),
    PRIMARY KEY (lane, id),
    UNIQUE (lane, merchant_id, currency, day),
    CHECK (payout_minor = total_minor - held_back_minor + released_minor),
    CHECK ((state = 'open') = (bank_reference IS NULL)),
    CHECK (state <> 'returned' OR return_reason IS NOT NULL)
);
-- Not led by the lane, as orders_merchant_id is not.
CREATE INDEX settlement_batch_day ON settlement_batch (day, merchant_id);
CREATE INDEX settlement_batch_held_back ON settlement_batch (merchant_id, release_on)
WHERE held_back_minor > 0 AND released_in IS NULL;
CREATE INDEX settlement_batch_open ON settlement_batch (merchant_id) WHERE state <> 'paid_out';

-- What one entry of one order gave a merchant or took from it, in the batch that paid it. The key lets no entry be
-- settled twice.
CREATE TABLE settlement_line (
    lane smallint NOT NULL,
    order_id bigint NOT NULL,
    entry_key text NOT NULL,
    currency text NOT NULL,
    batch_id bigint NOT NULL,
    merchant_id integer NOT NULL,
    amount_minor bigint NOT NULL,
    -- When it counts: the channel's moment of a payment, else the booking's.
    counts_at timestamptz NOT NULL,
    -- Why a line is of a day before its batch's: repaired, late, or waited for its order.
    mark text NOT NULL CHECK (mark IN ('', 'repaired', 'late', 'waited')),
    PRIMARY KEY (lane, order_id, entry_key, currency)
) PARTITION BY RANGE (order_id);
-- The lane is left out on purpose, as above.
CREATE INDEX settlement_line_batch ON settlement_line (batch_id);

-- Entries of a settled day that are not in its batch: their order was held, or a refund of it was under way. Deleted
-- when a batch has them.
CREATE TABLE settlement_wait (
    lane smallint NOT NULL,
    order_id bigint NOT NULL,
    entry_key text NOT NULL,
    currency text NOT NULL,
    merchant_id integer NOT NULL,
    PRIMARY KEY (lane, order_id, entry_key, currency)
);
CREATE INDEX settlement_wait_merchant ON settlement_wait (merchant_id);

-- A hold stops payouts, so each payout file asks which orders are held. They are few.
-- A partitioned table takes no index concurrently (PostgreSQL, CREATE INDEX).
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX orders_held ON orders (id) WHERE hold_reason IS NOT NULL;
