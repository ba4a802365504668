-- Why: a payment, refund or reversal that we learn of after its day was compared has that day's bill compared again, and
-- a payment of an order that was made long before is on its day's side: neither is found by ids, nor by any index that
-- the hot path could bear. Those are few, so they are written down.
-- Locks: only a new table. How long: milliseconds. What was learned before is not in it: the job has compared those days
-- again already, where it looked each ten minutes.

-- `day` is Beijing's, on which our side has it; `ordinal` is a payment's attempt or a refund's own. A payment whose
-- moment is told afterwards may be in it for two days.
CREATE TABLE late_money (
    lane smallint NOT NULL,
    order_id bigint NOT NULL,
    kind text NOT NULL CHECK (kind IN ('payment', 'refund', 'reversal')),
    ordinal smallint NOT NULL,
    day date NOT NULL,
    account_id integer NOT NULL,
    known_at timestamptz NOT NULL,
    PRIMARY KEY (lane, order_id, kind, ordinal, day)
) PARTITION BY RANGE (order_id);
CREATE INDEX late_money_known_at ON late_money (known_at);
CREATE INDEX late_money_day ON late_money (account_id, day);
