-- name: audit_orders_list :many
-- Every order of the merchants that took part; scans, because an audit trusts no index to be complete.
SELECT
    o.lane,
    o.id AS order_id,
    o.state,
    o.amount_minor,
    o.paid_attempt,
    o.completed_at
FROM orders AS o
WHERE o.merchant_id = any($1::integer[]);

-- name: audit_payments_list :many
-- What was booked for each payment: the whole amount, and how much of it for a merchant (none, where it goes back).
SELECT
    p.lane,
    p.order_id,
    p.entry_key,
    coalesce(sum(p.amount_minor) FILTER (WHERE p.amount_minor > 0), 0)::bigint AS amount_minor,
    coalesce(sum(-p.amount_minor) FILTER (WHERE p.account LIKE 'merchant:%'), 0)::bigint AS merchant_minor
FROM posting AS p
INNER JOIN orders AS o ON p.lane = o.lane AND p.order_id = o.id
WHERE p.entry_key LIKE 'payment:%' AND o.merchant_id = any($1::integer[])
GROUP BY p.lane, p.order_id, p.entry_key;

-- name: audit_entries_unbalanced :many
-- Journal entries whose lines do not sum to zero (I10): of these merchants' orders, and of no order at all.
SELECT p.lane, p.order_id, p.entry_key, p.currency, sum(p.amount_minor)::bigint AS sum_minor
FROM posting AS p
LEFT JOIN orders AS o ON p.lane = o.lane AND p.order_id = o.id
WHERE o.id IS NULL OR o.merchant_id = any($1::integer[])
GROUP BY p.lane, p.order_id, p.entry_key, p.currency
HAVING sum(p.amount_minor) <> 0;

-- name: audit_refunds_list :many
-- What was promised to go back, or has gone back, and of what each merchant must have been told.
SELECT
    f.lane,
    f.order_id,
    f.attempt,
    f.ordinal,
    f.origin,
    f.state
FROM refund AS f
INNER JOIN orders AS o ON f.lane = o.lane AND f.order_id = o.id
WHERE o.merchant_id = any($1::integer[]);

-- name: audit_balances_list :many
-- What the books have at channels for each order, and for which attempts money lies in suspense.
SELECT
    p.lane,
    p.order_id,
    coalesce(sum(p.amount_minor) FILTER (WHERE p.account LIKE 'channel:%'), 0)::bigint AS channel_minor,
    coalesce(
        array_agg(DISTINCT split_part(p.entry_key, ':', 2)::integer) FILTER (WHERE p.entry_key LIKE 'suspense:%'),
        '{}'
    ) AS suspended
FROM posting AS p
INNER JOIN orders AS o ON p.lane = o.lane AND p.order_id = o.id
WHERE o.merchant_id = any($1::integer[])
GROUP BY p.lane, p.order_id;

-- name: audit_notices_list :many
-- How many notices of each order were stored: one that was acknowledged must be among them (I1).
SELECT
    n.lane,
    n.order_id,
    count(*) AS times
FROM notice AS n
INNER JOIN orders AS o ON n.lane = o.lane AND n.order_id = o.id
WHERE o.merchant_id = any($1::integer[])
GROUP BY n.lane, n.order_id;

-- name: audit_webhooks_list :many
-- How many events the merchants must have of each order.
SELECT
    w.lane,
    w.order_id,
    count(*) AS times
FROM webhook AS w
INNER JOIN orders AS o ON w.lane = o.lane AND w.order_id = o.id
WHERE o.merchant_id = any($1::integer[])
GROUP BY w.lane, w.order_id;

-- name: audit_trades_list :many
-- Until when each intent might have been sent.
SELECT
    t.lane,
    t.order_id,
    t.attempt,
    t.send_until
FROM trade AS t
INNER JOIN orders AS o ON t.lane = o.lane AND t.order_id = o.id
WHERE o.merchant_id = any($1::integer[]);
