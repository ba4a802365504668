-- Why: a row of a bill that is ours of another day counts as far as the bill's origin goes, so each keeps its run, and
-- whether it was done there: a payment that two days' bills have done is a double. The sum of a day's fees is judged by the
-- contract as well.
-- Locks: ACCESS EXCLUSIVE on bill_sighting and reconcile_run while columns are added, SHARE on bill_sighting for its index.
-- How long: milliseconds; both are small tables, of a few rows a day.
ALTER TABLE bill_sighting ADD COLUMN run_id bigint;
ALTER TABLE bill_sighting ADD COLUMN is_done boolean NOT NULL DEFAULT TRUE;

UPDATE bill_sighting AS s
SET run_id = (
    SELECT max(r.id) FROM reconcile_run AS r
    WHERE r.account_id = s.account_id AND r.day = s.bill_day
);

-- squawk-ignore require-concurrent-index-creation
CREATE INDEX bill_sighting_day ON bill_sighting (account_id, bill_day);

-- What the rows with a fee come to by the contract, and between what rounding may bring them; NULL where fees are not
-- judged.
ALTER TABLE reconcile_run ADD COLUMN fee_wanted_e5 bigint;
ALTER TABLE reconcile_run ADD COLUMN fee_least_e5 bigint;
ALTER TABLE reconcile_run ADD COLUMN fee_most_e5 bigint;
