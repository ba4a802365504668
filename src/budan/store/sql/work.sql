-- `lane + 0` keeps the lane from being an index condition: PostgreSQL 15 would read every row of the held lanes
-- instead of the due ones by time.

-- name: query_list_due :many
-- Questions due in the held lanes, oldest first, less the accounts that are at their bound. Leans on query_due_due_at.
-- Here and below two words decide that it is read up to now and no further: statement_timestamp() is stable, where
-- clock_timestamp() would be compared row by row; and two bounds look narrow to a planner that has no statistics yet,
-- where one would send it over all of a lane.
SELECT
    q.lane,
    q.order_id,
    q.attempt,
    q.attempts,
    q.due_at,
    t.account_id,
    t.method,
    t.state,
    t.created_at,
    t.channel_reference,
    o.merchant_id,
    clock_timestamp() AS now
FROM query_due AS q
INNER JOIN trade AS t ON q.lane = t.lane AND q.order_id = t.order_id AND q.attempt = t.attempt
INNER JOIN orders AS o ON q.lane = o.lane AND q.order_id = o.id
WHERE
    q.lane + 0 = any($1::smallint[])
    AND q.due_at > '-infinity'
    AND q.due_at <= statement_timestamp()
    AND t.account_id <> all($2::integer[])
ORDER BY q.due_at
LIMIT $3;

-- name: query_bring_forward :one
-- The notices of these accounts stopped: what waits in the held lanes because they came waits no longer than is tight.
-- Reads one page of what waits, by its time, whole moments at once, and goes on after it; a row that is being written
-- is about to get its time anyhow. Ended and B2C trades keep their ladders. Leans on query_due_due_at and the primary
-- keys.
WITH page AS ( -- the nearest first: those are the youngest orders
    SELECT
        lane,
        order_id,
        attempt,
        attempts,
        due_at
    FROM query_due
    WHERE
        lane + 0 = any($1::smallint[])
        AND due_at > coalesce($3::timestamptz, statement_timestamp())
        AND due_at <= statement_timestamp() + make_interval(secs => $4)
    ORDER BY due_at
    FETCH FIRST $8 ROWS WITH TIES
),

tight AS ( -- when each would be asked about if its account's notices were known to be missing
    SELECT
        p.lane,
        p.order_id,
        p.attempt,
        greatest(t.created_at + make_interval(secs => $5), statement_timestamp()) AS due_at
    FROM page AS p
    INNER JOIN trade AS t ON p.lane = t.lane AND p.order_id = t.order_id AND p.attempt = t.attempt
    WHERE
        t.account_id = any($2::integer[])
        AND t.method <> 'code'
        AND t.state IN ('created', 'submitted', 'user_paying', 'unknown', 'reversing')
        AND (
            (p.attempts = 0 AND p.due_at > t.created_at + make_interval(secs => $5))
            OR p.due_at > statement_timestamp() + greatest(
                make_interval(secs => $6), $7::double precision * (statement_timestamp() - t.created_at)
            )
        )
),

waiting AS ( -- locked where nobody is writing them
    SELECT
        q.lane,
        q.order_id,
        q.attempt,
        w.due_at
    FROM query_due AS q
    INNER JOIN tight AS w ON q.lane = w.lane AND q.order_id = w.order_id AND q.attempt = w.attempt
    WHERE q.lane = any($1)
    FOR UPDATE OF q SKIP LOCKED
),

moved AS ( -- each to its own moment
    UPDATE query_due AS q
    SET due_at = w.due_at
    FROM waiting AS w
    WHERE q.lane = any($1) AND q.lane = w.lane AND q.order_id = w.order_id AND q.attempt = w.attempt
    RETURNING q.order_id
)

SELECT
    (SELECT count(*) FROM moved) AS rows_moved,
    count(*) AS rows_read,
    max(due_at) AS last_due_at
FROM page;

-- name: query_count_needing_person :one
-- How many open questions in the held lanes a person must look at, counted up to a bound. Leans on
-- query_due_needs_person, which has no other rows.
SELECT count(*) AS rows_found
FROM (
    SELECT order_id
    FROM query_due
    WHERE needs_person AND lane = any($1::smallint[])
    ORDER BY lane, order_id
    LIMIT $2
) AS found;

-- name: webhook_list_due :many
-- Deliveries due in the held lanes, less the endpoints that are at their bound or behind an open breaker; of one order
-- and endpoint only the oldest event, so that events go in order. What they say is read by webhook_list_events: a join
-- without bounds would open every partition there ever was, each time somebody looks. Leans on webhook_due_due_at.
SELECT
    d.lane,
    d.order_id,
    d.version,
    d.endpoint_id,
    d.attempts,
    d.due_at,
    e.url,
    e.sealed_secret,
    CASE WHEN e.old_until > statement_timestamp() THEN e.old_sealed_secret END AS old_sealed_secret,
    e.merchant_id
FROM webhook_due AS d
INNER JOIN webhook_endpoint AS e ON d.endpoint_id = e.id
WHERE
    d.lane + 0 = any($1::smallint[])
    AND d.due_at > '-infinity' AND d.due_at <= statement_timestamp()
    AND d.endpoint_id <> all($2::integer[])
    AND e.enabled
    AND NOT EXISTS (
        SELECT 1 FROM webhook_due AS earlier
        WHERE
            earlier.lane = d.lane
            AND earlier.order_id = d.order_id
            AND earlier.endpoint_id = d.endpoint_id
            AND earlier.version < d.version
    )
ORDER BY d.due_at
LIMIT $3;

-- name: webhook_list_events :many
-- What some webhooks say. $5 and $6 are the lowest and the highest order id of them: partitions that hold none are left
-- out. By the primary key.
SELECT
    w.lane,
    w.order_id,
    w.version,
    w.endpoint_id,
    w.event,
    w.body,
    w.created_at
FROM
    unnest($1::smallint[], $2::bigint[], $3::integer[], $4::integer[]) AS d (lane, order_id, version, endpoint_id)
INNER JOIN webhook AS w
    ON d.lane = w.lane AND d.order_id = w.order_id AND d.version = w.version AND d.endpoint_id = w.endpoint_id
WHERE w.order_id BETWEEN $5 AND $6 OR w.order_id = $5;

-- name: webhook_write :many
-- What a batch of deliveries brought, written only where the lane's fence is still ours; the rows that were come back.
WITH w AS ( -- the outcomes whose fence holds
    SELECT
        u.lane,
        u.order_id,
        u.version,
        u.endpoint_id,
        u.attempt,
        u.started_at,
        u.latency_ms,
        u.status,
        u.error,
        u.taken,
        u.retry_s
    FROM
        unnest(
            $1::smallint[], $2::bigint[], $3::integer[], $4::integer[], $5::integer[], $6::timestamptz[],
            $7::integer[], $8::smallint[], $9::text[], $10::boolean[], $11::double precision[], $12::bigint[]
        ) AS u (
            lane, order_id, version, endpoint_id, attempt, started_at, latency_ms, status, error, taken, retry_s, fence
        )
    INNER JOIN lane_lease AS l ON u.lane = l.lane AND u.fence = l.fence
),

logged AS ( -- the log that the merchant can read
    INSERT INTO delivery (
        lane, order_id, version, endpoint_id, attempt, started_at, latency_ms, status, error
    )
    SELECT
        lane,
        order_id,
        version,
        endpoint_id,
        attempt,
        started_at,
        latency_ms,
        status,
        error
    FROM w
    ON CONFLICT (lane, order_id, version, endpoint_id, attempt) DO NOTHING
),

taken AS ( -- when the merchant took it
    UPDATE webhook AS h
    SET taken_at = clock_timestamp()
    FROM w
    WHERE
        w.taken
        AND (h.order_id BETWEEN $13 AND $14 OR h.order_id = $13)
        AND h.lane = w.lane
        AND h.order_id = w.order_id
        AND h.version = w.version
        AND h.endpoint_id = w.endpoint_id
),

done AS ( -- taken: no more work
    DELETE FROM webhook_due AS d
    USING w
    WHERE
        w.taken
        AND d.lane = w.lane
        AND d.order_id = w.order_id
        AND d.endpoint_id = w.endpoint_id
        AND d.version = w.version
),

later AS ( -- not taken: the next rung of the ladder
    UPDATE webhook_due AS d
    SET due_at = clock_timestamp() + make_interval(secs => w.retry_s), attempts = w.attempt
    FROM w
    WHERE
        NOT w.taken
        AND d.lane = w.lane
        AND d.order_id = w.order_id
        AND d.endpoint_id = w.endpoint_id
        AND d.version = w.version
)

SELECT
    lane,
    order_id,
    version,
    endpoint_id
FROM w;

-- name: webhook_put_off :many
-- Due deliveries of an endpoint that takes none, out of the way of every listing; the oldest stay due for probes. Skips
-- rows that are being written. Leans on webhook_due_due_at.
WITH waiting AS ( -- an endpoint is a merchant's, so all its rows are in one lane
    SELECT
        lane,
        order_id,
        endpoint_id,
        version
    FROM webhook_due
    WHERE
        lane = any($1::smallint[])
        AND due_at > '-infinity' AND due_at <= statement_timestamp()
        AND endpoint_id = $2
        AND EXISTS (SELECT 1 FROM lane_lease AS l WHERE l.lane = any($1) AND l.fence = $3)
    ORDER BY due_at
    LIMIT $5 OFFSET $4
    FOR UPDATE SKIP LOCKED
)

UPDATE webhook_due AS d
SET due_at = statement_timestamp() + make_interval(secs => $6)
FROM waiting AS w
WHERE
    d.lane = any($1)
    AND d.lane = w.lane
    AND d.order_id = w.order_id
    AND d.endpoint_id = w.endpoint_id
    AND d.version = w.version
RETURNING d.order_id;

-- name: webhook_list_waiting_endpoints :many
-- The endpoints for which deliveries of a lane wait whose turn is later. Leans on webhook_due_due_at; reads them all,
-- so once for all the lane's endpoints.
SELECT DISTINCT endpoint_id FROM webhook_due WHERE lane = $1::smallint AND due_at > statement_timestamp();

-- name: webhook_bring_forward :many
-- An endpoint takes deliveries again: what waits for it is due now. Skips rows that are being written. Leans on
-- webhook_due_due_at.
WITH waiting AS ( -- those with the nearest turn first
    SELECT
        lane,
        order_id,
        endpoint_id,
        version
    FROM webhook_due
    WHERE
        lane = any($1::smallint[])
        AND due_at > statement_timestamp()
        AND endpoint_id = $2
        AND EXISTS (SELECT 1 FROM lane_lease AS l WHERE l.lane = any($1) AND l.fence = $3)
    ORDER BY due_at
    LIMIT $4
    FOR UPDATE SKIP LOCKED
)

UPDATE webhook_due AS d
SET due_at = statement_timestamp()
FROM waiting AS w
WHERE
    d.lane = any($1)
    AND d.lane = w.lane
    AND d.order_id = w.order_id
    AND d.endpoint_id = w.endpoint_id
    AND d.version = w.version
RETURNING d.order_id;

-- name: evidence_list_due :many
-- Left-over evidence due in the held lanes. Leans on evidence_due_due_at.
SELECT
    lane,
    trade_no,
    digest,
    attempts,
    reason,
    statement::text AS statement
FROM evidence_due
WHERE lane + 0 = any($1::smallint[]) AND due_at > '-infinity' AND due_at <= statement_timestamp()
ORDER BY due_at
LIMIT $2;

-- name: work_count_due :many
-- What is due in the held lanes, for the metrics, each kind counted up to a bound: after a long outage millions may be
-- due, and counting them each few seconds would hold up what works them off. The oldest come first, so their age is
-- true whatever the bound. Only entries that are due are read, by the six due_at indexes.
SELECT
    w.work,
    count(*) AS rows_due,
    coalesce(extract(EPOCH FROM clock_timestamp() - min(w.due_at)), 0)::double precision AS oldest_s
FROM (
    (
        SELECT
            'query' AS work,
            due_at
        FROM query_due
        WHERE lane + 0 = any($1::smallint[]) AND due_at > '-infinity' AND due_at <= statement_timestamp()
        ORDER BY due_at
        LIMIT $2::integer
    )
    UNION ALL
    (
        SELECT
            'deliver' AS work,
            due_at
        FROM webhook_due
        WHERE lane + 0 = any($1) AND due_at > '-infinity' AND due_at <= statement_timestamp()
        ORDER BY due_at
        LIMIT $2
    )
    UNION ALL
    (
        SELECT
            'evidence' AS work,
            due_at
        FROM evidence_due
        WHERE lane + 0 = any($1) AND due_at > '-infinity' AND due_at <= statement_timestamp()
        ORDER BY due_at
        LIMIT $2
    )
    UNION ALL
    (
        SELECT
            'expire' AS work,
            due_at
        FROM order_due
        WHERE lane + 0 = any($1) AND due_at > '-infinity' AND due_at <= statement_timestamp()
        ORDER BY due_at
        LIMIT $2
    )
    UNION ALL
    (
        SELECT
            'close' AS work,
            due_at
        FROM close_due
        WHERE lane + 0 = any($1) AND due_at > '-infinity' AND due_at <= statement_timestamp()
        ORDER BY due_at
        LIMIT $2
    )
    UNION ALL
    (
        SELECT
            'refund' AS work,
            due_at
        FROM refund_due
        WHERE lane + 0 = any($1) AND due_at > '-infinity' AND due_at <= statement_timestamp()
        ORDER BY due_at
        LIMIT $2
    )
) AS w
GROUP BY w.work;
