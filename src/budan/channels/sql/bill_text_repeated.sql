-- name: bill_text_repeated :maybe
-- The first line that repeats an earlier one's payment or refund. A refund made in the channel's own portal may have no
-- number, and then two of them are two. Hashes are grouped, for the numbers of ten million rows would not fit in
-- memory; only rows whose hash is not alone are then looked at by their numbers.
WITH named AS (
    SELECT
        rowid AS row_id,
        kind,
        coalesce(channel_no, trade_no) AS payment,
        coalesce(channel_refund_no, refund_no) AS refund
    FROM bill_text
    WHERE kind = 'payment' OR channel_refund_no IS NOT NULL OR refund_no IS NOT NULL
),

suspect AS (
    SELECT hash(kind, payment, refund) AS number_hash
    FROM named
    GROUP BY number_hash
    HAVING count(*) > 1
),

repeated AS (
    SELECT max(n.row_id) AS row_id
    FROM named AS n
    WHERE hash(n.kind, n.payment, n.refund) IN (SELECT s.number_hash FROM suspect AS s)
    GROUP BY n.kind, n.payment, n.refund
    HAVING count(*) > 1
)

SELECT $lines_before + 1 - (SELECT min(t.rowid) FROM bill_text AS t) + min(row_id) AS repeated_line_no
FROM repeated
