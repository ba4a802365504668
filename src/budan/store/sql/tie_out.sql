-- A run's tie-out: what each side came to, what was found of it, and what became of that since.

-- name: tie_out_forget :none
-- A run is compared once more: its tie-out is written anew. Leans on the primary keys.
WITH outdated_tally AS ( -- a few
    DELETE FROM reconcile_tally
    WHERE run_id = $1
),

outdated_side AS ( -- a few
    DELETE FROM reconcile_side
    WHERE run_id = $1
)

DELETE FROM reconcile_finding
WHERE run_id = $1;

-- name: tie_out_add_tallies :none
-- What both sides have under each verdict.
INSERT INTO reconcile_tally (run_id, kind, currency, verdict, their_rows, their_minor, our_rows, our_minor)
SELECT
    $1,
    w.kind,
    w.currency,
    w.verdict,
    w.their_rows,
    w.their_minor,
    w.our_rows,
    w.our_minor
FROM
    unnest($2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[])
        AS w (kind, currency, verdict, their_rows, their_minor, our_rows, our_minor);

-- name: tie_out_add_sides :none
-- What was counted on each side, apart from all comparing.
INSERT INTO reconcile_side (run_id, kind, currency, their_rows, their_minor, our_rows, our_minor)
SELECT
    $1,
    w.kind,
    w.currency,
    w.their_rows,
    w.their_minor,
    w.our_rows,
    w.our_minor
FROM
    unnest($2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[])
        AS w (kind, currency, their_rows, their_minor, our_rows, our_minor);

-- name: tie_out_add_findings :none
-- The differences that the run found, which are written by now; those that a person has ended, too. Leans on the unique
-- key of discrepancy.
INSERT INTO reconcile_finding (run_id, discrepancy_id, their_currency, their_minor, our_currency, our_minor)
SELECT
    $3,
    d.id,
    w.their_currency,
    w.their_minor,
    w.our_currency,
    w.our_minor
FROM
    unnest($4::text[], $5::text[], $6::integer[], $7::text[], $8::bigint[], $9::text[], $10::bigint[])
        AS w (kind, subject, occurrence, their_currency, their_minor, our_currency, our_minor)
INNER JOIN
    discrepancy AS d
    ON
        d.account_id = $1 AND d.day = $2
        AND w.kind = d.kind AND w.subject = d.subject AND w.occurrence = d.occurrence;

-- name: tie_out_read :many
-- What a run counted on each side, what it found under each verdict, and what became of the differences since (`part`):
-- in one statement, for a run may be compared once more meanwhile, and halves of two times would not tie. A
-- difference's kind never changes. Leans on the primary keys.
SELECT
    'side' AS part,
    s.kind,
    s.currency AS their_currency,
    s.currency AS our_currency,
    '' AS name,
    0::bigint AS rows_found,
    s.their_rows,
    s.their_minor,
    s.our_rows,
    s.our_minor
FROM reconcile_side AS s
WHERE s.run_id = $1
UNION ALL
SELECT
    'tally' AS part,
    t.kind,
    t.currency AS their_currency,
    t.currency AS our_currency,
    t.verdict AS name,
    0::bigint AS rows_found,
    t.their_rows,
    t.their_minor,
    t.our_rows,
    t.our_minor
FROM reconcile_tally AS t
WHERE t.run_id = $1
UNION ALL
SELECT
    'finding' AS part,
    d.kind,
    f.their_currency,
    f.our_currency,
    coalesce(d.resolution, '') AS name,
    count(*) AS rows_found,
    count(f.their_minor) AS their_rows,
    coalesce(sum(f.their_minor), 0)::bigint AS their_minor,
    count(f.our_minor) AS our_rows,
    coalesce(sum(f.our_minor), 0)::bigint AS our_minor
FROM reconcile_finding AS f
INNER JOIN discrepancy AS d ON f.discrepancy_id = d.id
WHERE f.run_id = $1
GROUP BY d.kind, f.their_currency, f.our_currency, d.resolution
ORDER BY part, kind, their_currency, our_currency, name;
