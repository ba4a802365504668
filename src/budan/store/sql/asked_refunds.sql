-- name: asked_refund_list_due :many
-- Refunds that only bills tell of and whose next question is due, up to $1 of each account: those that are due longest,
-- so neither new nor old ones wait for ever. Leans on discrepancy_asked.
WITH due AS ( -- each account's queue
    SELECT
        id,
        account_id,
        subject,
        lane,
        order_id,
        ordinal,
        coalesce(happened_at, found_at) AS created_at,
        ask_count,
        row_number() OVER (PARTITION BY account_id ORDER BY ask_at, id) AS place
    FROM discrepancy
    WHERE state = 'asked' AND kind = 'refund' AND verdict = 'there_only' AND ask_at <= statement_timestamp()
)

SELECT
    id,
    account_id,
    subject,
    lane,
    order_id,
    ordinal,
    created_at,
    ask_count
FROM due
WHERE place <= $1
ORDER BY account_id, place;

-- name: asked_refund_note :none
-- What a question came to: when the next one is due, in $2 seconds, whether it left ($3), and whether the channel's
-- answer was final ($4).
UPDATE discrepancy
SET
    ask_at = clock_timestamp() + make_interval(secs => $2::double precision),
    ask_count = ask_count + $3::boolean::integer,
    answered_at = CASE WHEN $4::boolean THEN clock_timestamp() ELSE answered_at END
WHERE id = $1 AND state = 'asked';
