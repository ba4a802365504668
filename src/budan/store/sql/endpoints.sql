-- name: endpoint_lock_of :many
-- Where a merchant takes webhooks, held until the end of the transaction: two rotations at once would lose a secret.
-- Leans on webhook_endpoint_merchant_id.
SELECT
    id,
    old_until
FROM webhook_endpoint
WHERE merchant_id = $1 AND enabled
ORDER BY id
FOR NO KEY UPDATE;

-- name: endpoint_rotate :one
-- A new secret; today's becomes the old one for so many seconds, or goes at once where none are given. By the primary
-- key.
UPDATE webhook_endpoint
SET
    old_sealed_secret = CASE WHEN $3 > 0 THEN sealed_secret END,
    old_until = CASE WHEN $3 > 0 THEN clock_timestamp() + make_interval(secs => $3::integer) END,
    sealed_secret = $2
WHERE id = $1
RETURNING old_until;

-- name: endpoint_end_overlap :maybe
-- The old secret signs no more. By the primary key.
UPDATE webhook_endpoint
SET old_sealed_secret = NULL, old_until = NULL
WHERE id = $1 AND old_until > clock_timestamp()
RETURNING id;

-- name: endpoint_forget_old :many
-- Old secrets whose overlap is over are not kept. Leans on webhook_endpoint_old_until.
UPDATE webhook_endpoint
SET old_sealed_secret = NULL, old_until = NULL
WHERE old_until <= statement_timestamp()
RETURNING id;

-- name: endpoint_act_add :none
-- Writes down who changed a secret, and why; the caller holds the endpoint. Leans on the primary key of endpoint_act.
INSERT INTO endpoint_act (endpoint_id, ordinal, kind, acted_by, reason, acted_at, old_until)
SELECT
    $1::integer,
    1 + coalesce(max(ordinal), 0),
    $2::text,
    $3::text,
    $4::text,
    clock_timestamp(),
    $5::timestamptz
FROM endpoint_act
WHERE endpoint_id = $1;

-- name: endpoint_list_sealed :many
-- The next page of all endpoints' sealed secrets, those out of use too. By the primary key.
SELECT
    id,
    sealed_secret,
    old_sealed_secret
FROM webhook_endpoint
WHERE id > $1
ORDER BY id
LIMIT $2;

-- name: endpoint_seal_again :many
-- A page of the same secrets under another key, but for those that somebody has changed since. By the primary key.
UPDATE webhook_endpoint AS e
SET sealed_secret = n.sealed, old_sealed_secret = n.old_sealed
FROM
    unnest($1::integer[], $2::bytea[], $3::bytea[], $4::bytea[], $5::bytea[])
        AS n (id, was, old_was, sealed, old_sealed)
WHERE e.id = n.id AND e.sealed_secret = n.was AND e.old_sealed_secret IS NOT DISTINCT FROM n.old_was
RETURNING e.id;
