-- Why: a merchant's rate may be another one in a shop or for a way of paying, and a fee may have bounds; a trade keeps the
-- bounds with the rate, and so does the order that it pays. A person may correct a fee, by name and with a reason.
-- While processes of the version before still run, they take any rate of a channel for the whole channel: set none for a
-- shop or a method until they are gone.
-- Locks: orders, trade, operator_act and fee_rate, exclusive. How long: milliseconds for new columns, for their defaults
-- are constants; operator_act, the few acts of persons, is read once.

ALTER TABLE orders ADD COLUMN fee_minimum_minor bigint;
ALTER TABLE orders ADD COLUMN fee_maximum_minor bigint;

-- Not part of the completion's words: a correction changes what is in force for the payment, never the order's own.
ALTER TABLE trade ADD COLUMN fee_minimum_minor bigint NOT NULL DEFAULT 0;
ALTER TABLE trade ADD COLUMN fee_maximum_minor bigint;

-- The new check allows all that the old one did, so no client loses what it relied on.
-- squawk-ignore ban-drop-constraint
ALTER TABLE operator_act DROP CONSTRAINT operator_act_kind_check;
-- A partitioned table takes no constraint that is checked later (PostgreSQL, ALTER TABLE).
-- squawk-ignore constraint-missing-not-valid
ALTER TABLE operator_act ADD CONSTRAINT operator_act_kind_check
CHECK (kind IN ('hold', 'release', 'evidence', 'fee'));

-- NULL is every shop, every method.
ALTER TABLE fee_rate ADD COLUMN shop_id integer;
ALTER TABLE fee_rate ADD COLUMN method text CHECK (method IN ('native', 'jsapi', 'wap', 'code'));
ALTER TABLE fee_rate ADD COLUMN minimum_minor bigint NOT NULL DEFAULT 0 CHECK (minimum_minor >= 0);
ALTER TABLE fee_rate ADD COLUMN maximum_minor bigint CHECK (maximum_minor >= 0);

-- The key has room for one rate of a channel at a moment; the index below takes its place.
-- squawk-ignore ban-drop-constraint
ALTER TABLE fee_rate DROP CONSTRAINT fee_rate_pkey;
-- Some rows for each merchant, built within the lock that this migration holds anyhow.
-- squawk-ignore require-concurrent-index-creation
CREATE UNIQUE INDEX fee_rate_begin ON fee_rate (merchant_id, channel, shop_id, method, effective_from)
NULLS NOT DISTINCT;
