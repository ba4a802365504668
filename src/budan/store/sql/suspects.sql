-- name: suspect_list_lanes :many
-- The lanes that have an unpaid order in a range of ids: one look for each. Leans on the primary key of orders.
SELECT w.lane
FROM unnest($1::smallint[]) AS w (lane)
WHERE
    EXISTS (
        SELECT 1 FROM orders AS o
        WHERE
            o.lane = w.lane
            AND o.id >= $2
            AND o.id < $3
            AND o.state <> 'paid'
            AND ($4::integer IS NULL OR o.merchant_id = $4)
    )
ORDER BY w.lane;

-- name: suspect_list :many
-- A page of unpaid orders of one lane in a range of ids, after a key, with each trade for which the channel may have
-- taken money: all but those whose payment was seen. The columns are what a question needs, and what a decision on an
-- answer without a payment does: whatever tells of one is decided in the door, on what is there then.
-- Leans on the primary keys.
SELECT
    o.lane,
    o.id AS order_id,
    t.attempt,
    o.merchant_id,
    o.state AS order_state,
    t.account_id,
    t.method,
    t.state,
    t.created_at,
    t.send_until,
    t.expires_at,
    t.paid_seen,
    t.not_found_count,
    t.channel_reference,
    clock_timestamp() AS now
FROM (
    SELECT
        u.lane,
        u.id,
        u.merchant_id,
        u.state
    FROM orders AS u
    WHERE
        u.lane = $1
        AND u.id > $2
        AND u.id < $3
        AND u.state <> 'paid'
        AND ($4::integer IS NULL OR u.merchant_id = $4)
    ORDER BY u.id
    LIMIT $5
) AS o
LEFT JOIN trade AS t ON o.lane = t.lane AND o.id = t.order_id AND NOT t.paid_seen
ORDER BY o.id, t.attempt;
