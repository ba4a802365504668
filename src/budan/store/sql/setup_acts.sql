-- name: setup_act_add :none
-- Writes down what a person set up; nothing changes such a row.
INSERT INTO setup_act (kind, merchant_id, account_id, acted_by, before, after)
VALUES ($1, $2, $3, $4, $5::jsonb, $6::jsonb);

-- name: setup_act_list_merchants :many
-- What was set up of a merchant, or of all, the newest first. Leans on setup_act_merchant_id.
SELECT
    id,
    kind,
    merchant_id,
    account_id,
    acted_by,
    acted_at,
    before::text AS before,
    after::text AS after
FROM setup_act
WHERE merchant_id IS NOT NULL AND ($1::integer IS NULL OR merchant_id = $1)
ORDER BY id DESC
LIMIT $2;

-- name: setup_act_list_accounts :many
-- What was set up of a channel account, or of all, the newest first. Leans on setup_act_account_id.
SELECT
    id,
    kind,
    merchant_id,
    account_id,
    acted_by,
    acted_at,
    before::text AS before,
    after::text AS after
FROM setup_act
WHERE account_id IS NOT NULL AND ($1::integer IS NULL OR account_id = $1)
ORDER BY id DESC
LIMIT $2;
