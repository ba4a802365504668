-- name: notice_scan :many
-- The verified notices of the newest orders, of any lane, newest order first. Leans on the primary key of notice.
WITH found AS ( -- the newest of each lane; a lateral query reads the row beside it, which no CTE can
    SELECT
        n.lane,
        n.order_id,
        n.id,
        n.account_id,
        n.trade_no,
        n.received_at,
        n.decision
    FROM unnest($1::smallint[]) AS l (lane)
    CROSS JOIN LATERAL ( -- noqa: ST05
        SELECT
            i.lane,
            i.order_id,
            i.id,
            i.account_id,
            i.trade_no,
            i.received_at,
            i.decision
        FROM notice AS i
        WHERE
            i.lane = l.lane
            AND i.order_id >= $2
            AND i.order_id < $3
            AND ($5::integer IS NULL OR i.account_id = $5)
            AND ($6::text IS NULL OR i.decision = $6)
        ORDER BY i.order_id DESC, i.id DESC
        LIMIT $4
    ) AS n
)

SELECT
    lane,
    order_id,
    id,
    account_id,
    trade_no,
    received_at,
    decision
FROM found
ORDER BY order_id DESC, id DESC
LIMIT $4;

-- name: notice_find_raw :many
-- Verified notices as they came. Leans on the primary key of notice.
SELECT
    n.lane,
    n.order_id,
    n.id,
    n.account_id,
    n.trade_no,
    n.received_at,
    n.headers::text AS headers,
    n.body,
    n.decision
FROM notice AS n
INNER JOIN
    unnest($1::smallint[], $2::bigint[], $3::bigint[]) AS w (lane, order_id, id)
    ON n.lane = w.lane AND n.order_id = w.order_id AND n.id = w.id
WHERE n.lane = any($1)
ORDER BY n.id;

-- name: notice_list_rejected :many
-- Unverified notices, the newest first. Leans on notice_rejected_received_at.
SELECT
    account_id,
    encode(digest, 'hex') AS digest,
    reason,
    received_at,
    times,
    coalesce(length(sample) = body_bytes AND headers IS NOT NULL, FALSE) AS can_be_replayed
FROM notice_rejected
WHERE received_at >= $1 AND ($2::integer IS NULL OR account_id = $2)
ORDER BY received_at DESC
LIMIT $3;

-- name: notice_find_rejected :many
-- Unverified notices as they came, where all of them was kept. Leans on the primary key of notice_rejected.
SELECT
    n.account_id,
    encode(n.digest, 'hex') AS digest,
    n.received_at,
    n.headers::text AS headers,
    n.sample AS body
FROM notice_rejected AS n
INNER JOIN unnest($1::integer[], $2::bytea[]) AS w (account_id, digest)
    ON n.account_id = w.account_id AND n.digest = w.digest
WHERE n.headers IS NOT NULL AND length(n.sample) = n.body_bytes
ORDER BY n.received_at;

-- name: notice_prune :one
-- Forgets unverified notices that are old, the oldest first, so many at a time. Leans on notice_rejected_received_at.
WITH old AS ( -- locked first; a row that is being counted just now is taken the next time
    SELECT
        account_id,
        digest
    FROM notice_rejected
    WHERE received_at < statement_timestamp() - make_interval(days => $1::integer)
    ORDER BY received_at
    LIMIT $2
    FOR UPDATE SKIP LOCKED
),

gone AS ( -- by the primary key
    DELETE FROM notice_rejected AS n
    USING old
    WHERE n.account_id = old.account_id AND n.digest = old.digest
    RETURNING n.account_id
)

SELECT count(*) AS pruned FROM gone;

-- name: remedy_scan :many
-- Completions that did not come the normal way, in a stretch of time, the newest first; `in_bill` where a row of the
-- channel's bill had it asked. Leans on remedy_completed_at and the primary key of evidence.
SELECT
    r.lane,
    r.order_id,
    r.attempt,
    r.cause,
    r.learned_source,
    r.paid_at,
    r.learned_at,
    r.completed_at,
    r.actor,
    t.channel,
    t.account_id,
    t.amount_minor,
    t.currency,
    o.merchant_id,
    o.reference,
    (
        SELECT count(*) > 0 FROM evidence AS e
        WHERE e.lane = r.lane AND e.order_id = r.order_id AND e.attempt = r.attempt AND e.source = 'bill'
    ) AS in_bill
FROM remedy AS r
INNER JOIN trade AS t ON r.lane = t.lane AND r.order_id = t.order_id AND r.attempt = t.attempt
INNER JOIN orders AS o ON r.lane = o.lane AND r.order_id = o.id
WHERE
    r.completed_at >= $1
    AND r.completed_at < $2
    AND ($3::text IS NULL OR t.channel = $3)
    AND ($4::text IS NULL OR r.cause = $4)
ORDER BY r.completed_at DESC
LIMIT $5;
