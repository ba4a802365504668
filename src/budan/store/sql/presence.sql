-- name: presence_see :maybe
-- A process of a role is here. Whoever comes first after a stretch in which nobody was writes it down; its row is what
-- comes back. Others who come back in the same moment find the same beginning, and so the same row.
WITH before AS ( -- when anybody of this role was last here
    SELECT seen_at
    FROM presence
    WHERE role = $1
),

seen AS ( -- it is now
    INSERT INTO presence (role, seen_at) VALUES ($1, clock_timestamp())
    ON CONFLICT (role) DO UPDATE SET seen_at = excluded.seen_at
)

INSERT INTO outage (role, began_at, ended_at, cause)
SELECT
    $1 AS role,
    seen_at AS began_at,
    clock_timestamp() AS ended_at,
    $2 AS cause
FROM before
WHERE seen_at < clock_timestamp() - make_interval(secs => $3)
ON CONFLICT (role, began_at) DO NOTHING
RETURNING began_at, ended_at;

-- name: presence_list_seen :many
-- The roles of which a process was here in the last seconds, and when; a row of each.
SELECT
    role,
    seen_at
FROM presence
WHERE seen_at > clock_timestamp() - make_interval(secs => $1)
ORDER BY role;

-- name: outage_list :many
-- The stretches that touch a time, newest first. One that goes on ends now: the database answers, so it is not away.
-- Leans on outage_ended_at.
SELECT
    role,
    began_at,
    ended_at,
    cause
FROM outage
WHERE ended_at > $1 AND began_at < $2
UNION ALL
SELECT
    role,
    seen_at AS began_at,
    statement_timestamp() AS ended_at,
    'we_were_down' AS cause
FROM presence
WHERE seen_at < statement_timestamp() - make_interval(secs => $3) AND seen_at < $2 AND statement_timestamp() > $1
ORDER BY began_at DESC
LIMIT $4;
