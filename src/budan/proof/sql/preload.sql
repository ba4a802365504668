-- name: preload_partitions_make :one
-- Where the preloaded orders of the last days lie; without it they would fall into the default partition.
SELECT sum(make_partitions(parent, now() - interval '8 days', now() + interval '1 day')) AS made
FROM
    unnest(
        ARRAY[
            'orders', 'trade', 'evidence', 'notice', 'posting', 'contradiction', 'remedy', 'refund', 'webhook',
            'delivery'
        ]
    ) AS parent;

-- name: preload_orders_add :none
-- Orders $1 to $2 of $3, paid and told, spread evenly over the last two days and over merchants $4 in lanes $5: every
-- table that an order's life leaves rows in. One moment fills several columns.
-- Ids as in docs/design.md section 6, with the last process number.
-- noqa: disable=AL08
WITH fresh AS (
    SELECT
        (($5::smallint[])[1 + g % cardinality($5::smallint[])]) AS lane,
        (
            (
                (extract(EPOCH FROM now() - '2025-01-01 00:00:00+00'::timestamptz) * 1000)::bigint
                - 172800000 + g * 172800000 / $3::bigint
            ) << 22
        ) | (1023 << 12) | (g % 4096) AS id,
        ($4::integer[])[1 + g % cardinality($4::integer[])] AS merchant_id,
        'preload-' || g AS reference,
        now() - interval '2 days' + g * interval '2 days' / $3::bigint AS moment
    FROM generate_series($1::bigint, $2::bigint) AS g
),

added_orders AS (
    INSERT INTO orders (
        lane, id, merchant_id, reference, state, version, amount_minor, currency, subject, created_at, expires_at,
        trade_count, paid_at, paid_attempt, learned_source, learned_at, completed_at, fee_rate_bp, fee_minor
    )
    SELECT
        f.lane, f.id, f.merchant_id, f.reference, 'paid', 3, 1000, 'CNY', 'Preload', f.moment,
        f.moment + interval '15 minutes', 1, f.moment, 1, 'notice', f.moment, f.moment, 60, 6
    FROM fresh AS f
),

added_trades AS (
    INSERT INTO trade (
        lane, order_id, attempt, account_id, channel, method, state, amount_minor, currency, fee_rate_bp, created_at,
        send_until, expires_at, intent, action, paid_seen, channel_reference, payer_minor, paid_at
    )
    SELECT
        f.lane, f.id, 1, 1, 'wechat_v3', 'native', 'succeeded', 1000, 'CNY', 60, f.moment, f.moment, f.moment,
        jsonb_build_object('subject', 'Preload', 'notify_url', 'http://127.0.0.1/notify/local/wechat_v3/1'),
        jsonb_build_object('qr_text', 'weixin://wxpay/bizpayurl?pr=' || f.id), TRUE, f.id::text, 1000, f.moment
    FROM fresh AS f
),

added_evidence AS (
    INSERT INTO evidence (
        lane, order_id, attempt, digest, outcome, source, decision, account_id, order_minor, payer_minor, currency,
        channel_reference, paid_at, learned_at
    )
    SELECT
        f.lane, f.id, 1, sha256(f.id::text::bytea), 'paid', 'notice', 'complete', 1, 1000, 1000, 'CNY', f.id::text,
        f.moment, f.moment
    FROM fresh AS f
),

added_notices AS (
    INSERT INTO notice (
        lane, order_id, id, account_id, trade_no, received_at, headers, body, decision
    )
    SELECT
        f.lane, f.id, f.id, 1, 'preload-' || f.id, f.moment,
        jsonb_build_object('wechatpay-signature', repeat('s', 344), 'wechatpay-serial', repeat('0', 40)),
        convert_to(repeat('n', 900), 'UTF8'), 'complete'
    FROM fresh AS f
),

added_postings AS (
    INSERT INTO posting (
        lane, order_id, entry_key, line, account, amount_minor, currency, booked_at
    )
    SELECT f.lane, f.id, 'payment:1', line.number, line.account, line.amount_minor, 'CNY', f.moment
    FROM fresh AS f
    CROSS JOIN (VALUES (1, 'channel:1', 1000), (2, 'merchant:0', -994), (3, 'fee_income', -6))
        AS line (number, account, amount_minor)
),

added_webhooks AS (
    INSERT INTO webhook (
        lane, order_id, version, endpoint_id, event, body, created_at, taken_at
    )
    SELECT f.lane, f.id, 3, 1, 'order.paid', convert_to(repeat('w', 420), 'UTF8'), f.moment, f.moment
    FROM fresh AS f
),

added_deliveries AS (
    INSERT INTO delivery (
        lane, order_id, version, endpoint_id, attempt, started_at, latency_ms, status
    )
    SELECT f.lane, f.id, 3, 1, 1, f.moment, 3, 200
    FROM fresh AS f
),

added_references AS (
    INSERT INTO order_reference (lane, merchant_id, reference, order_id)
    SELECT f.lane, f.merchant_id, f.reference, f.id
    FROM fresh AS f
)

INSERT INTO idempotency (lane, merchant_id, key, request_digest, order_id, created_at)
SELECT f.lane, f.merchant_id, f.reference, sha256(f.reference::bytea), f.id, f.moment
FROM fresh AS f;
-- noqa: enable=AL08

-- name: preload_clean :none
-- What autovacuum and the checkpointer would do some minutes later: their work must not fall into a measurement.
VACUUM (ANALYZE);
