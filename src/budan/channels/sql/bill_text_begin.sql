-- name: bill_text_begin :none
-- How many lines stand before the rows, the account that all of them are of, and what a row has that is kept without.
CREATE TABLE bill_begin AS
SELECT
    $lines_before::bigint AS lines_before,
    $account_no::varchar AS account_no,
    $default_currency::varchar AS default_currency,
    $usual_method::varchar AS usual_method
