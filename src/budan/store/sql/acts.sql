-- name: act_list_of :many
-- What persons did to some orders, oldest first. Leans on the primary key of operator_act.
SELECT
    a.lane,
    a.order_id,
    a.ordinal,
    a.kind,
    a.acted_by,
    a.reason,
    a.acted_at,
    a.wish::text AS wish,
    a.confirmed_by,
    a.confirmed_at
FROM operator_act AS a
INNER JOIN unnest($1::smallint[], $2::bigint[]) AS w (lane, order_id) ON a.lane = w.lane AND a.order_id = w.order_id
WHERE a.lane = any($1)
ORDER BY a.order_id, a.ordinal
LIMIT $3;

-- name: act_add :one
-- Writes down what a person did; the caller holds the order by the gate, so ordinals are given one after the other.
-- Leans on the primary key of operator_act.
INSERT INTO operator_act (lane, order_id, ordinal, kind, acted_by, reason, acted_at, wish)
SELECT
    $1::smallint,
    $2::bigint,
    1 + coalesce(max(ordinal), 0),
    $3::text,
    $4::text,
    $5::text,
    $6::timestamptz,
    $7::jsonb
FROM operator_act
WHERE lane = $1 AND order_id = $2
RETURNING ordinal;

-- name: act_confirm :none
-- Another person agrees; the caller holds the order by the gate.
UPDATE operator_act
SET confirmed_by = $4, confirmed_at = $5
WHERE lane = $1 AND order_id = $2 AND ordinal = $3 AND confirmed_by IS NULL;

-- name: act_answered_at :maybe
-- When a trade's channel last answered, whatever it said and of whichever trade: a sweep's answers that change nothing
-- leave no mark on theirs. The caller holds the order by the gate. Leans on the primary keys of trade and
-- account_health.
SELECT greatest(t.answered_at, h.answered_at) AS answered_at
FROM trade AS t
LEFT JOIN account_health AS h ON t.account_id = h.account_id
WHERE t.lane = $1 AND t.order_id = $2 AND t.attempt = $3;

-- name: order_hold_if :maybe
-- A hold by hand; nothing where the version is another one. The caller holds the order by the gate.
UPDATE orders
SET hold_reason = $4, hold_since = $5, version = version + 1
WHERE lane = $1 AND id = $2 AND version = $3 AND hold_reason IS NULL
RETURNING id;

-- name: order_release_if :maybe
-- Lifts a hold; nothing where the version is another one. The caller holds the order by the gate.
UPDATE orders
SET hold_reason = NULL, hold_since = NULL, version = version + 1
WHERE lane = $1 AND id = $2 AND version = $3
RETURNING id;

-- name: contradiction_list_open :many
-- What did not fit some orders and no release has settled, oldest first, with all that was said. Leans on the primary
-- keys of contradiction and settled_contradiction.
SELECT
    c.lane,
    c.order_id,
    c.attempt,
    c.digest,
    c.mismatch,
    c.found_at,
    c.statement::text AS statement
FROM contradiction AS c
INNER JOIN unnest($1::smallint[], $2::bigint[]) AS w (lane, order_id) ON c.lane = w.lane AND c.order_id = w.order_id
LEFT JOIN settled_contradiction AS s
    ON c.lane = s.lane AND c.order_id = s.order_id AND c.attempt = s.attempt AND c.digest = s.digest
WHERE c.lane = any($1) AND s.lane IS NULL
ORDER BY c.found_at, c.attempt, c.digest;

-- name: contradiction_list_settled :many
-- Which of these statements a release has settled, and when two persons accepted it as it stands: one that the
-- channel's fresh word cleared nobody accepted. Leans on the primary keys of settled_contradiction and operator_act.
SELECT
    s.lane,
    s.order_id,
    s.attempt,
    s.digest,
    CASE WHEN s.how = 'accepted' THEN a.confirmed_at END AS accepted_at
FROM settled_contradiction AS s
INNER JOIN operator_act AS a ON s.lane = a.lane AND s.order_id = a.order_id AND s.act = a.ordinal
INNER JOIN
    unnest($1::smallint[], $2::bigint[], $3::smallint[], $4::bytea[]) AS w (lane, order_id, attempt, digest)
    ON s.lane = w.lane AND s.order_id = w.order_id AND s.attempt = w.attempt AND s.digest = w.digest
WHERE s.lane = any($1);

-- name: contradiction_settle :none
-- What a release settles, and how; the caller holds the order by the gate.
INSERT INTO settled_contradiction (lane, order_id, attempt, digest, act, how)
SELECT
    $1::smallint,
    $2::bigint,
    w.attempt,
    w.digest,
    $3::smallint,
    w.how
FROM unnest($4::smallint[], $5::bytea[], $6::text[]) AS w (attempt, digest, how)
ON CONFLICT (lane, order_id, attempt, digest) DO NOTHING;
