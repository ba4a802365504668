-- Why: what reconciliation finds and nothing else can mend (a coupon that the merchant pays for, a cent that a channel will
-- never give), and what a channel pays into our bank with the fee that it keeps, could not be booked at all. Two persons
-- book it: one proposes, another approves, and both with their reasons are kept beside the entry (docs/design.md I10).
-- While workers of the version before still run, approve none of a merchant that has no order: they would leave it out of
-- its batch.
-- Locks: SHARE ROW EXCLUSIVE on discrepancy for the reference. How long: milliseconds.

CREATE TABLE adjustment (
    -- What people call it; its entry is `adjustment:<number>`.
    number integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- Where its entry is: the lane of its order or of its merchant, the first one where it has neither.
    lane smallint NOT NULL,
    -- Whose statement shows it, or whose order it belongs to.
    merchant_id integer REFERENCES merchant (id),
    order_id bigint,
    -- What reconciliation found and this mends, as it stood when it was proposed.
    discrepancy_id bigint REFERENCES discrepancy (id),
    discrepancy_seen text CHECK (length(discrepancy_seen) BETWEEN 1 AND 200),
    currency text NOT NULL,
    -- The debit account gets the amount, `channel_fee` the fee, and the credit account gives both: whatever stands here
    -- sums to zero.
    debit text NOT NULL,
    credit text NOT NULL,
    amount_minor bigint NOT NULL CHECK (amount_minor > 0),
    fee_minor bigint NOT NULL,
    -- Of what a channel paid into our bank: it tells a repeat from a second receipt.
    bank_reference text CHECK (length(bank_reference) BETWEEN 1 AND 64),
    reason text NOT NULL CHECK (length(reason) BETWEEN 1 AND 500),
    proposed_by text NOT NULL CHECK (length(proposed_by) BETWEEN 1 AND 80),
    proposed_at timestamptz NOT NULL,
    state text NOT NULL CHECK (state IN ('proposed', 'approved', 'rejected', 'withdrawn')),
    decided_by text CHECK (length(decided_by) BETWEEN 1 AND 80),
    decided_at timestamptz,
    -- Why it was not approved.
    decision_reason text CHECK (length(decision_reason) BETWEEN 1 AND 500),
    -- The order of its entry, or an id of its own that stands in an order's place; NULL until it is booked.
    entry_id bigint,
    CHECK (debit <> credit),
    CHECK (debit ~ '^((merchant|channel):[1-9][0-9]*|fee_income|channel_fee|bank)$'),
    CHECK (credit ~ '^((merchant|channel):[1-9][0-9]*|fee_income|channel_fee|bank)$'),
    CHECK (amount_minor + fee_minor > 0),
    CHECK (fee_minor = 0 OR bank_reference IS NOT NULL),
    CHECK (bank_reference IS NULL OR (debit = 'bank' AND credit LIKE 'channel:%')),
    CHECK (order_id IS NULL OR merchant_id IS NOT NULL),
    CHECK ((discrepancy_id IS NULL) = (discrepancy_seen IS NULL)),
    CHECK ((state = 'proposed') = (decided_by IS NULL)),
    CHECK ((state = 'proposed') = (decided_at IS NULL)),
    CHECK ((state IN ('rejected', 'withdrawn')) = (decision_reason IS NOT NULL)),
    CHECK ((state = 'approved') = (entry_id IS NOT NULL)),
    CHECK (entry_id = order_id OR order_id IS NULL)
);
CREATE INDEX adjustment_entry ON adjustment (lane, entry_id) WHERE entry_id IS NOT NULL;
CREATE INDEX adjustment_proposed ON adjustment (proposed_at) WHERE state = 'proposed';
CREATE INDEX adjustment_discrepancy ON adjustment (discrepancy_id) WHERE discrepancy_id IS NOT NULL;
-- Of one difference one waits at a time, or both would be approved.
CREATE UNIQUE INDEX adjustment_waiting ON adjustment (discrepancy_id) WHERE state = 'proposed';
CREATE UNIQUE INDEX adjustment_receipt ON adjustment (credit, bank_reference)
WHERE bank_reference IS NOT NULL AND state IN ('proposed', 'approved');
