-- Why: what may end by itself is looked at every ten minutes, and is a few of a day's differences: without an index of
-- its own each look reads every difference that there ever was.
-- Locks: SHARE on discrepancy while the index is made. How long: below a second; differences are few.
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX discrepancy_followed ON discrepancy (id)
WHERE state <> 'resolved' AND verdict IN ('there_only', 'here_only');
