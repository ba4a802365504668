-- Why: nothing told that a batch was in a payout file already: a second file had it again, and whoever sent both paid its
-- merchant twice. Each file in which a batch goes to the bank is a row now, with who wrote it.
-- Locks: SHARE ROW EXCLUSIVE on settlement_batch for the reference. How long: milliseconds.

CREATE TABLE settlement_sent (
    lane smallint NOT NULL,
    batch_id bigint NOT NULL,
    -- The how manieth payout of its batch the file asks for: one that came back goes into the next file by itself.
    payout smallint NOT NULL CHECK (payout > 0),
    -- The how manieth file that asks for it; more than one by a person's wish only.
    ordinal smallint NOT NULL CHECK (ordinal > 0),
    file_sha256 text NOT NULL CHECK (file_sha256 ~ '^[0-9a-f]{64}$'),
    sent_by text NOT NULL CHECK (length(sent_by) BETWEEN 1 AND 80),
    sent_at timestamptz NOT NULL,
    PRIMARY KEY (lane, batch_id, payout, ordinal),
    FOREIGN KEY (lane, batch_id) REFERENCES settlement_batch (lane, id)
);
