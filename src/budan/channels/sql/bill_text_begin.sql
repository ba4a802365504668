-- name: bill_text_begin :none
-- How many lines stand before the rows, and the account that all of them are of.
CREATE TABLE bill_begin AS
SELECT
    $lines_before::bigint AS lines_before,
    $account_no::varchar AS account_no
