-- Why: a day's sum of fees that does not fit the contract waits for a person as any other difference does, with its age,
-- owner, notes and end: it stood in the report alone, where nobody had to see it.
-- Locks: discrepancy, exclusive. How long: below a second; the table, a few rows a day, is read once.

-- The new checks allow all that the old ones did, so no client loses what it relied on.
-- squawk-ignore ban-drop-constraint
ALTER TABLE discrepancy DROP CONSTRAINT discrepancy_kind_check;
-- Differences are few: see the head.
-- squawk-ignore constraint-missing-not-valid
ALTER TABLE discrepancy ADD CONSTRAINT discrepancy_kind_check
CHECK (kind IN ('payment', 'refund', 'reversal', 'fees'));
-- squawk-ignore ban-drop-constraint
ALTER TABLE discrepancy DROP CONSTRAINT discrepancy_verdict_check;
-- squawk-ignore constraint-missing-not-valid
ALTER TABLE discrepancy ADD CONSTRAINT discrepancy_verdict_check
CHECK (
    verdict IN (
        'there_only', 'here_only', 'currency_differs', 'amount_differs', 'status_differs', 'fee_differs', 'double',
        'unknown_number', 'other_environment', 'fee_sum_differs'
    )
    AND (kind = 'fees') = (verdict = 'fee_sum_differs')
);
