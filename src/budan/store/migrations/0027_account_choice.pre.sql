-- Why: a shop may be paid through accounts of its own (several official accounts), and an account may be meant for some
-- ways of paying only.
-- Locks: merchant_account, exclusive; SHARE ROW EXCLUSIVE on shop and channel_account for the new table's references.
-- How long: milliseconds, for they hold a row for each merchant, shop or account.

ALTER TABLE merchant_account ADD COLUMN methods text [];
-- A table of a few rows for each merchant is checked within the lock that this statement takes anyhow.
-- squawk-ignore constraint-missing-not-valid
ALTER TABLE merchant_account ADD CONSTRAINT merchant_account_methods
CHECK (methods <@ ARRAY['native', 'jsapi', 'wap', 'code'] AND cardinality(methods) > 0);

-- Where a shop has rows here, its orders go through these accounts and through no other one of its merchant.
CREATE TABLE shop_account (
    shop_id integer NOT NULL REFERENCES shop (id),
    account_id integer NOT NULL REFERENCES channel_account (id),
    priority smallint NOT NULL DEFAULT 0,
    -- NULL: every way of paying that the channel has.
    methods text [] CHECK (methods <@ ARRAY['native', 'jsapi', 'wap', 'code'] AND cardinality(methods) > 0),
    PRIMARY KEY (shop_id, account_id)
);
