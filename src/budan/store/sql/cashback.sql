-- name: cashback_plan_add :one
-- A plan; its budget is portioned in the same transaction.
INSERT INTO cashback_plan (
    name, merchant_id, funded_by, fixed_minor, rate_bp, cap_minor, currency, budget_minor, methods, begins_at, ends_at,
    set_by
)
SELECT
    $1,
    $2,
    $3,
    $4,
    $5,
    $6,
    $7,
    $8,
    $9::text[],
    coalesce($10::timestamptz, statement_timestamp()),
    $11::timestamptz,
    $12
RETURNING id, begins_at;

-- name: cashback_budget_add :none
-- Each lane's portion of a new plan's budget.
INSERT INTO cashback_budget (lane, plan_id, budget_minor)
SELECT
    w.lane,
    $1::integer,
    w.budget_minor
FROM unnest($2::smallint[], $3::bigint[]) AS w (lane, budget_minor);

-- name: cashback_plan_end :maybe
-- Ends a plan now for payments that begin from now on; nothing where it has ended. One that has not begun never does.
UPDATE cashback_plan
SET ends_at = greatest(begins_at, clock_timestamp()), ended_by = $2
WHERE id = $1 AND (ends_at IS NULL OR ends_at > clock_timestamp())
RETURNING ends_at;

-- name: cashback_plan_list :many
-- Plans for people, with what of their budgets stands granted over all lanes, and what each lane, in their order, can
-- still give: a table of some dozens of rows.
SELECT
    p.id AS plan_id,
    p.name,
    p.merchant_id,
    p.funded_by,
    p.fixed_minor,
    p.rate_bp,
    p.cap_minor,
    p.currency,
    p.methods,
    p.begins_at,
    p.ends_at,
    p.budget_minor,
    p.set_by,
    p.ended_by,
    (
        SELECT coalesce(sum(b.granted_minor), 0)::bigint
        FROM cashback_budget AS b
        WHERE b.plan_id = p.id
    ) AS granted_minor,
    (
        SELECT coalesce(array_agg(b.budget_minor - b.granted_minor ORDER BY b.lane), '{}')
        FROM cashback_budget AS b
        WHERE b.plan_id = p.id
    ) AS left_minor_of_lanes
FROM cashback_plan AS p
ORDER BY p.id;

-- name: cashback_plan_list_of :many
-- Plans of merchants and of all, in force and to come, and those that ended lately, so that an order can say why it has
-- none.
SELECT
    id AS plan_id,
    merchant_id,
    funded_by,
    fixed_minor,
    rate_bp,
    cap_minor,
    methods,
    begins_at,
    ends_at
FROM cashback_plan
WHERE
    (merchant_id = any($1::integer[]) OR merchant_id IS NULL)
    AND (ends_at IS NULL OR ends_at > statement_timestamp() - interval '30 days')
ORDER BY id;

-- name: cashback_lock_budgets :many
-- The budgets that a transaction may take from or give to, locked in lane and plan order after its orders
-- (docs/design.md section 3). Leans on the primary key of cashback_budget.
SELECT
    b.lane,
    b.plan_id,
    b.budget_minor - b.granted_minor AS left_minor
FROM cashback_budget AS b
INNER JOIN unnest($1::smallint[], $2::integer[]) AS w (lane, plan_id) ON b.lane = w.lane AND b.plan_id = w.plan_id
WHERE b.lane = any($1)
ORDER BY b.lane, b.plan_id
FOR NO KEY UPDATE OF b;

-- name: cashback_find_many :many
-- What some orders were granted. Under the gate it is read after the orders are locked. Leans on the primary key of
-- cashback.
SELECT
    c.lane,
    c.order_id,
    c.plan_id,
    c.funded_by,
    c.decision,
    c.granted_minor,
    c.standing_minor,
    c.booked_minor,
    c.payer_id,
    c.movements
FROM cashback AS c
INNER JOIN unnest($1::smallint[], $2::bigint[]) AS w (lane, order_id) ON c.lane = w.lane AND c.order_id = w.order_id
WHERE c.lane = any($1);

-- name: cashback_write :none
-- What changes of some orders' cashback, after the orders were locked and their budgets too: each has one change in a
-- transaction. Its postings are the door's.
WITH kept AS ( -- the decision is made once; what stands and is booked moves with payer, hold and refunds
    INSERT INTO cashback (
        lane, order_id, plan_id, funded_by, decision, granted_minor, standing_minor, booked_minor, currency, payer_id,
        movements, decided_at
    )
    SELECT
        w.lane,
        w.order_id,
        w.plan_id,
        w.funded_by,
        w.decision,
        w.granted_minor,
        w.standing_minor,
        w.booked_minor,
        w.currency,
        w.payer_id,
        w.movements,
        $1::timestamptz
    FROM
        unnest(
            $2::smallint[], $3::bigint[], $4::integer[], $5::text[], $6::text[], $7::bigint[], $8::bigint[],
            $9::bigint[], $10::text[], $11::text[], $12::smallint[]
        ) AS w (
            lane, order_id, plan_id, funded_by, decision, granted_minor, standing_minor, booked_minor, currency,
            payer_id, movements
        )
    ON CONFLICT (lane, order_id) DO UPDATE
        SET
            decision = excluded.decision,
            standing_minor = excluded.standing_minor,
            booked_minor = excluded.booked_minor,
            payer_id = excluded.payer_id,
            movements = excluded.movements
),

moved AS ( -- a movement's place in its order is its entry's
    INSERT INTO cashback_movement (
        lane, order_id, ordinal, merchant_id, payer_id, amount_minor, currency, cause, booked_at
    )
    SELECT
        w.lane,
        w.order_id,
        w.ordinal,
        w.merchant_id,
        w.payer_id,
        w.amount_minor,
        w.currency,
        w.cause,
        $1::timestamptz
    FROM
        unnest(
            $2::smallint[], $3::bigint[], $12::smallint[], $13::integer[], $11::text[], $14::bigint[], $10::text[],
            $15::text[]
        ) AS w (lane, order_id, ordinal, merchant_id, payer_id, amount_minor, currency, cause)
    WHERE w.amount_minor <> 0
)

UPDATE cashback_budget AS b
SET granted_minor = b.granted_minor + w.granted_minor
FROM (
    SELECT
        v.lane,
        v.plan_id,
        sum(v.granted_minor)::bigint AS granted_minor
    FROM unnest($2::smallint[], $4::integer[], $16::bigint[]) AS v (lane, plan_id, granted_minor)
    GROUP BY v.lane, v.plan_id
) AS w
WHERE b.lane = any($2) AND b.lane = w.lane AND b.plan_id = w.plan_id AND w.granted_minor <> 0;

-- name: cashback_sum_payer :many
-- What a merchant's payer has. Leans on cashback_movement_payer.
SELECT
    currency,
    sum(amount_minor)::bigint AS amount_minor
FROM cashback_movement
WHERE lane = $1 AND merchant_id = $2 AND payer_id = $3
GROUP BY currency
ORDER BY currency;

-- name: cashback_list_payer :many
-- How a merchant's payer came to it, the newest orders first, before a place in the list. Leans on
-- cashback_movement_payer.
SELECT
    lane,
    order_id,
    ordinal,
    amount_minor,
    currency,
    cause,
    booked_at
FROM cashback_movement
WHERE lane = $1 AND merchant_id = $2 AND payer_id = $3 AND (order_id, ordinal) < ($4, $5::smallint)
ORDER BY order_id DESC, ordinal DESC
LIMIT $6;
