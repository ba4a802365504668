-- name: order_scan :one
-- The keys of the newest orders that a person asks for, in any lane. Of each lane only so many are looked at, so that a
-- rare state costs a bounded time; `bound_lane` and `bound_id` name the oldest order down to which all were looked at,
-- NULL where nothing is left. Leans on the primary key of orders.
WITH looked_at AS ( -- the newest of each lane; a lateral query reads the row beside it, which no CTE can
    SELECT
        o.lane,
        o.id,
        o.state,
        o.hold_reason
    FROM unnest($1::smallint[]) AS l (lane)
    CROSS JOIN LATERAL ( -- noqa: ST05
        SELECT
            i.lane,
            i.id,
            i.state,
            i.hold_reason
        FROM orders AS i
        WHERE i.lane = l.lane AND i.id < $2 AND i.id >= $3
        ORDER BY i.id DESC
        LIMIT $4
    ) AS o
),

bound AS ( -- of the lanes that have more, where the first was cut
    SELECT
        a.lane AS bound_lane,
        min(a.id) AS bound_id
    FROM looked_at AS a
    GROUP BY a.lane
    HAVING count(*) >= $4
    ORDER BY min(a.id) DESC
    LIMIT 1
),

chosen AS ( -- what is asked for, above that bound
    SELECT
        array_agg(a.lane ORDER BY a.id DESC) AS lanes,
        array_agg(a.id ORDER BY a.id DESC) AS order_ids
    FROM looked_at AS a LEFT JOIN bound AS b ON TRUE
    WHERE
        a.id >= coalesce(b.bound_id, 0)
        AND ($5::text IS NULL OR a.state = $5)
        AND (NOT $6::boolean OR a.hold_reason IS NOT NULL)
)

SELECT
    b.bound_lane,
    b.bound_id,
    coalesce(c.lanes, '{}') AS lanes,
    coalesce(c.order_ids, '{}') AS order_ids
FROM chosen AS c LEFT JOIN bound AS b ON TRUE;

-- name: order_scan_merchant :one
-- The same for one merchant. Leans on orders_merchant_id.
WITH looked_at AS ( -- the merchant's newest
    SELECT
        lane,
        id,
        state,
        hold_reason
    FROM orders
    WHERE lane = $1::smallint AND merchant_id = $7::integer AND id < $2 AND id >= $3
    ORDER BY id DESC
    LIMIT $4
),

bound AS ( -- where it was cut
    SELECT
        $1::smallint AS bound_lane,
        min(a.id) AS bound_id
    FROM looked_at AS a
    HAVING count(*) >= $4
),

chosen AS ( -- what is asked for
    SELECT
        array_agg(a.lane ORDER BY a.id DESC) AS lanes,
        array_agg(a.id ORDER BY a.id DESC) AS order_ids
    FROM looked_at AS a
    WHERE ($5::text IS NULL OR a.state = $5) AND (NOT $6::boolean OR a.hold_reason IS NOT NULL)
)

SELECT
    b.bound_lane,
    b.bound_id,
    coalesce(c.lanes, '{}') AS lanes,
    coalesce(c.order_ids, '{}') AS order_ids
FROM chosen AS c LEFT JOIN bound AS b ON TRUE;

-- name: order_find_whole :many
-- Orders with every column that an operator may need. Leans on the primary key of orders.
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
    o.created_at,
    o.expires_at,
    o.told_unpaid,
    o.hold_reason,
    o.hold_since,
    o.paid_at,
    o.paid_attempt,
    o.learned_source,
    o.learned_at,
    o.completed_at,
    o.fee_rate_bp,
    o.fee_minimum_minor,
    o.fee_maximum_minor,
    o.fee_minor,
    o.refund_reserved_minor,
    o.refunded_minor
FROM orders AS o
INNER JOIN unnest($1::smallint[], $2::bigint[]) AS w (lane, id) ON o.lane = w.lane AND o.id = w.id
WHERE o.lane = any($1);

-- name: evidence_list_of :many
-- What was said of some orders, oldest first. Leans on the primary key of evidence.
SELECT
    e.lane,
    e.order_id,
    e.attempt,
    encode(e.digest, 'hex') AS digest,
    e.outcome,
    e.source,
    e.decision,
    e.account_id,
    e.order_minor,
    e.currency,
    e.channel_reference,
    e.paid_at,
    e.asked_at,
    e.learned_at
FROM evidence AS e
INNER JOIN unnest($1::smallint[], $2::bigint[]) AS w (lane, order_id) ON e.lane = w.lane AND e.order_id = w.order_id
WHERE e.lane = any($1)
ORDER BY e.learned_at
LIMIT $3;

-- name: notice_list_of :many
-- The verified notices of some orders, oldest first. Leans on the primary key of notice.
SELECT
    n.lane,
    n.order_id,
    n.id,
    n.account_id,
    n.trade_no,
    n.received_at,
    n.decision
FROM notice AS n
INNER JOIN unnest($1::smallint[], $2::bigint[]) AS w (lane, order_id) ON n.lane = w.lane AND n.order_id = w.order_id
WHERE n.lane = any($1)
ORDER BY n.id
LIMIT $3;

-- name: notice_first_rejected :one
-- When an account was first told something in a stretch of time that we could not verify. Leans on
-- notice_rejected_account.
SELECT min(received_at) AS rejected_at
FROM notice_rejected
WHERE account_id = $1 AND received_at >= $2 AND received_at <= $3;

-- name: posting_list_of :many
-- What was booked for some orders, oldest first. Leans on the primary key of posting.
SELECT
    p.lane,
    p.order_id,
    p.entry_key,
    p.line,
    p.account,
    p.amount_minor,
    p.currency,
    p.booked_at
FROM posting AS p
INNER JOIN unnest($1::smallint[], $2::bigint[]) AS w (lane, order_id) ON p.lane = w.lane AND p.order_id = w.order_id
WHERE p.lane = any($1)
ORDER BY p.booked_at, p.entry_key, p.line
LIMIT $3;

-- name: remedy_list_of :many
-- The remedies of some orders. Leans on the primary key of remedy.
SELECT
    r.lane,
    r.order_id,
    r.attempt,
    r.cause,
    r.learned_source,
    r.paid_at,
    r.learned_at,
    r.completed_at,
    r.actor
FROM remedy AS r
INNER JOIN unnest($1::smallint[], $2::bigint[]) AS w (lane, order_id) ON r.lane = w.lane AND r.order_id = w.order_id
WHERE r.lane = any($1)
ORDER BY r.completed_at
LIMIT $3;

-- name: contradiction_list_of :many
-- What did not fit some orders, oldest first. Leans on the primary key of contradiction.
SELECT
    c.lane,
    c.order_id,
    c.attempt,
    encode(c.digest, 'hex') AS digest,
    c.mismatch,
    c.found_at
FROM contradiction AS c
INNER JOIN unnest($1::smallint[], $2::bigint[]) AS w (lane, order_id) ON c.lane = w.lane AND c.order_id = w.order_id
WHERE c.lane = any($1)
ORDER BY c.found_at
LIMIT $3;

-- name: refund_list_of :many
-- The refunds of some orders. Leans on the primary key of refund.
SELECT
    r.lane,
    r.order_id,
    r.ordinal,
    r.attempt,
    r.state,
    r.amount_minor,
    r.currency,
    r.reason,
    r.created_at
FROM refund AS r
INNER JOIN unnest($1::smallint[], $2::bigint[]) AS w (lane, order_id) ON r.lane = w.lane AND r.order_id = w.order_id
WHERE r.lane = any($1)
ORDER BY r.ordinal
LIMIT $3;

-- name: refund_evidence_list_of :many
-- What was said of the refunds of some orders, oldest first. Leans on the primary key of refund_evidence.
SELECT
    e.lane,
    e.order_id,
    e.ordinal,
    encode(e.digest, 'hex') AS digest,
    e.outcome,
    e.source,
    e.decision,
    e.account_id,
    e.amount_minor,
    e.currency,
    e.channel_reference,
    e.refunded_at,
    e.asked_at,
    e.learned_at
FROM refund_evidence AS e
INNER JOIN unnest($1::smallint[], $2::bigint[]) AS w (lane, order_id) ON e.lane = w.lane AND e.order_id = w.order_id
WHERE e.lane = any($1)
ORDER BY e.learned_at
LIMIT $3;

-- name: webhook_list_of :many
-- The events of some orders, oldest first. Leans on the primary key of webhook.
SELECT
    h.lane,
    h.order_id,
    h.version,
    h.endpoint_id,
    h.event,
    h.created_at,
    h.taken_at
FROM webhook AS h
INNER JOIN unnest($1::smallint[], $2::bigint[]) AS w (lane, order_id) ON h.lane = w.lane AND h.order_id = w.order_id
WHERE h.lane = any($1)
ORDER BY h.version, h.endpoint_id
LIMIT $3;

-- name: delivery_list_of :many
-- The tries to deliver the events of some orders, oldest first. Leans on the primary key of delivery.
SELECT
    d.lane,
    d.order_id,
    d.version,
    d.endpoint_id,
    d.attempt,
    d.started_at,
    d.latency_ms,
    d.status,
    d.error
FROM delivery AS d
INNER JOIN unnest($1::smallint[], $2::bigint[]) AS w (lane, order_id) ON d.lane = w.lane AND d.order_id = w.order_id
WHERE d.lane = any($1)
ORDER BY d.started_at
LIMIT $3;
