-- These run in sessions that are made for reading much (store/database.py), never beside the door's.

-- name: loss_list :many
-- The orders that became paid in a stretch of time and whose completion, or the merchant's word that it took it, came
-- late or not the normal way. Leans on posting_booked_at for the time, on notice_rejected_account, and on primary keys
-- for the rest.
SELECT
    o.lane,
    o.id AS order_id,
    o.merchant_id,
    o.reference,
    o.amount_minor,
    o.currency,
    t.channel,
    t.method,
    o.paid_at,
    o.learned_at,
    o.learned_source,
    o.completed_at,
    r.cause AS remedy_cause,
    (
        SELECT min(n.received_at)
        FROM notice AS n
        WHERE
            n.lane = o.lane
            AND n.order_id = o.id
            AND n.decision NOT IN ('refund_told', 'returned_elsewhere')
            -- The attempt, as the last but one of a number's characters in base 32 (docs/design.md section 6).
            AND strpos('0123456789ABCDEFGHJKMNPQRSTVWXYZ', substr(n.trade_no, 29, 1)) = o.paid_attempt + 1
    ) AS noticed_at,
    (
        SELECT min(x.received_at)
        FROM notice_rejected AS x
        WHERE x.account_id = t.account_id AND x.received_at >= o.paid_at AND x.received_at <= o.learned_at
    ) AS rejected_at,
    h.is_to_tell,
    (
        SELECT min(d.started_at)
        FROM webhook AS v
        INNER JOIN delivery AS d ON v.lane = d.lane AND v.order_id = d.order_id AND v.version = d.version
        WHERE v.lane = o.lane AND v.order_id = o.id AND v.event = 'order.paid'
    ) AS told_at,
    h.taken_at
FROM posting AS p
INNER JOIN orders AS o ON p.lane = o.lane AND p.order_id = o.id AND p.entry_key = 'payment:' || o.paid_attempt
INNER JOIN trade AS t ON o.lane = t.lane AND o.id = t.order_id AND o.paid_attempt = t.attempt
LEFT JOIN remedy AS r ON o.lane = r.lane AND o.id = r.order_id AND o.paid_attempt = r.attempt
CROSS JOIN
    LATERAL (
        SELECT
            count(*) > 0 AS is_to_tell,
            CASE WHEN bool_and(w.taken_at IS NOT NULL) THEN max(w.taken_at) END AS taken_at
        FROM webhook AS w
        WHERE w.lane = o.lane AND w.order_id = o.id AND w.event = 'order.paid'
    ) AS h
WHERE
    p.booked_at >= $1
    AND p.booked_at < $2
    AND p.line = 1
    AND (
        r.cause IS NOT NULL
        OR o.completed_at >= o.paid_at + make_interval(secs => $3)
        OR h.is_to_tell AND coalesce(h.taken_at, clock_timestamp()) >= o.completed_at + make_interval(secs => $3)
    )
ORDER BY p.booked_at, o.lane, o.id;

-- name: loss_count_paid :one
-- How many orders became paid in a stretch of time. Leans on posting_booked_at.
SELECT count(*) AS paid
FROM posting AS p
INNER JOIN orders AS o ON p.lane = o.lane AND p.order_id = o.id AND p.entry_key = 'payment:' || o.paid_attempt
WHERE p.booked_at >= $1 AND p.booked_at < $2 AND p.line = 1;
