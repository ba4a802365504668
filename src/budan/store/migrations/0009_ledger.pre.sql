-- Why: closed days of the ledger with their balances (docs/design.md section 4, I10), and the two ways into postings
-- that do not begin with an order: by time for the whole house, and by account for one merchant's statement.
-- Locks: SHARE on posting and each of its partitions while its two indexes are made. How long: nothing on an empty
-- table; about a second for a million postings.

-- Written in the order of booked_at, so a summary of each block range finds a day at no cost to the insert.
-- A partitioned table takes no index concurrently (PostgreSQL, CREATE INDEX).
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX posting_booked_at ON posting USING brin (booked_at);

-- One line of each payment; the lines of the house's own accounts are only ever summed by time. The lane is left out
-- on purpose: with it, a planner without statistics takes this index for the primary key.
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX posting_merchant ON posting (account, booked_at) WHERE account LIKE 'merchant:%';

-- A day that is over, by Beijing's calendar like the bills of the channels; its sums never change again.
CREATE TABLE ledger_day (
    day date PRIMARY KEY,
    postings bigint NOT NULL CHECK (postings >= 0),
    closed_at timestamptz NOT NULL
);

-- What moved on an account in a day, and where it stood at the day's end; a day without movement has no row.
CREATE TABLE ledger_balance (
    lane smallint NOT NULL,
    account text NOT NULL,
    currency text NOT NULL,
    day date NOT NULL,
    debit_minor bigint NOT NULL CHECK (debit_minor >= 0),
    credit_minor bigint NOT NULL CHECK (credit_minor >= 0),
    balance_minor bigint NOT NULL,
    PRIMARY KEY (lane, account, currency, day)
);
