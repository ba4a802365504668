-- What stands against closing a day of the books.

-- name: closing_list_bills :many
-- All accounts, with what is waited for of a day's bill and whether a whole one was compared: the newest run of those,
-- by its end, whether one was the channel's own, and who loaded the newest file that counts. A file that was compared
-- before we learned of money that it has no row of, at most $2 seconds before it began or later, does not: nobody
-- fetches it anew (as in reconcile_find_run). Leans on the primary keys of bill_day and refund, the unique key of
-- reconcile_run, late_money_day and discrepancy_order.
WITH unmet AS ( -- when we learned last of money of the day that no run has a row of, by account
    SELECT
        m.account_id,
        max(m.known_at) AS known_at
    FROM late_money AS m
    LEFT JOIN
        refund AS f
        ON m.kind = 'refund' AND m.lane = f.lane AND m.order_id = f.order_id AND m.ordinal = f.ordinal
    WHERE
        m.day = $1
        AND m.account_id IN (SELECT r.account_id FROM reconcile_run AS r WHERE r.day = $1 AND r.origin = 'file')
        AND NOT EXISTS (
            SELECT FROM discrepancy AS d
            WHERE
                d.lane = m.lane AND d.order_id = m.order_id
                AND (d.ordinal = m.ordinal OR d.subject = f.channel_reference)
                AND d.account_id = m.account_id AND d.day = m.day AND d.kind = m.kind
        )
    GROUP BY m.account_id
),

compared AS ( -- one row for each account
    SELECT
        r.account_id,
        (array_agg(r.id ORDER BY r.ended_at DESC, r.id DESC))[1] AS run_id,
        bool_or(r.origin = 'channel') AS by_channel,
        bool_or(r.origin = 'file') AS has_file,
        (
            array_agg(r.loaded_by ORDER BY r.ended_at DESC, r.id DESC) FILTER (
                WHERE
                r.origin = 'file'
                AND (u.known_at IS NULL OR u.known_at <= r.begun_at - make_interval(secs => $2))
            )
        )[1] AS file_by
    FROM reconcile_run AS r
    LEFT JOIN unmet AS u ON r.account_id = u.account_id
    WHERE r.day = $1 AND NOT r.is_partial
    GROUP BY r.account_id
)

SELECT
    a.id AS account_id,
    a.name || ' (' || a.channel || ')' AS account,
    b.state,
    b.code,
    c.run_id,
    coalesce(c.by_channel, FALSE) AS by_channel,
    coalesce(c.has_file, FALSE) AS has_file,
    c.file_by
FROM channel_account AS a
LEFT JOIN bill_day AS b ON a.id = b.account_id AND b.day = $1
LEFT JOIN compared AS c ON a.id = c.account_id
ORDER BY a.id;

-- name: closing_wait_longer :one
-- For this transaction: a run holds its account for seconds where much differs. No driver of ours waits less.
SELECT
    set_config('lock_timeout', '8s', TRUE) AS lock_timeout,
    set_config('statement_timeout', '8s', TRUE) AS statement_timeout;

-- name: closing_lock_accounts :none
-- The lock that a run holds while it is kept, on every account: none is kept while a day is closed. In the order of all
-- who take several.
SELECT id
FROM channel_account
ORDER BY id
FOR NO KEY UPDATE;

-- name: closing_list_late_runs :many
-- The newest whole run of each account's day that was closed before it ended, after $1: a day before $2. Few.
SELECT DISTINCT ON (account_id, day)
    id
FROM reconcile_run
WHERE ended_at > $1 AND day < $2 AND NOT is_partial
ORDER BY account_id ASC, day ASC, ended_at DESC, id DESC;

-- name: closing_list_watched_runs :many
-- The newest whole run of each account's day in the last $1 days, where the day is not closed or the run ended after
-- the last close.
WITH last_close AS ( -- one row, without a value where no day was closed
    SELECT
        max(day) AS day,
        max(closed_at) AS closed_at
    FROM ledger_day
)

SELECT DISTINCT ON (r.account_id, r.day)
    r.id
FROM reconcile_run AS r
CROSS JOIN last_close AS c
WHERE
    r.day >= (statement_timestamp() AT TIME ZONE 'Asia/Shanghai')::date - $1::integer
    AND NOT r.is_partial
    AND (c.day IS NULL OR r.day > c.day OR r.ended_at > c.closed_at)
ORDER BY r.account_id ASC, r.day ASC, r.ended_at DESC, r.id DESC
LIMIT $2;

-- name: closing_list_differences :many
-- What differs on a day and nobody has ended, and with $2 what was found, or is open again, since then of the days
-- before, which are closed; sums are as a report has them, by account, day, kind, verdict and currency. Of some one
-- person has proposed the end ($3 is how long that stands). Leans on discrepancy_unresolved, adjustment_waiting and the
-- primary key of operator_act.
SELECT
    d.account_id,
    a.name || ' (' || a.channel || ')' AS account,
    d.day,
    d.kind,
    d.verdict,
    CASE WHEN d.their_minor IS NULL THEN coalesce(d.our_currency, d.currency) ELSE d.currency END AS currency,
    count(*) AS rows_found,
    coalesce(
        sum(
            CASE
                WHEN d.kind = 'fees' OR d.verdict = 'settle_differs' THEN abs(d.their_minor - d.our_minor)
                ELSE coalesce(d.their_minor, d.our_minor)
            END
        ),
        0
    )::bigint AS amount_minor,
    count(*) FILTER (
        WHERE EXISTS (
            SELECT FROM operator_act AS o
            WHERE
                o.lane = d.lane AND o.order_id = d.order_id
                AND o.kind IN ('release', 'evidence') AND o.confirmed_by IS NULL
                AND o.acted_at > statement_timestamp() - $3::interval
        )
        OR EXISTS (
            SELECT FROM adjustment AS j
            WHERE
                j.discrepancy_id = d.id
                AND j.state = 'proposed'
                AND j.proposed_at > statement_timestamp() - $3::interval
        )
    ) AS proposed
FROM discrepancy AS d
INNER JOIN channel_account AS a ON d.account_id = a.id
WHERE
    d.state <> 'resolved'
    AND (d.day = $1 OR (d.day < $1 AND coalesce(d.reopened_at, d.found_at) > $2::timestamptz))
GROUP BY
    d.account_id,
    a.name,
    a.channel,
    d.day,
    d.kind,
    d.verdict,
    CASE WHEN d.their_minor IS NULL THEN coalesce(d.our_currency, d.currency) ELSE d.currency END
ORDER BY d.day, d.account_id, d.kind, d.verdict, currency;

-- name: closing_list_waiting :many
-- Orders on hold that were put on hold in a time or of which something was booked then; and money that came into
-- suspense then and that nobody has said the owner of: an entry is resolved by one of its own. Of some one person has
-- proposed the end ($3). Leans on orders_held, posting_suspense and the primary keys of posting and operator_act.
WITH waiting AS ( -- a row for each
    SELECT
        'hold' AS stand,
        o.lane,
        o.id AS order_id,
        o.currency,
        o.amount_minor
    FROM orders AS o
    WHERE
        o.hold_reason IS NOT NULL
        AND (
            (o.hold_since >= $1 AND o.hold_since < $2)
            OR EXISTS (
                SELECT FROM posting AS p
                WHERE p.lane = o.lane AND p.order_id = o.id AND p.booked_at >= $1 AND p.booked_at < $2
            )
        )
    UNION ALL
    SELECT
        'suspense' AS stand,
        s.lane,
        s.order_id,
        s.currency,
        -s.amount_minor AS amount_minor
    FROM posting AS s
    WHERE
        s.account = 'suspense' AND s.booked_at >= $1 AND s.booked_at < $2 AND s.entry_key LIKE 'suspense:%'
        AND NOT EXISTS (
            SELECT FROM posting AS e
            WHERE e.lane = s.lane AND e.order_id = s.order_id AND e.entry_key = 'adjustment:' || s.entry_key
        )
)

SELECT
    w.stand,
    w.currency,
    count(*) AS rows_found,
    sum(w.amount_minor)::bigint AS amount_minor,
    count(*) FILTER (
        WHERE EXISTS (
            SELECT FROM operator_act AS a
            WHERE
                a.lane = w.lane AND a.order_id = w.order_id
                AND a.kind IN ('release', 'evidence') AND a.confirmed_by IS NULL
                AND a.acted_at > statement_timestamp() - $3::interval
        )
    ) AS proposed
FROM waiting AS w
GROUP BY w.stand, w.currency
ORDER BY w.stand, w.currency;

-- name: closing_list_adjustments :many
-- What one person has proposed to book in a time ($1, $2), or of a difference of a day ($3), and no second one has
-- decided. Leans on adjustment_proposed.
SELECT
    a.currency,
    count(*) AS rows_found,
    sum(a.amount_minor)::bigint AS amount_minor,
    count(*) AS proposed
FROM adjustment AS a
LEFT JOIN discrepancy AS d ON a.discrepancy_id = d.id
WHERE a.state = 'proposed' AND ((a.proposed_at >= $1 AND a.proposed_at < $2) OR d.day = $3)
GROUP BY a.currency
ORDER BY a.currency;
