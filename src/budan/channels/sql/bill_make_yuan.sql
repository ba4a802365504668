-- name: bill_make_yuan :none
-- An amount that is written in yuan; NULL for what is none.
CREATE OR REPLACE TEMPORARY MACRO yuan_of(written) AS try_cast(written AS decimal(14, 2))
