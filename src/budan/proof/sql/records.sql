-- name: proof_order_find :maybe
-- What budan's own record says of one order, in one row; reads the reference's key, then the order's partition.
SELECT
    o.id AS order_id,
    o.state,
    o.amount_minor,
    o.created_at,
    o.learned_source,
    o.completed_at,
    o.fee_minor,
    m.attempt AS remedy_attempt,
    m.cause AS remedy_cause,
    m.learned_source AS remedy_source,
    w.taken_at AS webhook_taken_at,
    (
        SELECT count(DISTINCT p.entry_key)
        FROM posting AS p
        WHERE p.lane = o.lane AND p.order_id = o.id AND p.entry_key LIKE 'payment:%'
    ) AS payment_entries,
    (
        SELECT coalesce(sum(p.amount_minor), 0)
        FROM posting AS p
        WHERE p.lane = o.lane AND p.order_id = o.id
    )::bigint AS postings_sum_minor
FROM order_reference AS r
INNER JOIN orders AS o ON r.lane = o.lane AND r.order_id = o.id
LEFT JOIN remedy AS m ON o.lane = m.lane AND o.id = m.order_id
LEFT JOIN webhook AS w ON o.lane = w.lane AND o.id = w.order_id
WHERE r.lane = $1 AND r.merchant_id = $2 AND r.reference = $3
ORDER BY w.version, m.attempt
LIMIT 1;
