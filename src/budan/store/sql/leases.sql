-- name: worker_seen :one
-- A worker says that it lives; the fair share of lanes follows from how many do.
WITH seen AS ( -- this one, seen now
    INSERT INTO worker (id, seen_at) VALUES ($1, clock_timestamp())
    ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at
),

gone AS ( -- workers that left without a word
    DELETE FROM worker
    WHERE seen_at < clock_timestamp() - interval '1 day'
)

SELECT count(*) FILTER (WHERE id <> $1) + 1 AS living
FROM worker
WHERE seen_at > clock_timestamp() - make_interval(secs => $2);

-- name: lane_renew :many
-- Renews what this worker holds; a lane that another took meanwhile does not come back.
UPDATE lane_lease
SET expires_at = clock_timestamp() + make_interval(secs => $2)
WHERE holder = $1
RETURNING lane, fence;

-- name: lane_take :many
-- Takes free lanes up to a number; the fence rises, so a paused earlier holder writes nothing more.
UPDATE lane_lease AS l
SET holder = $1, fence = l.fence + 1, expires_at = clock_timestamp() + make_interval(secs => $2)
FROM (
    SELECT lane
    FROM lane_lease
    WHERE expires_at < clock_timestamp()
    ORDER BY lane
    LIMIT $3
    FOR UPDATE SKIP LOCKED
) AS free
WHERE l.lane = free.lane
RETURNING l.lane, l.fence;

-- name: lane_give_back :none
-- Frees lanes at once, on shutdown or above the fair share; the fence rises so that nothing in flight writes.
UPDATE lane_lease
SET holder = NULL, fence = fence + 1, expires_at = '-infinity'
WHERE holder = $1 AND lane = any($2::smallint[]);

-- name: lane_count_free :one
-- Lanes that nobody works on, for whoever watches from outside; a few rows.
SELECT count(*) AS lanes_free
FROM lane_lease
WHERE expires_at < clock_timestamp();

-- name: worker_gone :none
-- On shutdown.
DELETE FROM worker
WHERE id = $1;

-- name: id_lease_take :maybe
-- A process number for ids; the least recently used, so that a number rests before it is used again.
UPDATE id_lease AS l
SET holder = $1, expires_at = clock_timestamp() + make_interval(secs => $2)
FROM (
    SELECT process_number
    FROM id_lease
    WHERE expires_at < clock_timestamp()
    ORDER BY expires_at, process_number
    LIMIT 1
    FOR UPDATE SKIP LOCKED
) AS free
WHERE l.process_number = free.process_number
RETURNING l.process_number;

-- name: id_lease_renew :maybe
-- No row: the lease was lost, and no further id may be made with this number.
UPDATE id_lease
SET expires_at = clock_timestamp() + make_interval(secs => $3)
WHERE process_number = $1 AND holder = $2 AND expires_at > clock_timestamp()
RETURNING process_number;
