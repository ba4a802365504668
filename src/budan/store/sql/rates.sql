-- name: rate_set :maybe
-- A rate from a moment that is not past; no row where it is past.
INSERT INTO fee_rate (
    merchant_id, channel, effective_from, rate_bp, shop_id, method, minimum_minor, maximum_minor, set_by
)
SELECT
    $1,
    $2,
    coalesce($3::timestamptz, clock_timestamp()),
    $4,
    $5,
    $6,
    $7,
    $8,
    $9
WHERE coalesce($3::timestamptz, 'infinity') > clock_timestamp()
RETURNING effective_from;

-- name: rate_withdraw :maybe
-- Takes a rate away that begins a minute from now or later, when every process has read the rates anew; it is kept
-- apart, with who did it. No row where there is none such. Leans on fee_rate_begin.
WITH gone AS ( -- what no payment was charged by
    DELETE FROM fee_rate
    WHERE
        merchant_id = $1
        AND channel = $2
        AND shop_id IS NOT DISTINCT FROM $3::integer
        AND method IS NOT DISTINCT FROM $4::text
        AND effective_from = $5::timestamptz
        AND rate_bp = $6
        AND effective_from > clock_timestamp() + interval '1 minute'
    RETURNING
        merchant_id, channel, shop_id, method, effective_from, rate_bp, minimum_minor, maximum_minor, set_by
)

INSERT INTO fee_rate_withdrawn (
    merchant_id, channel, shop_id, method, effective_from, rate_bp, minimum_minor, maximum_minor, set_by, withdrawn_by,
    withdrawn_at
)
SELECT
    merchant_id,
    channel,
    shop_id,
    method,
    effective_from,
    rate_bp,
    minimum_minor,
    maximum_minor,
    set_by,
    $7,
    clock_timestamp()
FROM gone
RETURNING effective_from;

-- name: rate_list :many
-- Merchants' rates, newest first within a channel, shop and method: those in force and to come, with `$2` also what
-- was before. Leans on fee_rate_begin.
SELECT
    r.merchant_id,
    r.channel,
    r.shop_id,
    r.method,
    r.effective_from,
    r.rate_bp,
    r.minimum_minor,
    r.maximum_minor,
    r.set_by
FROM fee_rate AS r
WHERE
    r.merchant_id = any($1::integer[])
    AND (
        $2::boolean
        OR NOT EXISTS (
            SELECT 1
            FROM fee_rate AS newer
            WHERE
                newer.merchant_id = r.merchant_id
                AND newer.channel = r.channel
                AND newer.shop_id IS NOT DISTINCT FROM r.shop_id
                AND newer.method IS NOT DISTINCT FROM r.method
                AND newer.effective_from > r.effective_from
                AND newer.effective_from <= statement_timestamp()
        )
    )
ORDER BY
    r.merchant_id ASC, r.channel ASC, r.shop_id ASC NULLS FIRST, r.method ASC NULLS FIRST, r.effective_from DESC;

-- name: shop_is_of :one
-- Whether a shop is this merchant's.
SELECT exists(SELECT 1 FROM shop WHERE id = $1 AND merchant_id = $2) AS is_of;

-- name: trade_correct_fee :none
-- The terms that a person put in force for a payment, and what of its fee belongs to its refunds by them. The order
-- keeps those of its completion. The caller holds the order by the gate. Leans on the primary key of trade.
UPDATE trade
SET fee_rate_bp = $4, fee_minimum_minor = $5, fee_maximum_minor = $6, fee_given_back_minor = $7
WHERE lane = $1 AND order_id = $2 AND attempt = $3;
