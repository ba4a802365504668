-- name: sweep_suspects_add :none
-- Suspects $1 to $2 of $3 at account $4 of channel $5, of merchants $6 in lanes $7, made within the last two hours:
-- every second order expired and its trade was closed, the others wait for their payer and are due much later.
-- Ids as in docs/design.md section 6, with the last process number.
-- noqa: disable=AL08
WITH fresh AS (
    SELECT
        (($7::smallint[])[1 + g % cardinality($7::smallint[])]) AS lane,
        (
            (
                (extract(EPOCH FROM now() - '2025-01-01 00:00:00+00'::timestamptz) * 1000)::bigint
                - 7200000 + g * 7200000 / $3::bigint
            ) << 22
        ) | (1023 << 12) | (g % 4096) AS id,
        ($6::integer[])[1 + g % cardinality($6::integer[])] AS merchant_id,
        $5::text || '-suspect-' || g AS reference,
        (g / cardinality($7::smallint[])) % 2 = 0 AS is_over,
        now() - interval '2 hours' + g * interval '2 hours' / $3::bigint AS moment
    FROM generate_series($1::bigint, $2::bigint) AS g
),

added_orders AS (
    INSERT INTO orders (
        lane, id, merchant_id, reference, state, version, amount_minor, currency, subject, created_at, expires_at,
        trade_count
    )
    SELECT
        f.lane, f.id, f.merchant_id, f.reference, CASE WHEN f.is_over THEN 'expired' ELSE 'paying' END, 3, 1000, 'CNY',
        'Suspect', f.moment, f.moment + CASE WHEN f.is_over THEN interval '1 minute' ELSE interval '1 day' END, 1
    FROM fresh AS f
),

added_trades AS (
    INSERT INTO trade (
        lane, order_id, attempt, account_id, channel, method, state, amount_minor, currency, fee_rate_bp, created_at,
        send_until, expires_at, intent, action
    )
    SELECT
        f.lane, f.id, 1, $4::integer, $5::text, 'native', CASE WHEN f.is_over THEN 'closed' ELSE 'submitted' END, 1000,
        'CNY', 60, f.moment, f.moment,
        f.moment + CASE WHEN f.is_over THEN interval '1 minute' ELSE interval '1 day' END,
        jsonb_build_object('subject', 'Suspect', 'notify_url', 'http://127.0.0.1/notify/local/' || $5::text || '/1'),
        jsonb_build_object('qr_text', 'weixin://wxpay/bizpayurl?pr=' || f.id)
    FROM fresh AS f
),

added_questions AS (
    INSERT INTO query_due (lane, order_id, attempt, due_at)
    SELECT f.lane, f.id, 1, f.moment + interval '1 day'
    FROM fresh AS f
    WHERE NOT f.is_over
)

INSERT INTO order_due (lane, order_id, due_at)
SELECT f.lane, f.id, f.moment + interval '1 day'
FROM fresh AS f
WHERE NOT f.is_over;
-- noqa: enable=AL08

-- name: sweep_found_count :one
-- What became of the trades of account $1: how many completed their order, each with how many entries, and whether any
-- entry does not sum to zero.
SELECT
    count(*) FILTER (WHERE o.state = 'paid') AS paid,
    coalesce(sum(p.entries), 0)::bigint AS entries,
    coalesce(sum(abs(p.total)), 0)::bigint AS unbalanced_minor
FROM trade AS t
INNER JOIN orders AS o ON t.lane = o.lane AND t.order_id = o.id
LEFT JOIN LATERAL (
    SELECT
        count(DISTINCT b.entry_key) AS entries,
        sum(b.amount_minor) AS total
    FROM posting AS b
    WHERE b.lane = t.lane AND b.order_id = t.order_id
) AS p ON TRUE
WHERE t.account_id = $1;

-- name: sweep_suspects_forget :none
-- Takes the suspects of account $1 that nobody paid away again, before those of another channel come: a sweep asks
-- about all that there are.
WITH ours AS (
    SELECT
        t.lane,
        t.order_id
    FROM trade AS t
    WHERE t.account_id = $1 AND NOT t.paid_seen
),

questions AS (
    DELETE FROM query_due AS q USING ours AS x WHERE q.lane = x.lane AND q.order_id = x.order_id
),

ends AS (
    DELETE FROM order_due AS d USING ours AS x WHERE d.lane = x.lane AND d.order_id = x.order_id
),

trades AS (
    DELETE FROM trade AS t USING ours AS x WHERE t.lane = x.lane AND t.order_id = x.order_id
)

DELETE FROM orders AS o USING ours AS x
WHERE o.lane = x.lane AND o.id = x.order_id;
