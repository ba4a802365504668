-- name: bill_line_show :none
-- The columns that budan.ports.channel promises. A counter over all rows would have one thread alone read the bill; the
-- ids of rows that were written at once, in order, and never removed, count as well.
CREATE VIEW bill_line AS
SELECT
    b.lines_before + 1 + t.rowid AS line_no,
    t.kind,
    t.happened_at,
    t.trade_no,
    t.channel_no,
    t.refund_no,
    t.channel_refund_no,
    t.status,
    coalesce(t.other_currency, b.default_currency) AS currency,
    t.order_minor,
    t.settle_minor,
    t.coupon_minor,
    t.refund_minor,
    t.fee_e5,
    coalesce(t.other_method, b.usual_method) AS method,
    b.account_no
FROM bill_text AS t
CROSS JOIN bill_begin AS b
