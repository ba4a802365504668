-- Why: money that came and does not fit its order lies in suspense, and was on no day's side of ours: the day's bill had
-- its row, and nothing explained the difference for ever. It is written down for its day beside money that we learn of
-- late, and both sides that have it are a difference by its own name, which ends when persons say whose it is.
-- Locks: discrepancy, reconcile_tally, bill_sighting and late_money, exclusive, while their checks are read; SHARE on
-- discrepancy while its index is made. How long: about a second; a few rows a day, and contradictions, are read once.

-- The new checks allow all that the old ones did, so no client loses what it relied on.
-- squawk-ignore ban-drop-constraint
ALTER TABLE discrepancy DROP CONSTRAINT discrepancy_verdict_check;
-- Differences are few: see the head.
-- squawk-ignore constraint-missing-not-valid
ALTER TABLE discrepancy ADD CONSTRAINT discrepancy_verdict_check
CHECK (
    verdict IN (
        'in_suspense', 'there_only', 'here_only', 'currency_differs', 'amount_differs', 'status_differs',
        'settle_differs', 'fee_differs', 'double', 'unknown_number', 'other_environment', 'fee_sum_differs'
    )
    AND (kind = 'fees') = (verdict = 'fee_sum_differs')
);
-- squawk-ignore ban-drop-constraint
ALTER TABLE reconcile_tally DROP CONSTRAINT reconcile_tally_verdict_check;
-- squawk-ignore constraint-missing-not-valid
ALTER TABLE reconcile_tally ADD CONSTRAINT reconcile_tally_verdict_check
CHECK (
    verdict IN (
        'matched', 'neighbour_day', 'returned', 'in_suspense', 'there_only', 'here_only', 'currency_differs',
        'amount_differs', 'status_differs', 'settle_differs', 'fee_differs', 'double', 'unknown_number',
        'other_environment'
    )
);
-- squawk-ignore ban-drop-constraint
ALTER TABLE bill_sighting DROP CONSTRAINT bill_sighting_kind_check;
-- squawk-ignore constraint-missing-not-valid
ALTER TABLE bill_sighting ADD CONSTRAINT bill_sighting_kind_check
CHECK (kind IN ('payment', 'refund', 'reversal', 'suspense'));
-- squawk-ignore ban-drop-constraint
ALTER TABLE late_money DROP CONSTRAINT late_money_kind_check;
-- squawk-ignore constraint-missing-not-valid
ALTER TABLE late_money ADD CONSTRAINT late_money_kind_check
CHECK (kind IN ('payment', 'refund', 'reversal', 'suspense'));

-- What persons settle in the books ends by itself as a difference.
-- squawk-ignore require-concurrent-index-deletion
DROP INDEX discrepancy_followed;
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX discrepancy_followed ON discrepancy (id)
WHERE state <> 'resolved' AND verdict IN ('there_only', 'here_only', 'in_suspense');

-- What lies in suspense already, on the day of which its statement speaks.
INSERT INTO late_money (lane, order_id, kind, ordinal, day, account_id, known_at)
SELECT
    c.lane,
    c.order_id,
    'suspense',
    c.attempt,
    (coalesce((c.statement ->> 'paid_at')::timestamptz, c.found_at) AT TIME ZONE 'Asia/Shanghai')::date,
    (c.statement ->> 'account_id')::integer,
    c.found_at
FROM contradiction AS c
WHERE
    c.statement ->> 'outcome' = 'paid'
    AND EXISTS (
        SELECT FROM posting AS p
        WHERE
            p.lane = c.lane AND p.order_id = c.order_id AND p.account = 'suspense'
            AND starts_with(p.entry_key, 'suspense:' || c.attempt || ':' || (c.statement ->> 'account_id') || ':')
    )
ORDER BY c.found_at
ON CONFLICT (lane, order_id, kind, ordinal, day) DO NOTHING;
