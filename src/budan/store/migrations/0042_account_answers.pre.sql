-- Why: a person's word may stand for a channel only while it is silent (I4), and a sweep's answers that change nothing
-- touch no trade: when the account last answered any question is kept with its health, which is written each second anyhow.
-- Locks: account_health, exclusive. How long: milliseconds, for it holds a row for each account.

ALTER TABLE account_health ADD COLUMN answered_at timestamptz;
