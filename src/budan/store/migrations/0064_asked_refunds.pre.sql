-- Why: a refund that only a bill tells of was given up an hour after its bill, also where its channel had been away for
-- that hour: it is asked about until the channel has answered, at a pace of its own.
-- Locks: discrepancy, exclusive, then SHARE while the index is made. How long: below a second; differences are few.

-- `ask_at`: when it may be asked about next, after `ask_count` questions that left. `answered_at`: when its channel last
-- gave a final answer.
ALTER TABLE discrepancy
ADD COLUMN ask_at timestamptz NOT NULL DEFAULT now(),
ADD COLUMN ask_count integer NOT NULL DEFAULT 0,
ADD COLUMN answered_at timestamptz;
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX discrepancy_asked ON discrepancy (account_id, ask_at, id)
WHERE state = 'asked' AND kind = 'refund' AND verdict = 'there_only';
