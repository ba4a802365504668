-- name: merchant_next_id :one
-- The id decides the lane, so it is drawn before the row is written.
SELECT nextval(pg_get_serial_sequence('merchant', 'id'))::integer AS id;

-- name: merchant_add :none
-- A merchant with the lane of its id.
INSERT INTO merchant (id, lane, name) OVERRIDING SYSTEM VALUE VALUES ($1, $2, $3);

-- name: merchant_list :many
-- All merchants: a table for people.
SELECT
    id,
    lane,
    name,
    enabled,
    expires_in_s,
    expires_in_with_payer_s,
    late_payment,
    settles_zone,
    settles_after_days,
    payout_minor_min,
    hold_back_bp,
    hold_back_days,
    settlement_set_by
FROM merchant
ORDER BY id;

-- name: merchant_find :maybe
-- One merchant by id.
SELECT
    id,
    lane,
    name,
    enabled,
    expires_in_s,
    expires_in_with_payer_s,
    late_payment,
    settles_zone,
    settles_after_days,
    payout_minor_min,
    hold_back_bp,
    hold_back_days,
    settlement_set_by
FROM merchant
WHERE id = $1;

-- name: merchant_lock :maybe
-- A merchant of which this transaction changes something, held until its end. By the primary key.
SELECT id
FROM merchant
WHERE id = $1
FOR NO KEY UPDATE;

-- name: merchant_list_terms :many
-- How long merchants' orders live, and the clock by which what is read with it counts: by a cache that fills itself.
SELECT
    id AS merchant_id,
    expires_in_s,
    expires_in_with_payer_s,
    clock_timestamp() AS now
FROM merchant
WHERE id = any($1::integer[]);

-- name: merchant_set_terms :maybe
-- How a merchant's orders end, what is given of it; the rest stays.
UPDATE merchant
SET
    expires_in_s = coalesce($2, expires_in_s),
    expires_in_with_payer_s = coalesce($3, expires_in_with_payer_s),
    late_payment = coalesce($4, late_payment)
WHERE id = $1
RETURNING id;

-- name: api_key_add :none
-- The secret half never reaches the database.
INSERT INTO api_key (id, merchant_id, secret_digest) VALUES ($1, $2, $3);

-- name: api_key_list :many
-- Who calls: enabled keys of enabled merchants, read by a cache that fills itself.
SELECT
    k.id AS key_id,
    k.merchant_id,
    k.secret_digest,
    m.lane
FROM api_key AS k
INNER JOIN merchant AS m ON k.merchant_id = m.id
WHERE k.id = any($1::text[]) AND k.enabled AND m.enabled;

-- name: account_add :one
-- A channel account with its secrets sealed.
INSERT INTO channel_account (channel, name, settings, sealed_secrets) VALUES ($1, $2, $3, $4)
RETURNING id;

-- name: account_reseal :none
-- The seal names the account's id as its context, so it is made when the id is known.
UPDATE channel_account
SET sealed_secrets = $2
WHERE id = $1;

-- name: account_find :maybe
-- One account, disabled ones too: they still take notices and queries.
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
WHERE id = $1;

-- name: account_list :many
-- All accounts, without secrets.
SELECT
    id,
    channel,
    name,
    enabled,
    settings::text AS settings
FROM channel_account
ORDER BY id;


-- name: endpoint_add :one
-- Where a merchant takes webhooks; the secret is sealed when the id is known.
INSERT INTO webhook_endpoint (merchant_id, url, sealed_secret) VALUES ($1, $2, '')
RETURNING id;

-- name: endpoint_reseal :none
-- The seal names the endpoint's id as its context.
UPDATE webhook_endpoint
SET sealed_secret = $2
WHERE id = $1;

-- name: shop_add :one
-- A place of a merchant, with the code that its printed sign carries.
INSERT INTO shop (merchant_id, name, code) VALUES ($1, $2, $3)
RETURNING id;

-- name: shop_find :maybe
-- The shop behind a printed code.
SELECT
    s.id,
    s.name,
    s.merchant_id,
    m.lane,
    m.name AS merchant_name
FROM shop AS s
INNER JOIN merchant AS m ON s.merchant_id = m.id
WHERE s.code = $1 AND m.enabled;

-- name: terminal_add :one
-- A cash desk; its token is kept as a digest.
INSERT INTO terminal (shop_id, merchant_id, name, token_digest) VALUES ($1, $2, $3, $4)
RETURNING id;

-- name: terminal_find :maybe
-- The desk behind a token.
SELECT
    t.id,
    t.name,
    t.shop_id,
    s.name AS shop_name,
    t.merchant_id,
    m.lane
FROM terminal AS t
INNER JOIN shop AS s ON t.shop_id = s.id
INNER JOIN merchant AS m ON t.merchant_id = m.id
WHERE t.token_digest = $1 AND t.enabled AND m.enabled;
