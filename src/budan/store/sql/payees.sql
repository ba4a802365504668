-- name: payee_add :one
-- Whom a merchant's payouts shall go to; the number is sealed when the id is known.
INSERT INTO merchant_payee (
    merchant_id, holder, bank_name, bank_code, is_card, sealed_number, number_end, acted_by, reason, acted_at
)
VALUES ($1, $2, $3, $4, $5, '', $6, $7, $8, $9)
RETURNING id;

-- name: payee_seal_if :maybe
-- The number under a key, the first or a newer one, unless somebody has sealed it since it was read. By its primary
-- key.
UPDATE merchant_payee
SET sealed_number = $3
WHERE id = $1 AND sealed_number = $2
RETURNING id;

-- name: payee_confirm :none
-- Another person agrees; the caller holds the merchant. By the primary key.
UPDATE merchant_payee
SET confirmed_by = $2, confirmed_at = $3
WHERE id = $1 AND confirmed_by IS NULL;

-- name: payee_list_of :many
-- A merchant's payees, the newest first. Leans on merchant_payee_merchant_id.
SELECT
    id,
    merchant_id,
    holder,
    bank_name,
    bank_code,
    is_card,
    sealed_number,
    number_end,
    acted_by,
    reason,
    acted_at,
    confirmed_by,
    confirmed_at
FROM merchant_payee
WHERE merchant_id = $1
ORDER BY id DESC
LIMIT $2;

-- name: payee_list_in_force :many
-- Whom payouts of some merchants go to: the newest that was confirmed of each. Leans on merchant_payee_merchant_id.
SELECT DISTINCT ON (merchant_id)
    id,
    merchant_id,
    holder,
    bank_name,
    bank_code,
    is_card,
    sealed_number,
    number_end,
    acted_by,
    reason,
    acted_at,
    confirmed_by,
    confirmed_at
FROM merchant_payee
WHERE merchant_id = any($1::integer[]) AND confirmed_at IS NOT NULL
ORDER BY merchant_id ASC, id DESC;

-- name: payee_list_sealed :many
-- The next page of all payees' sealed numbers, replaced ones too. By the primary key.
SELECT
    id,
    merchant_id,
    sealed_number
FROM merchant_payee
WHERE id > $1
ORDER BY id
LIMIT $2;

-- name: payee_lock_merchants :many
-- Merchants whose payees nobody changes until the transaction ends; who reads them after it reads the last word.
SELECT id
FROM merchant
WHERE id = any($1::integer[])
ORDER BY id
FOR SHARE;
