-- Money that came and does not fit its order, as bills are held against it.

-- name: suspense_list_came :many
-- What lies or lay in suspense of an account's money of some days, with the moment and the number of which its channel
-- spoke; `begun_at` where it named no moment. The books call a payment by that number, or, where none was named, by a
-- digest of the statement. Leans on late_money_day and the primary keys of posting and contradiction.
WITH noted AS ( -- a few
    SELECT DISTINCT
        lane,
        order_id,
        ordinal,
        'suspense:' || ordinal || ':' || $1::integer || ':' AS lead
    FROM late_money
    WHERE account_id = $1 AND kind = 'suspense' AND day BETWEEN $2::date AND $3::date
),

came AS ( -- each with its statement's moment: the first, should it have been made twice
    SELECT
        n.lane,
        n.order_id,
        n.ordinal,
        substr(p.entry_key, length(n.lead) + 1) AS payment,
        -p.amount_minor AS amount_minor,
        p.currency,
        p.booked_at,
        (
            SELECT min((c.statement ->> 'paid_at')::timestamptz) FROM contradiction AS c
            WHERE
                c.lane = n.lane AND c.order_id = n.order_id AND c.attempt = n.ordinal
                AND (c.statement ->> 'account_id')::integer = $1
                AND (c.statement ->> 'order_minor')::bigint = -p.amount_minor
                AND c.statement ->> 'currency' = p.currency
                AND coalesce(
                    nullif(c.statement ->> 'channel_reference', ''), nullif(c.statement ->> 'wallet_reference', ''), ''
                ) IN (substr(p.entry_key, length(n.lead) + 1), '')
        ) AS told_at
    FROM noted AS n
    INNER JOIN posting AS p
        ON n.lane = p.lane AND n.order_id = p.order_id AND p.account = 'suspense' AND starts_with(p.entry_key, n.lead)
)

SELECT
    s.lane,
    s.order_id,
    s.ordinal,
    o.merchant_id,
    s.payment,
    s.amount_minor,
    s.currency,
    coalesce(s.told_at, s.booked_at) AS moved_at,
    CASE WHEN s.told_at IS NULL THEN o.created_at END AS begun_at,
    s.booked_at AS known_at,
    t.amount_minor AS wanted_minor,
    t.currency AS wanted_currency
FROM came AS s
INNER JOIN orders AS o ON s.lane = o.lane AND s.order_id = o.id
INNER JOIN trade AS t ON s.lane = t.lane AND s.order_id = t.order_id AND s.ordinal = t.attempt
ORDER BY s.lane, s.order_id, s.ordinal, s.booked_at, s.payment;

-- name: suspense_list_settled :many
-- What persons have settled of some accounts' money in suspense, by what the books call it, whether that is its number
-- at the channel, and whether it went back to its payer. Leans on the primary keys of posting and contradiction.
WITH wanted AS ( -- a few
    SELECT
        account_id,
        lane,
        order_id,
        attempt,
        'suspense:' || attempt || ':' || account_id || ':' AS lead
    FROM unnest($1::integer[], $2::smallint[], $3::bigint[], $4::smallint[]) AS w (account_id, lane, order_id, attempt)
)

SELECT
    w.account_id,
    w.lane,
    w.order_id,
    w.attempt AS ordinal,
    substr(p.entry_key, length(w.lead) + 1) AS payment,
    (
        SELECT count(*) FROM contradiction AS c
        WHERE
            c.lane = w.lane AND c.order_id = w.order_id AND c.attempt = w.attempt
            AND substr(p.entry_key, length(w.lead) + 1) = coalesce(
                nullif(c.statement ->> 'channel_reference', ''), nullif(c.statement ->> 'wallet_reference', '')
            )
    ) > 0 AS is_named,
    -p.amount_minor AS amount_minor,
    p.currency,
    starts_with(a.account, 'channel:') AS is_returned
FROM wanted AS w
INNER JOIN posting AS p
    ON w.lane = p.lane AND w.order_id = p.order_id AND p.account = 'suspense' AND starts_with(p.entry_key, w.lead)
INNER JOIN posting AS a
    ON
        p.lane = a.lane AND p.order_id = a.order_id AND a.entry_key = 'adjustment:' || p.entry_key
        AND a.account <> 'suspense'
ORDER BY w.account_id, w.lane, w.order_id, w.attempt, p.booked_at, p.entry_key;

-- name: suspense_list_ended :many
-- The payments of bills whose difference such money has ended, or a person in the same words, of some accounts' trades:
-- what ended the one ends no other. Leans on discrepancy_order.
SELECT
    d.id,
    d.account_id,
    d.lane,
    d.order_id,
    d.ordinal,
    d.channel_no,
    d.their_minor,
    d.currency
FROM unnest($1::integer[], $2::smallint[], $3::bigint[], $4::smallint[]) AS w (account_id, lane, order_id, attempt)
INNER JOIN discrepancy AS d
    ON w.lane = d.lane AND w.order_id = d.order_id AND w.attempt = d.ordinal AND w.account_id = d.account_id
WHERE
    d.kind = 'payment' AND d.verdict IN ('in_suspense', 'there_only') AND d.resolution IN ('refunded', 'corrected')
ORDER BY d.id;
