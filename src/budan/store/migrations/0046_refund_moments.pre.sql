-- Why: some channels never tell when a refund went back; those count as gone back when we learned of it, so a day's
-- refunds are found by either moment.
-- Locks: SHARE on refund and its partitions while the index is made, ACCESS EXCLUSIVE for a moment to drop the old one.
-- How long: about a second for a million refunds.

-- A partitioned table takes no index concurrently (PostgreSQL, CREATE INDEX), nor loses one so.
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX refund_moved_at ON refund (coalesce(refunded_at, ended_at)) WHERE state = 'succeeded';
-- squawk-ignore require-concurrent-index-deletion
DROP INDEX refund_refunded_at;
