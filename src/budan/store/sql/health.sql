-- name: account_health_start :none
-- A row for each account that is seen for the first time; all that follows locks and changes rows that are there.
INSERT INTO account_health (account_id, folded_at, timely, missed, asked)
SELECT
    w.account_id,
    clock_timestamp(),
    0,
    0,
    0
FROM unnest($1::integer[]) AS w (account_id)
ORDER BY w.account_id
ON CONFLICT (account_id) DO NOTHING;

-- name: account_health_lock :many
-- The rows that one process is about to add to, locked in order: every process does this each second. Leans on the
-- primary key of account_health.
SELECT
    account_id,
    folded_at,
    timely,
    missed,
    asked,
    noticed_at,
    rate_per_s,
    cut_at,
    answered_at,
    clock_timestamp() AS now
FROM account_health
WHERE account_id = any($1::integer[])
ORDER BY account_id
FOR NO KEY UPDATE;

-- name: account_health_write :none
-- What they are now; the caller holds them. Leans on the primary key of account_health.
UPDATE account_health AS h
SET
    folded_at = w.folded_at,
    timely = w.timely,
    missed = w.missed,
    asked = w.asked,
    noticed_at = w.noticed_at,
    rate_per_s = w.rate_per_s,
    cut_at = w.cut_at,
    answered_at = w.answered_at
FROM
    unnest(
        $1::integer[], $2::timestamptz[], $3::double precision[], $4::double precision[], $5::double precision[],
        $6::timestamptz[], $7::double precision[], $8::timestamptz[], $9::timestamptz[]
    ) AS w (account_id, folded_at, timely, missed, asked, noticed_at, rate_per_s, cut_at, answered_at)
WHERE h.account_id = any($1) AND h.account_id = w.account_id;

-- name: account_health_list :many
-- Every account as all see it, for the memory of one process. Leans on the primary key of account_health.
SELECT
    account_id,
    folded_at,
    timely,
    missed,
    asked,
    noticed_at,
    rate_per_s,
    cut_at,
    answered_at,
    clock_timestamp() AS now
FROM account_health
WHERE account_id > 0
ORDER BY account_id
LIMIT $1;
