-- These run in sessions that are made for reading much (store/database.py), except where a person changes a payout.

-- name: settlement_list_lanes :many
-- The lanes from one on that have merchants, or the lane of one merchant: a table for people is read whole.
SELECT DISTINCT lane FROM merchant
WHERE lane >= $1 AND ($2::integer IS NULL OR id = $2)
ORDER BY lane;

-- name: settlement_mark_add :none
-- A merchant is settled from the day on which it was added; safe to repeat and to race.
INSERT INTO settlement_mark (lane, merchant_id, currency, settled_day, batched_at)
SELECT
    m.lane,
    m.id,
    c.currency,
    (m.created_at AT TIME ZONE m.settles_zone)::date - 1,
    date_trunc('day', m.created_at AT TIME ZONE m.settles_zone) AT TIME ZONE m.settles_zone
FROM merchant AS m
CROSS JOIN unnest($2::text[]) AS c (currency)
WHERE m.lane = $1
ORDER BY m.id, c.currency
ON CONFLICT (lane, merchant_id, currency) DO NOTHING;

-- name: settlement_lock_due :many
-- The next day of each merchant of a lane that is over for as long as its terms say, by its own calendar, and a while
-- more, so that a night's repairs fall into their own day. What another run holds is passed by. Leans on the primary
-- keys of settlement_mark and merchant.
SELECT
    k.merchant_id,
    k.currency,
    k.settled_day + 1 AS day,
    k.batched_at,
    m.settles_zone AS zone,
    greatest((k.settled_day + 2)::timestamp AT TIME ZONE m.settles_zone, k.batched_at) AS ends_at,
    m.payout_minor_min,
    m.hold_back_bp,
    m.hold_back_days
FROM settlement_mark AS k
INNER JOIN merchant AS m ON k.merchant_id = m.id
WHERE
    k.lane = $1
    AND ($2::integer IS NULL OR k.merchant_id = $2)
    AND k.settled_day + 1 + m.settles_after_days
    <= ((statement_timestamp() - make_interval(secs => $3)) AT TIME ZONE m.settles_zone)::date
ORDER BY k.merchant_id, k.currency
LIMIT $4
FOR UPDATE OF k SKIP LOCKED;

-- name: settlement_make :many
-- One day of a lane's merchants, whose marks the caller holds: what was booked for them since their last batch, and
-- what waited, becomes lines of new batches. Leans on posting_merchant, the primary keys of orders, settlement_line and
-- settlement_wait, and settlement_wait_merchant.
WITH due AS ( -- each merchant with its day and terms
    SELECT
        w.merchant_id,
        w.currency,
        w.batch_id,
        w.day,
        w.batched_at,
        w.zone,
        w.ends_at,
        w.payout_minor_min,
        w.hold_back_bp,
        w.hold_back_days
    FROM
        unnest(
            $2::integer[], $3::text[], $4::bigint[], $5::date[], $6::timestamptz[], $7::text[], $8::timestamptz[],
            $9::bigint[], $10::integer[], $11::integer[]
        ) AS w (
            merchant_id, currency, batch_id, day, batched_at, zone, ends_at, payout_minor_min, hold_back_bp,
            hold_back_days
        )
),

entry AS ( -- what is in no batch yet, one row for each entry of an order
    SELECT
        d.merchant_id,
        d.currency,
        p.order_id,
        p.entry_key,
        -sum(p.amount_minor)::bigint AS amount_minor,
        min(p.booked_at) AS booked_at,
        FALSE AS waited
    FROM due AS d
    INNER JOIN posting AS p ON p.account = 'merchant:' || d.merchant_id AND d.currency = p.currency
    WHERE
        p.account LIKE 'merchant:%'
        AND p.lane = $1
        AND p.booked_at >= d.batched_at
        AND p.booked_at < least($12::timestamptz, d.ends_at + make_interval(secs => $13))
        AND p.entry_key NOT LIKE 'settlement:%'
        AND NOT EXISTS (
            SELECT 1 FROM settlement_line AS l
            WHERE
                l.lane = $1
                AND l.order_id = p.order_id
                AND l.entry_key = p.entry_key
                AND l.currency = p.currency
        )
        AND NOT EXISTS (
            SELECT 1 FROM settlement_wait AS w
            WHERE
                w.lane = $1
                AND w.order_id = p.order_id
                AND w.entry_key = p.entry_key
                AND w.currency = p.currency
        )
    GROUP BY d.merchant_id, d.currency, p.order_id, p.entry_key
    UNION ALL
    SELECT
        d.merchant_id,
        d.currency,
        p.order_id,
        p.entry_key,
        -sum(p.amount_minor)::bigint AS amount_minor,
        min(p.booked_at) AS booked_at,
        TRUE AS waited
    FROM due AS d
    INNER JOIN settlement_wait AS w ON d.merchant_id = w.merchant_id AND d.currency = w.currency AND w.lane = $1
    INNER JOIN posting AS p
        ON
            p.lane = $1
            AND w.order_id = p.order_id
            AND w.entry_key = p.entry_key
            AND w.currency = p.currency
            AND p.account = 'merchant:' || d.merchant_id
    GROUP BY d.merchant_id, d.currency, p.order_id, p.entry_key
),

dated AS ( -- when each counts, and whether it waits: of an order that must be left alone no credit is paid, and what
    -- it owes waits beside its credit only; once that is settled, the debit lessens the next payout
    SELECT
        e.merchant_id,
        e.currency,
        e.order_id,
        e.entry_key,
        e.amount_minor,
        e.waited,
        (o.hold_reason IS NOT NULL OR o.refund_reserved_minor > 0)
        AND (
            e.amount_minor > 0
            OR NOT EXISTS (
                SELECT 1 FROM settlement_line AS l
                WHERE l.lane = $1 AND l.order_id = e.order_id AND l.currency = e.currency AND l.amount_minor > 0
            )
        ) AS waits, -- not known, which is no, of what belongs to no order
        CASE
            WHEN e.entry_key = 'payment:' || o.paid_attempt THEN least(o.paid_at, e.booked_at)
            ELSE e.booked_at
        END AS counts_at
    FROM entry AS e
    LEFT JOIN orders AS o ON o.lane = $1 AND e.order_id = o.id
    WHERE o.id IS NOT NULL OR e.entry_key LIKE 'second_payout%' OR e.entry_key LIKE 'adjustment:%'
),

fitting AS ( -- of this day or an earlier one; an earlier one's is marked with its reason
    SELECT
        c.merchant_id,
        c.currency,
        c.order_id,
        c.entry_key,
        c.amount_minor,
        c.counts_at,
        CASE
            WHEN c.waited THEN 'waited'
            WHEN c.counts_at >= d.batched_at THEN ''
            WHEN
                EXISTS (
                    SELECT 1 FROM remedy AS r
                    WHERE r.lane = $1 AND r.order_id = c.order_id AND c.entry_key = 'payment:' || r.attempt
                )
                THEN 'repaired'
            ELSE 'late'
        END AS mark
    FROM dated AS c
    INNER JOIN due AS d ON c.merchant_id = d.merchant_id AND c.currency = d.currency
    WHERE c.waits IS NOT TRUE AND c.counts_at < d.ends_at
),

summed AS ( -- each merchant's day as one figure
    SELECT
        f.merchant_id,
        f.currency,
        count(*) AS lines,
        count(*) FILTER (WHERE f.mark <> '') AS late_lines,
        sum(f.amount_minor)::bigint AS total_minor
    FROM fitting AS f
    GROUP BY f.merchant_id, f.currency
),

released AS ( -- what earlier batches held back for long enough
    SELECT
        d.merchant_id,
        d.currency,
        sum(b.held_back_minor)::bigint AS released_minor
    FROM due AS d
    INNER JOIN settlement_batch AS b ON d.merchant_id = b.merchant_id AND d.currency = b.currency
    WHERE b.lane = $1 AND b.held_back_minor > 0 AND b.released_in IS NULL AND b.release_on <= d.day
    GROUP BY d.merchant_id, d.currency
),

figured AS ( -- a share of what is owed stays here
    SELECT
        d.merchant_id,
        d.currency,
        d.batch_id,
        d.day,
        d.zone,
        d.ends_at,
        d.payout_minor_min,
        d.day + d.hold_back_days AS release_on,
        coalesce(s.lines, 0) AS lines,
        coalesce(s.late_lines, 0) AS late_lines,
        coalesce(s.total_minor, 0) AS total_minor,
        (greatest(coalesce(s.total_minor, 0), 0) * d.hold_back_bp + 5000) / 10000 AS held_back_minor,
        coalesce(r.released_minor, 0) AS released_minor
    FROM due AS d
    LEFT JOIN summed AS s ON d.merchant_id = s.merchant_id AND d.currency = s.currency
    LEFT JOIN released AS r ON d.merchant_id = r.merchant_id AND d.currency = r.currency
),

new_batch AS ( -- less than the minimum waits for a later day, line by line
    INSERT INTO settlement_batch (
        lane, id, merchant_id, currency, day, zone, ends_at, created_at, lines, late_lines, total_minor,
        held_back_minor, released_minor, payout_minor, release_on, state
    )
    SELECT
        $1,
        g.batch_id,
        g.merchant_id,
        g.currency,
        g.day,
        g.zone,
        g.ends_at,
        $14::timestamptz,
        g.lines,
        g.late_lines,
        g.total_minor,
        g.held_back_minor,
        g.released_minor,
        g.total_minor - g.held_back_minor + g.released_minor,
        g.release_on,
        'open'
    FROM figured AS g
    WHERE g.total_minor - g.held_back_minor + g.released_minor >= g.payout_minor_min
    ORDER BY g.batch_id
    RETURNING
        id, merchant_id, currency, day, ends_at, lines, late_lines, total_minor, held_back_minor, released_minor,
        payout_minor
),

given_back AS ( -- what was held back is in this batch now
    UPDATE settlement_batch AS b
    SET released_in = n.id
    FROM new_batch AS n
    WHERE
        b.lane = $1
        AND b.merchant_id = n.merchant_id
        AND b.currency = n.currency
        AND b.held_back_minor > 0
        AND b.released_in IS NULL
        AND b.release_on <= n.day
),

new_line AS ( -- the key stops a second settlement of one entry
    INSERT INTO settlement_line (
        lane, order_id, entry_key, currency, batch_id, merchant_id, amount_minor, counts_at, mark
    )
    SELECT
        $1,
        f.order_id,
        f.entry_key,
        f.currency,
        n.id,
        f.merchant_id,
        f.amount_minor,
        f.counts_at,
        f.mark
    FROM fitting AS f
    INNER JOIN new_batch AS n ON f.merchant_id = n.merchant_id AND f.currency = n.currency
    ORDER BY f.order_id, f.entry_key
),

new_wait AS ( -- looked at again with each later day
    INSERT INTO settlement_wait (lane, order_id, entry_key, currency, merchant_id)
    SELECT
        $1,
        c.order_id,
        c.entry_key,
        c.currency,
        c.merchant_id
    FROM dated AS c
    INNER JOIN due AS d ON c.merchant_id = d.merchant_id AND c.currency = d.currency
    WHERE c.waits AND NOT c.waited AND c.counts_at < d.ends_at
    ORDER BY c.order_id, c.entry_key
    ON CONFLICT (lane, order_id, entry_key, currency) DO NOTHING
),

over AS ( -- it has waited
    DELETE FROM settlement_wait AS w
    USING fitting AS f, new_batch AS n
    WHERE
        f.mark = 'waited'
        AND f.merchant_id = n.merchant_id
        AND f.currency = n.currency
        AND w.lane = $1
        AND w.order_id = f.order_id
        AND w.entry_key = f.entry_key
        AND w.currency = f.currency
),

marked AS ( -- the day is looked at, whether it has a batch or not
    UPDATE settlement_mark AS k
    SET
        settled_day = d.day,
        batched_at = CASE WHEN n.id IS NULL THEN k.batched_at ELSE d.ends_at END
    FROM due AS d
    LEFT JOIN new_batch AS n ON d.merchant_id = n.merchant_id AND d.currency = n.currency
    WHERE k.lane = $1 AND k.merchant_id = d.merchant_id AND k.currency = d.currency
)

SELECT
    id,
    merchant_id,
    currency,
    day,
    lines,
    late_lines,
    total_minor,
    held_back_minor,
    released_minor,
    payout_minor
FROM new_batch
ORDER BY id;

-- name: settlement_book :none
-- The entries of batches, of their payouts, and of adjustments. A batch's own id stands where an order's would, and so
-- does that of an adjustment that belongs to no order.
INSERT INTO posting (lane, order_id, entry_key, line, account, amount_minor, currency, booked_at)
SELECT
    w.lane,
    w.batch_id,
    w.entry_key,
    w.line,
    w.account,
    w.amount_minor,
    w.currency,
    $8::timestamptz
FROM
    unnest($1::smallint[], $2::bigint[], $3::text[], $4::smallint[], $5::text[], $6::bigint[], $7::text[])
        AS w (lane, batch_id, entry_key, line, account, amount_minor, currency)
ORDER BY w.lane, w.batch_id, w.entry_key, w.line;

-- name: settlement_batch_list :many
-- Batches, the newest day first; what is NULL of day, merchant and state is any. Leans on settlement_batch_day, and
-- where a state is asked for that is not the end on settlement_batch_open; which file has one already, on the primary
-- key of settlement_sent.
SELECT
    b.lane,
    b.id AS batch_id,
    b.merchant_id,
    m.name AS merchant_name,
    b.currency,
    b.day,
    b.zone,
    b.ends_at,
    b.created_at,
    b.lines,
    b.late_lines,
    b.total_minor,
    b.held_back_minor,
    b.released_minor,
    b.payout_minor,
    b.release_on,
    b.released_in,
    b.state,
    b.payouts,
    b.bank_reference,
    b.changed_by,
    b.changed_at,
    b.return_reason,
    coalesce(f.ordinal, 0)::integer AS files,
    f.file_sha256,
    f.sent_by,
    f.sent_at,
    f.payee_id AS sent_payee_id,
    p.number_end AS sent_number_end
FROM settlement_batch AS b
INNER JOIN merchant AS m ON b.merchant_id = m.id
LEFT JOIN
    LATERAL (
        SELECT
            s.ordinal,
            s.file_sha256,
            s.sent_by,
            s.sent_at,
            s.payee_id
        FROM settlement_sent AS s
        WHERE s.lane = b.lane AND s.batch_id = b.id AND s.payout = b.payouts + 1
        ORDER BY s.ordinal DESC
        LIMIT 1
    ) AS f
    ON TRUE
LEFT JOIN merchant_payee AS p ON f.payee_id = p.id
WHERE
    ($1::date IS NULL OR b.day = $1)
    AND ($2::integer IS NULL OR b.merchant_id = $2)
    AND ($3::text[] IS NULL OR b.state = any($3))
    AND (b.day, b.merchant_id, b.id) < ($4::date, $5::integer, $6::bigint)
ORDER BY b.day DESC, b.merchant_id DESC, b.id DESC
LIMIT $7;

-- name: settlement_batch_find :maybe
-- One batch. Leans on its primary key.
SELECT
    b.lane,
    b.id AS batch_id,
    b.merchant_id,
    m.name AS merchant_name,
    b.currency,
    b.day,
    b.zone,
    b.ends_at,
    b.created_at,
    b.lines,
    b.late_lines,
    b.total_minor,
    b.held_back_minor,
    b.released_minor,
    b.payout_minor,
    b.release_on,
    b.released_in,
    b.state,
    b.payouts,
    b.bank_reference,
    b.changed_by,
    b.changed_at,
    b.return_reason,
    coalesce(f.ordinal, 0)::integer AS files,
    f.file_sha256,
    f.sent_by,
    f.sent_at,
    f.payee_id AS sent_payee_id,
    p.number_end AS sent_number_end
FROM settlement_batch AS b
INNER JOIN merchant AS m ON b.merchant_id = m.id
LEFT JOIN
    LATERAL (
        SELECT
            s.ordinal,
            s.file_sha256,
            s.sent_by,
            s.sent_at,
            s.payee_id
        FROM settlement_sent AS s
        WHERE s.lane = b.lane AND s.batch_id = b.id AND s.payout = b.payouts + 1
        ORDER BY s.ordinal DESC
        LIMIT 1
    ) AS f
    ON TRUE
LEFT JOIN merchant_payee AS p ON f.payee_id = p.id
WHERE b.lane = $1 AND b.id = $2;

-- name: settlement_list_releases :many
-- The batches whose hold-back a batch gives back, oldest first. Leans on the unique key.
SELECT id AS batch_id
FROM settlement_batch
WHERE lane = $1 AND merchant_id = $2 AND currency = $3 AND released_in = $4
ORDER BY day, id;

-- name: settlement_line_list :many
-- A batch's lines after a place in it, in the order of their orders or of what stands in an order's place; an
-- adjustment's with its reason. Leans on settlement_line_batch, the primary key of orders and adjustment_entry.
SELECT
    l.lane,
    l.order_id,
    l.entry_key,
    l.merchant_id,
    l.currency,
    l.amount_minor,
    l.counts_at,
    l.mark,
    coalesce(o.reference, '') AS reference,
    o.amount_minor AS order_minor,
    o.fee_minor,
    o.id IS NULL AND l.entry_key LIKE 'second_payout%' AS is_batch,
    coalesce(a.reason, '') AS reason
FROM settlement_line AS l
LEFT JOIN orders AS o ON l.lane = o.lane AND l.order_id = o.id
LEFT JOIN adjustment AS a
    ON l.lane = a.lane AND l.order_id = a.entry_id AND l.entry_key = 'adjustment:' || a.number
WHERE l.lane = $1 AND l.batch_id = $2 AND (l.order_id, l.entry_key) > ($3::bigint, $4::text)
ORDER BY l.order_id, l.entry_key
LIMIT $5;

-- name: settlement_list_held :many
-- Which of some batches would pay an order that is held now: a hold stops payouts. A batch that only takes something
-- back of it is paid, for it pays the less. Held orders are few, so they are looked up first. Leans on orders_held and
-- the primary key of settlement_line.
SELECT DISTINCT
    l.lane,
    l.batch_id
FROM orders AS o
INNER JOIN settlement_line AS l ON o.lane = l.lane AND o.id = l.order_id
WHERE o.hold_reason IS NOT NULL AND l.amount_minor > 0 AND l.batch_id = any($1::bigint[]);

-- name: settlement_lock_batches :many
-- The batches that a person sends, pays out or takes back, locked in order. Leans on the primary keys.
SELECT
    b.lane,
    b.id AS batch_id,
    b.merchant_id,
    b.currency,
    b.payout_minor,
    b.state,
    b.version,
    b.payouts,
    b.bank_reference,
    (
        SELECT coalesce(array_agg(p.bank_reference), '{}')
        FROM settlement_payout AS p
        WHERE p.lane = b.lane AND p.batch_id = b.id AND p.returned_at IS NOT NULL
    ) AS returned_references,
    (
        SELECT coalesce(array_agg(d.bank_reference ORDER BY d.ordinal), '{}')
        FROM settlement_second_payout AS d
        WHERE d.lane = b.lane AND d.batch_id = b.id
    ) AS second_references,
    (
        SELECT coalesce(array_agg(d.bank_reference), '{}')
        FROM settlement_second_payout AS d
        WHERE d.lane = b.lane AND d.batch_id = b.id AND d.returned_at IS NOT NULL
    ) AS returned_second_references,
    (
        SELECT count(*)::integer
        FROM settlement_sent AS s
        WHERE s.lane = b.lane AND s.batch_id = b.id AND s.payout = b.payouts + 1
    ) AS files
FROM settlement_batch AS b
INNER JOIN unnest($1::smallint[], $2::bigint[]) AS w (lane, id) ON b.lane = w.lane AND b.id = w.id
WHERE b.lane = any($1)
ORDER BY b.lane, b.id
FOR UPDATE OF b;

-- name: settlement_set_payout_if :many
-- A batch is paid out or has come back, if its version is the one that was read.
UPDATE settlement_batch AS b
SET
    state = $4,
    version = b.version + 1,
    payouts = b.payouts + $5,
    bank_reference = $6,
    changed_by = $7,
    changed_at = $8::timestamptz,
    return_reason = $9
FROM unnest($1::smallint[], $2::bigint[], $3::integer[]) AS w (lane, id, version)
WHERE b.lane = any($1) AND b.lane = w.lane AND b.id = w.id AND b.version = w.version
RETURNING b.lane, b.id AS batch_id;

-- name: settlement_sent_add :none
-- Batches are in a file for the bank; the key lets no two writers at once have one.
INSERT INTO settlement_sent (lane, batch_id, payout, ordinal, payee_id, file_sha256, sent_by, sent_at)
SELECT
    w.lane,
    w.batch_id,
    w.payout,
    w.ordinal,
    w.payee_id,
    $6,
    $7,
    $8
FROM
    unnest($1::smallint[], $2::bigint[], $3::smallint[], $4::smallint[], $5::bigint[])
        AS w (lane, batch_id, payout, ordinal, payee_id);

-- name: settlement_payout_add :none
-- Batches were paid out, by one reference of the bank's.
INSERT INTO settlement_payout (lane, batch_id, ordinal, bank_reference, paid_by, paid_at)
SELECT
    w.lane,
    w.batch_id,
    w.ordinal,
    $4,
    $5,
    $6
FROM unnest($1::smallint[], $2::bigint[], $3::smallint[]) AS w (lane, batch_id, ordinal);

-- name: settlement_payout_return :none
-- Payouts came back. Leans on the primary key.
UPDATE settlement_payout AS p
SET returned_by = $4, returned_at = $5::timestamptz, return_reason = $6
FROM unnest($1::smallint[], $2::bigint[], $3::smallint[]) AS w (lane, batch_id, ordinal)
WHERE p.lane = any($1) AND p.lane = w.lane AND p.batch_id = w.batch_id AND p.ordinal = w.ordinal;

-- name: settlement_second_payout_add :none
-- A bank has sent what was paid out already once more.
INSERT INTO settlement_second_payout (lane, batch_id, ordinal, bank_reference, reason, paid_by, paid_at)
SELECT
    w.lane,
    w.batch_id,
    w.ordinal,
    $4,
    $5,
    $6,
    $7
FROM unnest($1::smallint[], $2::bigint[], $3::smallint[]) AS w (lane, batch_id, ordinal);

-- name: settlement_second_payout_return :none
-- Second payouts came back. Leans on the primary key.
UPDATE settlement_second_payout AS p
SET returned_by = $4, returned_at = $5::timestamptz, return_reason = $6
FROM unnest($1::smallint[], $2::bigint[], $3::smallint[]) AS w (lane, batch_id, ordinal)
WHERE p.lane = any($1) AND p.lane = w.lane AND p.batch_id = w.batch_id AND p.ordinal = w.ordinal;

-- name: settlement_payout_list :many
-- A batch's payouts, with whom the last file of each asked to pay, and those that were one too many, oldest first.
-- Leans on the primary keys.
SELECT
    o.ordinal,
    o.bank_reference,
    o.paid_by,
    o.paid_at,
    o.returned_by,
    o.returned_at,
    o.return_reason,
    NULL AS second_reason,
    f.payee_id,
    f.holder,
    f.number_end
FROM settlement_payout AS o
LEFT JOIN
    LATERAL (
        SELECT
            s.payee_id,
            p.holder,
            p.number_end
        FROM settlement_sent AS s
        LEFT JOIN merchant_payee AS p ON s.payee_id = p.id
        WHERE s.lane = o.lane AND s.batch_id = o.batch_id AND s.payout = o.ordinal
        ORDER BY s.ordinal DESC
        LIMIT 1
    ) AS f
    ON TRUE
WHERE o.lane = $1 AND o.batch_id = $2
UNION ALL
SELECT
    ordinal,
    bank_reference,
    paid_by,
    paid_at,
    returned_by,
    returned_at,
    return_reason,
    reason AS second_reason,
    NULL AS payee_id,
    NULL AS holder,
    NULL AS number_end
FROM settlement_second_payout
WHERE lane = $1 AND batch_id = $2
ORDER BY paid_at, ordinal;

-- name: settlement_set_terms :maybe
-- How a merchant is settled, what is given of it; the rest stays.
UPDATE merchant
SET
    settles_zone = coalesce($2, settles_zone),
    settles_after_days = coalesce($3, settles_after_days),
    payout_minor_min = coalesce($4, payout_minor_min),
    hold_back_bp = coalesce($5, hold_back_bp),
    hold_back_days = coalesce($6, hold_back_days),
    settlement_set_by = coalesce($7, settlement_set_by)
WHERE id = $1
-- A zone that this server does not know fails here, and not in the night's settlement.
RETURNING id, clock_timestamp() AT TIME ZONE settles_zone AS clock_there;

-- name: settlement_list_untied :many
-- Batches of some lanes and one range of ids that are not the sum of their lines, or are not booked as their figures
-- and their state say. Leans on the primary keys of settlement_batch and posting, and on settlement_line_batch.
SELECT
    b.lane,
    b.id AS batch_id,
    b.merchant_id,
    b.currency,
    b.day,
    b.total_minor,
    l.lines_minor,
    p.merchant_minor
FROM settlement_batch AS b
CROSS JOIN
    LATERAL (
        SELECT
            count(*) AS lines,
            coalesce(sum(n.amount_minor), 0)::bigint AS lines_minor,
            coalesce(bool_or(n.merchant_id <> b.merchant_id OR n.currency <> b.currency), FALSE) AS foreign_lines
        FROM settlement_line AS n
        WHERE n.batch_id = b.id AND n.lane = b.lane
    ) AS l
CROSS JOIN
    LATERAL (
        SELECT
            coalesce(
                sum(q.amount_minor)
                FILTER (WHERE q.account = 'merchant:' || b.merchant_id AND q.entry_key NOT LIKE 'second_payout%'),
                0
            )::bigint AS merchant_minor,
            coalesce(
                sum(q.amount_minor)
                FILTER (WHERE q.account = 'merchant:' || b.merchant_id AND q.entry_key LIKE 'second_payout%'),
                0
            )::bigint AS second_minor,
            coalesce(sum(q.amount_minor) FILTER (WHERE q.account = 'payable:' || b.merchant_id), 0)::bigint
                AS payable_minor,
            coalesce(sum(q.amount_minor) FILTER (WHERE q.account = 'held_back:' || b.merchant_id), 0)::bigint
                AS held_back_minor,
            coalesce(sum(q.amount_minor) FILTER (WHERE q.account = 'bank'), 0)::bigint AS bank_minor
        FROM posting AS q
        WHERE q.lane = b.lane AND q.order_id = b.id AND q.currency = b.currency
    ) AS p
CROSS JOIN
    LATERAL (
        SELECT coalesce(sum(r.held_back_minor), 0)::bigint AS released_minor
        FROM settlement_batch AS r
        WHERE r.lane = b.lane AND r.merchant_id = b.merchant_id AND r.currency = b.currency AND r.released_in = b.id
    ) AS g
CROSS JOIN
    LATERAL (
        SELECT (count(*) * b.payout_minor)::bigint AS second_minor
        FROM settlement_second_payout AS d
        WHERE d.lane = b.lane AND d.batch_id = b.id AND d.returned_at IS NULL
    ) AS s
WHERE
    b.lane = any($1::smallint[])
    AND b.id >= $2
    AND b.id < $3
    AND (
        l.lines <> b.lines
        OR l.foreign_lines
        OR l.lines_minor <> b.total_minor
        OR p.merchant_minor <> b.total_minor
        OR p.held_back_minor <> b.released_minor - b.held_back_minor
        OR g.released_minor <> b.released_minor
        OR p.payable_minor <> CASE WHEN b.state = 'paid_out' THEN 0 ELSE -b.payout_minor END
        OR p.second_minor <> s.second_minor
        OR p.bank_minor + s.second_minor <> CASE WHEN b.state = 'paid_out' THEN -b.payout_minor ELSE 0 END
    )
ORDER BY b.lane, b.id
LIMIT $4;

-- name: settlement_list_astray :many
-- What was booked for merchants in some lanes and one range of orders, beside what is settled of it: an entry that no
-- batch has and that does not wait although its day has a batch, one that waits and is settled, one that is settled
-- with another amount, and a line without an entry. Leans on the primary keys of posting, settlement_line,
-- settlement_wait and settlement_mark.
WITH booked AS ( -- one row for each entry of a merchant
    SELECT
        p.lane,
        p.order_id,
        p.entry_key,
        p.currency,
        p.account,
        -sum(p.amount_minor)::bigint AS amount_minor,
        min(p.booked_at) AS booked_at
    FROM posting AS p
    WHERE
        p.lane = any($1::smallint[])
        AND p.order_id >= $2
        AND p.order_id < $3
        AND p.account LIKE 'merchant:%'
        AND p.entry_key NOT LIKE 'settlement:%'
    GROUP BY p.lane, p.order_id, p.entry_key, p.currency, p.account
),

line AS ( -- what batches have of them
    SELECT
        l.lane,
        l.order_id,
        l.entry_key,
        l.currency,
        l.amount_minor
    FROM settlement_line AS l
    WHERE l.lane = any($1) AND l.order_id >= $2 AND l.order_id < $3
)

SELECT
    coalesce(b.lane, l.lane) AS lane,
    coalesce(b.order_id, l.order_id) AS order_id,
    coalesce(b.entry_key, l.entry_key) AS entry_key,
    coalesce(b.currency, l.currency) AS currency,
    coalesce(b.amount_minor, 0)::bigint AS booked_minor,
    coalesce(l.amount_minor, 0)::bigint AS settled_minor
FROM booked AS b
FULL JOIN line AS l
    ON b.lane = l.lane AND b.order_id = l.order_id AND b.entry_key = l.entry_key AND b.currency = l.currency
LEFT JOIN settlement_wait AS w
    ON b.lane = w.lane AND b.order_id = w.order_id AND b.entry_key = w.entry_key AND b.currency = w.currency
LEFT JOIN settlement_mark AS k
    ON b.lane = k.lane AND b.account = 'merchant:' || k.merchant_id AND b.currency = k.currency
WHERE
    l.order_id IS NULL AND w.order_id IS NULL AND b.booked_at < k.batched_at
    OR l.order_id IS NOT NULL AND w.order_id IS NOT NULL
    OR l.order_id IS NOT NULL AND l.amount_minor IS DISTINCT FROM b.amount_minor
ORDER BY lane, order_id, entry_key
LIMIT $4;
