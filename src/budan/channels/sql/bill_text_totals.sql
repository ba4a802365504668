-- name: bill_text_totals :one
-- What the summary is held against, and the first line of each kind that does not belong: one scan, no row leaves it.
-- Until the commit the first row's id is a large number, so lines are counted from it.
SELECT
    count(*) AS row_count,
    count(*) FILTER (WHERE kind = 'payment') AS payments,
    count(*) FILTER (WHERE kind = 'refund') AS refunds,
    count(*) FILTER (WHERE kind = 'reversal') AS reversals,
    coalesce(sum(order_minor), 0)::bigint AS order_minor,
    coalesce(sum(settle_minor) FILTER (WHERE kind = 'payment'), 0)::bigint AS paid_settle_minor,
    coalesce(-sum(settle_minor) FILTER (WHERE kind != 'payment'), 0)::bigint AS refund_settle_minor,
    coalesce(sum(refund_minor), 0)::bigint AS refund_minor,
    coalesce(-sum(coupon_minor) FILTER (WHERE kind != 'payment'), 0)::bigint AS refund_coupon_minor,
    coalesce(sum(fee_e5), 0)::bigint AS fee_e5,
    $lines_before + 1 - min(rowid) + min(rowid) FILTER (WHERE kind IS NULL) AS unread_line_no,
    $lines_before + 1 - min(rowid) + min(rowid) FILTER (WHERE is_foreign) AS foreign_line_no,
    $lines_before + 1 - min(rowid) + min(rowid) FILTER (
        WHERE happened_at < $day_from - INTERVAL 1 DAY OR happened_at >= $day_to + INTERVAL 1 DAY
    ) AS far_line_no,
    $lines_before + 1 - min(rowid) + min(rowid) FILTER (
        WHERE happened_at < $day_from OR happened_at >= $day_to
    ) AS other_day_line_no,
    count(*) FILTER (WHERE happened_at < $day_from OR happened_at >= $day_to) AS other_days,
    max(rowid) - min(rowid) + 1 AS ids
FROM bill_text
