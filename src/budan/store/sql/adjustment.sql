-- name: adjustment_add :maybe
-- A proposal; nothing where a receipt of this reference waits or is booked. Leans on adjustment_receipt.
INSERT INTO adjustment (
    lane, merchant_id, order_id, discrepancy_id, discrepancy_seen, currency, debit, credit, amount_minor, fee_minor,
    bank_reference, reason, proposed_by, proposed_at, state
)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, clock_timestamp(), 'proposed')
ON CONFLICT (credit, reference_key) WHERE reference_key IS NOT NULL AND state IN ('proposed', 'approved')
DO NOTHING
RETURNING number;

-- name: adjustment_lock :maybe
-- One adjustment, held until the end of the transaction; it is read in the next statement. Leans on the primary key.
SELECT number FROM adjustment
WHERE number = $1
FOR UPDATE;

-- name: adjustment_list :many
-- Adjustments after a number, oldest first: of a difference, of a receipt (whose references are alike where width, case
-- and spaces alone tell them apart), of one state, of an order; what is NULL is any. Persons make them, so they are few
-- and read by their numbers.
SELECT
    number,
    lane,
    merchant_id,
    order_id,
    discrepancy_id,
    discrepancy_seen,
    currency,
    debit,
    credit,
    amount_minor,
    fee_minor,
    bank_reference,
    reason,
    proposed_by,
    proposed_at,
    state,
    decided_by,
    decided_at,
    decision_reason,
    entry_id
FROM adjustment
WHERE
    number > $1
    AND ($2::bigint IS NULL OR discrepancy_id = $2)
    AND ($3::text IS NULL OR (credit = $3 AND reference_key = lower(replace(normalize($4, nfkc), ' ', ''))))
    AND ($5::text IS NULL OR state = $5)
    AND ($6::smallint IS NULL OR (lane = $6 AND order_id = $7::bigint))
ORDER BY number
LIMIT $8;

-- name: adjustment_approve_if :maybe
-- Another person agrees, once; the entry is booked in the same transaction.
UPDATE adjustment
SET state = 'approved', decided_by = $2, decided_at = $3, entry_id = $4
WHERE number = $1 AND state = 'proposed'
RETURNING number;

-- name: adjustment_end_if :maybe
-- It comes to nothing: rejected by another person, or withdrawn by whoever proposed it.
UPDATE adjustment
SET state = $2, decided_by = $3, decided_at = clock_timestamp(), decision_reason = $4
WHERE number = $1 AND state = 'proposed'
RETURNING number;
