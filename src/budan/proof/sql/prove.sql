-- name: prove_connections_cut :one
-- Ends every other session of this database, as a failing network or an administrator would.
SELECT count(pg_terminate_backend(a.pid)) AS cut
FROM pg_stat_activity AS a
WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() AND a.backend_type = 'client backend';

-- name: prove_gateway_set :none
-- Leads every account's calls through a line that can be cut; a gateway keeps its path.
UPDATE channel_account AS c
SET settings = jsonb_set(
    c.settings, '{gateway}', to_jsonb(replace(c.settings ->> 'gateway', $1::text, $2::text))
);

-- name: prove_accounts_enable :none
-- What an operator does to every account: a disabled one takes no new trades.
UPDATE channel_account AS c SET enabled = $1::boolean;

-- name: prove_outcomes_hold :none
-- Until the end of the transaction nobody writes what came of a delivery.
LOCK TABLE delivery IN EXCLUSIVE MODE;

-- name: prove_payments_unsettled :many
-- Which of these payments have neither completed their order, nor are on their way back, nor lie in suspense.
SELECT
    w.lane,
    w.order_id,
    w.attempt
FROM unnest($1::smallint[], $2::bigint[], $3::smallint[]) AS w (lane, order_id, attempt)
WHERE
    NOT EXISTS (
        SELECT 1 FROM orders AS o
        WHERE o.lane = w.lane AND o.id = w.order_id AND o.state = 'paid' AND o.paid_attempt = w.attempt
    )
    AND NOT EXISTS (
        SELECT 1 FROM refund AS f
        WHERE f.lane = w.lane AND f.order_id = w.order_id AND f.attempt = w.attempt
    )
    AND NOT EXISTS (
        SELECT 1 FROM posting AS p
        WHERE p.lane = w.lane AND p.order_id = w.order_id AND p.entry_key LIKE 'suspense:' || w.attempt || ':%'
    );

-- name: prove_paid_at_list :many
-- When these payments were made, as the orders that they completed keep it.
SELECT
    w.lane,
    w.order_id,
    w.attempt,
    o.paid_at
FROM unnest($1::smallint[], $2::bigint[], $3::smallint[]) AS w (lane, order_id, attempt)
INNER JOIN orders AS o ON w.lane = o.lane AND w.order_id = o.id AND w.attempt = o.paid_attempt;

-- name: prove_webhooks_due_count :one
-- How many events the merchants still have to take.
SELECT count(*) AS due
FROM webhook_due AS d
INNER JOIN orders AS o ON d.lane = o.lane AND d.order_id = o.id
WHERE o.merchant_id = any($1::integer[]);

-- name: prove_questions_count :one
-- How many trades of these merchants somebody is to ask about.
SELECT count(*) AS questions
FROM query_due AS q
INNER JOIN orders AS o ON q.lane = o.lane AND q.order_id = o.id
WHERE o.merchant_id = any($1::integer[]);

-- name: prove_refunds_open_count :one
-- How many refunds of these merchants' orders have not come to an end that the channel told.
SELECT count(*) AS open
FROM refund AS f
INNER JOIN orders AS o ON f.lane = o.lane AND f.order_id = o.id
WHERE o.merchant_id = any($1::integer[]) AND f.state IN ('created', 'submitted', 'unknown');

-- name: prove_trades_list :many
-- The attempts of one order, as they are now.
SELECT
    t.attempt,
    t.state,
    t.asked_count,
    t.send_until,
    clock_timestamp() AS now
FROM order_reference AS r
INNER JOIN trade AS t ON r.lane = t.lane AND r.order_id = t.order_id
WHERE r.lane = $1 AND r.merchant_id = $2 AND r.reference = $3
ORDER BY t.attempt;

-- name: prove_states_list :many
-- Which states these merchants' orders are in.
SELECT DISTINCT o.state
FROM orders AS o
WHERE o.merchant_id = any($1::integer[]);

-- name: prove_trades_count :one
-- How many intents there are of these merchants' orders.
SELECT count(*) AS trades
FROM trade AS t
INNER JOIN orders AS o ON t.lane = o.lane AND t.order_id = o.id
WHERE o.merchant_id = any($1::integer[]);

-- name: prove_refunds_hasten :none
-- The next step of a refund comes sooner by $2; what may be sent, and until when, stays as it is.
UPDATE refund_due AS d SET due_at = d.due_at - $2::interval
FROM orders AS o
WHERE d.lane = o.lane AND d.order_id = o.id AND o.merchant_id = any($1::integer[]);

-- name: prove_time_pass :many
-- Time passes for everything that these merchants' orders wait for: all of it lies $2 further in the past. What has
-- ended stays as it is, and so does the send window of an intent that may be on its way this moment. The windows as
-- they were come back: what was sent after one is judged by it.
WITH unfinished AS ( -- the gate first, as everybody who touches an order
    SELECT
        o.lane,
        o.id
    FROM orders AS o
    WHERE o.merchant_id = any($1::integer[])
    ORDER BY o.lane, o.id
    FOR NO KEY UPDATE OF o
),

questions AS (
    UPDATE query_due AS d SET due_at = d.due_at - $2::interval
    FROM unfinished AS u
    WHERE d.lane = u.lane AND d.order_id = u.id
),

deliveries AS (
    UPDATE webhook_due AS d SET due_at = d.due_at - $2::interval
    FROM unfinished AS u
    WHERE d.lane = u.lane AND d.order_id = u.id
),

looks AS (
    UPDATE order_due AS d SET due_at = d.due_at - $2::interval
    FROM unfinished AS u
    WHERE d.lane = u.lane AND d.order_id = u.id
),

closes AS (
    UPDATE close_due AS d SET due_at = d.due_at - $2::interval
    FROM unfinished AS u
    WHERE d.lane = u.lane AND d.order_id = u.id
),

refunds AS (
    UPDATE refund_due AS d SET due_at = d.due_at - $2::interval
    FROM unfinished AS u
    WHERE d.lane = u.lane AND d.order_id = u.id
),

left_over AS (
    UPDATE evidence_due AS d SET due_at = d.due_at - $2::interval
),

trades AS (
    UPDATE trade AS t
    SET
        created_at = t.created_at - $2::interval,
        expires_at = t.expires_at - $2::interval,
        send_until = t.send_until - CASE WHEN t.state = 'created' THEN interval '0' ELSE $2::interval END
    FROM unfinished AS u
    WHERE t.lane = u.lane AND t.order_id = u.id AND NOT t.paid_seen
),

aged AS (
    UPDATE orders AS o SET created_at = o.created_at - $2::interval, expires_at = o.expires_at - $2::interval
    FROM unfinished AS u
    WHERE o.lane = u.lane AND o.id = u.id AND o.completed_at IS NULL
)

SELECT
    t.lane,
    t.order_id,
    t.attempt,
    t.send_until
FROM trade AS t
INNER JOIN unfinished AS u ON t.lane = u.lane AND t.order_id = u.id;

-- name: prove_order_tell :many
-- All that the database says of one order, a line each, for a person who looks for a lost one.
SELECT
    line.at,
    line.text
FROM (
    SELECT
        o.created_at AS at,
        format(
            'order %s: %s, version %s, told unpaid %s, held for %s, paid by attempt %s',
            o.reference, o.state, o.version, o.told_unpaid, o.hold_reason, o.paid_attempt
        ) AS text
    FROM orders AS o
    WHERE o.lane = $1 AND o.id = $2
    UNION ALL
    SELECT
        t.created_at,
        format('trade %s: %s, asked %s times, %s %s', t.attempt, t.state, t.asked_count, t.code, t.message)
    FROM trade AS t
    WHERE t.lane = $1 AND t.order_id = $2
    UNION ALL
    SELECT
        e.learned_at,
        format('evidence of %s: %s by %s, decided %s', e.attempt, e.outcome, e.source, e.decision)
    FROM evidence AS e
    WHERE e.lane = $1 AND e.order_id = $2
    UNION ALL
    SELECT
        n.received_at,
        format('notice: decided %s', n.decision)
    FROM notice AS n
    WHERE n.lane = $1 AND n.order_id = $2
    UNION ALL
    SELECT
        p.booked_at,
        format('booked %s: %s %s', p.entry_key, p.account, p.amount_minor)
    FROM posting AS p
    WHERE p.lane = $1 AND p.order_id = $2
    UNION ALL
    SELECT
        f.created_at,
        format('refund %s of attempt %s: %s, %s', f.ordinal, f.attempt, f.state, f.reason)
    FROM refund AS f
    WHERE f.lane = $1 AND f.order_id = $2
    UNION ALL
    SELECT
        w.created_at,
        format('webhook %s: %s, taken %s', w.version, w.event, w.taken_at)
    FROM webhook AS w
    WHERE w.lane = $1 AND w.order_id = $2
) AS line
ORDER BY line.at;
