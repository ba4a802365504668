-- Why: a disabled account's bills are fetched until its last payments and their refunds are compared. When it was
-- disabled says when its payments ended, without reading them.
-- Locks: ACCESS EXCLUSIVE on channel_account, a few rows, while the column is added. How long: milliseconds.
ALTER TABLE channel_account ADD COLUMN disabled_at timestamptz;

-- When those that are disabled were, nobody knows any more: they are followed once more.
UPDATE channel_account SET disabled_at = now() WHERE NOT enabled;
