-- name: bill_line_create :none
-- The columns that budan.ports.bill promises. No key and no index: they would hold all rows in memory at once.
CREATE TABLE bill_line (
    line_no bigint NOT NULL,
    kind varchar,
    happened_at timestamptz,
    trade_no varchar,
    channel_no varchar,
    refund_no varchar,
    channel_refund_no varchar,
    status varchar,
    currency varchar,
    order_minor bigint,
    settle_minor bigint,
    coupon_minor bigint,
    refund_minor bigint,
    fee_e5 bigint,
    method varchar,
    account_no varchar
)
