-- Why: a day was closed whatever its bills said of it. Now nothing may stand against it, or a person says why it is closed
-- all the same: who, why, and what stood then is kept with the day. What is found of a closed day, or is open again, is
-- told by its moment.
-- Locks: ledger_day and discrepancy, exclusive. How long: milliseconds: no row is read.

ALTER TABLE ledger_day ADD COLUMN closed_by text;
-- Why it was closed although something stood against it.
ALTER TABLE ledger_day ADD COLUMN reason text;
-- What was to be told of the day when it was closed (core/day_closing.py).
ALTER TABLE ledger_day ADD COLUMN stood jsonb NOT NULL DEFAULT '[]';
ALTER TABLE ledger_day ADD CONSTRAINT ledger_day_closed_by CHECK (length(closed_by) BETWEEN 1 AND 80) NOT VALID;
ALTER TABLE ledger_day ADD CONSTRAINT ledger_day_reason CHECK (length(reason) BETWEEN 1 AND 500) NOT VALID;
ALTER TABLE ledger_day ADD CONSTRAINT ledger_day_reason_of CHECK (reason IS NULL OR closed_by IS NOT NULL) NOT VALID;

-- When it was opened again last, after it had ended; NULL where it never was.
ALTER TABLE discrepancy ADD COLUMN reopened_at timestamptz;
