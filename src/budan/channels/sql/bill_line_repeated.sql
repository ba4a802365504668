-- name: bill_line_repeated :maybe
-- The first line that repeats an earlier one's payment or refund. What does not fit in memory goes to the disk. A
-- refund made in the channel's own portal may have no number, and then two of them are two.
SELECT min(line_no) AS repeated_line_no
FROM (
    SELECT max(line_no) AS line_no
    FROM bill_line
    WHERE kind = 'payment' OR channel_refund_no IS NOT NULL OR refund_no IS NOT NULL
    GROUP BY kind, coalesce(channel_no, trade_no), coalesce(channel_refund_no, refund_no)
    HAVING count(*) > 1
) AS repeated
