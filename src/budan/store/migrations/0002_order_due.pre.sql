-- Why: orders end by themselves. Each one that is not final has a due row (docs/design.md I6), each merchant its own times,
-- and a trade that is being ended keeps when it was last heard to be unpaid (section 5).
-- Locks: merchant and close_due, exclusive, for milliseconds: constant defaults rewrite nothing. orders is only read.
-- How long: one pass over the orders, about a second for each million. Orders that the old program takes after it have
-- no row, so end the old program first.

CREATE TABLE order_due (
    lane smallint NOT NULL,
    order_id bigint NOT NULL,
    due_at timestamptz NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    -- What the order becomes: the merchant's close is told "not paid", our own expiry tells nobody.
    ends_as text NOT NULL DEFAULT 'expired' CHECK (ends_as IN ('expired', 'closed')),
    PRIMARY KEY (lane, order_id)
);
CREATE INDEX order_due_due_at ON order_due (due_at, lane);

-- When the newest question left that was answered "not paid" after the payer's last moment.
ALTER TABLE close_due ADD COLUMN unpaid_asked_at timestamptz;

-- An order's life without a word of the merchant's, with its payer unknown and known; what a payment after our own
-- expiry becomes.
ALTER TABLE merchant ADD COLUMN expires_in_s integer NOT NULL DEFAULT 900
CHECK (expires_in_s BETWEEN 60 AND 86400);
ALTER TABLE merchant ADD COLUMN expires_in_with_payer_s integer NOT NULL DEFAULT 7200
CHECK (expires_in_with_payer_s BETWEEN 60 AND 86400);
ALTER TABLE merchant ADD COLUMN late_payment text NOT NULL DEFAULT 'complete'
CHECK (late_payment IN ('complete', 'refund'));

-- Orders of before are looked at when their own time is over.
SET LOCAL statement_timeout = '10min';
INSERT INTO order_due (lane, order_id, due_at)
SELECT
    lane,
    id,
    expires_at
FROM orders
WHERE state IN ('created', 'paying', 'closing');

DO $$
BEGIN
    ASSERT NOT EXISTS (
        SELECT 1 FROM orders AS o
        WHERE
            o.state IN ('created', 'paying', 'closing')
            AND NOT EXISTS (SELECT 1 FROM order_due AS d WHERE d.lane = o.lane AND d.order_id = o.id)
    );
END
$$;
