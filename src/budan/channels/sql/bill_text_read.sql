-- name: bill_text_read :none
-- One pass over the rows' file, by all threads. A row that is not right in every field gets no kind, and is looked for
-- afterwards. Nothing ends a value but the separator: no quote, no escape, and what is empty is no NULL. A row with too
-- few values has NULLs at its end; of one with too many, the next is in `beyond`, from which is also read what the
-- header does not have.
INSERT INTO bill_text
WITH parted AS (
    SELECT
        r,
        concat_ws(chr(1), unpack(COLUMNS('^(field_|beyond)'))) AS joined
    FROM read_csv(
        $path,
        delim = $separator,
        quote = '',
        escape = '',
        header = FALSE,
        auto_detect = FALSE,
        new_line = '\n',
        nullstr = chr(1),
        null_padding = TRUE,
        strict_mode = FALSE,
        columns = $columns
    ) AS r
),

known AS (
    SELECT
        r,
        CASE -- A cast takes a third of the time, and the row's pattern has seen to it that each digit is in its place.
            WHEN $moment = '%Y-%m-%d %H:%M:%S'
                THEN try_cast(substr(struct_extract(r, $happened_at), $moment_from) AS timestamp)
            ELSE try_strptime(substr(struct_extract(r, $happened_at), $moment_from), $moment)
        END AS moment,
        CASE
            WHEN regexp_full_match(joined, $row)
                THEN map($kind_words, $kinds::enum('payment', 'refund', 'reversal')[])[struct_extract(r, $kind)]
        END AS kind
    FROM parted
)

SELECT
    CASE WHEN moment IS NOT NULL THEN kind END AS kind,
    -- Beijing has no summer time; only whole seconds are told.
    to_timestamp(epoch(moment)::bigint - 28800) AS happened_at,
    struct_extract(r, $trade_no) AS trade_no,
    nullif(struct_extract(r, $channel_no), '') AS channel_no,
    CASE WHEN kind != 'payment' THEN nullif(struct_extract(r, $refund_no), '') END AS refund_no,
    CASE WHEN kind != 'payment' THEN nullif(struct_extract(r, $channel_refund_no), '') END AS channel_refund_no,
    CASE
        WHEN kind = 'payment' THEN 'succeeded'::enum('succeeded', 'pending', 'failed')
        ELSE map($status_words, $statuses::enum('succeeded', 'pending', 'failed')[])[
            coalesce(struct_extract(r, $status), '')
        ]
    END AS status,
    coalesce(struct_extract(r, $currency), $default_currency) AS currency,
    CASE
        WHEN kind = 'payment' THEN abs(try_cast(replace(struct_extract(r, $order_minor), '.', '') AS bigint))
    END AS order_minor,
    CASE
        WHEN kind = 'payment' THEN abs(try_cast(replace(struct_extract(r, $settle_minor), '.', '') AS bigint))
        ELSE -abs(try_cast(replace(struct_extract(r, $refund_settle_minor), '.', '') AS bigint))
    END AS settle_minor,
    CASE
        WHEN kind = 'payment' THEN abs(try_cast(replace(struct_extract(r, $coupon_minor), '.', '') AS bigint))
        ELSE -abs(try_cast(replace(struct_extract(r, $refund_coupon_minor), '.', '') AS bigint))
    END AS coupon_minor,
    CASE
        WHEN kind != 'payment' THEN abs(try_cast(replace(struct_extract(r, $refund_minor), '.', '') AS bigint))
    END AS refund_minor,
    CASE WHEN kind = 'payment' THEN $fee_factor ELSE $refund_fee_factor END
    * try_cast(try_cast(struct_extract(r, $fee) AS decimal(15, 5)) * $fee_unit_e5 AS bigint) AS fee_e5,
    struct_extract(r, $method) AS method,
    coalesce(struct_extract(r, $account_no) != $expected_account_no, FALSE) AS is_foreign
FROM known
