-- name: audit_list_lanes :many
-- The lanes that have an order in a range of ids: one look for each. Leans on the primary key of orders.
SELECT w.lane
FROM unnest($1::smallint[]) AS w (lane)
WHERE EXISTS (SELECT 1 FROM orders AS o WHERE o.lane = w.lane AND o.id >= $2 AND o.id < $3)
ORDER BY w.lane;

-- name: audit_list_findings :many
-- What is not as it should be with the orders of one lane and a range of ids, each thing once; of each kind the first
-- by number up to a bound, so that many of one kind hide no other. Leans on primary keys: the range is read in the
-- order of the orders, and their children by the same range.
-- First: a channel's word that money came, without any effect: no completion, no booking, no hold. A row of its bill is
-- no such word: the channel is asked (I4).
(
    SELECT
        'paid_not_completed' AS kind,
        e.order_id,
        e.attempt,
        min(e.source) AS detail
    FROM evidence AS e
    INNER JOIN orders AS o ON e.lane = o.lane AND e.order_id = o.id
    WHERE
        e.lane = $1 AND e.order_id >= $2 AND e.order_id < $3
        AND e.outcome = 'paid'
        AND e.source <> 'bill'
        AND o.state <> 'paid'
        AND o.hold_reason IS NULL
        AND NOT EXISTS (SELECT 1 FROM posting AS p WHERE p.lane = o.lane AND p.order_id = o.id)
    GROUP BY e.order_id, e.attempt
    ORDER BY e.order_id, e.attempt
    LIMIT $6
)
UNION ALL
-- An attempt that nobody can pay any more, and whose end nobody knows.
(
    SELECT
        'open_past_end' AS kind,
        t.order_id,
        t.attempt,
        t.state AS detail
    FROM trade AS t
    WHERE
        t.lane = $1 AND t.order_id >= $2 AND t.order_id < $3
        AND t.state IN ('created', 'submitted', 'user_paying', 'unknown', 'reversing')
        AND greatest(t.send_until, coalesce(t.expires_at, t.send_until)) < $4::timestamptz
    ORDER BY t.order_id, t.attempt
    LIMIT $6
)
UNION ALL
-- A trade that is not final has its question due, or nobody will ever ask (I6).
(
    SELECT
        'question_missing' AS kind,
        t.order_id,
        t.attempt,
        t.state AS detail
    FROM trade AS t
    WHERE
        t.lane = $1 AND t.order_id >= $2 AND t.order_id < $3
        AND t.state IN ('created', 'submitted', 'user_paying', 'unknown', 'reversing')
        AND NOT EXISTS (
            SELECT 1 FROM query_due AS q
            WHERE q.lane = t.lane AND q.order_id = t.order_id AND q.attempt = t.attempt
        )
    ORDER BY t.order_id, t.attempt
    LIMIT $6
)
UNION ALL
-- An order that is not final is looked at one day, or it never ends (I6).
(
    SELECT
        'look_missing' AS kind,
        o.id AS order_id,
        0::smallint AS attempt,
        o.state AS detail
    FROM orders AS o
    WHERE
        o.lane = $1 AND o.id >= $2 AND o.id < $3
        AND o.state IN ('created', 'paying', 'closing')
        AND NOT EXISTS (SELECT 1 FROM order_due AS d WHERE d.lane = o.lane AND d.order_id = o.id)
    ORDER BY o.id
    LIMIT $6
)
UNION ALL
-- A reverse that is under way, and an open attempt of an order that closes or is paid, is brought to its end (I6, I7).
(
    SELECT
        'ending_missing' AS kind,
        t.order_id,
        t.attempt,
        t.state AS detail
    FROM trade AS t
    INNER JOIN orders AS o ON t.lane = o.lane AND t.order_id = o.id
    WHERE
        t.lane = $1 AND t.order_id >= $2 AND t.order_id < $3
        AND o.hold_reason IS NULL
        AND (
            t.state = 'reversing'
            OR (o.state IN ('closing', 'paid') AND t.state IN ('created', 'submitted', 'user_paying', 'unknown'))
        )
        AND NOT EXISTS (
            SELECT 1 FROM close_due AS c
            WHERE c.lane = t.lane AND c.order_id = t.order_id AND c.attempt = t.attempt
        )
    ORDER BY t.order_id, t.attempt
    LIMIT $6
)
UNION ALL
-- A refund without an end has a next step, or nobody will ever send it or ask (I6, I9).
(
    SELECT
        'refund_step_missing' AS kind,
        f.order_id,
        f.attempt,
        min(f.state || ', refund ' || f.ordinal) AS detail
    FROM refund AS f
    WHERE
        f.lane = $1 AND f.order_id >= $2 AND f.order_id < $3
        AND f.state IN ('created', 'submitted', 'unknown', 'abnormal')
        AND NOT EXISTS (
            SELECT 1 FROM refund_due AS d
            WHERE d.lane = f.lane AND d.order_id = f.order_id AND d.ordinal = f.ordinal
        )
    GROUP BY f.order_id, f.attempt
    ORDER BY f.order_id, f.attempt
    LIMIT $6
)
UNION ALL
-- Paid and not in the books (I3).
(
    SELECT
        'unbooked' AS kind,
        o.id AS order_id,
        o.paid_attempt AS attempt,
        o.learned_source AS detail
    FROM orders AS o
    WHERE
        o.lane = $1 AND o.id >= $2 AND o.id < $3
        AND o.state = 'paid'
        AND NOT EXISTS (SELECT 1 FROM posting AS p WHERE p.lane = o.lane AND p.order_id = o.id)
    ORDER BY o.id, o.paid_attempt
    LIMIT $6
)
UNION ALL
-- Entries that do not sum to zero (I10).
(
    SELECT
        'unbalanced' AS kind,
        p.order_id,
        0::smallint AS attempt,
        min(p.entry_key || ' ' || p.currency) AS detail
    FROM (
        SELECT
            b.order_id,
            b.entry_key,
            b.currency
        FROM posting AS b
        WHERE b.lane = $1 AND b.order_id >= $2 AND b.order_id < $3
        GROUP BY b.order_id, b.entry_key, b.currency
        HAVING sum(b.amount_minor) <> 0
    ) AS p
    GROUP BY p.order_id
    ORDER BY p.order_id
    LIMIT $6
)
UNION ALL
-- What a merchant should know for longer than an hour and does not.
(
    SELECT
        'webhook_untaken' AS kind,
        w.order_id,
        0::smallint AS attempt,
        'endpoint ' || min(w.endpoint_id) AS detail
    FROM webhook AS w
    WHERE
        w.lane = $1 AND w.order_id >= $2 AND w.order_id < $3
        AND w.taken_at IS NULL
        AND w.created_at < $5::timestamptz
    GROUP BY w.order_id
    ORDER BY w.order_id
    LIMIT $6
);

-- name: audit_list_older :many
-- What is under way for orders older than the range that is looked through, by its own state and not by the age of its
-- order: a refund without a next step, and an event that its merchant has not taken, each up to a bound. Leans on
-- refund_open, and on webhook_due and primary keys: of old orders only what is still due is known to be untaken.
WITH waiting AS ( -- cut before it is joined: a merchant that takes nothing may have millions of them
    SELECT DISTINCT
        d.lane,
        d.order_id
    FROM webhook_due AS d
    INNER JOIN webhook_endpoint AS e ON d.endpoint_id = e.id AND e.enabled
    WHERE d.lane = any($2::smallint[]) AND d.order_id < $1::bigint
    ORDER BY d.lane, d.order_id
    LIMIT $4
),

stepless AS ( -- by trade, as its refunds are mended
    SELECT
        f.lane,
        f.order_id,
        f.attempt,
        min(f.state || ', refund ' || f.ordinal) AS detail
    FROM refund AS f
    WHERE
        f.state IN ('created', 'submitted', 'unknown', 'abnormal')
        AND f.order_id < $1
        AND NOT EXISTS (
            SELECT 1 FROM refund_due AS d
            WHERE d.lane = f.lane AND d.order_id = f.order_id AND d.ordinal = f.ordinal
        )
    GROUP BY f.lane, f.order_id, f.attempt
    ORDER BY f.lane, f.order_id, f.attempt
    LIMIT $4
)

SELECT
    'refund_step_missing' AS kind,
    lane,
    order_id,
    attempt,
    detail
FROM stepless
UNION ALL
SELECT
    'webhook_untaken' AS kind,
    w.lane,
    w.order_id,
    0::smallint AS attempt,
    'endpoint ' || min(w.endpoint_id) AS detail
FROM waiting AS o
INNER JOIN webhook AS w ON o.lane = w.lane AND o.order_id = w.order_id
WHERE w.taken_at IS NULL AND w.created_at < $3::timestamptz
GROUP BY w.lane, w.order_id;

-- name: audit_ask_again :many
-- The questions of these trades are due now, whether or not there was a row; the caller holds the orders. Leans on the
-- primary key of query_due.
INSERT INTO query_due (lane, order_id, attempt, due_at)
SELECT
    w.lane,
    w.order_id,
    w.attempt,
    clock_timestamp()
FROM unnest($1::smallint[], $2::bigint[], $3::smallint[]) AS w (lane, order_id, attempt)
ORDER BY w.lane, w.order_id, w.attempt
ON CONFLICT (lane, order_id, attempt) DO UPDATE SET due_at = least(query_due.due_at, excluded.due_at)
RETURNING
    lane,
    order_id,
    attempt;

-- name: audit_deliver_again :many
-- Webhooks that nobody has taken are due now where no row makes them so; the caller holds the orders. An endpoint that
-- is switched off takes nothing. Leans on the primary keys.
INSERT INTO webhook_due (lane, order_id, version, endpoint_id, due_at)
SELECT
    h.lane,
    h.order_id,
    h.version,
    h.endpoint_id,
    clock_timestamp()
FROM unnest($1::smallint[], $2::bigint[]) AS w (lane, order_id)
INNER JOIN webhook AS h ON w.lane = h.lane AND w.order_id = h.order_id
INNER JOIN webhook_endpoint AS e ON h.endpoint_id = e.id AND e.enabled
WHERE h.lane = any($1) AND h.taken_at IS NULL
ORDER BY h.lane, h.order_id, h.endpoint_id, h.version
ON CONFLICT (lane, order_id, endpoint_id, version) DO NOTHING
RETURNING
    lane,
    order_id;

-- name: audit_look_again :many
-- These orders are looked at now, where no row makes anybody look; one that was told "not paid" ends as closed. The
-- caller holds the orders. Leans on the primary keys.
INSERT INTO order_due (lane, order_id, due_at, ends_as)
SELECT
    o.lane,
    o.id,
    clock_timestamp(),
    CASE WHEN o.told_unpaid THEN 'closed' ELSE 'expired' END
FROM unnest($1::smallint[], $2::bigint[]) AS w (lane, order_id)
INNER JOIN orders AS o ON w.lane = o.lane AND w.order_id = o.id
WHERE o.lane = any($1)
ORDER BY o.lane, o.id
ON CONFLICT (lane, order_id) DO NOTHING
RETURNING order_id;

-- name: audit_end_again :many
-- These trades are brought to their ends now, where no row makes anybody do it; the caller holds the orders. Leans on
-- the primary key of close_due.
INSERT INTO close_due (lane, order_id, attempt, due_at)
SELECT
    w.lane,
    w.order_id,
    w.attempt,
    clock_timestamp()
FROM unnest($1::smallint[], $2::bigint[], $3::smallint[]) AS w (lane, order_id, attempt)
ORDER BY w.lane, w.order_id, w.attempt
ON CONFLICT (lane, order_id, attempt) DO NOTHING
RETURNING
    order_id,
    attempt;

-- name: audit_refund_again :many
-- The next steps of these trades' refunds are due now, where no row makes them so; the caller holds the orders. Leans
-- on the primary keys.
INSERT INTO refund_due (lane, order_id, ordinal, due_at)
SELECT
    f.lane,
    f.order_id,
    f.ordinal,
    clock_timestamp()
FROM unnest($1::smallint[], $2::bigint[], $3::smallint[]) AS w (lane, order_id, attempt)
INNER JOIN refund AS f ON w.lane = f.lane AND w.order_id = f.order_id AND w.attempt = f.attempt
WHERE f.lane = any($1) AND f.state IN ('created', 'submitted', 'unknown', 'abnormal')
ORDER BY f.lane, f.order_id, f.ordinal
ON CONFLICT (lane, order_id, ordinal) DO NOTHING
RETURNING order_id;

-- name: report_add_rows :none
-- What was found in one part; a part that is looked at again after a crash says the same.
INSERT INTO report_row (run_id, kind, lane, order_id, attempt, detail, mended)
SELECT
    $1,
    w.kind,
    w.lane,
    w.order_id,
    w.attempt,
    w.detail,
    w.mended
FROM
    unnest($2::text[], $3::smallint[], $4::bigint[], $5::smallint[], $6::text[], $7::boolean[])
        AS w (kind, lane, order_id, attempt, detail, mended)
ON CONFLICT (run_id, kind, lane, order_id, attempt) DO NOTHING;

-- name: report_count_rows :many
-- How much of each kind a run found and mended, gravest first: $2 has the kinds in that order.
SELECT
    kind,
    count(*) AS found,
    count(*) FILTER (WHERE mended) AS mended
FROM report_row
WHERE run_id = $1
GROUP BY kind
ORDER BY array_position($2::text[], kind);

-- name: report_list_rows :many
-- The first rows of each kind of a report, gravest kinds first, and of one kind what could not be mended: $2 has the
-- kinds in that order.
WITH placed AS ( -- each row's place among those of its kind
    SELECT
        kind,
        lane,
        order_id,
        attempt,
        detail,
        mended,
        row_number() OVER (PARTITION BY kind ORDER BY mended, lane, order_id, attempt) AS place
    FROM report_row
    WHERE run_id = $1
)

SELECT
    p.kind,
    p.lane,
    p.order_id,
    p.attempt,
    p.detail,
    p.mended,
    o.merchant_id,
    o.reference,
    o.amount_minor,
    o.currency
FROM placed AS p
INNER JOIN orders AS o ON p.lane = o.lane AND p.order_id = o.id
WHERE p.place <= $3
ORDER BY array_position($2::text[], p.kind), p.place;

-- name: report_list_runs :many
-- What became of the jobs' runs in a time.
SELECT
    job,
    state,
    count(*) AS runs
FROM job_run
WHERE slot >= $1 AND slot < $2
GROUP BY job, state
ORDER BY job, state;

-- name: report_add :none
-- The report of a run; written again by whoever takes the run up after a crash.
INSERT INTO report (run_id, since, until, found, mended, text, html)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (run_id) DO UPDATE
    SET found = excluded.found, mended = excluded.mended, text = excluded.text, html = excluded.html;

-- name: report_find :maybe
-- The report of a run, or the newest.
SELECT
    run_id,
    since,
    until,
    found,
    mended,
    text,
    html,
    created_at
FROM report
WHERE $1::bigint IS NULL OR run_id = $1
ORDER BY run_id DESC
LIMIT 1;

-- name: mail_add :none
-- A mail that waits for a server to take it; one for each run.
INSERT INTO mail (run_id, sender, recipients, subject, text, html)
VALUES ($1, $2, $3::text[], $4, $5, $6)
ON CONFLICT (run_id) DO NOTHING;

-- name: mail_claim :maybe
-- The oldest mail that is due, put off before it is sent: a worker that dies meanwhile leaves it to another. Leans on
-- mail_due_at.
UPDATE mail AS m
SET attempts = m.attempts + 1, due_at = clock_timestamp() + make_interval(secs => $1)
FROM (
    SELECT id FROM mail
    WHERE sent_at IS NULL AND due_at <= clock_timestamp()
    ORDER BY due_at
    LIMIT 1
    FOR UPDATE SKIP LOCKED
) AS due
WHERE m.id = due.id
RETURNING
    m.id,
    m.sender,
    m.recipients,
    m.subject,
    m.text,
    m.html,
    m.created_at,
    m.attempts;

-- name: mail_sent :none
-- A server has taken it.
UPDATE mail SET sent_at = clock_timestamp(), error = ''
WHERE id = $1 AND sent_at IS NULL;

-- name: mail_put_off :none
-- No server took it: why, and when it is tried again.
UPDATE mail SET due_at = clock_timestamp() + make_interval(secs => $2), error = $3
WHERE id = $1 AND sent_at IS NULL;

-- name: mail_count_waiting :one
-- What waits, and for how long, with the last error. Leans on mail_due_at.
SELECT
    count(*) AS waiting,
    coalesce(extract(EPOCH FROM clock_timestamp() - min(created_at)), 0)::double precision AS oldest_s,
    coalesce(max(error), '') AS error
FROM mail
WHERE sent_at IS NULL;
