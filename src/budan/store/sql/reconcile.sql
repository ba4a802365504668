-- Comparing bills with our books. The copies run in sessions that are made for reading much (store/database.py), never
-- beside the door's.

-- name: reconcile_copy_payments :many
-- Payments of an account that were made at a time, in some lanes and a range of ids, for COPY. One whose channel told
-- no moment counts as made when we booked it, whether it paid its order or goes back. Leans on the primary keys of
-- trade and posting.
SELECT
    0 AS kind,
    t.lane,
    t.order_id,
    t.attempt,
    t.amount_minor,
    t.currency,
    t.state = 'reversed' AS is_returned,
    nullif(t.settle_minor, t.amount_minor) AS settle_minor,
    NULL::integer AS rate_e6
FROM trade AS t
WHERE
    t.lane = any($1::smallint[])
    AND t.order_id >= $2::bigint
    AND t.order_id < $3::bigint
    AND t.account_id = $4::integer
    AND t.paid_seen
    AND (
        (t.paid_at >= $5::timestamptz AND t.paid_at < $6::timestamptz)
        OR (
            t.paid_at IS NULL
            AND EXISTS (
                SELECT FROM posting AS p
                WHERE
                    p.lane = t.lane AND p.order_id = t.order_id AND p.entry_key = 'payment:' || t.attempt AND p.line = 0
                    AND p.booked_at >= $5 AND p.booked_at < $6
            )
        )
    );

-- name: reconcile_copy_late :many
-- The payments of an account's day that no range of ids ($3 to $4) holds, for COPY: their orders were made long before.
-- Leans on late_money_day and the primary keys of trade and posting.
SELECT
    0 AS kind,
    t.lane,
    t.order_id,
    t.attempt,
    t.amount_minor,
    t.currency,
    t.state = 'reversed' AS is_returned,
    nullif(t.settle_minor, t.amount_minor) AS settle_minor,
    NULL::integer AS rate_e6
FROM late_money AS m
INNER JOIN trade AS t ON m.lane = t.lane AND m.order_id = t.order_id AND m.ordinal = t.attempt
LEFT JOIN
    posting AS p
    ON t.lane = p.lane AND t.order_id = p.order_id AND p.entry_key = 'payment:' || t.attempt AND p.line = 0
WHERE
    m.account_id = $1::integer
    AND m.day = $2::date
    AND m.kind = 'payment'
    AND (m.order_id < $3::bigint OR m.order_id >= $4::bigint)
    AND t.paid_seen
    AND coalesce(t.paid_at, p.booked_at) >= $5::timestamptz
    AND coalesce(t.paid_at, p.booked_at) < $6::timestamptz;

-- name: reconcile_copy_refunds :many
-- Refunds of an account that went back at a time, for COPY. One whose channel told no moment counts as gone back when
-- we learned of it. One that was made past us has no number of ours in any bill: its ordinal is negative. With the
-- contract's rate on its payment's day where that is not $4, for the fee that goes back is
-- of it; -1 is none. Leans on refund_moved_at and the primary keys of trade and account_contract.
SELECT
    1 AS kind,
    r.lane,
    r.order_id,
    CASE WHEN r.origin = 'external' THEN -r.ordinal ELSE r.ordinal END AS ordinal,
    r.amount_minor,
    r.currency,
    FALSE AS is_returned,
    NULL::bigint AS settle_minor,
    nullif(coalesce(
        (
            SELECT c.rate_e6 FROM account_contract AS c
            WHERE
                c.account_id = t.account_id
                AND c.effective_from <= (coalesce(t.paid_at, r.created_at) AT TIME ZONE 'Asia/Shanghai')::date
            ORDER BY c.effective_from DESC
            LIMIT 1
        ),
        -1
    ), $4::integer) AS rate_e6
FROM refund AS r
INNER JOIN trade AS t ON r.lane = t.lane AND r.order_id = t.order_id AND r.attempt = t.attempt
WHERE
    r.state = 'succeeded'
    AND coalesce(r.refunded_at, r.ended_at) >= $2::timestamptz
    AND coalesce(r.refunded_at, r.ended_at) < $3::timestamptz
    AND t.account_id = $1::integer;

-- name: reconcile_list_trades :many
-- What became of some trades; `begun_at` where the moment is ours, not their channel's. One that was seen without a
-- moment and is not booked yet, for it is being reversed, has not moved on any day. Leans on the primary keys of trade,
-- orders and posting. Their lanes are not listed once more: a list of thousands would be gone through for each of the
-- trades.
SELECT
    t.lane,
    t.order_id,
    t.attempt AS ordinal,
    o.merchant_id,
    t.account_id,
    t.state,
    t.paid_seen AND coalesce(t.paid_at, p.booked_at) IS NOT NULL AS has_moved,
    coalesce(t.paid_at, p.booked_at) AS moved_at,
    CASE WHEN t.paid_at IS NULL AND p.booked_at IS NOT NULL THEN o.created_at END AS begun_at,
    t.currency,
    t.amount_minor,
    nullif(t.settle_minor, t.amount_minor) AS settle_minor,
    NULL::integer AS rate_e6,
    t.answered_at,
    p.booked_at AS known_at,
    FALSE AS is_external
FROM unnest($1::smallint[], $2::bigint[], $3::smallint[]) AS w (lane, order_id, attempt)
INNER JOIN trade AS t ON w.lane = t.lane AND w.order_id = t.order_id AND w.attempt = t.attempt
INNER JOIN orders AS o ON t.lane = o.lane AND t.order_id = o.id
LEFT JOIN
    posting AS p
    ON t.lane = p.lane AND t.order_id = p.order_id AND p.entry_key = 'payment:' || t.attempt AND p.line = 0;

-- name: reconcile_list_refunds :many
-- What became of some refunds, likewise; one that was made past us may be as old as its payment. Leans on the primary
-- keys of refund, trade and orders.
SELECT
    r.lane,
    r.order_id,
    r.ordinal,
    o.merchant_id,
    t.account_id,
    r.state,
    r.state = 'succeeded' AS has_moved,
    coalesce(r.refunded_at, r.ended_at) AS moved_at,
    CASE WHEN r.origin = 'external' THEN coalesce(t.paid_at, o.created_at) ELSE r.created_at END AS begun_at,
    r.currency,
    r.amount_minor,
    NULL::bigint AS settle_minor,
    coalesce(
        (
            SELECT c.rate_e6 FROM account_contract AS c
            WHERE
                c.account_id = t.account_id
                AND c.effective_from <= (coalesce(t.paid_at, r.created_at) AT TIME ZONE 'Asia/Shanghai')::date
            ORDER BY c.effective_from DESC
            LIMIT 1
        ),
        -1
    ) AS rate_e6,
    NULL::timestamptz AS answered_at,
    r.ended_at AS known_at,
    r.origin = 'external' AS is_external
FROM unnest($1::smallint[], $2::bigint[], $3::smallint[]) AS w (lane, order_id, ordinal)
INNER JOIN refund AS r ON w.lane = r.lane AND w.order_id = r.order_id AND w.ordinal = r.ordinal
INNER JOIN trade AS t ON r.lane = t.lane AND r.order_id = t.order_id AND r.attempt = t.attempt
INNER JOIN orders AS o ON r.lane = o.lane AND r.order_id = o.id;

-- name: reconcile_list_portal_refunds :many
-- The refunds of some orders that were made past us and are booked, by the number that their channel has for them, and
-- whether one was told by its payment's total. Leans on the primary keys of refund and refund_evidence.
SELECT
    r.lane,
    r.order_id,
    r.ordinal,
    r.attempt,
    r.channel_reference AS reference,
    r.origin = 'external' AND EXISTS (
        SELECT FROM refund_evidence AS e
        WHERE
            e.lane = r.lane AND e.order_id = r.order_id AND e.ordinal = r.ordinal
            AND e.decision = 'external' AND e.amount_minor IS NULL
    ) AS by_total,
    r.amount_minor
FROM unnest($1::smallint[], $2::bigint[]) AS w (lane, order_id)
INNER JOIN refund AS r ON w.lane = r.lane AND w.order_id = r.order_id
WHERE r.lane = any($1) AND r.origin = 'external' AND r.state = 'succeeded';

-- name: reconcile_ask_refunds :many
-- The next step of these refunds is due now, where they have not gone back; the caller holds the orders. One that ended
-- without moving money has no row any more, and gets one for this question. Leans on the primary keys.
INSERT INTO refund_due AS d (lane, order_id, ordinal, due_at)
SELECT
    r.lane,
    r.order_id,
    r.ordinal,
    clock_timestamp()
FROM unnest($1::smallint[], $2::bigint[], $3::smallint[]) AS w (lane, order_id, ordinal)
INNER JOIN refund AS r ON w.lane = r.lane AND w.order_id = r.order_id AND w.ordinal = r.ordinal
WHERE r.lane = any($1) AND r.state <> 'succeeded'
ORDER BY r.lane, r.order_id, r.ordinal
ON CONFLICT (lane, order_id, ordinal) DO UPDATE SET due_at = least(d.due_at, excluded.due_at)
RETURNING
    d.lane,
    d.order_id,
    d.ordinal;

-- name: contract_set :none
-- The rate of an account's contract from a day on; said again, the last word counts.
INSERT INTO account_contract (account_id, effective_from, rate_e6, set_by)
VALUES ($1, $2, $3, $4)
ON CONFLICT (account_id, effective_from) DO UPDATE
    SET rate_e6 = excluded.rate_e6, set_by = excluded.set_by, set_at = now();

-- name: contract_list :many
-- The rates of an account, or of all.
SELECT
    account_id,
    effective_from,
    rate_e6,
    set_by,
    set_at
FROM account_contract
WHERE $1::integer IS NULL OR account_id = $1
ORDER BY account_id, effective_from;

-- name: contract_find :maybe
-- The rate that counts on a day.
SELECT rate_e6
FROM account_contract
WHERE account_id = $1 AND effective_from <= $2
ORDER BY effective_from DESC
LIMIT 1;

-- name: reconcile_add_run :maybe
-- A run, unless these bytes were compared so already: the unique key decides. It ends by the clock: its transaction may
-- have waited while the day was closed.
INSERT INTO reconcile_run (
    account_id, day, digest, origin, is_partial, loaded_by, lines, rate_e6, fee_e5, fee_wanted_e5, fee_least_e5,
    fee_most_e5, begun_at, ended_at
)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, clock_timestamp())
ON CONFLICT (account_id, day, digest, is_partial) DO NOTHING
RETURNING id;

-- name: reconcile_take_run :none
-- A run's bytes came again. Where its channel brought them they are the channel's from now on, whoever was first.
UPDATE reconcile_run
SET origin = CASE WHEN $2::text = 'channel' THEN 'channel' ELSE origin END
WHERE id = $1;

-- name: reconcile_renew_run :none
-- A run is the day's newest once more, with what it is compared under now.
UPDATE reconcile_run
SET
    rate_e6 = $2,
    fee_e5 = $3,
    fee_wanted_e5 = $4,
    fee_least_e5 = $5,
    fee_most_e5 = $6,
    begun_at = $7,
    ended_at = clock_timestamp()
WHERE id = $1;

-- name: reconcile_list_runs :many
-- Runs, newest first: one of a number, those of an account, of a day, that ended since a moment, or all.
SELECT
    r.id,
    r.account_id,
    a.name AS account_name,
    a.channel,
    r.day,
    r.digest,
    r.origin,
    r.is_partial,
    r.loaded_by,
    r.lines,
    r.rate_e6,
    r.fee_e5,
    r.fee_wanted_e5,
    r.fee_least_e5,
    r.fee_most_e5,
    r.begun_at,
    r.ended_at
FROM reconcile_run AS r
INNER JOIN channel_account AS a ON r.account_id = a.id
WHERE
    ($1::bigint IS NULL OR r.id = $1)
    AND ($2::integer IS NULL OR r.account_id = $2)
    AND ($3::date IS NULL OR r.day = $3)
    AND ($4::timestamptz IS NULL OR r.ended_at >= $4)
ORDER BY r.id DESC
LIMIT $5;

-- name: reconcile_find_run :maybe
-- The run that compared these bytes as a part or as all of their day, whether they are news of the channel's, which has
-- brought another whole bill since it brought these, or before it does, and whether its words are out of date: another
-- whole bill of the day was compared since, what a person's file was believed is now the channel's own, it was compared
-- before both sides' counts were kept, or we learned of money of the day that it has no row of, at most $6 seconds
-- before it began. Leans on the unique key, late_money_day and discrepancy_order.
SELECT
    r.id,
    (
        SELECT count(*) FROM reconcile_run AS c
        WHERE
            c.account_id = r.account_id AND c.day = r.day AND NOT c.is_partial AND c.id <> r.id
            AND c.origin = 'channel' AND (r.origin = 'file' OR c.ended_at > r.ended_at)
    ) > 0 AS is_news,
    (r.origin = 'file' AND $5::text = 'channel') OR (
        SELECT count(*) FROM reconcile_run AS n
        WHERE
            n.account_id = r.account_id AND n.day = r.day AND NOT n.is_partial AND n.id <> r.id
            AND n.ended_at > r.ended_at
    ) > 0 OR (
        EXISTS (SELECT FROM reconcile_tally AS t WHERE t.run_id = r.id)
        AND NOT EXISTS (SELECT FROM reconcile_side AS s WHERE s.run_id = r.id)
    ) OR EXISTS (
        SELECT FROM late_money AS m
        LEFT JOIN
            refund AS f
            ON m.kind = 'refund' AND m.lane = f.lane AND m.order_id = f.order_id AND m.ordinal = f.ordinal
        WHERE
            m.account_id = r.account_id AND m.day = r.day
            AND m.known_at > r.begun_at - make_interval(secs => $6)
            AND NOT EXISTS (
                SELECT FROM discrepancy AS d
                WHERE
                    d.lane = m.lane AND d.order_id = m.order_id
                    AND (d.ordinal = m.ordinal OR d.subject = f.channel_reference)
                    AND d.account_id = r.account_id AND d.day = r.day AND d.kind = m.kind
            )
    ) AS is_outdated
FROM reconcile_run AS r
WHERE r.account_id = $1 AND r.day = $2 AND r.digest = $3 AND r.is_partial = $4;

-- name: reconcile_list_days :many
-- The days around one whose whole bill was compared, and whether their channel's own was.
SELECT
    day,
    bool_or(origin = 'channel') AS by_channel
FROM reconcile_run
WHERE account_id = $1 AND NOT is_partial AND day BETWEEN $2 AND $3
GROUP BY day;

-- name: sighting_forget :none
-- What earlier bills of the day had of other days: a whole bill says it anew. A person's file ends no word of the
-- channel's own. Leans on bill_sighting_day.
DELETE FROM bill_sighting AS s
WHERE
    s.account_id = $1 AND s.bill_day = $2
    AND (
        $3::text = 'channel'
        OR NOT EXISTS (SELECT FROM reconcile_run AS r WHERE r.id = s.run_id AND r.origin = 'channel')
    );

-- name: sighting_add :none
-- Rows of a bill that are ours and of another day; the channel's own word stays where a file says the same. Safe to
-- repeat. Leans on the primary keys.
INSERT INTO bill_sighting (account_id, order_id, ordinal, kind, bill_day, run_id, is_done)
SELECT
    $1,
    w.order_id,
    w.ordinal,
    w.kind,
    $2,
    $3,
    w.is_done
FROM unnest($5::bigint[], $6::smallint[], $7::text[], $8::boolean[]) AS w (order_id, ordinal, kind, is_done)
LEFT JOIN
    bill_sighting AS s
    ON
        s.account_id = $1 AND s.bill_day = $2
        AND w.order_id = s.order_id AND w.ordinal = s.ordinal AND w.kind = s.kind
LEFT JOIN reconcile_run AS r ON s.run_id = r.id
WHERE $4::text = 'channel' OR r.origin IS DISTINCT FROM 'channel'
ON CONFLICT (account_id, order_id, ordinal, kind, bill_day) DO UPDATE
    SET run_id = excluded.run_id, is_done = excluded.is_done;

-- name: discrepancy_reopen_beside :none
-- Differences of the day before a bill's, and up to $3 days after it, that ended because a bill had their row, and no
-- bill whose word counts has it any more: open again, with a note that says why. Which words count is as where they end
-- (flows/discrepancies.py), and as what a bill may have it.
-- Leans on the unique key of discrepancy and the primary key of bill_sighting.
WITH reopened AS ( -- few
    UPDATE discrepancy AS d
    SET state = 'open', resolved_at = NULL, resolution = NULL, reopened_at = clock_timestamp()
    WHERE
        d.account_id = $1
        AND d.day BETWEEN $2::date - 1 AND $2::date + $3::integer
        AND d.verdict = 'here_only' AND d.resolution = 'neighbour_day'
        AND NOT EXISTS (
            SELECT FROM bill_sighting AS s
            LEFT JOIN reconcile_run AS r ON s.run_id = r.id
            WHERE
                s.account_id = $1 AND s.order_id = d.order_id AND s.ordinal = d.ordinal
                AND (
                    s.kind = CASE WHEN d.channel_no IS NULL THEN d.kind ELSE 'suspense' END
                    OR (s.kind = 'reversal' AND d.kind = 'payment' AND d.channel_no IS NULL)
                )
                AND (
                    r.origin = 'channel'
                    OR NOT EXISTS (
                        SELECT FROM reconcile_run AS w
                        WHERE
                            w.account_id = $1 AND w.day = d.day AND NOT w.is_partial AND w.origin = 'channel'
                    )
                )
        )
    RETURNING d.id
)

INSERT INTO discrepancy_note (discrepancy_id, number, written_by, note)
SELECT
    o.id,
    1 + (SELECT coalesce(max(n.number), 0) FROM discrepancy_note AS n WHERE n.discrepancy_id = o.id),
    'budan',
    'open again: the bill of ' || $2::date || ' that was read last has it no more'
FROM reopened AS o;

-- name: sighting_add_portal :none
-- The row of a bill by which each of these refunds that were made past us was found: their own day's bill need not have
-- them. Safe to repeat. Leans on the primary keys of discrepancy and refund.
INSERT INTO bill_sighting (account_id, order_id, ordinal, kind, bill_day, run_id)
SELECT
    d.account_id,
    r.order_id,
    r.ordinal,
    d.kind,
    d.day,
    d.run_id
FROM discrepancy AS d
INNER JOIN refund AS r
    ON d.lane = r.lane AND d.order_id = r.order_id AND d.subject = r.channel_reference AND r.origin = 'external'
WHERE d.id = any($1::bigint[])
ON CONFLICT (account_id, order_id, ordinal, kind, bill_day) DO NOTHING;

-- name: sighting_list :many
-- Which of these of ours stood in the bill of a day other than $5, whether in one that its channel brought, and whether
-- done in one of those that count ($6: the channel's own alone). Leans on the primary keys.
SELECT
    s.order_id,
    s.ordinal,
    s.kind,
    coalesce(bool_or(r.origin = 'channel'), FALSE) AS by_channel,
    coalesce(bool_or(s.is_done AND (NOT $6::boolean OR r.origin = 'channel')), FALSE) AS is_done
FROM unnest($2::bigint[], $3::smallint[], $4::text[]) AS w (order_id, ordinal, kind)
INNER JOIN
    bill_sighting AS s
    ON s.account_id = $1 AND w.order_id = s.order_id AND w.ordinal = s.ordinal AND w.kind = s.kind
LEFT JOIN reconcile_run AS r ON s.run_id = r.id
WHERE $5::date IS NULL OR s.bill_day <> $5
GROUP BY s.order_id, s.ordinal, s.kind;

-- name: sighting_list_beside :many
-- What the bills of $4 days before one, and that of the day after it, had done of other days; with $3 only what their
-- channel's own had. Leans on bill_sighting_day.
SELECT DISTINCT
    s.order_id,
    s.ordinal,
    s.kind
FROM bill_sighting AS s
LEFT JOIN reconcile_run AS r ON s.run_id = r.id
WHERE
    s.account_id = $1
    AND s.bill_day BETWEEN $2::date - $4::integer AND $2::date + 1
    AND s.bill_day <> $2
    AND s.is_done
    AND (NOT $3::boolean OR r.origin = 'channel');

-- name: sighting_list_had :many
-- Which of these of ours, in the bill of a day beside, their own day's whole bill has had already; with $3 only by the
-- channel's own bills. It has had what it differed by, and what it did not miss although we knew it when it was
-- compared. What this day's bill was seen to have before that was no second row then. Leans on the unique keys of
-- reconcile_run and discrepancy and on the primary key of bill_sighting.
SELECT
    w.order_id,
    w.ordinal,
    w.kind
FROM
    unnest($4::bigint[], $5::smallint[], $6::text[], $7::date[], $8::timestamptz[])
        AS w (order_id, ordinal, kind, day, known_at)
WHERE
    NOT EXISTS (
        SELECT FROM bill_sighting AS s
        LEFT JOIN reconcile_run AS r ON s.run_id = r.id
        WHERE
            s.account_id = $1 AND s.order_id = w.order_id AND s.ordinal = w.ordinal AND s.kind = w.kind
            AND s.bill_day = $2 AND (NOT $3::boolean OR r.origin = 'channel')
    )
    AND NOT EXISTS (
        SELECT FROM discrepancy AS d
        WHERE
            d.account_id = $1 AND d.day = w.day AND d.order_id = w.order_id
            AND d.kind = CASE WHEN w.kind = 'suspense' THEN 'payment' ELSE w.kind END
            AND (d.channel_no IS NOT NULL) = (w.kind = 'suspense')
            AND d.ordinal = w.ordinal AND d.verdict = 'here_only' AND d.resolution IS DISTINCT FROM 'gone'
    )
    AND EXISTS (
        SELECT FROM reconcile_run AS r
        WHERE
            r.account_id = $1 AND r.day = w.day AND NOT r.is_partial AND (NOT $3::boolean OR r.origin = 'channel')
            AND (
                r.begun_at > w.known_at
                OR EXISTS (
                    SELECT FROM discrepancy AS d
                    WHERE
                        d.account_id = $1 AND d.day = w.day AND d.order_id = w.order_id
                        AND d.kind = CASE WHEN w.kind = 'suspense' THEN 'payment' ELSE w.kind END
                        AND d.ordinal = w.ordinal AND d.run_id = r.id AND d.their_minor IS NOT NULL
                )
            )
    );

-- name: discrepancy_list_ended :many
-- What persons have ended of an account's day, held until the end of the transaction: a run about to be kept may open
-- it again. Leans on the unique key of discrepancy.
SELECT
    id,
    resolution
FROM discrepancy
WHERE account_id = $1 AND day = $2 AND resolution IN ('accepted', 'corrected', 'refunded', 'claimed')
ORDER BY id
FOR UPDATE;

-- name: discrepancy_note_reopened :none
-- How a person had ended each of these, where it is open again. Leans on the primary key.
INSERT INTO discrepancy_note (discrepancy_id, number, written_by, note)
SELECT
    d.id,
    1 + (SELECT coalesce(max(n.number), 0) FROM discrepancy_note AS n WHERE n.discrepancy_id = d.id),
    'budan',
    'open again by a newer bill: it was resolved as ' || w.resolution
FROM unnest($1::bigint[], $2::text[]) AS w (id, resolution)
INNER JOIN discrepancy AS d ON w.id = d.id
WHERE d.state <> 'resolved';

-- name: discrepancy_write :none
-- Differences that a run found. One that is known keeps its age, owner and notes, and is asked about anew; one that was
-- resolved and is found again by another bill is open again. What a person has ended stays so while nothing of it
-- changed, unless the channel's own whole bill says it anew ($21). What changed is met anew, as what is open again.
-- It is found by the clock: its transaction may have waited while the day was closed.
INSERT INTO discrepancy AS k (
    account_id, day, kind, subject, occurrence, verdict, run_id, line_no, channel_no, happened_at, status, currency,
    their_minor, our_minor, our_currency, fee_e5, lane, order_id, ordinal, state, found_at
)
SELECT
    $1,
    $2,
    w.kind,
    w.subject,
    w.occurrence,
    w.verdict,
    $3,
    w.line_no,
    w.channel_no,
    w.happened_at,
    w.status,
    w.currency,
    w.their_minor,
    w.our_minor,
    w.our_currency,
    w.fee_e5,
    w.lane,
    w.order_id,
    w.ordinal,
    w.state,
    clock_timestamp() AS found_at
FROM
    unnest(
        $4::text[], $5::text[], $6::integer[], $7::text[], $8::bigint[], $9::text[], $10::timestamptz[], $11::text[],
        $12::text[], $13::bigint[], $14::bigint[], $15::text[], $16::bigint[], $17::smallint[], $18::bigint[],
        $19::smallint[], $20::text[]
    ) AS w (
        kind, subject, occurrence, verdict, line_no, channel_no, happened_at, status, currency, their_minor, our_minor,
        our_currency, fee_e5, lane, order_id, ordinal, state
    )
ON CONFLICT (account_id, day, kind, subject, occurrence) DO UPDATE
    SET
        verdict = excluded.verdict,
        run_id = excluded.run_id,
        line_no = excluded.line_no,
        channel_no = excluded.channel_no,
        happened_at = excluded.happened_at,
        status = excluded.status,
        currency = excluded.currency,
        their_minor = excluded.their_minor,
        our_minor = excluded.our_minor,
        our_currency = excluded.our_currency,
        fee_e5 = excluded.fee_e5,
        lane = excluded.lane,
        order_id = excluded.order_id,
        ordinal = excluded.ordinal,
        state = excluded.state,
        resolved_at = NULL,
        resolution = NULL,
        reopened_at = CASE
            WHEN
                k.state = 'resolved'
                OR k.verdict <> excluded.verdict
                OR k.currency <> excluded.currency
                OR k.their_minor IS DISTINCT FROM excluded.their_minor
                OR k.our_minor IS DISTINCT FROM excluded.our_minor
                THEN clock_timestamp()
            ELSE k.reopened_at
        END,
        ask_at = excluded.ask_at,
        ask_count = 0,
        answered_at = NULL
    WHERE
    $21::boolean
    OR coalesce(k.resolution, '') NOT IN ('accepted', 'corrected', 'refunded', 'claimed')
    OR k.verdict <> excluded.verdict
    OR k.currency <> excluded.currency
    OR k.their_minor IS DISTINCT FROM excluded.their_minor
    OR k.our_minor IS DISTINCT FROM excluded.our_minor;

-- name: discrepancy_resolve_gone :one
-- What earlier bills of the day had and the whole bill of this run has no more is gone. A file that a person loaded
-- ends nothing once the channel's own bill of the day was compared. Leans on the unique key of reconcile_run.
WITH gone AS ( -- a part of a bill says nothing of what it does not hold
    UPDATE discrepancy
    SET state = 'resolved', resolved_at = clock_timestamp(), resolution = 'gone'
    WHERE
        account_id = $1 AND day = $2 AND run_id <> $3 AND state <> 'resolved'
        AND NOT EXISTS (
            SELECT FROM reconcile_run AS r
            WHERE
                r.account_id = $1 AND r.day = $2 AND NOT r.is_partial AND r.origin = 'channel'
                AND (SELECT f.origin FROM reconcile_run AS f WHERE f.id = $3) = 'file'
        )
    RETURNING id
)

SELECT count(*) AS rows_changed FROM gone;

-- name: discrepancy_list :many
-- Differences after a number, oldest first: of an account, a day, a run, one state or all that are not resolved; what
-- was written to each in one line. Leans on the primary keys.
SELECT
    d.id,
    d.account_id,
    d.day,
    d.kind,
    d.subject,
    d.occurrence,
    d.verdict,
    d.run_id,
    d.line_no,
    d.channel_no,
    d.happened_at,
    d.status,
    d.currency,
    d.their_minor,
    d.our_minor,
    d.our_currency,
    d.fee_e5,
    d.lane,
    d.order_id,
    d.ordinal,
    d.state,
    d.owner,
    d.found_at,
    d.resolved_at,
    d.resolution,
    d.ask_at,
    d.ask_count,
    d.answered_at,
    coalesce(
        coalesce(d.reopened_at, d.found_at) > (SELECT c.closed_at FROM ledger_day AS c WHERE c.day = d.day), FALSE
    ) AS after_close,
    extract(EPOCH FROM coalesce(d.resolved_at, clock_timestamp()) - d.found_at)::double precision AS age_s,
    (
        SELECT string_agg(n.written_by || ': ' || n.note, '; ' ORDER BY n.number) FROM discrepancy_note AS n
        WHERE n.discrepancy_id = d.id
    ) AS notes
FROM discrepancy AS d
WHERE
    d.id > $1
    AND ($2::bigint IS NULL OR d.id = $2)
    AND ($3::integer IS NULL OR d.account_id = $3)
    AND ($4::date IS NULL OR d.day = $4)
    AND ($5::text IS NULL OR d.state = $5)
    AND ($6::boolean OR d.state <> 'resolved')
ORDER BY d.id
LIMIT $7;

-- name: discrepancy_list_followed :many
-- Differences after a number, oldest first, of an account or of all, that may end without a person's word on them: what
-- is on one side only, and money in suspense. Leans on discrepancy_followed.
SELECT
    d.id,
    d.account_id,
    d.day,
    d.kind,
    d.subject,
    d.occurrence,
    d.verdict,
    d.run_id,
    d.line_no,
    d.channel_no,
    d.happened_at,
    d.status,
    d.currency,
    d.their_minor,
    d.our_minor,
    d.our_currency,
    d.fee_e5,
    d.lane,
    d.order_id,
    d.ordinal,
    d.state,
    d.owner,
    d.found_at,
    d.resolved_at,
    d.resolution,
    d.ask_at,
    d.ask_count,
    d.answered_at,
    coalesce(
        coalesce(d.reopened_at, d.found_at) > (SELECT c.closed_at FROM ledger_day AS c WHERE c.day = d.day), FALSE
    ) AS after_close,
    extract(EPOCH FROM coalesce(d.resolved_at, clock_timestamp()) - d.found_at)::double precision AS age_s,
    NULL::text AS notes
FROM discrepancy AS d
WHERE
    d.id > $1
    AND d.state <> 'resolved'
    AND d.verdict IN ('there_only', 'here_only', 'in_suspense')
    AND ($2::integer IS NULL OR d.account_id = $2)
ORDER BY d.id
LIMIT $3;

-- name: discrepancy_count :many
-- How many differences of a day are in which state, and what they are about in each currency; what the channel takes as
-- a fee or settles is about what it is off by.
SELECT
    kind,
    verdict,
    CASE WHEN their_minor IS NULL THEN coalesce(our_currency, currency) ELSE currency END AS currency,
    state,
    coalesce(resolution, '') AS resolution,
    count(*) AS rows_found,
    coalesce(
        sum(
            CASE
                WHEN kind = 'fees' OR verdict = 'settle_differs' THEN abs(their_minor - our_minor)
                ELSE coalesce(their_minor, our_minor)
            END
        ),
        0
    )::bigint AS amount_minor
FROM discrepancy
WHERE account_id = $1 AND day = $2
GROUP BY
    kind,
    verdict,
    CASE WHEN their_minor IS NULL THEN coalesce(our_currency, currency) ELSE currency END,
    state,
    resolution
ORDER BY kind, verdict, currency, state, resolution;

-- name: discrepancy_count_ages :many
-- How old the differences of each account are that nobody has ended; those of accounts without any are left out. Leans
-- on discrepancy_unresolved.
SELECT
    account_id,
    count(*) FILTER (WHERE found_at > statement_timestamp() - interval '1 day') AS day,
    count(*) FILTER (
        WHERE
        found_at <= statement_timestamp() - interval '1 day' AND found_at > statement_timestamp() - interval '7 days'
    ) AS week,
    count(*) FILTER (WHERE found_at <= statement_timestamp() - interval '7 days') AS older
FROM discrepancy
WHERE state <> 'resolved'
GROUP BY account_id
ORDER BY account_id;

-- name: discrepancy_settle :many
-- Differences that have come to an end, or wait for something else now; nothing that is resolved changes, nor what
-- another run has written anew since it was read.
UPDATE discrepancy AS d
SET
    state = w.state,
    resolution = w.resolution,
    resolved_at = CASE WHEN w.state = 'resolved' THEN clock_timestamp() END
FROM
    unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::text[]) AS w (id, run_id, verdict, state, resolution)
WHERE
    d.id = w.id AND d.run_id = w.run_id AND d.verdict = w.verdict
    AND d.state <> 'resolved' AND (d.state <> w.state OR w.resolution IS NOT NULL)
RETURNING d.id;

-- name: reconcile_lock_accounts :many
-- Those of these accounts whose differences nobody else is changing: what a bill has of other days and what that ends
-- are read and written under this lock. References to an account do not wait for it. Leans on the primary key.
SELECT id
FROM channel_account
WHERE id = any($1::integer[])
ORDER BY id
FOR NO KEY UPDATE SKIP LOCKED;

-- name: reconcile_lock_account :one
-- The same lock for a run about to be kept, which waits for it.
SELECT id
FROM channel_account
WHERE id = $1
FOR NO KEY UPDATE;

-- name: discrepancy_reopen_if :maybe
-- A difference that a person has ended is open again; what a bill or the channel's word ended stays. By its primary
-- key.
UPDATE discrepancy
SET state = 'open', resolved_at = NULL, resolution = NULL, reopened_at = clock_timestamp()
WHERE id = $1 AND resolution IN ('accepted', 'corrected', 'refunded', 'claimed')
RETURNING id;

-- name: discrepancy_assign :maybe
-- Who takes care of a difference.
UPDATE discrepancy SET owner = $2
WHERE id = $1 AND state <> 'resolved'
RETURNING id;

-- name: discrepancy_note_add :none
-- A note to a difference, after the others; the row of the difference is locked by the caller's change of it.
INSERT INTO discrepancy_note (discrepancy_id, number, written_by, note)
SELECT
    $1,
    coalesce(max(n.number), 0) + 1,
    $2,
    $3
FROM discrepancy_note AS n
WHERE n.discrepancy_id = $1;

-- name: discrepancy_note_list :many
-- The notes to a difference.
SELECT
    number,
    written_by,
    written_at,
    note
FROM discrepancy_note
WHERE discrepancy_id = $1
ORDER BY number;

-- name: discrepancy_lock :maybe
-- A difference, held until the end of the transaction.
SELECT
    id,
    state
FROM discrepancy
WHERE id = $1
FOR UPDATE;
