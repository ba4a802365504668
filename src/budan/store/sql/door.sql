-- name: door_lock_orders :many
-- The gate: a door transaction first locks its order rows in one statement, in lane and id order (docs/design.md
-- section 3). Leans on the primary key of orders. Here and below the lowest and the highest order id are given besides:
-- by them the partitions that hold none of these orders are left out before the statement starts, and it costs the same
-- after years as in its first week. They stand in an OR, which no index can be entered by: else the planner would read
-- all orders between the two.
SELECT
    o.lane,
    o.id,
    o.merchant_id,
    o.reference,
    o.state,
    o.version,
    o.amount_minor,
    o.currency,
    o.subject,
    o.created_at,
    o.expires_at,
    o.told_unpaid,
    o.hold_reason,
    o.paid_at,
    o.paid_attempt,
    o.trade_count,
    o.refund_count,
    clock_timestamp() AS now
FROM orders AS o
INNER JOIN unnest($1::smallint[], $2::bigint[]) AS w (lane, id) ON o.lane = w.lane AND o.id = w.id
WHERE (o.id BETWEEN $3 AND $4 OR o.id = $3)
ORDER BY o.lane, o.id
FOR NO KEY UPDATE OF o;

-- name: door_list_trades :many
-- Every trade of the locked orders, in a statement of its own: its snapshot must be younger than the locks.
-- Leans on the primary key of trade.
SELECT
    t.lane,
    t.order_id,
    t.attempt,
    t.account_id,
    t.channel,
    t.method,
    t.state,
    t.amount_minor,
    t.currency,
    t.fee_rate_bp,
    t.fee_minimum_minor,
    t.fee_maximum_minor,
    t.created_at,
    t.send_until,
    t.expires_at,
    t.paid_seen,
    t.not_found_count,
    t.not_found_asked_at,
    t.paid_at,
    t.channel_reference,
    t.refund_reserved_minor,
    t.refunded_minor,
    t.refunded_elsewhere_minor,
    t.fee_given_back_minor,
    t.payer_id,
    t.cashback_offer::text AS cashback_offer
FROM trade AS t
INNER JOIN unnest($1::smallint[], $2::bigint[]) AS w (lane, id) ON t.lane = w.lane AND t.order_id = w.id
WHERE (t.order_id BETWEEN $3 AND $4 OR t.order_id = $3)
ORDER BY t.lane, t.order_id, t.attempt;

-- name: door_write :many
-- What nearly every door transaction writes, in the fixed order of tables: orders, trades, evidence, notices, postings,
-- webhooks, questions, looks. A row comes back for each order that had the version that was read.
WITH changed_order AS ( -- compare-and-set on version; paid columns are written once and kept
    UPDATE orders AS o
    SET
        state = w.state,
        version = o.version + w.raised,
        told_unpaid = w.told_unpaid,
        hold_reason = coalesce(o.hold_reason, w.hold_reason),
        hold_since
        = CASE WHEN coalesce(o.hold_reason, w.hold_reason) IS NULL THEN NULL ELSE coalesce(o.hold_since, $9) END,
        paid_at = coalesce(o.paid_at, w.paid_at),
        paid_attempt = coalesce(o.paid_attempt, w.paid_attempt),
        learned_source = coalesce(o.learned_source, w.learned_source),
        learned_at = coalesce(o.learned_at, w.learned_at),
        completed_at = coalesce(o.completed_at, CASE WHEN w.paid_attempt IS NULL THEN NULL ELSE $9 END),
        fee_rate_bp = coalesce(o.fee_rate_bp, w.fee_rate_bp),
        fee_minor = coalesce(o.fee_minor, w.fee_minor),
        fee_minimum_minor = coalesce(o.fee_minimum_minor, w.fee_minimum_minor),
        fee_maximum_minor = coalesce(o.fee_maximum_minor, w.fee_maximum_minor),
        refund_count = o.refund_count + w.refunds_made,
        refund_reserved_minor = o.refund_reserved_minor + w.reserved_minor,
        refunded_minor = o.refunded_minor + w.refunded_minor
    FROM
        unnest(
            $1::smallint[], $2::bigint[], $3::integer[], $4::text[], $5::boolean[], $6::text[],
            $7::timestamptz[], $8::smallint[], $10::text[], $11::timestamptz[], $12::integer[], $13::bigint[],
            $79::smallint[], $80::bigint[], $81::bigint[], $83::bigint[], $84::bigint[], $85::integer[]
        ) AS w (
            lane, id, version, state, told_unpaid, hold_reason, paid_at, paid_attempt, learned_source, learned_at,
            fee_rate_bp, fee_minor, refunds_made, reserved_minor, refunded_minor, fee_minimum_minor, fee_maximum_minor,
            raised
        )
    WHERE
        (o.id BETWEEN $86 AND $87 OR o.id = $86)
        AND o.lane = w.lane
        AND o.id = w.id
        AND o.version = w.version
    RETURNING o.lane, o.id
),

changed_trade AS ( -- facts of a payment are kept once known; "not yet" is counted
    UPDATE trade AS t
    SET
        state = w.state,
        paid_seen = w.paid_seen,
        not_found_count = w.not_found_count,
        not_found_asked_at = w.not_found_asked_at,
        asked_count = t.asked_count + w.asked,
        answered_at = CASE WHEN w.answered THEN $9 ELSE t.answered_at END,
        action = coalesce(w.action, t.action),
        channel_reference = coalesce(w.channel_reference, t.channel_reference),
        wallet_reference = coalesce(w.wallet_reference, t.wallet_reference),
        payer_id = coalesce(w.payer_id, t.payer_id),
        wallet = coalesce(w.wallet, t.wallet),
        payer_minor = coalesce(w.payer_minor, t.payer_minor),
        settle_minor = coalesce(w.settle_minor, t.settle_minor),
        paid_at = coalesce(t.paid_at, w.paid_at),
        code = w.code,
        message = w.message
    FROM
        unnest(
            $14::smallint[], $15::bigint[], $16::smallint[], $17::text[], $18::boolean[], $19::smallint[],
            $20::integer[], $21::jsonb[], $22::text[], $23::text[], $24::text[], $25::text[], $26::bigint[],
            $27::bigint[], $28::timestamptz[], $29::text[], $30::text[], $78::timestamptz[], $82::boolean[]
        ) AS w (
            lane, order_id, attempt, state, paid_seen, not_found_count, asked, action, channel_reference,
            wallet_reference, payer_id, wallet, payer_minor, settle_minor, paid_at, code, message, not_found_asked_at,
            answered
        )
    WHERE
        (t.order_id BETWEEN $86 AND $87 OR t.order_id = $86)
        AND t.lane = w.lane
        AND t.order_id = w.order_id
        AND t.attempt = w.attempt
),

new_evidence AS ( -- the same statement twice is one row; it was decided again all the same
    INSERT INTO evidence (
        lane, order_id, attempt, digest, outcome, source, decision, account_id, order_minor, payer_minor,
        settle_minor, currency, channel_reference, paid_at, asked_at, learned_at
    )
    SELECT
        w.lane,
        w.order_id,
        w.attempt,
        w.digest,
        w.outcome,
        w.source,
        w.decision,
        w.account_id,
        w.order_minor,
        w.payer_minor,
        w.settle_minor,
        w.currency,
        w.channel_reference,
        w.paid_at,
        w.asked_at,
        w.learned_at
    FROM
        unnest(
            $31::smallint[], $32::bigint[], $33::smallint[], $34::bytea[], $35::text[], $36::text[],
            $37::text[], $38::integer[], $39::bigint[], $40::bigint[], $41::bigint[], $42::text[],
            $43::text[], $44::timestamptz[], $45::timestamptz[], $46::timestamptz[]
        ) AS w (
            lane, order_id, attempt, digest, outcome, source, decision, account_id, order_minor, payer_minor,
            settle_minor, currency, channel_reference, paid_at, asked_at, learned_at
        )
    ON CONFLICT (lane, order_id, attempt, digest) DO NOTHING
),

new_notice AS ( -- raw, as it came, in the lane of its order
    INSERT INTO notice (lane, order_id, id, account_id, trade_no, received_at, headers, body, decision)
    SELECT
        w.lane,
        w.order_id,
        w.id,
        w.account_id,
        w.trade_no,
        w.received_at,
        w.headers,
        w.body,
        w.decision
    FROM
        unnest(
            $47::smallint[], $48::bigint[], $49::bigint[], $50::integer[], $51::text[], $52::timestamptz[],
            $53::jsonb[], $54::bytea[], $55::text[]
        ) AS w (lane, order_id, id, account_id, trade_no, received_at, headers, body, decision)
),

new_posting AS ( -- a completion's, which the version lets happen once: another booking of it is a bug, and fails
    INSERT INTO posting (lane, order_id, entry_key, line, account, amount_minor, currency, booked_at)
    SELECT
        w.lane,
        w.order_id,
        w.entry_key,
        w.line,
        w.account,
        w.amount_minor,
        w.currency,
        $9
    FROM
        unnest(
            $56::smallint[], $57::bigint[], $58::text[], $59::smallint[], $60::text[], $61::bigint[], $62::text[]
        ) AS w (lane, order_id, entry_key, line, account, amount_minor, currency)
),

new_webhook AS ( -- one for each endpoint that the merchant has enabled at this moment
    INSERT INTO webhook (lane, order_id, version, endpoint_id, event, body, created_at)
    SELECT
        w.lane,
        w.order_id,
        w.version,
        e.id,
        w.event,
        w.body,
        $9
    FROM
        unnest(
            $63::smallint[], $64::bigint[], $65::integer[], $66::integer[], $67::text[], $68::bytea[]
        ) AS w (lane, order_id, version, merchant_id, event, body)
    INNER JOIN webhook_endpoint AS e ON w.merchant_id = e.merchant_id AND e.enabled
    RETURNING lane, order_id, version, endpoint_id
),

new_webhook_due AS ( -- due at once
    INSERT INTO webhook_due (lane, order_id, version, endpoint_id, due_at)
    SELECT
        lane,
        order_id,
        version,
        endpoint_id,
        $9
    FROM new_webhook
),

asked AS ( -- when to ask about a trade again
    INSERT INTO query_due (lane, order_id, attempt, due_at, attempts, needs_person)
    SELECT
        w.lane,
        w.order_id,
        w.attempt,
        w.due_at,
        w.attempts,
        w.needs_person
    FROM
        unnest($69::smallint[], $70::bigint[], $71::smallint[], $72::timestamptz[], $73::integer[], $77::boolean[])
            AS w (lane, order_id, attempt, due_at, attempts, needs_person)
    ON CONFLICT (lane, order_id, attempt) DO UPDATE
        SET due_at = excluded.due_at, attempts = excluded.attempts, needs_person = excluded.needs_person
),

answered AS ( -- nothing more to ask
    DELETE FROM query_due AS q
    USING unnest($74::smallint[], $75::bigint[], $76::smallint[]) AS w (lane, order_id, attempt)
    WHERE q.lane = w.lane AND q.order_id = w.order_id AND q.attempt = w.attempt
),

ended AS ( -- a final order is looked at no more
    DELETE FROM order_due AS d
    USING unnest($1::smallint[], $2::bigint[], $4::text[]) AS w (lane, order_id, state)
    WHERE
        w.state IN ('paid', 'closed')
        AND d.lane = w.lane
        AND d.order_id = w.order_id
)

SELECT
    lane,
    id
FROM changed_order;

-- name: door_write_rare :none
-- What only an unusual decision writes: contradictions, other bookings than a completion's, remedies, late money,
-- refund and close intents, in the fixed table order.
WITH new_posting AS ( -- the entry's key stops a second booking: a contradiction comes as often as its notice
    INSERT INTO posting (lane, order_id, entry_key, line, account, amount_minor, currency, booked_at)
    SELECT
        w.lane,
        w.order_id,
        w.entry_key,
        w.line,
        w.account,
        w.amount_minor,
        w.currency,
        $1::timestamptz
    FROM
        unnest(
            $26::smallint[], $27::bigint[], $28::text[], $29::smallint[], $30::text[], $31::bigint[], $32::text[]
        ) AS w (lane, order_id, entry_key, line, account, amount_minor, currency)
    ON CONFLICT (lane, order_id, entry_key, line) DO NOTHING
),

new_contradiction AS ( -- one for each statement that does not fit
    INSERT INTO contradiction (lane, order_id, attempt, digest, mismatch, found_at, statement)
    SELECT
        w.lane,
        w.order_id,
        w.attempt,
        w.digest,
        w.mismatch,
        $1::timestamptz,
        w.statement
    FROM
        unnest($2::smallint[], $3::bigint[], $4::smallint[], $5::bytea[], $6::text[], $25::jsonb[])
            AS w (lane, order_id, attempt, digest, mismatch, statement)
    ON CONFLICT (lane, order_id, attempt, digest) DO NOTHING
    RETURNING lane, order_id, attempt
),

new_remedy AS ( -- original times are kept (I12)
    INSERT INTO remedy (
        lane, order_id, attempt, cause, learned_source, paid_at, learned_at, completed_at, actor
    )
    SELECT
        w.lane,
        w.order_id,
        w.attempt,
        w.cause,
        w.learned_source,
        w.paid_at,
        w.learned_at,
        $1::timestamptz,
        w.actor
    FROM
        unnest(
            $7::smallint[], $8::bigint[], $9::smallint[], $10::text[], $11::text[], $12::timestamptz[],
            $13::timestamptz[], $14::text[]
        ) AS w (lane, order_id, attempt, cause, learned_source, paid_at, learned_at, actor)
),

new_late AS ( -- its day is compared again, and looks for it here; a statement that comes again is no news of suspense
    INSERT INTO late_money (lane, order_id, kind, ordinal, day, account_id, known_at)
    SELECT
        w.lane,
        w.order_id,
        w.kind,
        w.ordinal,
        w.day,
        w.account_id,
        $1::timestamptz
    FROM
        unnest($33::smallint[], $34::bigint[], $35::text[], $36::smallint[], $37::date[], $38::integer[])
            AS w (lane, order_id, kind, ordinal, day, account_id)
    WHERE
        w.kind <> 'suspense'
        OR EXISTS (
            SELECT FROM new_contradiction AS c
            WHERE c.lane = w.lane AND c.order_id = w.order_id AND c.attempt = w.ordinal
        )
    ON CONFLICT (lane, order_id, kind, ordinal, day) DO UPDATE SET known_at = excluded.known_at
),

reserved AS ( -- what is promised to go back, bounded by the trade's own money
    UPDATE trade AS t
    SET refund_reserved_minor = t.refund_reserved_minor + w.amount_minor
    FROM
        unnest($15::smallint[], $16::bigint[], $17::smallint[], $18::bigint[])
            AS w (lane, order_id, attempt, amount_minor)
    WHERE t.lane = w.lane AND t.order_id = w.order_id AND t.attempt = w.attempt
),

new_refund AS ( -- the intent to give back a payment that completes nothing (I9)
    INSERT INTO refund (lane, order_id, ordinal, attempt, state, amount_minor, currency, reason, created_at)
    SELECT
        w.lane,
        w.order_id,
        w.ordinal,
        w.attempt,
        'created',
        w.amount_minor,
        w.currency,
        w.reason,
        $1::timestamptz
    FROM
        unnest(
            $15::smallint[], $16::bigint[], $17::smallint[], $18::bigint[], $19::text[], $20::text[], $21::smallint[]
        ) AS w (lane, order_id, attempt, amount_minor, currency, reason, ordinal)
    RETURNING lane, order_id, ordinal
),

new_refund_due AS ( -- due at once, and found by the sweep until it is done
    INSERT INTO refund_due (lane, order_id, ordinal, due_at)
    SELECT
        lane,
        order_id,
        ordinal,
        $1::timestamptz
    FROM new_refund
)

INSERT INTO close_due (lane, order_id, attempt, due_at)
SELECT
    w.lane,
    w.order_id,
    w.attempt,
    $1::timestamptz
FROM
    unnest($22::smallint[], $23::bigint[], $24::smallint[]) AS w (lane, order_id, attempt)
ON CONFLICT (lane, order_id, attempt) DO NOTHING;

-- name: evidence_keep :none
-- Evidence without effect yet; a repeat moves only its next look.
INSERT INTO evidence_due (lane, trade_no, digest, due_at, attempts, reason, statement, kept_at)
SELECT
    w.lane,
    w.trade_no,
    w.digest,
    w.due_at,
    w.attempts,
    w.reason,
    w.statement,
    clock_timestamp()
FROM
    unnest(
        $1::smallint[], $2::text[], $3::bytea[], $4::timestamptz[], $5::integer[], $6::text[], $7::jsonb[]
    ) AS w (lane, trade_no, digest, due_at, attempts, reason, statement)
ON CONFLICT (lane, trade_no, digest) DO UPDATE
    SET
        due_at = excluded.due_at,
        attempts = greatest(evidence_due.attempts, excluded.attempts),
        reason = excluded.reason;

-- name: evidence_release :none
-- Evidence that has had its effect. Its rows are locked in the order in which others keep them: an unknown trade has no
-- order row that would keep two batches apart.
WITH done AS ( -- the rows that are there, locked in order
    SELECT
        d.lane,
        d.trade_no,
        d.digest
    FROM evidence_due AS d
    INNER JOIN
        unnest($1::smallint[], $2::text[], $3::bytea[]) AS w (lane, trade_no, digest)
        ON d.lane = w.lane AND d.trade_no = w.trade_no AND d.digest = w.digest
    ORDER BY d.lane, d.trade_no, d.digest
    FOR UPDATE OF d
)

DELETE FROM evidence_due AS d
USING done
WHERE d.lane = done.lane AND d.trade_no = done.trade_no AND d.digest = done.digest;

-- name: notice_reject :maybe
-- An unverified notice: a count, a digest while the account's share of an hour lasts, and a sample while its share of
-- samples does. A row comes back where it was kept or counted. However many came, each looks at no more rows than the
-- two shares; they lean on notice_rejected_sampled, notice_rejected_account and the primary key.
WITH sampled AS ( -- the hour's samples of this account, counted up to its share
    SELECT count(*) AS samples
    FROM (
        SELECT 1
        FROM notice_rejected
        WHERE
            account_id = $1::integer AND received_at > statement_timestamp() - interval '1 hour' AND sample IS NOT NULL
        ORDER BY received_at DESC
        LIMIT $5::integer
    ) AS s
),

kept AS ( -- the hour's new digests of this account, counted up to its share
    SELECT count(*) AS digests
    FROM (
        SELECT 1
        FROM notice_rejected
        WHERE account_id = $1::integer AND received_at > statement_timestamp() - interval '1 hour'
        ORDER BY received_at DESC
        LIMIT $8::integer
    ) AS d
)

INSERT INTO notice_rejected (account_id, digest, reason, received_at, sample, headers, body_bytes)
SELECT
    $1::integer,
    $2::bytea,
    $3::text,
    clock_timestamp(),
    CASE WHEN sampled.samples < $5::integer THEN $4::bytea END,
    CASE WHEN sampled.samples < $5::integer THEN $6::jsonb END,
    $7::integer
FROM sampled
CROSS JOIN kept
WHERE
    kept.digests < $8::integer
    OR EXISTS (SELECT 1 FROM notice_rejected AS n WHERE n.account_id = $1::integer AND n.digest = $2::bytea)
ON CONFLICT (account_id, digest) DO UPDATE SET times = notice_rejected.times + 1
RETURNING times;
