-- name: look_list_due :many
-- Orders to look at in the held lanes: their time may be over, or a charge has waited long enough. Leans on
-- order_due_due_at.
SELECT
    d.lane,
    d.order_id,
    d.attempts,
    d.due_at,
    o.merchant_id
FROM order_due AS d
INNER JOIN orders AS o ON d.lane = o.lane AND d.order_id = o.id
WHERE d.lane + 0 = any($1::smallint[]) AND d.due_at > '-infinity' AND d.due_at <= statement_timestamp()
ORDER BY d.due_at
LIMIT $2;

-- name: close_list_due :many
-- Trades to end at their channels in the held lanes, oldest first, less the accounts that are at their bound. Leans on
-- close_due_due_at.
SELECT
    c.lane,
    c.order_id,
    c.attempt,
    c.attempts,
    c.due_at,
    t.account_id,
    t.method,
    t.state,
    t.created_at,
    t.send_until,
    t.expires_at,
    t.channel_reference,
    o.merchant_id,
    clock_timestamp() AS now
FROM close_due AS c
INNER JOIN trade AS t ON c.lane = t.lane AND c.order_id = t.order_id AND c.attempt = t.attempt
INNER JOIN orders AS o ON c.lane = o.lane AND c.order_id = o.id
WHERE
    c.lane + 0 = any($1::smallint[])
    AND c.due_at > '-infinity'
    AND c.due_at <= statement_timestamp()
    AND t.account_id <> all($2::integer[])
ORDER BY c.due_at
LIMIT $3;

-- name: closing_list :many
-- What a look at locked orders needs beside them: a row for each trade, or one for an order without any. Leans on the
-- primary keys.
SELECT
    o.lane,
    o.id AS order_id,
    m.late_payment,
    d.attempts AS looks,
    d.ends_as,
    t.attempt,
    t.created_at AS opened_at,
    c.attempts AS closes_tried,
    c.unpaid_asked_at
FROM orders AS o
INNER JOIN unnest($1::smallint[], $2::bigint[]) AS w (lane, id) ON o.lane = w.lane AND o.id = w.id
INNER JOIN merchant AS m ON o.merchant_id = m.id
LEFT JOIN order_due AS d ON o.lane = d.lane AND o.id = d.order_id
LEFT JOIN trade AS t ON o.lane = t.lane AND o.id = t.order_id
LEFT JOIN close_due AS c ON t.lane = c.lane AND t.order_id = c.order_id AND t.attempt = c.attempt
WHERE o.lane = any($1)
ORDER BY o.lane, o.id, t.attempt;

-- name: closing_write :many
-- What a batch of looks brings, in the door's order of tables. It closes and ends orders and makes none paid: a row
-- comes back for each order that had the version that was read. The caller holds the orders by the gate.
WITH changed_order AS ( -- compare-and-set on version
    UPDATE orders AS o
    SET
        state = w.state,
        told_unpaid = w.told_unpaid,
        version = o.version + 1
    FROM
        unnest($1::smallint[], $2::bigint[], $3::integer[], $4::text[], $5::boolean[])
            AS w (lane, id, version, state, told_unpaid)
    WHERE
        o.lane = any($1)
        AND o.lane = w.lane
        AND o.id = w.id
        AND o.version = w.version
        AND o.state IN ('created', 'paying', 'closing')
        AND w.state IN ('closing', 'closed', 'expired')
    RETURNING o.lane, o.id
),

new_webhook AS ( -- one for each endpoint that the merchant has enabled at this moment
    INSERT INTO webhook (lane, order_id, version, endpoint_id, event, body, created_at)
    SELECT
        w.lane,
        w.order_id,
        w.version,
        e.id,
        w.event,
        w.body,
        $6::timestamptz
    FROM
        unnest($7::smallint[], $8::bigint[], $9::integer[], $10::integer[], $11::text[], $12::bytea[])
            AS w (lane, order_id, version, merchant_id, event, body)
    INNER JOIN webhook_endpoint AS e ON w.merchant_id = e.merchant_id AND e.enabled
    RETURNING lane, order_id, version, endpoint_id
),

new_webhook_due AS ( -- due at once
    INSERT INTO webhook_due (lane, order_id, version, endpoint_id, due_at)
    SELECT
        lane,
        order_id,
        version,
        endpoint_id,
        $6::timestamptz
    FROM new_webhook
),

looked AS ( -- when to look at an order again; what the merchant asked for outlives our own expiry
    INSERT INTO order_due (lane, order_id, due_at, attempts, ends_as)
    SELECT
        w.lane,
        w.order_id,
        w.due_at,
        w.attempts,
        w.ends_as
    FROM
        unnest($13::smallint[], $14::bigint[], $15::timestamptz[], $16::integer[], $17::text[])
            AS w (lane, order_id, due_at, attempts, ends_as)
    ON CONFLICT (lane, order_id) DO UPDATE
        SET due_at = excluded.due_at, attempts = excluded.attempts, ends_as = excluded.ends_as
),

over AS ( -- final: nobody looks any more
    DELETE FROM order_due AS d
    USING unnest($18::smallint[], $19::bigint[]) AS w (lane, order_id)
    WHERE d.lane = any($18) AND d.lane = w.lane AND d.order_id = w.order_id
),

closes AS ( -- trades to end, now or again
    INSERT INTO close_due (lane, order_id, attempt, due_at, attempts, unpaid_asked_at)
    SELECT
        w.lane,
        w.order_id,
        w.attempt,
        w.due_at,
        w.attempts,
        w.unpaid_asked_at
    FROM
        unnest(
            $20::smallint[], $21::bigint[], $22::smallint[], $23::timestamptz[], $24::integer[], $25::timestamptz[]
        ) AS w (lane, order_id, attempt, due_at, attempts, unpaid_asked_at)
    ON CONFLICT (lane, order_id, attempt) DO UPDATE
        SET
            due_at = excluded.due_at,
            attempts = excluded.attempts,
            unpaid_asked_at = excluded.unpaid_asked_at
),

ended AS ( -- trades that have ended
    DELETE FROM close_due AS c
    USING unnest($26::smallint[], $27::bigint[], $28::smallint[]) AS w (lane, order_id, attempt)
    WHERE c.lane = any($26) AND c.lane = w.lane AND c.order_id = w.order_id AND c.attempt = w.attempt
)

SELECT
    lane,
    id
FROM changed_order;

-- name: reverse_begin :maybe
-- The intent to reverse an open trade, with what it makes of its order; committed before the call (docs/design.md
-- section 5). No row where either changed. The caller holds the order by the gate.
WITH told AS ( -- an order that is not paid counts as called so
    UPDATE orders
    SET
        told_unpaid = $5,
        version = version + 1
    WHERE lane = $1 AND id = $2 AND version = $4
    RETURNING lane, id
)

UPDATE trade AS t
SET
    state = 'reversing',
    not_found_count = 0
FROM told AS w
WHERE
    t.lane = $1
    AND t.order_id = $2
    AND t.attempt = $3
    AND t.lane = w.lane
    AND t.order_id = w.id
    AND t.state IN ('created', 'submitted', 'user_paying', 'unknown')
RETURNING t.attempt;

-- name: order_look_sooner :none
-- A further charge was opened: somebody looks at its order when it has waited long enough.
INSERT INTO order_due (lane, order_id, due_at) VALUES ($1, $2, $3)
ON CONFLICT (lane, order_id) DO UPDATE SET due_at = least(order_due.due_at, excluded.due_at), attempts = 0;
