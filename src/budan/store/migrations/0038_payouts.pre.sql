-- Why: a batch that a bank sends back is paid out again, and its row kept the last payout's reference alone: typed again,
-- an older one booked a payout that never was. Each payout is a row now, with who told of it.
-- Locks: SHARE ROW EXCLUSIVE on settlement_batch for the reference, and a read of it. How long: below a second for a
-- hundred thousand batches.

CREATE TABLE settlement_payout (
    lane smallint NOT NULL,
    batch_id bigint NOT NULL,
    -- The how manieth payout of its batch; its entry's number too.
    ordinal smallint NOT NULL CHECK (ordinal > 0),
    bank_reference text NOT NULL CHECK (length(bank_reference) BETWEEN 1 AND 64),
    paid_by text NOT NULL CHECK (length(paid_by) BETWEEN 1 AND 80),
    paid_at timestamptz NOT NULL,
    returned_by text CHECK (length(returned_by) BETWEEN 1 AND 80),
    returned_at timestamptz,
    return_reason text CHECK (length(return_reason) BETWEEN 1 AND 500),
    PRIMARY KEY (lane, batch_id, ordinal),
    UNIQUE (lane, batch_id, bank_reference),
    FOREIGN KEY (lane, batch_id) REFERENCES settlement_batch (lane, id),
    CHECK ((returned_at IS NULL) = (returned_by IS NULL)),
    CHECK ((returned_at IS NULL) = (return_reason IS NULL))
);

-- Of payouts before this one only the last is known, and of one that came back not who had told that it was sent.
INSERT INTO settlement_payout (
    lane, batch_id, ordinal, bank_reference, paid_by, paid_at, returned_by, returned_at, return_reason
)
SELECT
    lane,
    id AS batch_id,
    payouts AS ordinal,
    bank_reference,
    changed_by AS paid_by,
    changed_at AS paid_at,
    CASE WHEN state = 'returned' THEN changed_by END AS returned_by,
    CASE WHEN state = 'returned' THEN changed_at END AS returned_at,
    return_reason
FROM settlement_batch
WHERE bank_reference IS NOT NULL;
