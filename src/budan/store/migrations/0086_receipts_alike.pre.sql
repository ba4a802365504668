-- Why: one receipt typed as B2411, b2411 and Ｂ2411 was three proposals, and each could be approved: the channel's account
-- would be credited three times. Two are one where width, case and spaces alone tell them apart; what was typed stays.
-- And who approved what they proposed could be written by hand, and no check told.
-- While workers of the version before still run, type no receipt: they name the index that goes. It fails where two
-- receipts stand that are alike, or one person has approved their own: none was written by a version that was released.
-- Locks: ACCESS EXCLUSIVE on adjustment, which is rewritten. How long: milliseconds: persons make its rows.

-- Kept in step by PostgreSQL, whoever writes.
ALTER TABLE adjustment
-- squawk-ignore adding-field-with-default
ADD COLUMN reference_key text GENERATED ALWAYS AS (lower(replace(normalize(bank_reference, NFKC), ' ', ''))) STORED;
-- The lock is held already.
-- squawk-ignore require-concurrent-index-deletion
DROP INDEX adjustment_receipt;
-- squawk-ignore require-concurrent-index-creation
CREATE UNIQUE INDEX adjustment_receipt ON adjustment (credit, reference_key)
WHERE reference_key IS NOT NULL AND state IN ('proposed', 'approved');

-- All rows are read once, and they are few.
-- squawk-ignore constraint-missing-not-valid
ALTER TABLE adjustment ADD CONSTRAINT adjustment_two_persons CHECK (
    state <> 'approved' OR lower(normalize(decided_by, NFKC)) <> lower(normalize(proposed_by, NFKC))
);
