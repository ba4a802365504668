-- name: bill_text_read :none
-- One pass over the rows' file, by all threads. A row that is not right in every field gets no kind, and is looked for
-- afterwards. Nothing ends a value but the separator: no quote, no escape, and what is empty is no NULL. A row with too
-- few values has NULLs at its end; of one with too many, the next is in `beyond`, from which is also read what the
-- header does not have.
INSERT INTO bill_text
WITH parted AS ( -- what is the same in nearly every row, and what is not
    SELECT
        *,
        concat_ws(chr(1), unpack(COLUMNS('^(field_usual_|beyond)'))) AS usual,
        concat_ws(chr(1), unpack(COLUMNS('^field_own_'))) AS own
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
    )
),

held AS (
    SELECT
        r.*,
        coalesce(
            r.beyond IS NULL
            AND r.usual = $usual_row
            AND strlen(struct_extract(r, $trade_no)) BETWEEN 1 AND 64
            AND strlen(struct_extract(r, $channel_no)) BETWEEN 1 AND 64
            -- Where each sign is one byte, all are ASCII; no control character has come so far but TAB.
            AND strlen(struct_extract(r, $trade_no)) = length(struct_extract(r, $trade_no))
            AND strlen(struct_extract(r, $channel_no)) = length(struct_extract(r, $channel_no))
            AND NOT contains(struct_extract(r, $trade_no), ' ')
            AND NOT contains(struct_extract(r, $channel_no), ' ')
            AND NOT contains(struct_extract(r, $trade_no), chr(9))
            AND NOT contains(struct_extract(r, $channel_no), chr(9))
            AND NOT contains(struct_extract(r, $trade_no), $number_bar)
            AND NOT contains(struct_extract(r, $channel_no), $number_bar),
            FALSE
        ) AS is_like_most
    FROM parted AS r
),

judged AS ( -- One pattern for all fields costs more than all the rest: a row that is like most meets none.
    SELECT
        *,
        CASE
            WHEN is_like_most THEN regexp_full_match(own, $own_row)
            ELSE regexp_full_match(concat_ws(chr(1), unpack(COLUMNS('^(field_|beyond)'))), $row)
        END AS is_right
    FROM held
),

known AS (
    SELECT
        r.*,
        CASE -- A cast takes a third of the time, and the row's pattern has seen to it that each digit is in its place.
            WHEN $moment = '%Y-%m-%d %H:%M:%S'
                THEN try_cast(substr(struct_extract(r, $happened_at), $moment_from) AS timestamp)
            ELSE try_strptime(substr(struct_extract(r, $happened_at), $moment_from), $moment)
        END AS moment,
        CASE
            WHEN r.is_right
                THEN map($kind_words, $kinds::enum('payment', 'refund', 'reversal')[])[struct_extract(r, $kind)]
        END AS kind
    FROM judged AS r
)

SELECT
    CASE WHEN r.moment IS NOT NULL THEN r.kind END AS kind,
    -- Beijing has no summer time; only whole seconds are told.
    to_timestamp(epoch(r.moment)::bigint - 28800) AS happened_at,
    struct_extract(r, $trade_no) AS trade_no,
    nullif(struct_extract(r, $channel_no), '') AS channel_no,
    CASE WHEN r.kind != 'payment' THEN nullif(struct_extract(r, $refund_no), '') END AS refund_no,
    CASE WHEN r.kind != 'payment' THEN nullif(struct_extract(r, $channel_refund_no), '') END AS channel_refund_no,
    CASE
        WHEN r.kind = 'payment' THEN 'succeeded'::enum('succeeded', 'pending', 'failed')
        ELSE map($status_words, $statuses::enum('succeeded', 'pending', 'failed')[])[
            coalesce(struct_extract(r, $status), '')
        ]
    END AS status,
    coalesce(struct_extract(r, $currency), $default_currency) AS currency,
    CASE
        WHEN r.kind = 'payment' THEN abs(try_cast(replace(struct_extract(r, $order_minor), '.', '') AS bigint))
    END AS order_minor,
    CASE
        WHEN r.kind = 'payment' THEN abs(try_cast(replace(struct_extract(r, $settle_minor), '.', '') AS bigint))
        ELSE -abs(try_cast(replace(struct_extract(r, $refund_settle_minor), '.', '') AS bigint))
    END AS settle_minor,
    CASE
        WHEN r.kind = 'payment' THEN abs(try_cast(replace(struct_extract(r, $coupon_minor), '.', '') AS bigint))
        ELSE -abs(try_cast(replace(struct_extract(r, $refund_coupon_minor), '.', '') AS bigint))
    END AS coupon_minor,
    CASE
        WHEN r.kind != 'payment' THEN abs(try_cast(replace(struct_extract(r, $refund_minor), '.', '') AS bigint))
    END AS refund_minor,
    CASE WHEN r.kind = 'payment' THEN $fee_factor ELSE $refund_fee_factor END
    * try_cast(try_cast(struct_extract(r, $fee) AS decimal(15, 5)) * $fee_unit_e5 AS bigint) AS fee_e5,
    struct_extract(r, $method) AS method,
    coalesce(struct_extract(r, $account_no) != $expected_account_no, FALSE) AS is_foreign
FROM known AS r
