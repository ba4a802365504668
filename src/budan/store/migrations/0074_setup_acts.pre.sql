-- Why: who changed a merchant's terms or an account's contract was kept of the last change alone, and what it was before
-- not at all; who opened an account, changed its keys, took it out of use or issued an API key, nobody could tell. Each
-- such act is a row now that stays.
-- Locks: SHARE ROW EXCLUSIVE on merchant and channel_account for the references. How long: milliseconds.

CREATE TABLE setup_act (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind text NOT NULL CHECK (
        kind IN (
            'merchant_add', 'merchant_set', 'key_issue', 'contract_set', 'account_add', 'account_rotate',
            'account_end_overlap', 'account_enable', 'account_disable', 'account_allow', 'account_disallow'
        )
    ),
    merchant_id integer REFERENCES merchant (id),
    account_id integer REFERENCES channel_account (id),
    acted_by text NOT NULL CHECK (length(acted_by) BETWEEN 1 AND 80),
    acted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- What was changed, without secrets; NULL where there was nothing before, or is nothing after.
    before jsonb,
    after jsonb,
    CHECK (merchant_id IS NOT NULL OR account_id IS NOT NULL)
);
CREATE INDEX setup_act_merchant_id ON setup_act (merchant_id, id) WHERE merchant_id IS NOT NULL;
CREATE INDEX setup_act_account_id ON setup_act (account_id, id) WHERE account_id IS NOT NULL;
