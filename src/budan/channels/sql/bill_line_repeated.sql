-- name: bill_line_repeated :maybe
-- The first line that repeats an earlier one's payment or refund. What does not fit in memory goes to the disk.
SELECT min(line_no) AS repeated_line_no
FROM (
    SELECT max(line_no) AS line_no
    FROM bill_line
    GROUP BY kind, coalesce(channel_refund_no, refund_no, channel_no, trade_no)
    HAVING count(*) > 1
) AS repeated
