-- Why: refunds are sent, asked about and booked; what may go back is bounded per trade, because each trade's money is its
-- own. Locks: ACCESS EXCLUSIVE on four tables for columns with constant defaults. How long: milliseconds: the CHECKs are NOT
-- VALID, for rows that came before them have only defaults, which fulfil them.

-- Numbers of an order's refunds, the unwanted payments' and the merchant's together.
ALTER TABLE orders ADD COLUMN refund_count smallint NOT NULL DEFAULT 0;

-- What a trade's refunds promise and have given back. What went back past us is a fact that nobody reserved, so it stands
-- outside the bound; a new refund is measured against all three.
ALTER TABLE trade
ADD COLUMN refund_reserved_minor bigint NOT NULL DEFAULT 0,
ADD COLUMN refunded_minor bigint NOT NULL DEFAULT 0,
ADD COLUMN refunded_elsewhere_minor bigint NOT NULL DEFAULT 0,
ADD COLUMN fee_given_back_minor bigint NOT NULL DEFAULT 0;

ALTER TABLE trade ADD CONSTRAINT trade_refunds_bounded CHECK (
    refund_reserved_minor >= 0
    AND refunded_minor >= 0
    AND refunded_elsewhere_minor BETWEEN 0 AND amount_minor
    AND refund_reserved_minor + refunded_minor <= amount_minor
    AND fee_given_back_minor BETWEEN 0 AND amount_minor
) NOT VALID;

ALTER TABLE refund
-- Who wanted it: the merchant, nobody (a second or late payment goes back), or somebody at the channel past us.
ADD COLUMN origin text NOT NULL DEFAULT 'unwanted',
-- Every value of the request (I11); NULL until the first sending, and for what was not made here.
ADD COLUMN intent jsonb,
-- Whether the next step is to send; else it is to ask.
ADD COLUMN to_send boolean NOT NULL DEFAULT true,
-- A definite refusal was heard that no query has confirmed yet.
ADD COLUMN refused boolean NOT NULL DEFAULT false,
-- Ends the window in which the first byte of the last sending may have left.
ADD COLUMN send_until timestamptz,
ADD COLUMN send_after timestamptz,
ADD COLUMN asked_count integer NOT NULL DEFAULT 0,
ADD COLUMN channel_reference text,
ADD COLUMN refunded_at timestamptz,
ADD COLUMN learned_source text,
ADD COLUMN ended_at timestamptz,
ADD COLUMN fee_given_back_minor bigint NOT NULL DEFAULT 0,
ADD COLUMN code text NOT NULL DEFAULT '',
ADD COLUMN message text NOT NULL DEFAULT '';

ALTER TABLE refund ADD CONSTRAINT refund_origin_known CHECK (
    origin IN ('merchant', 'unwanted', 'external')
) NOT VALID;

-- A refund that was made under this key; NULL where it made an order.
ALTER TABLE idempotency ADD COLUMN refund_ordinal smallint;

-- What was said of a refund, as evidence keeps what was said of a trade.
CREATE TABLE refund_evidence (
    lane smallint NOT NULL,
    order_id bigint NOT NULL,
    ordinal smallint NOT NULL,
    digest bytea NOT NULL CHECK (length(digest) = 32),
    outcome text NOT NULL,
    source text NOT NULL CHECK (source IN ('reply', 'notice', 'query', 'bill', 'operator')),
    decision text NOT NULL,
    account_id integer NOT NULL,
    amount_minor bigint,
    currency text,
    channel_reference text,
    refunded_at timestamptz,
    asked_at timestamptz,
    learned_at timestamptz NOT NULL,
    PRIMARY KEY (lane, order_id, ordinal, digest)
) PARTITION BY RANGE (order_id);

-- Refund intents that are waiting already: their money is promised, and their numbers are taken.
UPDATE trade AS t
SET refund_reserved_minor = r.amount_minor
FROM refund AS r
WHERE t.lane = r.lane AND t.order_id = r.order_id AND t.attempt = r.attempt AND r.state = 'created';
UPDATE orders AS o
SET refund_count = r.last
FROM (
    SELECT
        lane,
        order_id,
        max(ordinal) AS last
    FROM refund
    GROUP BY lane, order_id
) AS r
WHERE o.lane = r.lane AND o.id = r.order_id;
