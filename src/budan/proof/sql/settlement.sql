-- name: settlement_partitions_make :one
-- Where the sold orders lie; without it they would fall into the default partition.
SELECT sum(make_partitions(parent, now() - interval '8 days', now() + interval '1 day')) AS made
FROM unnest(ARRAY['orders', 'trade', 'refund', 'posting', 'settlement_line']) AS parent;

-- name: settlement_merchants_add :many
-- Merchants of some days' standing, each in the lane that its id has.
INSERT INTO merchant (id, lane, name, created_at)
OVERRIDING SYSTEM VALUE
SELECT
    g,
    (((g::bigint * 2654435761) & 4294967295) * 64) >> 32,
    'Merchant ' || g,
    now() - interval '3 days'
FROM generate_series(1, $1::integer) AS g
RETURNING id;

-- name: settlement_merchants_next :one
-- The next merchant's id comes after those that were given theirs.
SELECT setval(pg_get_serial_sequence('merchant', 'id'), max(id)) AS last FROM merchant;

-- name: settlement_orders_add :none
-- Orders $1 to $2 of $3 over $4 merchants, sold through the Beijing day before yesterday, each with the lines of its
-- payment; one in ten with a refund, one in 997 on hold. Ids as in docs/design.md section 6, with the last
-- process number. One moment fills several columns.
-- noqa: disable=AL08
WITH day AS (
    SELECT
        (date_trunc('day', now() AT TIME ZONE 'Asia/Shanghai') - interval '2 days') AT TIME ZONE 'Asia/Shanghai'
            AS began
),

fresh AS (
    SELECT
        (
            (
                (extract(EPOCH FROM d.began - '2025-01-01 00:00:00+00'::timestamptz) * 1000)::bigint
                + g * 86000000 / $3::bigint
            ) << 22
        ) | (1023 << 12) | (g % 4096) AS id,
        (1 + g % $4::bigint)::integer AS merchant_id,
        g AS number,
        d.began + g * interval '86000 s' / $3::bigint AS moment
    FROM generate_series($1::bigint, $2::bigint) AS g
    CROSS JOIN day AS d
),

placed AS (
    SELECT
        m.lane,
        f.id,
        f.merchant_id,
        f.number,
        f.moment
    FROM fresh AS f
    INNER JOIN merchant AS m ON f.merchant_id = m.id
),

added_orders AS (
    INSERT INTO orders (
        lane, id, merchant_id, reference, state, version, amount_minor, currency, subject, created_at, expires_at,
        trade_count, paid_at, paid_attempt, learned_source, learned_at, completed_at, fee_rate_bp, fee_minor,
        hold_reason, hold_since
    )
    SELECT
        p.lane, p.id, p.merchant_id, 'sold-' || p.number, 'paid', 3, 1000, 'CNY', 'Sold', p.moment,
        p.moment + interval '15 minutes', 1, p.moment, 1, 'notice', p.moment, p.moment, 60, 6,
        CASE WHEN p.number % 997 = 0 THEN 'by_hand' END, CASE WHEN p.number % 997 = 0 THEN p.moment END
    FROM placed AS p
),

added_trades AS (
    INSERT INTO trade (
        lane, order_id, attempt, account_id, channel, method, state, amount_minor, currency, fee_rate_bp, created_at,
        send_until, expires_at, intent, paid_seen, payer_minor, paid_at, refunded_minor
    )
    SELECT
        p.lane, p.id, 1, 1, 'wechat_v3', 'native', 'succeeded', 1000, 'CNY', 60, p.moment, p.moment, p.moment,
        jsonb_build_object('subject', 'Sold', 'notify_url', 'http://127.0.0.1/notify/local/wechat_v3/1'), TRUE, 1000,
        p.moment, CASE WHEN p.number % 10 = 0 THEN 100 ELSE 0 END
    FROM placed AS p
),

added_refunds AS (
    INSERT INTO refund (
        lane, order_id, ordinal, attempt, state, amount_minor, currency, reason, created_at, origin, refunded_at
    )
    SELECT p.lane, p.id, 1, 1, 'succeeded', 100, 'CNY', 'cold', p.moment, 'merchant', p.moment
    FROM placed AS p
    WHERE p.number % 10 = 0
),

added_postings AS (
    INSERT INTO posting (
        lane, order_id, entry_key, line, account, amount_minor, currency, booked_at
    )
    SELECT p.lane, p.id, w.entry_key, w.line, w.account, w.amount_minor, 'CNY', p.moment
    FROM placed AS p
    CROSS JOIN
        LATERAL (
            VALUES
            ('payment:1', 1, 'channel:1', 1000),
            ('payment:1', 2, 'merchant:' || p.merchant_id, -994),
            ('payment:1', 3, 'fee_income', -6),
            ('refund:1', 1, 'merchant:' || p.merchant_id, 100),
            ('refund:1', 2, 'channel:1', -100)
        ) AS w (entry_key, line, account, amount_minor)
    WHERE w.entry_key = 'payment:1' OR p.number % 10 = 0
)

UPDATE installation SET created_at = now() - interval '3 days';
-- noqa: enable=AL08

-- name: settlement_sums :one
-- What was booked for merchants, what batches have of it, and what they pay; scans, because it trusts no index.
SELECT
    (
        SELECT coalesce(-sum(p.amount_minor), 0)::bigint
        FROM posting AS p
        INNER JOIN orders AS o ON p.lane = o.lane AND p.order_id = o.id
        WHERE p.account LIKE 'merchant:%' AND o.hold_reason IS NULL
    ) AS owed_minor,
    (SELECT coalesce(sum(l.amount_minor), 0)::bigint FROM settlement_line AS l) AS lines_minor,
    (SELECT coalesce(sum(b.payout_minor), 0)::bigint FROM settlement_batch AS b) AS payout_minor,
    (SELECT count(*) FROM settlement_line AS l WHERE l.entry_key = 'payment:1') AS orders,
    (
        SELECT count(*)
        FROM settlement_line AS l
        INNER JOIN orders AS o ON l.lane = o.lane AND l.order_id = o.id
        WHERE o.hold_reason IS NOT NULL
    ) AS held_lines;

-- name: settlement_longest_snapshot :one
-- For how long the oldest transaction of the books runs now, by the server's own record.
SELECT coalesce(max(extract(EPOCH FROM clock_timestamp() - a.xact_start)), 0)::double precision AS seconds
FROM pg_stat_activity AS a
WHERE a.application_name = 'budan books' AND a.xact_start IS NOT NULL;
