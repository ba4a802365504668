-- name: account_list_sealed :many
-- All accounts with what only this installation can open, to tell whose keys end: a table of some dozens of rows.
SELECT
    id,
    channel,
    name,
    enabled,
    settings::text AS settings,
    sealed_secrets,
    old_sealed_secrets,
    old_until
FROM channel_account
ORDER BY id;

-- name: account_lock :maybe
-- One account, held until the end of the transaction: two rotations at once would lose a key. By the primary key.
SELECT
    id,
    channel,
    name,
    enabled,
    settings::text AS settings,
    sealed_secrets,
    old_sealed_secrets,
    old_until
FROM channel_account
WHERE id = $1
FOR UPDATE;

-- name: account_set_enabled :maybe
-- Whether new trades may go there. By the primary key.
UPDATE channel_account
SET enabled = $2
WHERE id = $1
RETURNING id;

-- name: account_rotate :one
-- New keys; today's become the old ones for so many seconds, or go at once where none are given. By the primary key.
UPDATE channel_account
SET
    settings = $2,
    old_sealed_secrets = CASE WHEN $4 > 0 THEN sealed_secrets END,
    old_until = CASE WHEN $4 > 0 THEN clock_timestamp() + make_interval(secs => $4::integer) END,
    sealed_secrets = $3
WHERE id = $1
RETURNING old_until;

-- name: account_end_overlap :maybe
-- What was signed with the old keys counts no more. By the primary key.
UPDATE channel_account
SET old_sealed_secrets = NULL, old_until = NULL
WHERE id = $1 AND old_until IS NOT NULL
RETURNING id;
