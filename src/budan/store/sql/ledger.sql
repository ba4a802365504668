-- These run in sessions that are made for reading much (store/database.py), never beside the door's.

-- name: ledger_count_entries :one
-- The entries of the orders of some lanes and one range of ids, and how many of them do not sum to zero (I10). Leans on
-- the primary key of posting.
WITH entry AS ( -- one row for each entry and currency
    SELECT
        count(*) AS lines,
        sum(amount_minor) AS sum_minor
    FROM posting
    WHERE lane = any($1::smallint[]) AND order_id >= $2 AND order_id < $3
    GROUP BY lane, order_id, entry_key, currency
)

SELECT
    coalesce(sum(lines), 0)::bigint AS postings,
    count(*) AS entries,
    count(*) FILTER (WHERE sum_minor <> 0) AS unbalanced
FROM entry;

-- name: ledger_list_unbalanced :many
-- Which entries they are. Leans on the primary key of posting.
SELECT
    lane,
    order_id,
    entry_key,
    currency,
    sum(amount_minor)::bigint AS sum_minor
FROM posting
WHERE lane = any($1::smallint[]) AND order_id >= $2 AND order_id < $3
GROUP BY lane, order_id, entry_key, currency
HAVING sum(amount_minor) <> 0
ORDER BY lane, order_id, entry_key
LIMIT $4;

-- name: ledger_list_unbooked :many
-- Paid orders whose payment is not booked as the order says: amount, fee, or not at all (I3). Leans on the primary keys
-- of orders and posting.
SELECT
    o.lane,
    o.id AS order_id,
    o.currency,
    o.amount_minor,
    o.fee_minor,
    p.came_minor,
    p.fee_booked_minor
FROM orders AS o
CROSS JOIN
    LATERAL (
        SELECT
            coalesce(sum(b.amount_minor) FILTER (WHERE b.account LIKE 'channel:%'), 0)::bigint AS came_minor,
            coalesce(-sum(b.amount_minor) FILTER (WHERE b.account = 'fee_income'), 0)::bigint AS fee_booked_minor
        FROM posting AS b
        WHERE b.lane = o.lane AND b.order_id = o.id AND b.entry_key = 'payment:' || o.paid_attempt
    ) AS p
WHERE
    o.lane = any($1::smallint[])
    AND o.id >= $2
    AND o.id < $3
    AND o.state = 'paid'
    AND (p.came_minor <> o.amount_minor OR p.fee_booked_minor IS DISTINCT FROM o.fee_minor)
ORDER BY o.lane, o.id
LIMIT $4;

-- name: ledger_list_wrong_moves :many
-- Payments and refunds that moved and are not booked at their channel account with their amount, and entries of such
-- that did not: also of those that complete no order. What a payment's return took back is taken from it. Leans on the
-- primary keys of trade, refund and posting.
WITH moved AS ( -- by what trades and refunds say
    SELECT
        lane,
        order_id,
        'payment' AS what,
        attempt AS ordinal,
        'channel:' || account_id AS account,
        currency,
        amount_minor
    FROM trade
    WHERE lane = any($1::smallint[]) AND order_id >= $2 AND order_id < $3 AND state = 'succeeded'
    UNION ALL
    SELECT
        r.lane,
        r.order_id,
        'refund' AS what,
        r.ordinal,
        'channel:' || t.account_id AS account,
        r.currency,
        -r.amount_minor AS amount_minor
    FROM refund AS r
    INNER JOIN trade AS t ON r.lane = t.lane AND r.order_id = t.order_id AND r.attempt = t.attempt
    WHERE r.lane = any($1) AND r.order_id >= $2 AND r.order_id < $3 AND r.state = 'succeeded'
),

booked AS ( -- by the books; nothing of it is left where a return followed
    SELECT
        lane,
        order_id,
        CASE WHEN entry_key LIKE 'refund:%' THEN 'refund' ELSE 'payment' END AS what,
        split_part(entry_key, ':', 2)::smallint AS ordinal,
        account,
        currency,
        sum(amount_minor)::bigint AS amount_minor
    FROM posting
    WHERE
        lane = any($1)
        AND order_id >= $2
        AND order_id < $3
        AND account LIKE 'channel:%'
        AND (entry_key LIKE 'payment:%' OR entry_key LIKE 'return:%' OR entry_key LIKE 'refund:%')
    GROUP BY lane, order_id, what, ordinal, account, currency
    HAVING sum(amount_minor) <> 0
)

SELECT
    coalesce(m.lane, b.lane) AS lane,
    coalesce(m.order_id, b.order_id) AS order_id,
    coalesce(m.what, b.what) AS what,
    coalesce(m.ordinal, b.ordinal) AS ordinal,
    coalesce(m.account, b.account) AS account,
    coalesce(m.currency, b.currency) AS currency,
    coalesce(m.amount_minor, 0)::bigint AS moved_minor,
    coalesce(b.amount_minor, 0)::bigint AS booked_minor
FROM moved AS m
FULL JOIN booked AS b
    ON
        m.lane = b.lane
        AND m.order_id = b.order_id
        AND m.what = b.what
        AND m.ordinal = b.ordinal
        AND m.account = b.account
        AND m.currency = b.currency
WHERE m.amount_minor IS DISTINCT FROM b.amount_minor
ORDER BY lane, order_id, what, ordinal
LIMIT $4;

-- name: ledger_list_wrong_cashback :many
-- Orders whose payers have another cashback by the books, or by its movements, than by what the order was granted, or
-- whose cashback somebody else pays for than was said; and entries of cashback of orders that were granted none.
-- Leans on the primary keys of cashback, orders, posting and cashback_movement.
WITH granted AS ( -- with the account that pays for it
    SELECT
        c.lane,
        c.order_id,
        c.currency,
        c.booked_minor,
        CASE WHEN c.funded_by = 'merchant' THEN 'merchant:' || o.merchant_id ELSE 'cashback_expense' END AS funder
    FROM cashback AS c
    INNER JOIN orders AS o ON c.lane = o.lane AND c.order_id = o.id
    WHERE c.lane = any($1::smallint[]) AND c.order_id >= $2 AND c.order_id < $3
),

told AS ( -- by grants, by the books, by movements
    SELECT
        lane,
        order_id,
        currency,
        booked_minor,
        0 AS posted_minor,
        0 AS funded_minor,
        0 AS moved_minor
    FROM granted
    UNION ALL
    SELECT
        p.lane,
        p.order_id,
        p.currency,
        0 AS booked_minor,
        CASE WHEN p.account = 'cashback_payable' THEN -p.amount_minor ELSE 0 END AS posted_minor,
        CASE WHEN p.account = g.funder THEN p.amount_minor ELSE 0 END AS funded_minor,
        0 AS moved_minor
    FROM posting AS p
    LEFT JOIN granted AS g ON p.lane = g.lane AND p.order_id = g.order_id AND p.currency = g.currency
    WHERE
        p.lane = any($1)
        AND p.order_id >= $2
        AND p.order_id < $3
        AND (p.entry_key LIKE 'cashback:%' OR p.account IN ('cashback_payable', 'cashback_expense'))
    UNION ALL
    SELECT
        lane,
        order_id,
        currency,
        0 AS booked_minor,
        0 AS posted_minor,
        0 AS funded_minor,
        amount_minor AS moved_minor
    FROM cashback_movement
    WHERE lane = any($1) AND order_id >= $2 AND order_id < $3
)

SELECT
    t.lane,
    t.order_id,
    t.currency,
    sum(t.booked_minor)::bigint AS booked_minor,
    sum(t.posted_minor)::bigint AS posted_minor,
    sum(t.funded_minor)::bigint AS funded_minor,
    sum(t.moved_minor)::bigint AS moved_minor
FROM told AS t
LEFT JOIN granted AS g ON t.lane = g.lane AND t.order_id = g.order_id AND t.currency = g.currency
GROUP BY t.lane, t.order_id, t.currency
HAVING
    count(g.order_id) = 0
    OR sum(t.posted_minor) <> sum(t.booked_minor)
    OR sum(t.funded_minor) <> sum(t.booked_minor)
    OR sum(t.moved_minor) <> sum(t.booked_minor)
ORDER BY t.lane, t.order_id
LIMIT $4;

-- name: ledger_list_wrong_budgets :many
-- Plans that have given another sum in a lane, by their budgets, than stands granted to its orders. One statement, for
-- payments go on meanwhile. Leans on the primary keys of cashback and cashback_budget.
WITH standing AS ( -- what refunds leave of each plan's grants
    SELECT
        lane,
        plan_id,
        sum(standing_minor)::bigint AS standing_minor
    FROM cashback
    WHERE lane = any($1::smallint[])
    GROUP BY lane, plan_id
),

budget AS ( -- what it has given
    SELECT
        lane,
        plan_id,
        granted_minor
    FROM cashback_budget
    WHERE lane = any($1)
)

SELECT
    coalesce(b.lane, s.lane) AS lane,
    coalesce(b.plan_id, s.plan_id) AS plan_id,
    coalesce(p.currency, 'CNY') AS currency,
    coalesce(b.granted_minor, 0)::bigint AS given_minor,
    coalesce(s.standing_minor, 0)::bigint AS standing_minor
FROM budget AS b
FULL JOIN standing AS s ON b.lane = s.lane AND b.plan_id = s.plan_id
LEFT JOIN cashback_plan AS p ON coalesce(b.plan_id, s.plan_id) = p.id
WHERE coalesce(b.granted_minor, 0) <> coalesce(s.standing_minor, 0)
ORDER BY plan_id, lane
LIMIT $2;

-- name: ledger_list_wrong_fees :many
-- Refunds whose entry gives back another part of the fee than they say, and trades that say another sum than their
-- refunds; a person's correction of a fee changes a trade's sum and no refund, so such trades are left to their acts.
-- Leans on the primary keys of refund, trade and posting.
WITH told AS ( -- by refunds
    SELECT
        lane,
        order_id,
        attempt,
        ordinal,
        currency,
        fee_given_back_minor
    FROM refund
    WHERE lane = any($1::smallint[]) AND order_id >= $2 AND order_id < $3
),

booked AS ( -- by the books
    SELECT
        lane,
        order_id,
        split_part(entry_key, ':', 2)::smallint AS ordinal,
        currency,
        sum(amount_minor)::bigint AS fee_minor
    FROM posting
    WHERE
        lane = any($1)
        AND order_id >= $2
        AND order_id < $3
        AND account = 'fee_income'
        AND entry_key LIKE 'refund:%'
    GROUP BY lane, order_id, ordinal, currency
),

summed AS ( -- each trade's refunds
    SELECT
        lane,
        order_id,
        attempt,
        sum(fee_given_back_minor)::bigint AS fee_minor
    FROM told
    GROUP BY lane, order_id, attempt
),

corrected AS ( -- orders whose fee a person corrected
    SELECT DISTINCT
        lane,
        order_id
    FROM operator_act
    WHERE lane = any($1) AND order_id >= $2 AND order_id < $3 AND kind = 'fee'
),

wrong AS ( -- refunds, then trades
    SELECT
        coalesce(t.lane, b.lane) AS lane,
        coalesce(t.order_id, b.order_id) AS order_id,
        'refund' AS what,
        coalesce(t.ordinal, b.ordinal) AS ordinal,
        coalesce(t.currency, b.currency) AS currency,
        coalesce(t.fee_given_back_minor, 0)::bigint AS told_minor,
        coalesce(b.fee_minor, 0)::bigint AS booked_minor
    FROM told AS t
    FULL JOIN booked AS b
        ON t.lane = b.lane AND t.order_id = b.order_id AND t.ordinal = b.ordinal AND t.currency = b.currency
    WHERE coalesce(t.fee_given_back_minor, 0) <> coalesce(b.fee_minor, 0)
    UNION ALL
    SELECT
        r.lane,
        r.order_id,
        'payment' AS what,
        r.attempt AS ordinal,
        r.currency,
        r.fee_given_back_minor AS told_minor,
        coalesce(s.fee_minor, 0)::bigint AS booked_minor
    FROM trade AS r
    LEFT JOIN summed AS s ON r.lane = s.lane AND r.order_id = s.order_id AND r.attempt = s.attempt
    LEFT JOIN corrected AS c ON r.lane = c.lane AND r.order_id = c.order_id
    WHERE
        r.lane = any($1)
        AND r.order_id >= $2
        AND r.order_id < $3
        AND c.order_id IS NULL
        AND r.fee_given_back_minor <> coalesce(s.fee_minor, 0)
)

SELECT
    lane,
    order_id,
    what,
    ordinal,
    currency,
    told_minor,
    booked_minor
FROM wrong
ORDER BY lane, order_id, what, ordinal
LIMIT $4;

-- name: ledger_list_strays :many
-- Entries that belong to nothing: their order or batch is not there, or they are of no kind that it has, or correct
-- what is not there, or adjust what nobody approved. Leans on the primary keys of posting, orders, settlement_batch and
-- operator_act, and on adjustment_entry.
WITH entry AS ( -- one row for each
    SELECT DISTINCT
        lane,
        order_id,
        entry_key
    FROM posting
    WHERE lane = any($1::smallint[]) AND order_id >= $2 AND order_id < $3
)

SELECT
    e.lane,
    e.order_id,
    e.entry_key
FROM entry AS e
LEFT JOIN orders AS o ON e.lane = o.lane AND e.order_id = o.id AND o.id >= $2 AND o.id < $3
LEFT JOIN settlement_batch AS b ON e.lane = b.lane AND e.order_id = b.id AND b.id >= $2 AND b.id < $3
WHERE
    NOT CASE
        WHEN b.id IS NOT NULL
            THEN e.entry_key ~ '^(settlement|payout|payout_return|second_payout|second_payout_return):'
        WHEN e.entry_key ~ '^adjustment:[0-9]+$'
            THEN EXISTS (
                SELECT 1 FROM adjustment AS j
                WHERE
                    j.lane = e.lane
                    AND j.entry_id = e.order_id
                    AND e.entry_key = 'adjustment:' || j.number
                    AND (j.order_id IS NULL) = (o.id IS NULL)
            )
        WHEN o.id IS NULL THEN FALSE
        WHEN e.entry_key LIKE 'adjustment:suspense:%'
            THEN EXISTS (
                SELECT 1 FROM posting AS p
                WHERE
                    p.lane = e.lane
                    AND p.order_id = e.order_id
                    AND p.entry_key = substr(e.entry_key, length('adjustment:') + 1)
            )
        WHEN e.entry_key LIKE 'adjustment:fee:%'
            THEN EXISTS (
                SELECT 1 FROM operator_act AS a
                WHERE
                    a.lane = e.lane
                    AND a.order_id = e.order_id
                    AND a.kind = 'fee'
                    AND e.entry_key = 'adjustment:fee:' || a.ordinal
            )
        ELSE e.entry_key ~ '^(payment|return|refund|cashback|suspense):'
    END
ORDER BY e.lane, e.order_id, e.entry_key
LIMIT $4;

-- name: ledger_list_wrong_adjustments :many
-- Approved adjustments that are not booked as and when they were approved, account by account, and entries of such that
-- nobody approved. Leans on adjustment_entry and the primary key of posting.
WITH approved AS ( -- what each says
    SELECT
        a.lane,
        a.entry_id AS order_id,
        'adjustment:' || a.number AS entry_key,
        a.decided_at,
        s.account,
        a.currency,
        s.amount_minor
    FROM adjustment AS a
    CROSS JOIN
        LATERAL (
            VALUES
            (a.debit, a.amount_minor), ('channel_fee', a.fee_minor), (a.credit, -a.amount_minor - a.fee_minor)
        ) AS s (account, amount_minor)
    WHERE
        a.lane = any($1::smallint[])
        AND a.entry_id >= $2
        AND a.entry_id < $3
        AND a.state = 'approved'
        AND s.amount_minor <> 0
),

booked AS ( -- what the books have
    SELECT
        lane,
        order_id,
        entry_key,
        account,
        currency,
        sum(amount_minor)::bigint AS amount_minor,
        min(booked_at) AS first_at,
        max(booked_at) AS last_at
    FROM posting
    WHERE lane = any($1) AND order_id >= $2 AND order_id < $3 AND entry_key ~ '^adjustment:[0-9]+$'
    GROUP BY lane, order_id, entry_key, account, currency
)

SELECT
    coalesce(a.lane, b.lane) AS lane,
    coalesce(a.order_id, b.order_id) AS order_id,
    coalesce(a.entry_key, b.entry_key) AS entry_key,
    coalesce(a.account, b.account) AS account,
    coalesce(a.currency, b.currency) AS currency,
    coalesce(a.amount_minor, 0)::bigint AS approved_minor,
    coalesce(b.amount_minor, 0)::bigint AS booked_minor,
    a.decided_at AS approved_at,
    CASE WHEN b.first_at = a.decided_at THEN b.last_at ELSE b.first_at END AS booked_at
FROM approved AS a
FULL JOIN booked AS b
    ON
        a.lane = b.lane
        AND a.order_id = b.order_id
        AND a.entry_key = b.entry_key
        AND a.account = b.account
        AND a.currency = b.currency
WHERE
    a.amount_minor IS DISTINCT FROM b.amount_minor
    OR b.first_at IS DISTINCT FROM a.decided_at
    OR b.last_at IS DISTINCT FROM a.decided_at
ORDER BY lane, order_id, entry_key, account
LIMIT $4;

-- name: ledger_list_moved :many
-- What moved on each account in a stretch of time. Leans on posting_booked_at.
SELECT
    lane,
    account,
    currency,
    coalesce(sum(amount_minor) FILTER (WHERE amount_minor > 0), 0)::bigint AS debit_minor,
    coalesce(-sum(amount_minor) FILTER (WHERE amount_minor < 0), 0)::bigint AS credit_minor,
    count(*) AS postings
FROM posting
WHERE booked_at >= $1 AND booked_at < $2
GROUP BY lane, account, currency;

-- name: ledger_day_list :many
-- The days that are closed, or one of them; one row a day.
SELECT
    day,
    postings,
    closed_at,
    closed_by,
    reason,
    stood::text AS stood
FROM ledger_day
WHERE $1::date IS NULL OR day = $1
ORDER BY day;

-- name: ledger_day_next :one
-- The first day that is not closed: after the last closed one, or the day on which this installation began.
SELECT
    clock_timestamp() AS now,
    coalesce(
        (SELECT max(day) + 1 FROM ledger_day),
        (SELECT (created_at AT TIME ZONE 'Asia/Shanghai')::date FROM installation)
    ) AS day;

-- name: ledger_day_close :none
-- The primary key lets one of two closers through.
INSERT INTO ledger_day (day, postings, closed_at, closed_by, reason, stood)
VALUES ($1, $2, clock_timestamp(), $3, $4, $5::jsonb);

-- name: ledger_balance_add :none
-- A day's movements on top of each account's last balance. Leans on the primary key of ledger_balance.
INSERT INTO ledger_balance (lane, account, currency, day, debit_minor, credit_minor, balance_minor)
SELECT
    w.lane,
    w.account,
    w.currency,
    $1::date,
    w.debit_minor,
    w.credit_minor,
    coalesce(
        (
            SELECT b.balance_minor
            FROM ledger_balance AS b
            WHERE b.lane = w.lane AND b.account = w.account AND b.currency = w.currency AND b.day < $1::date
            ORDER BY b.day DESC
            LIMIT 1
        ),
        0
    ) + w.debit_minor - w.credit_minor
FROM
    unnest($2::smallint[], $3::text[], $4::text[], $5::bigint[], $6::bigint[])
        AS w (lane, account, currency, debit_minor, credit_minor)
ORDER BY w.lane, w.account, w.currency;

-- name: ledger_balance_list :many
-- Where each account stood at the end of a closed day: its last row, by one step of the index for the account and one
-- for the row, however many days there are. Leans on the primary key of ledger_balance.
WITH RECURSIVE known AS ( -- each account once
    (
        SELECT
            lane,
            account,
            currency
        FROM ledger_balance
        ORDER BY lane, account, currency
        LIMIT 1
    )
    UNION ALL
    SELECT
        n.lane,
        n.account,
        n.currency
    FROM known AS k
    CROSS JOIN
        LATERAL (
            SELECT
                b.lane,
                b.account,
                b.currency
            FROM ledger_balance AS b
            WHERE (b.lane, b.account, b.currency) > (k.lane, k.account, k.currency)
            ORDER BY b.lane, b.account, b.currency
            LIMIT 1
        ) AS n
)

SELECT
    l.lane,
    l.account,
    l.currency,
    l.day,
    l.debit_minor,
    l.credit_minor,
    l.balance_minor
FROM known AS k
CROSS JOIN
    LATERAL (
        SELECT
            b.lane,
            b.account,
            b.currency,
            b.day,
            b.debit_minor,
            b.credit_minor,
            b.balance_minor
        FROM ledger_balance AS b
        WHERE b.lane = k.lane AND b.account = k.account AND b.currency = k.currency AND b.day <= $1
        ORDER BY b.day DESC
        LIMIT 1
    ) AS l
ORDER BY l.lane, l.account, l.currency;

-- name: ledger_balance_list_moved :many
-- The accounts that moved on a closed day, as they stood at its end. Leans on ledger_balance_day.
SELECT
    lane,
    account,
    currency,
    day,
    debit_minor,
    credit_minor,
    balance_minor
FROM ledger_balance
WHERE day = $1;

-- name: ledger_list_lines :many
-- The lines of a stretch of time, entry by entry, for a journal. An entry belongs to an order, a settlement batch or an
-- adjustment, which may have no order, and no merchant either. Leans on posting_booked_at and adjustment_entry.
SELECT
    p.lane,
    p.order_id,
    p.entry_key,
    p.line,
    p.account,
    p.amount_minor,
    p.currency,
    p.booked_at,
    coalesce(o.merchant_id, b.merchant_id) AS merchant_id,
    coalesce(o.reference, '') AS reference,
    b.id IS NOT NULL AS is_batch,
    coalesce(a.reason, '') AS reason
FROM posting AS p
LEFT JOIN orders AS o ON p.lane = o.lane AND p.order_id = o.id
LEFT JOIN settlement_batch AS b ON o.id IS NULL AND p.lane = b.lane AND p.order_id = b.id
LEFT JOIN adjustment AS a
    ON p.lane = a.lane AND p.order_id = a.entry_id AND p.entry_key = 'adjustment:' || a.number
WHERE p.booked_at >= $1 AND p.booked_at < $2
ORDER BY p.booked_at, p.lane, p.order_id, p.entry_key, p.line;

-- name: ledger_list_statement :many
-- A merchant's own lines after a place in its statement, oldest first, an adjustment's with its reason. Leans on
-- posting_merchant and adjustment_entry.
SELECT
    p.lane,
    p.order_id,
    p.entry_key,
    p.line,
    p.account,
    p.amount_minor,
    p.currency,
    p.booked_at,
    coalesce(o.merchant_id, b.merchant_id) AS merchant_id,
    coalesce(o.reference, '') AS reference,
    b.id IS NOT NULL AS is_batch,
    coalesce(a.reason, '') AS reason
FROM posting AS p
LEFT JOIN orders AS o ON p.lane = o.lane AND p.order_id = o.id
LEFT JOIN settlement_batch AS b ON o.id IS NULL AND p.lane = b.lane AND p.order_id = b.id
LEFT JOIN adjustment AS a
    ON p.lane = a.lane AND p.order_id = a.entry_id AND p.entry_key = 'adjustment:' || a.number
WHERE
    p.lane = $1
    AND p.account = $2
    AND p.account LIKE 'merchant:%'
    AND p.booked_at >= $3
    AND p.booked_at < $4
    AND (p.booked_at, p.order_id, p.entry_key, p.line) > ($5, $6, $7, $8::smallint)
ORDER BY p.booked_at, p.order_id, p.entry_key, p.line
LIMIT $9;

-- name: ledger_list_batch_lines :many
-- What batches made payable to a merchant or held back of it, and what became of that, oldest first: a few lines for
-- each of its days. Leans on the unique key of settlement_batch and the primary key of posting.
SELECT
    p.lane,
    p.order_id,
    p.entry_key,
    p.line,
    p.account,
    p.amount_minor,
    p.currency,
    p.booked_at,
    b.merchant_id,
    '' AS reference,
    TRUE AS is_batch,
    '' AS reason
FROM settlement_batch AS b
INNER JOIN posting AS p ON b.lane = p.lane AND b.id = p.order_id
WHERE
    b.lane = $1
    AND b.merchant_id = $2
    AND p.lane = $1
    AND p.account = any($3::text[])
    AND p.booked_at >= $4
    AND p.booked_at < $5
ORDER BY p.booked_at, p.order_id, p.entry_key, p.line;

-- name: ledger_balance_find :many
-- What some accounts stood at before a day, in each currency. Leans on the primary key of ledger_balance.
SELECT DISTINCT ON (account, currency)
    account,
    currency,
    day,
    balance_minor
FROM ledger_balance
WHERE lane = $1 AND account = any($2::text[]) AND day < $3
ORDER BY account ASC, currency ASC, day DESC;
