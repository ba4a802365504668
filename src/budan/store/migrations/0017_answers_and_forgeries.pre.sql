-- Why: a person's word counts only while the channel is silent, so a trade keeps when its channel last answered, whatever
-- it said (docs/design.md I4); and what a forged notice may cost is looked up in a few rows of an index.
-- Locks: trade, exclusive; SHARE on notice_rejected while its index is made. How long: milliseconds, and one pass over
-- the rejected notices.

ALTER TABLE trade ADD COLUMN answered_at timestamptz;

-- A migration runs in one transaction, which takes no concurrent build; the samples are 20 an hour and account.
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX notice_rejected_sampled ON notice_rejected (account_id, received_at) WHERE sample IS NOT NULL;

-- squawk-ignore require-concurrent-index-creation
CREATE INDEX notice_rejected_account ON notice_rejected (account_id, received_at);
