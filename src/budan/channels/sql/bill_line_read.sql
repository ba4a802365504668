-- name: bill_line_read :none
-- One pass over the rows' file. A row that is not right in every field gets no kind, and is looked for afterwards.
INSERT INTO bill_line
WITH numbered AS (
    -- The separator is a byte that the file was proved not to hold, so each line is one value.
    SELECT
        line,
        $lines_before + row_number() OVER () AS line_no
    FROM read_csv(
        $path,
        delim = chr(1),
        quote = '',
        escape = '',
        header = FALSE,
        auto_detect = FALSE,
        new_line = '\n',
        columns = { 'line': 'VARCHAR' }
    )
),

parted AS (
    SELECT
        line_no,
        line,
        string_split(line, $separator) AS parts
    FROM numbered
),

cut AS (
    -- A name of goods may hold the separator. It stands between typed fields, so it is found and taken out whole.
    SELECT
        line_no,
        regexp_full_match(line, $row) AS is_row,
        CASE
            WHEN len(parts) = $columns THEN parts
            ELSE string_split(regexp_replace(line, $row, '\1\2'), $separator)
        END AS field
    FROM parted
),

known AS (
    SELECT
        line_no,
        field,
        try_strptime(field[$happened_at], $moment) AS moment,
        CASE
            WHEN NOT is_row OR len(field) != $columns THEN NULL
            ELSE map($kind_words, $kinds)[field[$kind]]
        END AS kind
    FROM cut
)

SELECT
    line_no,
    CASE WHEN moment IS NOT NULL THEN kind END AS kind,
    -- Beijing has no summer time; only whole seconds are told.
    to_timestamp(epoch(moment)::bigint - 28800) AS happened_at,
    field[$trade_no] AS trade_no,
    nullif(field[$channel_no], '') AS channel_no,
    CASE WHEN kind != 'payment' THEN nullif(field[$refund_no], '') END AS refund_no,
    CASE WHEN kind != 'payment' THEN nullif(field[$channel_refund_no], '') END AS channel_refund_no,
    CASE
        WHEN kind = 'payment' THEN 'succeeded'
        ELSE map($status_words, $statuses)[coalesce(field[$status], '')]
    END AS status,
    coalesce(field[$currency], $default_currency) AS currency,
    CASE WHEN kind = 'payment' THEN abs(try_cast(replace(field[$order_minor], '.', '') AS bigint)) END AS order_minor,
    CASE
        WHEN kind = 'payment' THEN abs(try_cast(replace(field[$settle_minor], '.', '') AS bigint))
        ELSE -abs(try_cast(replace(field[$refund_settle_minor], '.', '') AS bigint))
    END AS settle_minor,
    CASE
        WHEN kind = 'payment' THEN abs(try_cast(replace(field[$coupon_minor], '.', '') AS bigint))
        ELSE -abs(try_cast(replace(field[$refund_coupon_minor], '.', '') AS bigint))
    END AS coupon_minor,
    CASE
        WHEN kind != 'payment' THEN abs(try_cast(replace(field[$refund_minor], '.', '') AS bigint))
    END AS refund_minor,
    CASE WHEN kind = 'payment' THEN $fee_factor ELSE $refund_fee_factor END
    * try_cast(try_cast(field[$fee] AS decimal(15, 5)) * $fee_unit_e5 AS bigint) AS fee_e5,
    field[$method] AS method,
    coalesce(field[$account_no], $default_account_no) AS account_no
FROM known
