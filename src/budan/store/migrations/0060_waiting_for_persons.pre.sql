-- Why: what only a person can end must be shown until somebody does (docs/design.md I6): money in suspense and refunds
-- without an end are counted each minute, and refunds that lost their next step each night, at the cost of those rows
-- alone, however old their orders are.
-- Locks: SHARE on posting and refund and their partitions while their index is made: nothing is booked meanwhile.
-- How long: about a second for each million rows of these tables.

-- A partitioned table takes no index concurrently (PostgreSQL, CREATE INDEX). A row that is not in suspense and not
-- open is in neither, so a payment writes none.
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX posting_suspense ON posting (booked_at) WHERE account = 'suspense';
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX refund_open ON refund (state, created_at) WHERE state IN ('created', 'submitted', 'unknown', 'abnormal');
