-- name: order_find_many :many
-- Orders as people and programs see them. Leans on the primary key of orders.
SELECT
    o.lane,
    o.id,
    o.merchant_id,
    o.reference,
    o.state,
    o.version,
    o.amount_minor,
    o.currency,
    o.subject,
    o.shop_id,
    o.created_at,
    o.expires_at,
    o.told_unpaid,
    o.hold_reason,
    o.paid_at,
    o.paid_attempt,
    o.learned_source,
    o.learned_at,
    o.completed_at,
    o.fee_rate_bp,
    o.fee_minor,
    o.refund_count
FROM orders AS o
INNER JOIN unnest($1::smallint[], $2::bigint[]) AS w (lane, id) ON o.lane = w.lane AND o.id = w.id
WHERE o.lane = any($1);

-- name: order_list :many
-- A merchant's orders before a cursor, newest first; of one state, those among so many that are looked at: a state that
-- is rare must not cost a look at all of a merchant's orders. Leans on orders_merchant_id.
SELECT
    lane,
    id,
    merchant_id,
    reference,
    state,
    version,
    amount_minor,
    currency,
    subject,
    shop_id,
    created_at,
    expires_at,
    told_unpaid,
    hold_reason,
    paid_at,
    paid_attempt,
    learned_source,
    learned_at,
    completed_at,
    fee_rate_bp,
    fee_minor,
    refund_count
FROM (
    SELECT
        lane,
        id,
        merchant_id,
        reference,
        state,
        version,
        amount_minor,
        currency,
        subject,
        shop_id,
        created_at,
        expires_at,
        told_unpaid,
        hold_reason,
        paid_at,
        paid_attempt,
        learned_source,
        learned_at,
        completed_at,
        fee_rate_bp,
        fee_minor,
        refund_count
    FROM orders
    WHERE lane = $1 AND merchant_id = $2 AND id < $3
    ORDER BY id DESC
    LIMIT $6
) AS looked_at
WHERE $5::text IS NULL OR state = $5
ORDER BY id DESC
LIMIT $4;

-- name: order_find_nth :maybe
-- The last of so many of a merchant's orders before a cursor; nothing where there are fewer. Leans on
-- orders_merchant_id.
SELECT id
FROM orders
WHERE lane = $1 AND merchant_id = $2 AND id < $3
ORDER BY id DESC
LIMIT 1 OFFSET $4::bigint - 1;

-- name: order_count_open_of_page :one
-- How many orders of a shop's page still wait for their payers: of a merchant's newest, so that a busy one's count
-- costs no more. Leans on orders_merchant_id.
SELECT count(*) AS waiting
FROM (
    SELECT
        shop_id,
        state,
        reference
    FROM orders
    WHERE lane = $1 AND merchant_id = $2 AND id >= $4
    ORDER BY id DESC
    LIMIT $5
) AS newest
WHERE shop_id = $3 AND state IN ('created', 'paying', 'closing') AND reference ~ '^s-[0-9a-f]{24}-';

-- name: order_find_reference :maybe
-- The order behind a merchant's own reference.
SELECT order_id
FROM order_reference
WHERE lane = $1 AND merchant_id = $2 AND reference = $3;

-- name: trade_list_many :many
-- The trades of some orders. Leans on the primary key of trade.
SELECT
    t.lane,
    t.order_id,
    t.attempt,
    t.account_id,
    t.channel,
    t.method,
    t.state,
    t.amount_minor,
    t.currency,
    t.created_at,
    t.send_until,
    t.expires_at,
    t.intent::text AS intent,
    t.action::text AS action,
    t.paid_at,
    t.channel_reference,
    t.asked_count,
    t.code,
    t.message,
    t.cashback_offer::text AS cashback_offer,
    clock_timestamp() AS now
FROM trade AS t
INNER JOIN unnest($1::smallint[], $2::bigint[]) AS w (lane, id) ON t.lane = w.lane AND t.order_id = w.id
WHERE t.lane = any($1)
ORDER BY t.lane, t.order_id, t.attempt;
