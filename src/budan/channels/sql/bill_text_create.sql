-- name: bill_text_create :none
-- The bill's rows in its order, one for each line, so a row's id tells its line. No key and no index: they would hold
-- all rows in memory at once. Where nearly all rows have the same currency and method, only others are kept.
CREATE TABLE bill_text (
    kind enum('payment', 'refund', 'reversal'),
    happened_at timestamptz,
    trade_no varchar,
    channel_no varchar,
    refund_no varchar,
    channel_refund_no varchar,
    status enum('succeeded', 'pending', 'failed'),
    other_currency varchar,
    order_minor bigint,
    settle_minor bigint,
    coupon_minor bigint,
    refund_minor bigint,
    fee_e5 bigint,
    other_method varchar,
    is_foreign boolean
)
