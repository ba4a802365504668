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
-- Journal entries whose lines do not sum to zero (I10), of whomever.
SELECT p.lane, p.order_id, p.entry_key, p.currency, sum(p.amount_minor)::bigint AS sum_minor
FROM posting AS p
GROUP BY p.lane, p.order_id, p.entry_key, p.currency
HAVING sum(p.amount_minor) <> 0;

-- name: audit_refunds_list :many
-- Payments that are on their way back: they complete nothing, and are not lost either.
SELECT f.lane, f.order_id, f.attempt
FROM refund AS f;
