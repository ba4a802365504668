-- Which bills are waited for. The tables have a row for each account and day.

-- name: bill_account_list :many
-- All accounts, with the last day that is planned and the last day whose whole bill had a row; of a disabled one also
-- when it was, for its payments end a few hours later, and its newest refund of the last days: an older one was seen
-- while it was new. Leans on the primary key of bill_day, the unique key of reconcile_run, and refund_moved_at.
SELECT
    a.id AS account_id,
    a.channel,
    a.name,
    a.enabled,
    a.created_at,
    nullif(a.settings ->> 'bill_ready_at', '') AS bill_ready_at,
    (SELECT max(d.day) FROM bill_day AS d WHERE d.account_id = a.id) AS planned_to,
    (
        SELECT max(r.day) FROM reconcile_run AS r
        WHERE r.account_id = a.id AND NOT r.is_partial AND r.lines > 0
    ) AS moved_on,
    CASE
        WHEN NOT a.enabled THEN greatest(
            a.disabled_at,
            (
                SELECT coalesce(f.refunded_at, f.ended_at)
                FROM refund AS f
                INNER JOIN trade AS t ON f.lane = t.lane AND f.order_id = t.order_id AND f.attempt = t.attempt
                WHERE
                    f.state = 'succeeded'
                    AND coalesce(f.refunded_at, f.ended_at) >= statement_timestamp() - make_interval(days => $1)
                    AND t.account_id = a.id
                ORDER BY coalesce(f.refunded_at, f.ended_at) DESC
                LIMIT 1
            )
        )
    END AS used_at
FROM channel_account AS a
ORDER BY a.id;

-- name: bill_day_add :many
-- Days whose bills are wanted. One whose whole bill came from its channel already is done; a file that somebody loaded
-- is not the channel's word. Safe to repeat and to race.
WITH loaded AS ( -- the channel's whole bills of these days that are compared
    SELECT
        r.account_id,
        r.day,
        max(r.id) AS run_id
    FROM reconcile_run AS r
    INNER JOIN unnest($1::integer[], $2::date[]) AS w (account_id, day) ON r.account_id = w.account_id AND r.day = w.day
    WHERE NOT r.is_partial AND r.origin = 'channel'
    GROUP BY r.account_id, r.day
)

INSERT INTO bill_day (account_id, day, state, ready_at, due_at, run_id)
SELECT
    w.account_id,
    w.day,
    CASE WHEN l.run_id IS NULL THEN 'waiting' ELSE 'compared' END,
    w.ready_at,
    w.ready_at AS due_at,
    l.run_id
FROM unnest($1::integer[], $2::date[], $3::timestamptz[]) AS w (account_id, day, ready_at)
LEFT JOIN loaded AS l ON w.account_id = l.account_id AND w.day = l.day
ON CONFLICT (account_id, day) DO NOTHING
RETURNING account_id, day;

-- name: bill_day_want :many
-- Days whose bills somebody wants fetched anew, compared or not, now.
INSERT INTO bill_day (account_id, day, state, ready_at, due_at)
SELECT
    w.account_id,
    w.day,
    'waiting',
    w.ready_at,
    clock_timestamp()
FROM unnest($1::integer[], $2::date[], $3::timestamptz[]) AS w (account_id, day, ready_at)
ON CONFLICT (account_id, day) DO UPDATE
    SET state = 'waiting', due_at = excluded.due_at, attempts = 0, run_id = NULL
RETURNING account_id, day;

-- name: bill_day_list_outdated :many
-- The compared days of which we learned since $1 that money moved, of which their bill's run has no row: it came too
-- late for that. Refunds are looked for $2 days back. Leans on remedy_completed_at, refund_moved_at, the primary key of
-- bill_day, the unique key of reconcile_run and discrepancy_order.
WITH news AS ( -- what reached us in another way than at once; days are Beijing's
    SELECT
        t.account_id,
        (m.paid_at AT TIME ZONE 'Asia/Shanghai')::date AS day,
        'payment' AS kind,
        m.lane,
        m.order_id,
        m.attempt AS ordinal,
        NULL::text AS reference,
        m.completed_at AS known_at
    FROM remedy AS m
    INNER JOIN trade AS t ON m.lane = t.lane AND m.order_id = t.order_id AND m.attempt = t.attempt
    WHERE m.completed_at >= $1::timestamptz AND m.paid_at IS NOT NULL
    UNION ALL
    SELECT
        t.account_id,
        (coalesce(f.refunded_at, f.ended_at) AT TIME ZONE 'Asia/Shanghai')::date AS day,
        'refund' AS kind,
        f.lane,
        f.order_id,
        f.ordinal,
        f.channel_reference AS reference,
        f.ended_at AS known_at
    FROM refund AS f
    INNER JOIN trade AS t ON f.lane = t.lane AND f.order_id = t.order_id AND f.attempt = t.attempt
    WHERE
        f.state = 'succeeded' AND f.ended_at >= $1
        AND coalesce(f.refunded_at, f.ended_at) >= $1 - make_interval(days => $2)
)

SELECT DISTINCT
    n.account_id,
    n.day
FROM news AS n
INNER JOIN bill_day AS b ON n.account_id = b.account_id AND n.day = b.day
WHERE
    b.state = 'compared'
    AND n.known_at > (
        SELECT max(r.begun_at) FROM reconcile_run AS r
        WHERE r.account_id = n.account_id AND r.day = n.day AND NOT r.is_partial
    )
    AND NOT EXISTS (
        SELECT FROM discrepancy AS d
        WHERE
            d.lane = n.lane AND d.order_id = n.order_id
            AND (d.ordinal = n.ordinal OR d.subject = n.reference)
            AND d.account_id = n.account_id AND d.day = n.day AND d.kind = n.kind
    );

-- name: bill_day_list_open :many
-- The bills that are not compared, oldest first; with $1 only those that are due. Leans on bill_day_open, and on the
-- unique key of reconcile_run for the whole file that a person has loaded instead.
SELECT
    b.account_id,
    a.name AS account_name,
    a.channel,
    b.day,
    b.state,
    b.ready_at,
    b.due_at,
    b.attempts,
    b.asked_at,
    b.code,
    b.message,
    (
        SELECT max(r.id) FROM reconcile_run AS r
        WHERE r.account_id = b.account_id AND r.day = b.day AND NOT r.is_partial AND r.origin = 'file'
    ) AS file_run_id,
    clock_timestamp() AS now
FROM bill_day AS b
INNER JOIN channel_account AS a ON b.account_id = a.id
WHERE
    b.state <> 'compared'
    AND (NOT $1::boolean OR (b.state = 'waiting' AND b.due_at <= clock_timestamp()))
ORDER BY b.day, b.account_id
LIMIT $2;

-- name: bill_day_begin :maybe
-- A bill that is asked for now; when to ask again if nobody lives to say what became of it. Leans on the primary key.
UPDATE bill_day
SET
    attempts = attempts + 1,
    asked_at = clock_timestamp(),
    due_at = clock_timestamp() + make_interval(secs => $3),
    code = $4,
    message = ''
WHERE account_id = $1 AND day = $2 AND state = 'waiting'
RETURNING attempts;

-- name: bill_day_put_off :maybe
-- A bill that did not come, or was refused: when to ask again, or that nobody can any more; then the whole file that a
-- person has loaded of the day takes its place. Its try is counted already.
UPDATE bill_day AS b
SET
    state = CASE WHEN f.state = 'missed' AND f.run_id IS NOT NULL THEN 'compared' ELSE f.state END,
    run_id = CASE WHEN f.state = 'missed' THEN f.run_id END,
    due_at = clock_timestamp() + make_interval(secs => $4),
    code = $5,
    message = $6
FROM (
    SELECT
        $3::text AS state,
        max(id) AS run_id
    FROM reconcile_run
    WHERE account_id = $1 AND day = $2 AND NOT is_partial
) AS f
WHERE b.account_id = $1 AND b.day = $2 AND b.state = 'waiting'
RETURNING b.state;

-- name: bill_day_compared :none
-- A day's whole bill was compared; in the transaction that keeps the run. One that a person brought ends no waiting for
-- the channel's own before that is kept no more.
UPDATE bill_day
SET state = 'compared', run_id = $3, code = '', message = ''
WHERE account_id = $1 AND day = $2 AND ($4::text = 'channel' OR state = 'missed');
