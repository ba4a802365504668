-- name: job_add :none
-- A job that this version ships; what an operator changed of it stays.
INSERT INTO job (name, cron, zone, next_at) VALUES ($1, $2, $3, $4)
ON CONFLICT (name) DO NOTHING;

-- name: job_list :many
-- Every job with its newest run. Leans on the unique key of job_run.
SELECT
    j.name,
    j.cron,
    j.zone,
    j.enabled,
    j.next_at,
    j.changed_at,
    clock_timestamp() AS now,
    r.id AS run_id,
    r.slot AS run_slot,
    r.state AS run_state,
    r.started_at AS run_started_at,
    r.finished_at AS run_finished_at,
    r.progress::text AS run_progress
FROM job AS j
LEFT JOIN LATERAL (
    SELECT
        n.id,
        n.slot,
        n.state,
        n.started_at,
        n.finished_at,
        n.progress
    FROM job_run AS n
    WHERE n.job = j.name
    ORDER BY n.slot DESC
    LIMIT 1
) AS r ON TRUE
ORDER BY j.name;

-- name: job_list_planned :many
-- The jobs whose next slot has come, locked against a second planner; one that plans already is passed by.
SELECT
    name,
    cron,
    zone,
    next_at,
    clock_timestamp() AS now
FROM job
WHERE enabled AND next_at <= clock_timestamp()
ORDER BY name
FOR UPDATE SKIP LOCKED;

-- name: job_plan_runs :many
-- The runs of slots that have come: the newest is due, those before it were missed. A run of an earlier slot that
-- nobody began gives way to the newer one. Leans on the unique key of job_run; what was missed comes back.
WITH given_way AS ( -- it would do the same work twice
    UPDATE job_run
    SET state = 'missed', finished_at = clock_timestamp()
    WHERE job = $1 AND trigger = 'schedule' AND state = 'due' AND slot < $2::timestamptz
    RETURNING slot
),

skipped AS ( -- nobody planned them in their time
    INSERT INTO job_run (job, slot, trigger, state, finished_at)
    SELECT
        $1,
        w.slot,
        'schedule',
        'missed',
        clock_timestamp()
    FROM unnest($3::timestamptz[]) AS w (slot)
    ON CONFLICT (job, slot) DO NOTHING
    RETURNING slot
),

newest AS ( -- one for all machines
    INSERT INTO job_run (job, slot, trigger, state)
    VALUES ($1, $2::timestamptz, 'schedule', 'due')
    ON CONFLICT (job, slot) DO NOTHING
),

advanced AS ( -- the caller holds the row
    UPDATE job SET next_at = $4::timestamptz
    WHERE name = $1
)

SELECT slot FROM given_way
UNION ALL
SELECT slot FROM skipped
ORDER BY slot;

-- name: job_set_enabled :maybe
-- Pauses or resumes; a resumed job starts at its next slot, given by the caller.
UPDATE job
SET enabled = $2, next_at = $3, changed_at = clock_timestamp()
WHERE name = $1
RETURNING name;

-- name: job_set_cron :maybe
-- When a job runs, and by which clock.
UPDATE job
SET cron = $2, zone = $3, next_at = $4, changed_at = clock_timestamp()
WHERE name = $1
RETURNING name;

-- name: job_find :maybe
-- One job's plan.
SELECT
    name,
    cron,
    zone,
    enabled,
    next_at,
    clock_timestamp() AS now
FROM job
WHERE name = $1;

-- name: job_run_add :one
-- A run that a person asked for; its slot is the moment.
INSERT INTO job_run (job, slot, trigger, arguments, state)
VALUES ($1, clock_timestamp(), 'manual', $2::jsonb, 'due')
RETURNING id;

-- name: job_lock_free :many
-- The jobs with a run that nobody works on, locked: two who take a run of one job at the same moment would both find
-- that nobody has one. Leans on job_run_open.
SELECT j.name
FROM job AS j
WHERE
    j.name = any($1::text[])
    AND EXISTS (
        SELECT 1 FROM job_run AS c
        WHERE c.job = j.name AND c.state IN ('due', 'running') AND c.lease_until < clock_timestamp()
    )
ORDER BY j.name
FOR UPDATE OF j SKIP LOCKED;

-- name: job_run_claim :maybe
-- The oldest run that nobody works on, by a higher fence; none of a job that somebody works on. Leans on job_run_open.
UPDATE job_run AS r
SET
    state = 'running',
    holder = $1,
    fence = r.fence + 1,
    lease_until = clock_timestamp() + make_interval(secs => $2),
    started_at = coalesce(r.started_at, clock_timestamp())
FROM (
    SELECT c.id
    FROM job_run AS c
    WHERE
        c.state IN ('due', 'running')
        AND c.lease_until < clock_timestamp()
        AND c.job = any($3::text[])
        AND NOT EXISTS (
            SELECT 1 FROM job_run AS o
            WHERE o.job = c.job AND o.state = 'running' AND o.id <> c.id AND o.lease_until >= clock_timestamp()
        )
    ORDER BY c.state DESC, c.slot ASC
    LIMIT 1
    FOR UPDATE SKIP LOCKED
) AS free
WHERE r.id = free.id
RETURNING
    r.id,
    r.job,
    r.slot,
    r.arguments::text AS arguments,
    r.fence,
    r.failures,
    r.started_at,
    r.cursor::text AS cursor,
    r.progress::text AS progress;

-- name: job_run_keep :maybe
-- A heartbeat: the lease goes on, and where the run stands is kept. No row: another has taken it over.
UPDATE job_run
SET lease_until = clock_timestamp() + make_interval(secs => $3), cursor = $4::jsonb, progress = $5::jsonb
WHERE id = $1 AND fence = $2 AND state = 'running'
RETURNING id;

-- name: job_run_end :maybe
-- The run's end, by the one who holds it.
UPDATE job_run
SET state = $3, finished_at = clock_timestamp(), holder = NULL, cursor = $4::jsonb, progress = $5::jsonb, error = $6
WHERE id = $1 AND fence = $2 AND state = 'running'
RETURNING id;

-- name: job_run_give_back :none
-- For another worker, at once or after a pause; where the run stands is kept.
UPDATE job_run
SET
    holder = NULL,
    lease_until = clock_timestamp() + make_interval(secs => $3),
    cursor = $4::jsonb,
    progress = $5::jsonb,
    failures = failures + $6,
    error = $7
WHERE id = $1 AND fence = $2 AND state = 'running';

-- name: job_run_mark_overdue :many
-- Runs that are late to start or take long, each told of once. Leans on job_run_open.
UPDATE job_run AS r
SET
    late_at = CASE WHEN r.state = 'due' THEN clock_timestamp() ELSE r.late_at END,
    long_at = CASE WHEN r.state = 'running' THEN clock_timestamp() ELSE r.long_at END
FROM unnest($1::text[], $2::double precision[], $3::double precision[]) AS w (job, late_s, long_s)
WHERE
    r.job = w.job
    AND (
        r.state = 'due' AND r.late_at IS NULL AND r.slot < clock_timestamp() - make_interval(secs => w.late_s)
        OR
        r.state = 'running'
        AND r.long_at IS NULL
        AND r.started_at < clock_timestamp() - make_interval(secs => w.long_s)
    )
RETURNING
    r.id,
    r.job,
    r.slot,
    r.state;

-- name: job_run_find :maybe
-- One run as people see it.
SELECT
    id,
    job,
    slot,
    trigger,
    arguments::text AS arguments,
    state,
    holder,
    failures,
    created_at,
    started_at,
    finished_at,
    progress::text AS progress,
    error,
    late_at IS NOT NULL AS was_late,
    long_at IS NOT NULL AS was_long
FROM job_run
WHERE id = $1;

-- name: job_run_list :many
-- Runs, newest first; of one job or of all.
SELECT
    id,
    job,
    slot,
    trigger,
    arguments::text AS arguments,
    state,
    holder,
    failures,
    created_at,
    started_at,
    finished_at,
    progress::text AS progress,
    error,
    late_at IS NOT NULL AS was_late,
    long_at IS NOT NULL AS was_long
FROM job_run
WHERE $1::text IS NULL OR job = $1
ORDER BY slot DESC
LIMIT $2;

-- name: job_run_find_last :maybe
-- When the newest run that the plan began and that ended well was begun. Leans on the unique key of job_run.
SELECT started_at
FROM job_run
WHERE job = $1 AND trigger = 'schedule' AND state = 'succeeded'
ORDER BY slot DESC
LIMIT 1;

-- name: job_run_forget :none
-- History has an end: runs that ended before the bound leave with their lines.
DELETE FROM job_run
WHERE finished_at < clock_timestamp() - make_interval(days => $1);

-- name: job_line_add :none
-- What a run says, by the one who holds it, up to a number of lines.
INSERT INTO job_line (run_id, number, level, line)
SELECT
    r.id,
    (SELECT count(*) FROM job_line AS b WHERE b.run_id = r.id) + 1,
    $3,
    $4
FROM job_run AS r
WHERE
    r.id = $1
    AND r.fence = $2
    AND (SELECT count(*) FROM job_line AS b WHERE b.run_id = r.id) < $5
ON CONFLICT (run_id, number) DO NOTHING;

-- name: job_line_list :many
-- What a run said.
SELECT
    number,
    said_at,
    level,
    line
FROM job_line
WHERE run_id = $1
ORDER BY number;

-- name: job_count_workers :one
-- Whether anybody is there to run what is due.
SELECT count(*) AS living
FROM worker
WHERE seen_at > clock_timestamp() - make_interval(secs => $1);
