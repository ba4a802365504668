-- Why: a refund of an unwanted payment that its channel refused, and then knew nothing of, is sent again; until it is, it
-- is not in any total that the channel tells. Without that fact a total was waited with for ever: a portal refund that
-- overtook ours was never booked where a channel tells totals alone, and ours was sent and refused day after day.
-- Locks: ACCESS EXCLUSIVE on refund and its partitions for a moment. How long: no row is read or written.

-- Refused, and then unknown to a query that left when no sending could arrive any more; no sending has begun since.
ALTER TABLE refund
ADD COLUMN untaken boolean NOT NULL DEFAULT false;
