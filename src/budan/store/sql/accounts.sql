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
-- Whether new trades may go there, and since when not. By the primary key.
UPDATE channel_account
SET
    enabled = $2,
    disabled_at = CASE WHEN NOT $2 THEN coalesce(disabled_at, clock_timestamp()) END
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

-- name: account_seal_again :maybe
-- The same secrets under another key, unless somebody has changed them since they were read. By the primary key.
UPDATE channel_account
SET sealed_secrets = $4, old_sealed_secrets = $5
WHERE id = $1 AND sealed_secrets = $2 AND old_sealed_secrets IS NOT DISTINCT FROM $3
RETURNING id;

-- name: account_end_overlap :maybe
-- What was signed with the old keys counts no more. By the primary key.
UPDATE channel_account
SET old_sealed_secrets = NULL, old_until = NULL
WHERE id = $1 AND old_until IS NOT NULL
RETURNING id;

-- name: merchant_account_add :none
-- Lets a merchant take payments through an account; a repeat changes the priority and the ways of paying.
INSERT INTO merchant_account (merchant_id, account_id, priority, methods) VALUES ($1, $2, $3, $4)
ON CONFLICT (merchant_id, account_id) DO UPDATE SET priority = excluded.priority, methods = excluded.methods;

-- name: merchant_account_remove :maybe
-- The merchant's new orders go there no more. By the primary key.
DELETE FROM merchant_account
WHERE merchant_id = $1 AND account_id = $2
RETURNING account_id;

-- name: shop_account_add :none
-- Lets a shop take payments through an account of its own; a repeat changes the priority and the ways of paying.
INSERT INTO shop_account (shop_id, account_id, priority, methods) VALUES ($1, $2, $3, $4)
ON CONFLICT (shop_id, account_id) DO UPDATE SET priority = excluded.priority, methods = excluded.methods;

-- name: shop_account_remove :maybe
-- The shop's new orders go there no more. By the primary key.
DELETE FROM shop_account
WHERE shop_id = $1 AND account_id = $2
RETURNING account_id;

-- name: shop_find_merchant :maybe
-- Whose shop it is. By the primary key.
SELECT merchant_id
FROM shop
WHERE id = $1;

-- name: merchant_account_list :many
-- The accounts of merchants and of their shops, first choice first, those out of use too: a shop whose own accounts are
-- all out of use must not fall back to its merchant's. By the primary key of the first and by shop_merchant_id.
SELECT
    ma.merchant_id,
    NULL::integer AS shop_id,
    a.id AS account_id,
    a.channel,
    a.enabled,
    ma.methods,
    ma.priority
FROM merchant_account AS ma
INNER JOIN channel_account AS a ON ma.account_id = a.id
WHERE ma.merchant_id = any($1::integer[])
UNION ALL
SELECT
    s.merchant_id,
    sa.shop_id,
    a.id AS account_id,
    a.channel,
    a.enabled,
    sa.methods,
    sa.priority
FROM shop AS s
INNER JOIN shop_account AS sa ON s.id = sa.shop_id
INNER JOIN channel_account AS a ON sa.account_id = a.id
WHERE s.merchant_id = any($1::integer[])
ORDER BY shop_id NULLS FIRST, priority, account_id;
