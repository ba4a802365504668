-- Why: the check of the books reads each closed day's balances; without an index by the day it read all days' for each.
-- Locks: SHARE on ledger_balance while the index is made: only the closing of a day waits. How long: about a second for
-- each million rows, which are the accounts that moved on each day.
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX ledger_balance_day ON ledger_balance (day);
