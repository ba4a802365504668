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
-- The compared days of which we learned since $1 that money moved, at most $2 seconds before their comparison began or
-- later, of which it has no row. Leans on late_money_known_at, the primary keys of bill_day and refund, the unique key
-- of reconcile_run and discrepancy_order.
SELECT DISTINCT
    m.account_id,
    m.day
FROM late_money AS m
INNER JOIN bill_day AS b ON m.account_id = b.account_id AND m.day = b.day
LEFT JOIN
    refund AS f
    ON m.kind = 'refund' AND m.lane = f.lane AND m.order_id = f.order_id AND m.ordinal = f.ordinal
WHERE
    m.known_at >= $1::timestamptz
    AND b.state = 'compared'
    AND m.known_at > (
        SELECT max(r.begun_at) FROM reconcile_run AS r
        WHERE r.account_id = m.account_id AND r.day = m.day AND NOT r.is_partial
    ) - make_interval(secs => $2)
    AND NOT EXISTS (
        SELECT FROM discrepancy AS d
        WHERE
            d.lane = m.lane AND d.order_id = m.order_id
            AND (d.ordinal = m.ordinal OR d.subject = f.channel_reference)
            AND d.account_id = m.account_id AND d.day = m.day AND d.kind = m.kind
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
-- the channel's own before that is kept no more; nor does the channel's own end a wish that came since it was asked
-- for, from which its tries are counted anew.
UPDATE bill_day
SET state = 'compared', run_id = $3, code = '', message = ''
WHERE
    account_id = $1 AND day = $2
    AND CASE WHEN $4::text = 'channel' THEN state <> 'waiting' OR attempts > 0 ELSE state = 'missed' END;
