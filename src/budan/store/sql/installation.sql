-- name: clock_read :one
-- The database's clock is the `now` of every decision.
SELECT clock_timestamp() AS now;

-- name: migration_limits :one
-- A migration waits for nobody long, and works as long as its rows take: an index of a large table needs minutes, and a
-- limit below that could never be passed by trying again. See docs/house-style.md section 6.
SELECT
    set_config('lock_timeout', '4s', FALSE) AS lock_timeout,
    set_config('statement_timeout', '30min', FALSE) AS statement_timeout;

-- name: migration_table_make :none
-- Which files ran, with their checksums.
CREATE TABLE IF NOT EXISTS schema_migration (
    name text PRIMARY KEY,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);

-- name: migration_lock :none
-- One runner at a time; readers go on.
LOCK TABLE schema_migration IN SHARE ROW EXCLUSIVE MODE;

-- name: migration_list :many
-- All that ran: a handful of rows.
SELECT
    name,
    checksum
FROM schema_migration
ORDER BY name;

-- name: migration_add :none
-- In the transaction of the file itself.
INSERT INTO schema_migration (name, checksum) VALUES ($1, $2);

-- name: installation_add :none
-- Only the first upgrade of a database says whose it is.
INSERT INTO installation (environment, lanes) VALUES ($1, $2)
ON CONFLICT (singleton) DO NOTHING;

-- name: installation_exists :one
-- Before the first upgrade there is no table to ask.
SELECT to_regclass('installation') IS NOT NULL AS is_there;

-- name: installation_find :maybe
-- Read at every start and compared with the settings (I13).
SELECT
    installation_id,
    environment,
    lanes
FROM installation;

-- name: installation_is_read_only :one
-- A standby that nobody promoted answers every reading and takes no order.
SELECT current_setting('transaction_read_only')::boolean AS is_read_only;

-- name: leases_fill :none
-- One lease for each lane and each of the 1,024 process numbers of an id; safe to repeat.
WITH lanes AS ( -- the lanes that no lease names yet
    INSERT INTO lane_lease (lane)
    SELECT generate_series(0, $1::integer - 1)::smallint
    ON CONFLICT (lane) DO NOTHING
)

INSERT INTO id_lease (process_number)
SELECT generate_series(0, 1023)::smallint
ON CONFLICT (process_number) DO NOTHING;

-- name: partitions_limits :one
-- For this transaction. While it waits for a table every order waits behind it; while rows move none goes on there.
SELECT
    set_config('lock_timeout', $1::text, TRUE) AS lock_timeout,
    set_config('statement_timeout', $2::text, TRUE) AS statement_timeout;

-- name: partitions_make :one
-- The partition of one table for one week: this one, or so many weeks on.
SELECT
    make_partitions(
        $1::text, now() + make_interval(weeks => $2::integer), now() + make_interval(weeks => $2::integer)
    ) AS made;

-- name: partitions_default_rows :one
-- Rows in a default partition mean that partitions were late; order id 0 lives there by design.
SELECT count(*) AS rows_found
FROM orders_default
WHERE id > 0;
