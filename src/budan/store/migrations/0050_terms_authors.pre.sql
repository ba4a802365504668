-- Why: nobody could tell who had set a rate, a cashback plan or a merchant's settlement, which move money for months; and a
-- rate that was set for a later moment by mistake could not be taken away before it began.
-- Locks: fee_rate, cashback_plan and merchant, exclusive. How long: milliseconds: the new columns are NULL everywhere, for
-- who set what came before was never asked.

ALTER TABLE fee_rate ADD COLUMN set_by text CHECK (length(set_by) BETWEEN 1 AND 80);
ALTER TABLE cashback_plan ADD COLUMN set_by text CHECK (length(set_by) BETWEEN 1 AND 80);
ALTER TABLE cashback_plan ADD COLUMN ended_by text CHECK (length(ended_by) BETWEEN 1 AND 80);
ALTER TABLE merchant ADD COLUMN settlement_set_by text CHECK (length(settlement_set_by) BETWEEN 1 AND 80);

-- Rates that never began: they are taken out of fee_rate, so that no program counts them.
CREATE TABLE fee_rate_withdrawn (
    merchant_id integer NOT NULL,
    channel text NOT NULL,
    shop_id integer,
    method text,
    effective_from timestamptz NOT NULL,
    rate_bp integer NOT NULL,
    minimum_minor bigint NOT NULL,
    maximum_minor bigint,
    set_by text,
    withdrawn_by text NOT NULL CHECK (length(withdrawn_by) BETWEEN 1 AND 80),
    withdrawn_at timestamptz NOT NULL,
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY
);
