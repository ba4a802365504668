-- Run by DuckDB on the tables of one comparison; `bill_line` is the bill as ports/bill.py promises it. Hexadecimal
-- constants stand in comments: this SQL knows only decimal ones.

-- name: match_make_ascii_bits :none
-- Eight characters as one integer, a byte each; NULL for what is not eight characters of ASCII.
CREATE MACRO ascii_bits(eight) AS try_cast(encode(eight)::bit AS ubigint);

-- name: match_make_digit_values :none
-- Eight characters of our base 32 as the eight bytes of their values (core/numbers.py). A letter counts from ten on, by
-- its block of sixteen (0x1010…) and its place in it (0x0F0F…), less those of I, L, O and U that come before it: a byte
-- above one of these, with the rest to 127 added, has its highest bit. Another alphabet gives nonsense, which is the
-- number of no row.
CREATE MACRO digit_values(eight) AS
(eight & 1085102592571150095::ubigint)
+ ((eight >> 6) & 72340172838076673::ubigint) * 9::ubigint
+ (eight & 1157442765409226768::ubigint & (((eight >> 6) & 72340172838076673::ubigint) << 4))
- (((eight + 3906369333256140342::ubigint) >> 7) & 72340172838076673::ubigint)
- (((eight + 3689348814741910323::ubigint) >> 7) & 72340172838076673::ubigint)
- (((eight + 3472328296227680304::ubigint) >> 7) & 72340172838076673::ubigint)
- (((eight + 3038287259199220266::ubigint) >> 7) & 72340172838076673::ubigint);

-- name: match_make_pairs :none
-- Eight bytes of five bits become four words of ten.
-- 0x03E003E003E003E0 and 0x001F001F001F001F.
CREATE MACRO packed_pairs(bytes) AS
((bytes >> 3) & 279227437569541088::ubigint) | (bytes & 8725857424048159::ubigint);

-- name: match_make_fours :none
-- Four words of ten bits become two of twenty.
-- 0x000FFC00000FFC00 and 0x000003FF000003FF.
CREATE MACRO packed_fours(words) AS
((words >> 6) & 4499201581906944::ubigint) | (words & 4393751544831::ubigint);

-- name: match_make_eights :none
-- Two words of twenty bits become one of forty.
-- 0x000000FFFFF00000 and 0x00000000000FFFFF.
CREATE MACRO packed_eights(words) AS
(((words >> 12) & 1099510579200::ubigint) | (words & 1048575::ubigint))::bigint;

-- name: match_make_decoded :none
-- The forty bits that eight characters of a number stand for, given as the integer of `ascii_bits`. Never within a
-- CASE: there DuckDB would compute what is repeated in these expressions each time anew.
CREATE MACRO decoded(eight) AS packed_eights(packed_fours(packed_pairs(digit_values(eight))));

-- name: match_make_fee_right :none
-- Whether a fee is what the contract says, as channels round (core/reconcile.py has the rule); NULL without a fee or a
-- rate. Nearly all fees are settled by the first line.
CREATE MACRO fee_is_right(kind, fee_e5, amount_minor, rate_e6) AS
(abs(fee_e5) * 1000 - amount_minor * rate_e6 > -1000 AND abs(fee_e5) * 1000 - amount_minor * rate_e6 <= 500)
OR (
    fee_e5 % 1000 = 0
    AND abs(fee_e5) * 1000 - amount_minor * rate_e6 > -1000000
    AND abs(fee_e5) * 1000 - amount_minor * rate_e6 <= 500000
)
OR (kind > 0 AND abs(abs(fee_e5) * 1000 - amount_minor * rate_e6) <= 1000000);

-- name: match_keep_bill :none
-- What comparing needs of the bill's rows: no text but the currency, so that the join stays small. A number that may be
-- ours is its lane and two integers, as our side has them: of its characters 15 to 22 and 23 to 29 (id, ordinal).
CREATE TABLE bill_row AS
SELECT
    l.line_no,
    l.kind,
    l.currency,
    l.amount_minor,
    l.fee_e5,
    l.is_done,
    l.is_whole,
    ((decoded(l.whose) >> 25) & 1023)::smallint AS lane,
    decoded(l.head) & 34359738367 AS head,
    decoded(l.tail) >> 5 AS tail
FROM (
    SELECT
        b.line_no,
        CASE b.kind WHEN 'payment' THEN 0 WHEN 'refund' THEN 1 ELSE 2 END::utinyint AS kind,
        b.currency,
        CASE WHEN b.kind = 'payment' THEN b.order_minor ELSE b.refund_minor END AS amount_minor,
        b.fee_e5,
        b.status = 'succeeded' AS is_done,
        b.kind <> 'payment' OR coalesce(b.settle_minor = b.order_minor, TRUE) AS is_whole,
        CASE WHEN b.kind = 'refund' THEN b.refund_no ELSE b.trade_no END AS number,
        coalesce(
            length(number) = 30
            AND strlen(number) = 30
            AND left(number, 1) = CASE WHEN b.kind = 'refund' THEN $refund_lead ELSE $order_lead END,
            FALSE
        ) AS is_number,
        CASE WHEN is_number THEN ascii_bits(substr(number, 7, 8)) END AS whose,
        CASE WHEN is_number THEN ascii_bits(substr(number, 15, 8)) END AS head,
        CASE WHEN is_number THEN ascii_bits(substr(number, 23, 8)) END AS tail
    FROM bill_line AS b
) AS l;

-- name: match_keep_ours :none
-- Our side, as PostgreSQL copied it out. The key is that of the bill's numbers; order and attempt are found in it.
-- What was made past us (a negative ordinal) has the bit above them too, which no number of a bill has: 0x800000000.
CREATE TABLE our_row AS
SELECT
    kind,
    lane,
    amount_minor,
    currency,
    is_returned,
    settle_minor,
    rate_e6,
    order_id >> 30 AS head,
    ((order_id & 1073741823) << 5) | abs(ordinal) | CASE WHEN ordinal < 0 THEN 34359738368 ELSE 0 END AS tail
FROM read_csv(
    $paths,
    auto_detect = FALSE,
    header = FALSE,
    delim = ',',
    quote = '',
    escape = '',
    columns = {
        'kind': 'UTINYINT',
        'lane': 'SMALLINT',
        'order_id': 'BIGINT',
        'ordinal': 'SMALLINT',
        'amount_minor': 'BIGINT',
        'currency': 'VARCHAR',
        'is_returned': 'BOOLEAN',
        'settle_minor': 'BIGINT',
        'rate_e6': 'INTEGER'
    }
);

-- name: match_sum_theirs :many
-- What the bill comes to by kind and currency, counted apart from all comparing. A fee may be of the amount, or of what
-- is settled of it.
WITH told AS ( -- each row's two amounts
    SELECT
        CASE kind WHEN 'payment' THEN 0 WHEN 'refund' THEN 1 ELSE 2 END AS kind,
        currency,
        CASE WHEN kind = 'payment' THEN order_minor ELSE refund_minor END AS amount_minor,
        coalesce(abs(settle_minor), amount_minor) AS settle_minor,
        fee_e5,
        fee_e5 IS NOT NULL AND status <> 'failed' AS has_fee,
        happened_at
    FROM bill_line
)

SELECT
    kind,
    currency,
    count(*) AS rows_found,
    coalesce(sum(amount_minor), 0)::bigint AS amount_minor,
    coalesce(sum(fee_e5), 0)::bigint AS fee_e5,
    count(*) FILTER (has_fee) AS fee_rows,
    coalesce(sum(least(amount_minor, settle_minor)) FILTER (has_fee), 0)::bigint AS fee_least_minor,
    coalesce(sum(greatest(amount_minor, settle_minor)) FILTER (has_fee), 0)::bigint AS fee_most_minor,
    max(happened_at) AS last_at
FROM told
GROUP BY kind, currency
ORDER BY kind, currency;

-- name: match_sum_ours :many
-- What our side comes to, likewise.
SELECT
    kind,
    currency,
    count(*) AS rows_found,
    coalesce(sum(amount_minor), 0)::bigint AS amount_minor
FROM our_row
GROUP BY ALL
ORDER BY ALL;

-- name: match_sum_other_rates :one
-- What the refunds in a currency that both sides have give back beyond the day's rate, in thousandths of `fee_e5`: of
-- what is settled of each, and of its amount.
WITH terms AS ( -- what fees are judged by, and what they are taken in
    SELECT
        $rate_e6::bigint AS rate_e6,
        $currency::varchar AS currency
),

settled AS ( -- few: refunds of which the channel takes back another amount than goes back
    SELECT
        b.head,
        b.tail,
        min(abs(l.settle_minor)) AS settle_minor
    FROM bill_line AS l
    INNER JOIN bill_row AS b ON l.line_no = b.line_no
    WHERE l.kind = 'refund' AND abs(l.settle_minor) <> l.refund_minor
    GROUP BY b.head, b.tail
)

SELECT
    coalesce(
        sum(least(o.amount_minor, coalesce(s.settle_minor, o.amount_minor)) * (o.rate_e6 - terms.rate_e6)), 0
    )::bigint AS least_e8,
    coalesce(
        sum(greatest(o.amount_minor, coalesce(s.settle_minor, o.amount_minor)) * (o.rate_e6 - terms.rate_e6)), 0
    )::bigint AS most_e8
FROM our_row AS o
CROSS JOIN terms
LEFT JOIN settled AS s ON o.head = s.head AND o.tail = s.tail AND o.kind = 1
WHERE
    o.rate_e6 >= 0
    AND o.currency = terms.currency
    AND EXISTS (SELECT b.line_no FROM bill_row AS b WHERE o.kind = b.kind AND o.head = b.head AND o.tail = b.tail);

-- name: match_keep_unlike :none
-- Where the sides are not the same: in each stretch of ids, a quarter of a second long, both count their rows and sum
-- what these hash to. A row that needs a judgement whatever the other side has is hashed to what nothing there is.
-- Nearly all stretches are alike, and only the others are joined: all rows would not fit in memory.
CREATE TABLE unlike AS
WITH row_hash AS (
    SELECT
        head,
        1 AS side,
        hash(
            kind, lane, head, tail, amount_minor, currency,
            is_done
            AND is_whole
            AND coalesce(fee_is_right(kind, fee_e5, amount_minor, $rate_e6::bigint), TRUE)
        )::hugeint AS row_hash
    FROM bill_row
    WHERE head IS NOT NULL
    UNION ALL
    SELECT
        head,
        -1 AS side,
        -hash(
            kind, lane, head, tail, amount_minor, currency,
            CASE WHEN NOT is_returned AND settle_minor IS NULL AND rate_e6 IS NULL THEN TRUE END
        )::hugeint
    FROM our_row
)

SELECT head
FROM row_hash
GROUP BY head
HAVING sum(side) <> 0 OR sum(row_hash) <> 0;

-- name: match_keep_twice :none
-- Numbers that more than one row of the bill has.
CREATE TABLE twice AS
SELECT
    kind,
    head,
    tail
FROM bill_row
WHERE kind < 2 AND head IN (SELECT u.head FROM unlike AS u)
GROUP BY ALL
HAVING count(*) > 1;

-- name: match_keep_unequal :none
-- Everything but what both sides have once and alike.
CREATE TABLE unequal AS
WITH terms AS ( -- what fees are judged by; without a rate none is wrong
    SELECT $rate_e6::bigint AS rate_e6
),

their_row AS ( -- those that are no number of ours lie in no stretch
    SELECT
        line_no,
        kind,
        currency,
        amount_minor,
        fee_e5,
        is_done,
        is_whole,
        lane,
        head,
        tail
    FROM bill_row
    WHERE head IS NULL OR head IN (SELECT u.head FROM unlike AS u)
),

own_row AS (
    SELECT
        kind,
        lane,
        amount_minor,
        currency,
        is_returned,
        settle_minor,
        rate_e6,
        head,
        tail
    FROM our_row
    WHERE head IN (SELECT u.head FROM unlike AS u)
)

SELECT
    b.line_no,
    coalesce(b.kind, o.kind) AS kind,
    o.lane,
    (o.head << 30) | ((o.tail >> 5) & 1073741823) AS order_id,
    (o.tail & 31)::smallint AS ordinal,
    o.amount_minor AS our_minor,
    o.currency AS our_currency,
    o.is_returned,
    o.settle_minor AS our_settle_minor,
    o.rate_e6 AS our_rate_e6,
    t.head IS NOT NULL AS is_twice
FROM their_row AS b
FULL JOIN own_row AS o ON b.kind = o.kind AND b.head = o.head AND b.tail = o.tail
LEFT JOIN twice AS t ON b.kind = t.kind AND b.head = t.head AND b.tail = t.tail
CROSS JOIN terms
WHERE
    b.line_no IS NULL
    OR o.head IS NULL
    OR b.amount_minor <> o.amount_minor
    OR b.currency <> o.currency
    OR NOT b.is_done
    OR b.lane <> o.lane
    OR o.is_returned
    OR NOT b.is_whole
    OR o.settle_minor IS NOT NULL
    OR t.head IS NOT NULL
    OR NOT fee_is_right(
        b.kind,
        b.fee_e5,
        o.amount_minor,
        CASE WHEN o.rate_e6 IS NULL THEN terms.rate_e6 WHEN o.rate_e6 >= 0 THEN o.rate_e6 END
    );

-- name: match_keep_beside :none
-- What both sides have alike and a bill of a day beside has had as well.
INSERT INTO unequal
WITH beside AS ( -- few
    SELECT
        unnest($kinds::utinyint[]) AS kind,
        unnest($orders::bigint[]) AS order_id,
        unnest($ordinals::smallint[]) AS ordinal
),

theirs AS MATERIALIZED ( -- few as well: found before our side is joined
    SELECT
        b.line_no,
        b.kind,
        b.head,
        b.tail
    FROM bill_row AS b
    INNER JOIN beside AS s
        ON
            b.kind = s.kind
            AND b.head = s.order_id >> 30
            AND b.tail = ((s.order_id & 1073741823) << 5) | s.ordinal
)

SELECT
    b.line_no,
    b.kind,
    o.lane,
    (o.head << 30) | (o.tail >> 5) AS order_id,
    (o.tail & 31)::smallint AS ordinal,
    o.amount_minor AS our_minor,
    o.currency AS our_currency,
    o.is_returned,
    o.settle_minor AS our_settle_minor,
    o.rate_e6 AS our_rate_e6,
    FALSE AS is_twice
FROM theirs AS b
INNER JOIN our_row AS o ON b.kind = o.kind AND b.head = o.head AND b.tail = o.tail
WHERE NOT EXISTS (SELECT u.line_no FROM unequal AS u WHERE u.line_no = b.line_no);

-- name: match_count_unequal :one
-- How many rows need a judgement each.
SELECT count(*) AS rows_found
FROM unequal;

-- name: match_list_unequal :many
-- These rows, in the order of the bill; those that are ours alone at the end. What the bill says of them is read for
-- them once more.
SELECT
    u.line_no,
    u.kind,
    b.happened_at,
    b.status,
    b.currency,
    CASE WHEN u.kind = 0 THEN b.order_minor ELSE b.refund_minor END AS amount_minor,
    b.fee_e5,
    abs(b.settle_minor) AS settle_minor,
    CASE WHEN u.kind = 1 THEN b.refund_no ELSE b.trade_no END AS number,
    b.trade_no,
    CASE WHEN u.kind = 0 THEN b.channel_no ELSE coalesce(b.channel_refund_no, b.channel_no) END AS channel_no,
    u.lane,
    u.order_id,
    u.ordinal,
    u.our_minor,
    u.our_currency,
    u.is_returned,
    u.our_settle_minor,
    u.our_rate_e6,
    u.is_twice
FROM unequal AS u
LEFT JOIN bill_line AS b ON u.line_no = b.line_no
ORDER BY u.line_no NULLS LAST, u.order_id, u.ordinal;

-- name: match_make_no_bill :none
-- The bill of a day on which nothing moved.
CREATE TABLE bill_line (
    line_no bigint,
    kind varchar,
    happened_at timestamptz,
    trade_no varchar,
    channel_no varchar,
    refund_no varchar,
    channel_refund_no varchar,
    status varchar,
    currency varchar,
    order_minor bigint,
    settle_minor bigint,
    coupon_minor bigint,
    refund_minor bigint,
    fee_e5 bigint
);
