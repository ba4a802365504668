-- name: refund_find_many :many
-- The refunds of some orders, oldest first, and whether one that was made past us was told by its trade's total. Under
-- the gate it is read after the orders are locked. Leans on the primary keys of refund and refund_evidence.
SELECT
    r.lane,
    r.order_id,
    r.ordinal,
    r.attempt,
    r.origin,
    r.state,
    r.amount_minor,
    r.currency,
    r.reason,
    r.created_at,
    r.intent::text AS intent,
    r.to_send,
    r.refused,
    r.untaken,
    r.send_until,
    r.send_after,
    r.channel_reference,
    r.refunded_at,
    r.ended_at,
    r.fee_given_back_minor,
    r.code,
    r.message,
    r.origin = 'external' AND EXISTS (
        SELECT FROM refund_evidence AS e
        WHERE
            e.lane = r.lane AND e.order_id = r.order_id AND e.ordinal = r.ordinal
            AND e.decision = 'external' AND e.amount_minor IS NULL
    ) AS by_total
FROM refund AS r
INNER JOIN unnest($1::smallint[], $2::bigint[]) AS w (lane, order_id) ON r.lane = w.lane AND r.order_id = w.order_id
WHERE r.lane = any($1)
ORDER BY r.lane, r.order_id, r.ordinal;

-- name: refund_write :none
-- What refunds change, after their orders were locked and changed, in the fixed order of tables: trades, refunds,
-- evidence, due rows.
WITH changed_trade AS ( -- the CHECK on these sums is what bounds concurrent refunds
    UPDATE trade AS t
    SET
        refund_reserved_minor = t.refund_reserved_minor + w.reserved_minor,
        refunded_minor = t.refunded_minor + w.refunded_minor,
        refunded_elsewhere_minor = t.refunded_elsewhere_minor + w.elsewhere_minor,
        fee_given_back_minor = t.fee_given_back_minor + w.fee_minor
    FROM
        unnest(
            $1::smallint[], $2::bigint[], $3::smallint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[]
        ) AS w (lane, order_id, attempt, reserved_minor, refunded_minor, elsewhere_minor, fee_minor)
    WHERE t.lane = any($1) AND t.lane = w.lane AND t.order_id = w.order_id AND t.attempt = w.attempt
),

changed_refund AS ( -- facts are kept once known; one that failed and went back all the same has ended anew
    UPDATE refund AS r
    SET
        state = w.state,
        to_send = w.to_send,
        refused = w.refused,
        untaken = w.untaken,
        asked_count = r.asked_count + w.asked,
        channel_reference = coalesce(w.channel_reference, r.channel_reference),
        refunded_at = coalesce(r.refunded_at, w.refunded_at),
        learned_source = coalesce(r.learned_source, w.learned_source),
        ended_at = CASE WHEN w.ended AND (r.ended_at IS NULL OR r.state <> w.state) THEN $8 ELSE r.ended_at END,
        fee_given_back_minor = r.fee_given_back_minor + w.fee_minor,
        code = w.code,
        message = w.message
    FROM
        unnest(
            $9::smallint[], $10::bigint[], $11::smallint[], $12::text[], $13::boolean[], $14::boolean[],
            $15::boolean[], $16::integer[], $17::text[], $18::timestamptz[], $19::text[], $20::boolean[],
            $21::bigint[], $22::text[], $23::text[]
        ) AS w (
            lane, order_id, ordinal, state, to_send, refused, untaken, asked, channel_reference, refunded_at,
            learned_source, ended, fee_minor, code, message
        )
    WHERE r.lane = any($9) AND r.lane = w.lane AND r.order_id = w.order_id AND r.ordinal = w.ordinal
),

new_refund AS ( -- intents, and refunds that were made past us and are over
    INSERT INTO refund (
        lane, order_id, ordinal, attempt, origin, state, amount_minor, currency, reason, created_at, to_send,
        send_after, channel_reference, refunded_at, learned_source, ended_at, fee_given_back_minor
    )
    SELECT
        w.lane,
        w.order_id,
        w.ordinal,
        w.attempt,
        w.origin,
        w.state,
        w.amount_minor,
        w.currency,
        w.reason,
        $8,
        w.state = 'created',
        w.send_after,
        w.channel_reference,
        w.refunded_at,
        w.learned_source,
        CASE WHEN w.state = 'created' THEN NULL ELSE $8 END,
        w.fee_minor
    FROM
        unnest(
            $24::smallint[], $25::bigint[], $26::smallint[], $27::smallint[], $28::text[], $29::text[], $30::bigint[],
            $31::text[], $32::text[], $33::timestamptz[], $34::text[], $35::timestamptz[], $36::text[], $37::bigint[]
        ) AS w (
            lane, order_id, ordinal, attempt, origin, state, amount_minor, currency, reason, send_after,
            channel_reference, refunded_at, learned_source, fee_minor
        )
),

new_evidence AS ( -- the same statement twice is one row; it was decided again all the same
    INSERT INTO refund_evidence (
        lane, order_id, ordinal, digest, outcome, source, decision, account_id, amount_minor, currency,
        channel_reference, refunded_at, asked_at, learned_at
    )
    SELECT
        w.lane,
        w.order_id,
        w.ordinal,
        w.digest,
        w.outcome,
        w.source,
        w.decision,
        w.account_id,
        w.amount_minor,
        w.currency,
        w.channel_reference,
        w.refunded_at,
        w.asked_at,
        w.learned_at
    FROM
        unnest(
            $38::smallint[], $39::bigint[], $40::smallint[], $41::bytea[], $42::text[], $43::text[], $44::text[],
            $45::integer[], $46::bigint[], $47::text[], $48::text[], $49::timestamptz[], $50::timestamptz[],
            $51::timestamptz[]
        ) AS w (
            lane, order_id, ordinal, digest, outcome, source, decision, account_id, amount_minor, currency,
            channel_reference, refunded_at, asked_at, learned_at
        )
    ON CONFLICT (lane, order_id, ordinal, digest) DO NOTHING
),

asked AS ( -- when to take the next step
    INSERT INTO refund_due (lane, order_id, ordinal, due_at, attempts)
    SELECT
        w.lane,
        w.order_id,
        w.ordinal,
        w.due_at,
        w.attempts
    FROM
        unnest($52::smallint[], $53::bigint[], $54::smallint[], $55::timestamptz[], $56::integer[])
            AS w (lane, order_id, ordinal, due_at, attempts)
    ON CONFLICT (lane, order_id, ordinal) DO UPDATE SET due_at = excluded.due_at, attempts = excluded.attempts
)

DELETE FROM refund_due AS d
USING unnest($57::smallint[], $58::bigint[], $59::smallint[]) AS w (lane, order_id, ordinal)
WHERE d.lane = any($57) AND d.lane = w.lane AND d.order_id = w.order_id AND d.ordinal = w.ordinal;

-- name: refund_prepare :none
-- The intent of a sending, committed before the call (I11), and when to ask if nobody lives to hear the answer.
WITH prepared AS ( -- an intent is written once; what is sent again may be taken this time
    UPDATE refund AS r
    SET intent = coalesce(r.intent, $4::jsonb), to_send = FALSE, untaken = FALSE, send_until = $5
    WHERE r.lane = $1 AND r.order_id = $2 AND r.ordinal = $3
    RETURNING r.lane, r.order_id, r.ordinal
)

UPDATE refund_due AS d
SET due_at = $6
FROM prepared AS p
WHERE d.lane = $1 AND d.order_id = $2 AND d.ordinal = $3 AND d.ordinal = p.ordinal;

-- name: refund_claim_key :maybe
-- Claims an idempotency key for a refund; a known key gives no row.
INSERT INTO idempotency (lane, merchant_id, key, request_digest, order_id, created_at, refund_ordinal)
VALUES ($1, $2, $3, $4, $5, clock_timestamp(), $6)
ON CONFLICT (lane, merchant_id, key) DO NOTHING
RETURNING refund_ordinal;

-- name: refund_find_key :maybe
-- What a known key made; `refund_ordinal` is NULL where it made an order.
SELECT
    request_digest,
    order_id,
    refund_ordinal
FROM idempotency
WHERE lane = $1 AND merchant_id = $2 AND key = $3;

-- name: refund_list_due :many
-- Refunds due in the held lanes, oldest first, less the accounts that are at their bound. Leans on refund_due_due_at;
-- for its two words see work.sql.
SELECT
    d.lane,
    d.order_id,
    d.ordinal,
    d.attempts,
    d.due_at,
    r.attempt,
    r.to_send,
    r.created_at,
    r.channel_reference AS refund_reference,
    t.account_id,
    t.channel_reference,
    o.merchant_id,
    clock_timestamp() AS now
FROM refund_due AS d
INNER JOIN refund AS r ON d.lane = r.lane AND d.order_id = r.order_id AND d.ordinal = r.ordinal
INNER JOIN trade AS t ON r.lane = t.lane AND r.order_id = t.order_id AND r.attempt = t.attempt
INNER JOIN orders AS o ON d.lane = o.lane AND d.order_id = o.id
WHERE
    d.lane + 0 = any($1::smallint[])
    AND d.due_at > '-infinity'
    AND d.due_at <= statement_timestamp()
    AND t.account_id <> all($2::integer[])
ORDER BY d.due_at
LIMIT $3;
