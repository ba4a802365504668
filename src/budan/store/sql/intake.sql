-- name: intake_claim :one
-- Who owns which idempotency key and merchant reference; the unique keys decide, existing rows are read afterwards.
-- Leans on the primary keys of idempotency and order_reference. Two batches may want the same keys and references, so
-- everybody takes all keys before any reference, and both in their own order; of equal claims the lowest order id wins.
WITH item AS ( -- the batch as rows
    SELECT
        w.lane,
        w.merchant_id,
        w.order_id,
        w.reference,
        w.key,
        w.request_digest
    FROM
        unnest(
            $1::smallint[], $2::integer[], $3::bigint[], $4::text[], $5::text[], $6::bytea[]
        ) AS w (lane, merchant_id, order_id, reference, key, request_digest)
),

claimed_key AS ( -- a replay waits here for the first copy's transaction, then gets no row
    INSERT INTO idempotency (lane, merchant_id, key, request_digest, order_id, created_at)
    SELECT
        lane,
        merchant_id,
        key,
        request_digest,
        order_id,
        clock_timestamp()
    FROM item
    WHERE key IS NOT NULL
    ORDER BY lane, merchant_id, key, order_id
    ON CONFLICT (lane, merchant_id, key) DO NOTHING
    RETURNING lane, order_id
),

claimed_reference AS ( -- a second order under one reference gets no row; the count makes it wait for all the keys
    INSERT INTO order_reference (lane, merchant_id, reference, order_id)
    SELECT
        lane,
        merchant_id,
        reference,
        order_id
    FROM item
    WHERE (SELECT count(*) FROM claimed_key) >= 0
    ORDER BY lane, merchant_id, reference, order_id
    ON CONFLICT (lane, merchant_id, reference) DO NOTHING
    RETURNING lane, order_id
)

SELECT
    clock_timestamp() AS now,
    array(SELECT order_id FROM claimed_key) AS key_claimed,
    array(SELECT order_id FROM claimed_reference) AS reference_claimed;

-- name: idempotency_list :many
-- The first copies of replayed keys.
SELECT
    i.lane,
    i.merchant_id,
    i.key,
    i.request_digest,
    i.order_id
FROM idempotency AS i
INNER JOIN
    unnest($1::smallint[], $2::integer[], $3::text[]) AS w (lane, merchant_id, key)
    ON i.lane = w.lane AND i.merchant_id = w.merchant_id AND i.key = w.key
WHERE i.lane = any($1);

-- name: intake_release :none
-- Gives back what a refused item claimed, before anybody saw it: the claims of its own new order id.
WITH refused AS ( -- the refused items
    SELECT
        w.lane,
        w.merchant_id,
        w.order_id,
        w.reference,
        w.key
    FROM
        unnest($1::smallint[], $2::integer[], $3::bigint[], $4::text[], $5::text[])
            AS w (lane, merchant_id, order_id, reference, key)
),

released_key AS ( -- only the key that this very item claimed
    DELETE FROM idempotency AS i
    USING refused
    WHERE
        i.lane = refused.lane
        AND i.merchant_id = refused.merchant_id
        AND i.key = refused.key
        AND i.order_id = refused.order_id
)

DELETE FROM order_reference AS r
USING refused
WHERE
    r.lane = refused.lane
    AND r.merchant_id = refused.merchant_id
    AND r.reference = refused.reference
    AND r.order_id = refused.order_id;

-- name: intake_add :none
-- The orders of a batch with their first trades, when somebody looks at each order, and the questions due about the
-- trades (I6).
WITH new_order AS ( -- every order of the batch
    INSERT INTO orders (
        lane, id, merchant_id, reference, state, amount_minor, currency, subject, shop_id, terminal_id,
        created_at, expires_at, trade_count
    )
    SELECT
        w.lane,
        w.id,
        w.merchant_id,
        w.reference,
        w.state,
        w.amount_minor,
        w.currency,
        w.subject,
        w.shop_id,
        w.terminal_id,
        w.created_at,
        w.expires_at,
        w.trade_count
    FROM
        unnest(
            $1::smallint[], $2::bigint[], $3::integer[], $4::text[], $5::text[], $6::bigint[], $7::text[],
            $8::text[], $9::integer[], $10::integer[], $11::timestamptz[], $12::timestamptz[], $13::smallint[]
        ) AS w (
            lane, id, merchant_id, reference, state, amount_minor, currency, subject, shop_id, terminal_id,
            created_at, expires_at, trade_count
        )
),

new_trade AS ( -- the trade intents, every value of the request in them (I11)
    INSERT INTO trade (
        lane, order_id, attempt, account_id, channel, method, state, amount_minor, currency, fee_rate_bp,
        created_at, send_until, expires_at, intent, fee_minimum_minor, fee_maximum_minor,
        cashback_offer
    )
    SELECT
        w.lane,
        w.order_id,
        w.attempt,
        w.account_id,
        w.channel,
        w.method,
        'created',
        w.amount_minor,
        w.currency,
        w.fee_rate_bp,
        w.created_at,
        w.send_until,
        w.expires_at,
        w.intent,
        w.fee_minimum_minor,
        w.fee_maximum_minor,
        w.cashback_offer
    FROM
        unnest(
            $14::smallint[], $15::bigint[], $16::smallint[], $17::integer[], $18::text[], $19::text[],
            $20::bigint[], $21::text[], $22::integer[], $23::timestamptz[], $24::timestamptz[],
            $25::timestamptz[], $26::jsonb[], $29::bigint[], $30::bigint[], $31::jsonb[]
        ) AS w (
            lane, order_id, attempt, account_id, channel, method, amount_minor, currency, fee_rate_bp,
            created_at, send_until, expires_at, intent, fee_minimum_minor, fee_maximum_minor,
            cashback_offer
        )
),

new_order_due AS ( -- an order that is not final has a due row, whatever becomes of it
    INSERT INTO order_due (lane, order_id, due_at)
    SELECT
        w.lane,
        w.order_id,
        w.due_at
    FROM unnest($1::smallint[], $2::bigint[], $28::timestamptz[]) AS w (lane, order_id, due_at)
)

INSERT INTO query_due (lane, order_id, attempt, due_at)
SELECT
    w.lane,
    w.order_id,
    w.attempt,
    w.due_at
FROM
    unnest($14::smallint[], $15::bigint[], $16::smallint[], $27::timestamptz[])
        AS w (lane, order_id, attempt, due_at);

-- name: trade_open :maybe
-- Counts a further trade on the order row, which the caller holds by the gate. While it is open everybody reads
-- "pending", so what any trade of the order brings completes it; its end says "not paid" again (docs/design.md section
-- 5).
UPDATE orders
SET
    state = 'paying',
    trade_count = trade_count + 1,
    told_unpaid = FALSE,
    version = version + 1
WHERE lane = $1 AND id = $2 AND version = $3 AND state IN ('created', 'paying')
RETURNING trade_count;
