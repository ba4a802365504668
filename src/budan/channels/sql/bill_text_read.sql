-- name: bill_text_read :none
-- One pass over the rows' file, by all threads. The name of a column says its place, how its values are looked at, and
-- as which of our words they are read; what nobody names here never leaves the file. A row that is not right in every
-- field gets no kind, and is looked for afterwards. Nothing ends a value but the separator: no quote, no escape, and
-- what is empty is no NULL. A row with too few values has NULLs at its end; of one with too many, the next is in
-- `beyond`, from which is also read what the header does not have.
INSERT INTO bill_text
WITH parted AS (
    SELECT
        *,
        COLUMNS('\bhappened_at\b') AS marked_moment,
        substr(marked_moment, 1 + strlen($moment_mark)) AS moment_text,
        COLUMNS('\bkind\b') AS kind_word,
        COLUMNS('\btrade_no\b') AS trade_no,
        COLUMNS('\bchannel_no\b') AS channel_no,
        COLUMNS('\border_minor\b') AS order_text,
        COLUMNS('\bsettle_minor\b') AS settle_text,
        COLUMNS('\bcoupon_minor\b') AS coupon_text,
        COLUMNS('\brefund_no\b') AS refund_no,
        COLUMNS('\bchannel_refund_no\b') AS channel_refund_no,
        COLUMNS('\brefund_minor\b') AS refund_text,
        COLUMNS('\brefund_settle_minor\b') AS refund_settle_text,
        COLUMNS('\brefund_coupon_minor\b') AS refund_coupon_text,
        COLUMNS('\bstatus\b') AS status_word,
        COLUMNS('\bfee\b') AS fee_text,
        COLUMNS('\bmethod\b') AS method,
        coalesce(COLUMNS('\bcurrency\b'), $default_currency) AS currency,
        COLUMNS('\baccount_no\b') AS account_no,
        -- What nearly all rows have alike, NULL being like NULL within a row of values.
        row(unpack(COLUMNS('\b(usual|beyond)\b'))) = $usual_row AS is_usual,
        concat_ws(chr(1), unpack(COLUMNS('\b(own|beyond)\b'))) AS own
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

typed AS (
    SELECT
        *,
        yuan_of(order_text) AS order_yuan,
        yuan_of(settle_text) AS settle_yuan,
        try_cast(fee_text AS decimal(15, 5)) AS fee_value,
        CASE
            WHEN $moment = '%Y-%m-%d %H:%M:%S' THEN try_cast(moment_text AS timestamp)
            ELSE try_strptime(moment_text, $moment)
        END AS moment
    FROM parted
),

held AS (
    SELECT
        *,
        coalesce(
            is_usual
            AND strlen(trade_no) BETWEEN 1 AND 64
            AND strlen(channel_no) BETWEEN 1 AND 64
            -- Where each sign is one byte, all are ASCII; no control character has come so far but TAB.
            AND strlen(trade_no) = length(trade_no)
            AND strlen(channel_no) = length(channel_no)
            AND NOT contains(trade_no, ' ')
            AND NOT contains(channel_no, ' ')
            AND NOT contains(trade_no, chr(9))
            AND NOT contains(channel_no, chr(9))
            AND NOT contains(trade_no, $number_bar)
            AND NOT contains(channel_no, $number_bar)
            -- What is printed as it was read is as its pattern says; years of four digits are.
            AND (
                NOT $prints_moment
                OR (
                    starts_with(marked_moment, $moment_mark)
                    AND strlen(moment_text) = 19
                    AND moment::varchar = moment_text
                )
            )
            AND (NOT $prints_order OR order_yuan::varchar = order_text)
            AND (NOT $prints_settle OR settle_yuan::varchar = settle_text)
            AND (NOT $prints_fee OR (strlen(fee_text) <= 15 AND fee_value::varchar = fee_text)),
            FALSE
        ) AS is_like_most
    FROM typed
),

judged AS ( -- One pattern for all fields costs more than all the rest: a row that is like most meets that of few.
    SELECT
        *,
        CASE
            WHEN is_like_most THEN $own_row = '' OR regexp_full_match(own, $own_row)
            ELSE regexp_full_match(concat_ws(chr(1), unpack(COLUMNS('\b(field|beyond)\b'))), $row)
        END AS is_right
    FROM held
),

known AS (
    SELECT
        *,
        CASE
            WHEN is_right AND moment IS NOT NULL
                THEN map($kind_words, $kinds::enum('payment', 'refund', 'reversal')[])[kind_word]
        END AS kind
    FROM judged
)

SELECT
    kind,
    -- Beijing has no summer time; only whole seconds are told.
    to_timestamp(epoch(moment)::bigint - 28800) AS happened_at,
    trade_no,
    nullif(channel_no, '') AS channel_no,
    CASE WHEN kind != 'payment' THEN nullif(refund_no, '') END AS refund_no,
    CASE WHEN kind != 'payment' THEN nullif(channel_refund_no, '') END AS channel_refund_no,
    CASE
        WHEN kind = 'payment' THEN 'succeeded'::enum('succeeded', 'pending', 'failed')
        ELSE map($status_words, $statuses::enum('succeeded', 'pending', 'failed')[])[coalesce(status_word, '')]
    END AS status,
    nullif(currency, $default_currency) AS other_currency,
    CASE WHEN kind = 'payment' THEN minor_of(order_yuan, order_text, $in_minor) END AS order_minor,
    CASE
        WHEN kind = 'payment' THEN minor_of(settle_yuan, settle_text, $in_minor)
        ELSE -minor_of(yuan_of(refund_settle_text), refund_settle_text, $in_minor)
    END AS settle_minor,
    CASE
        WHEN kind = 'payment' THEN minor_of(yuan_of(coupon_text), coupon_text, $in_minor)
        ELSE -minor_of(yuan_of(refund_coupon_text), refund_coupon_text, $in_minor)
    END AS coupon_minor,
    CASE
        WHEN kind != 'payment' THEN minor_of(yuan_of(refund_text), refund_text, $in_minor)
    END AS refund_minor,
    -- A double is near enough to any fifteen digits to round to them; a decimal would be too short, or slow.
    CASE WHEN kind = 'payment' THEN $fee_factor ELSE $refund_fee_factor END
    * (fee_value::double * $fee_unit_e5)::bigint AS fee_e5,
    nullif(method, $usual_method) AS other_method,
    coalesce(account_no != $expected_account_no, FALSE) AS is_foreign
FROM known
