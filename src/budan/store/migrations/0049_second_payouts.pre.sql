-- Why: a bank that was given two files has sent a batch's money twice, and the second transfer could be booked nowhere.
-- It is no payout of the batch: the merchant owes it back, so it lessens what is settled next.
-- Locks: SHARE ROW EXCLUSIVE on settlement_batch for the reference. How long: milliseconds.

CREATE TABLE settlement_second_payout (
    lane smallint NOT NULL,
    batch_id bigint NOT NULL,
    -- The how manieth of its batch; its entry's number too.
    ordinal smallint NOT NULL CHECK (ordinal > 0),
    bank_reference text NOT NULL CHECK (length(bank_reference) BETWEEN 1 AND 64),
    reason text NOT NULL CHECK (length(reason) BETWEEN 1 AND 500),
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
