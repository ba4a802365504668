-- Why: a payout file named nobody to pay, so that no bank could act on it. Whom a merchant's payouts go to is proposed by
-- one person and confirmed by another, for a changed payee is how such money is stolen; each is a row that stays, and a
-- file keeps which of them it asks to pay.
-- Locks: SHARE ROW EXCLUSIVE on merchant for the reference; settlement_sent, exclusive. How long: milliseconds: the new
-- column is NULL everywhere, for what was sent before named nobody.

CREATE TABLE merchant_payee (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    merchant_id integer NOT NULL REFERENCES merchant (id),
    holder text NOT NULL CHECK (length(holder) BETWEEN 1 AND 120),
    bank_name text CHECK (length(bank_name) BETWEEN 1 AND 120),
    -- The number of the bank's branch in CNAPS, with its check digit.
    bank_code text CHECK (bank_code ~ '^[0-9]{12}$'),
    -- A bank card's number has a check digit of its own, an account's has none that is common to banks.
    is_card boolean NOT NULL,
    -- The number is read by nobody but the bank, so it is kept as a channel's key is; people see how it ends.
    sealed_number bytea NOT NULL,
    number_end text NOT NULL CHECK (number_end ~ '^[0-9]{4}$'),
    acted_by text NOT NULL CHECK (length(acted_by) BETWEEN 1 AND 80),
    reason text NOT NULL CHECK (length(reason) BETWEEN 1 AND 500),
    acted_at timestamptz NOT NULL,
    -- The newest confirmed one is in force, since then.
    confirmed_by text CHECK (length(confirmed_by) BETWEEN 1 AND 80),
    confirmed_at timestamptz,
    CHECK (bank_name IS NOT NULL OR bank_code IS NOT NULL),
    CHECK ((confirmed_by IS NULL) = (confirmed_at IS NULL))
);
CREATE INDEX merchant_payee_merchant_id ON merchant_payee (merchant_id, id);

-- Whom the file asks to pay; what a merchant's payee becomes later changes nothing of it.
-- The reference is of an empty column, so no row is read.
-- squawk-ignore adding-foreign-key-constraint
ALTER TABLE settlement_sent ADD COLUMN payee_id bigint REFERENCES merchant_payee (id);
