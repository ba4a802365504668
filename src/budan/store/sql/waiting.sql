-- name: waiting_count :many
-- What only a person can end, in all lanes, and since when: each counted up to a bound ($1), the oldest of them first.
-- What the channels may still end by themselves counts after its time: a refund that nobody took ($2), one that was
-- taken ($3), a statement without effect ($4). Leans on orders_held, posting_suspense, refund_open,
-- query_due_needs_person, adjustment_proposed, and on evidence_due, which has next to no rows.
WITH suspended AS MATERIALIZED ( -- by time and by itself: grouped at once it might be read by the order's key
    SELECT
        lane,
        order_id,
        currency,
        amount_minor,
        booked_at
    FROM posting
    WHERE account = 'suspense' AND booked_at > '-infinity' AND booked_at < 'infinity'
    ORDER BY booked_at
)

SELECT
    w.what,
    count(*) AS rows_found,
    min(w.since) AS since,
    extract(EPOCH FROM clock_timestamp() - min(w.since))::double precision AS oldest_s
FROM (
    (
        SELECT
            'order_held' AS what,
            hold_since AS since
        FROM orders
        WHERE hold_reason IS NOT NULL
        ORDER BY id
        LIMIT $1
    )
    UNION ALL
    -- Entries stay; what was resolved sums to zero.
    (
        SELECT
            'suspense' AS what,
            min(booked_at) AS since
        FROM suspended
        GROUP BY lane, order_id, currency
        HAVING sum(amount_minor) <> 0
        ORDER BY min(booked_at)
        LIMIT $1
    )
    UNION ALL
    (
        SELECT
            'adjustment_proposed' AS what,
            proposed_at AS since
        FROM adjustment
        WHERE state = 'proposed'
        ORDER BY proposed_at
        LIMIT $1
    )
    UNION ALL
    (
        SELECT
            'refund_abnormal' AS what,
            created_at AS since
        FROM refund
        WHERE state = 'abnormal' AND created_at > '-infinity'
        ORDER BY created_at
        LIMIT $1
    )
    UNION ALL
    (
        SELECT
            'refund_not_taken' AS what,
            created_at AS since
        FROM refund
        WHERE
            state IN ('created', 'unknown')
            AND created_at > '-infinity' AND created_at < statement_timestamp() - $2::interval
        ORDER BY created_at
        LIMIT $1
    )
    UNION ALL
    (
        SELECT
            'refund_not_done' AS what,
            created_at AS since
        FROM refund
        WHERE
            state = 'submitted'
            AND created_at > '-infinity' AND created_at < statement_timestamp() - $3::interval
        ORDER BY created_at
        LIMIT $1
    )
    UNION ALL
    (
        SELECT
            'evidence_' || reason AS what,
            kept_at AS since
        FROM evidence_due
        WHERE due_at > '-infinity' AND kept_at < statement_timestamp() - $4::interval
        ORDER BY kept_at
        LIMIT $1
    )
    UNION ALL
    -- Since its order was made: an id begins with the milliseconds since 2025 (core/numbers.py).
    (
        SELECT
            'trade_without_end' AS what,
            timestamptz '2025-01-01 00:00:00+00' + (order_id >> 22) * interval '1 millisecond' AS since
        FROM query_due
        WHERE needs_person
        ORDER BY lane, order_id
        LIMIT $1
    )
) AS w
GROUP BY w.what;
