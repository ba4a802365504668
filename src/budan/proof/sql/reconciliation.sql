-- name: reconcile_partitions_make :one
-- Where the orders of the day lie; without it they would fall into the default partition.
SELECT sum(make_partitions(parent, now() - interval '10 days', now() + interval '1 day')) AS made
FROM unnest(ARRAY['orders', 'trade', 'refund']) AS parent;

-- name: reconcile_database_make :none
-- A database of its own: what else is measured here does not meet it.
CREATE DATABASE books_reconcile;

-- name: reconcile_account_add :none
-- An account that only its bills are of interest of.
INSERT INTO channel_account (id, channel, name, settings, sealed_secrets)
OVERRIDING SYSTEM VALUE
VALUES (1, 'wechat_v3', 'main', '{"mchid": "1900000109"}', ''::bytea);

-- name: reconcile_merchants_add :many
-- Merchants of some days' standing, each in the lane that its id has.
INSERT INTO merchant (id, lane, name, created_at)
OVERRIDING SYSTEM VALUE
SELECT
    g,
    (((g::bigint * 2654435761) & 4294967295) * 64) >> 32,
    'Merchant ' || g,
    now() - interval '9 days'
FROM generate_series(1, $1::integer) AS g
RETURNING
    id,
    lane;

-- name: reconcile_orders_add :none
-- Orders $1 to $2 of $3 over $4 merchants, made from $5 on through a day, as the bill's maker counts them; two of a
-- thousand are none of ours. Ids as in docs/design.md section 6, with the last process number.
-- noqa: disable=AL08
WITH fresh AS (
    SELECT
        (
            (
                (extract(EPOCH FROM $5::timestamptz - '2025-01-01 00:00:00+00'::timestamptz) * 1000)::bigint
                + g * 86000000 / $3::bigint
            ) << 22
        ) | (1023 << 12) | (g % 4096) AS id,
        (1 + g % $4::bigint)::integer AS merchant_id,
        g AS number,
        g % 1000 AS place,
        100 + g * 7919 % 100000 AS amount_minor,
        $5::timestamptz + (g * 86000000 / $3::bigint) * interval '1 millisecond' AS moment
    FROM generate_series($1::bigint, $2::bigint) AS g
    WHERE g % 1000 NOT IN (8, 9)
),

placed AS (
    SELECT
        m.lane, f.id, f.merchant_id, f.number, f.place, f.amount_minor, f.moment,
        CASE
            WHEN f.place = 7 THEN $5::timestamptz + interval '1 day 10 minutes'
            ELSE date_trunc('second', f.moment) + interval '3 seconds'
        END AS paid_at
    FROM fresh AS f
    INNER JOIN merchant AS m ON f.merchant_id = m.id
),

added_orders AS (
    INSERT INTO orders (
        lane, id, merchant_id, reference, state, version, amount_minor, currency, subject, created_at, expires_at,
        trade_count, paid_at, paid_attempt, learned_source, learned_at, completed_at, fee_rate_bp, fee_minor
    )
    SELECT
        p.lane, p.id, p.merchant_id, 'sold-' || p.number, CASE WHEN p.place = 1 THEN 'paying' ELSE 'paid' END, 3,
        p.amount_minor, 'CNY', 'Sold', p.moment, p.moment + interval '15 minutes', 1,
        CASE WHEN p.place <> 1 THEN p.paid_at END, CASE WHEN p.place <> 1 THEN 1 END,
        CASE WHEN p.place <> 1 THEN 'notice' END, CASE WHEN p.place <> 1 THEN p.paid_at END,
        CASE WHEN p.place <> 1 THEN p.paid_at END, 60, p.amount_minor * 60 / 10000
    FROM placed AS p
),

added_refunds AS (
    INSERT INTO refund (
        lane, order_id, ordinal, attempt, state, amount_minor, currency, reason, created_at, origin, refunded_at
    )
    SELECT
        p.lane, p.id, 1, 1, 'succeeded', 50, 'CNY', 'cold', p.moment, 'merchant', p.paid_at + interval '6 seconds'
    FROM placed AS p
    WHERE p.place BETWEEN 11 AND 13 OR p.place BETWEEN 20 AND 29
)

INSERT INTO trade (
    lane, order_id, attempt, account_id, channel, method, state, amount_minor, currency, fee_rate_bp, created_at,
    send_until, expires_at, intent, action, paid_seen, channel_reference, payer_minor, paid_at
)
SELECT
    p.lane, p.id, 1, 1, 'wechat_v3', 'native', CASE WHEN p.place = 1 THEN 'submitted' ELSE 'succeeded' END,
    p.amount_minor, 'CNY', 60, p.moment, p.moment, p.moment,
    jsonb_build_object('subject', 'Sold', 'notify_url', 'http://127.0.0.1/notify/local/wechat_v3/1'),
    jsonb_build_object('qr_text', 'weixin://wxpay/bizpayurl?pr=' || p.number), p.place <> 1,
    CASE WHEN p.place <> 1 THEN p.number::text END, p.amount_minor, CASE WHEN p.place <> 1 THEN p.paid_at END
FROM placed AS p;
-- noqa: enable=AL08

-- name: reconcile_clean :none
-- What autovacuum would do some minutes after the day was sold: its work must not fall into a measurement. It never
-- comes to tables that nobody has written to, and one that was vacuumed while it was empty is believed to be so for
-- some time.
VACUUM (ANALYZE) orders, trade, refund, merchant, channel_account;

-- name: reconcile_bare_copy :many
-- Our side of an account's day, copied out of a range of ids: the bare reading.
SELECT
    t.lane,
    t.order_id,
    t.attempt,
    t.amount_minor,
    t.currency
FROM trade AS t
WHERE
    t.order_id >= $1::bigint
    AND t.order_id < $2::bigint
    AND t.account_id = 1
    AND t.paid_seen
    AND t.paid_at >= $3::timestamptz
    AND t.paid_at < $4::timestamptz;

-- name: reconcile_found :many
-- What was found, for COPY.
SELECT
    kind,
    verdict,
    subject
FROM discrepancy;
