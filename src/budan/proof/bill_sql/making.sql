-- Run by DuckDB: a bill of WeChat's made from nothing but counting, and what must be found when it is compared.

-- name: making_sold :none
-- The orders of the day, counted; `place` says what is wrong with each, in thousandths. A number is written with its
-- check character from tables that the caller made (docs/protocols/README.md rule 3).
CREATE TABLE sold AS
WITH counted AS (
    SELECT
        g,
        g % 1000 AS place,
        ((($begin_ms + (g * 86000000) // $orders - $epoch_ms) << 22) | (1023 << 12) | (g % 4096))::bigint AS id,
        1 + g % $merchants AS merchant,
        100 + (g * 7919) % 100000 AS amount_minor,
        $begin_s + ((g * 86000000) // $orders) // 1000 AS paid_s
    FROM (SELECT unnest(range(1, $orders + 1)) AS g) AS r
),

written AS (
    SELECT
        g,
        place,
        merchant,
        amount_minor,
        paid_s,
        $letters[1 + (id >> 60)] || $pairs[1 + ((id >> 50) & 1023)] || $pairs[1 + ((id >> 40) & 1023)]
        || $pairs[1 + ((id >> 30) & 1023)] || $pairs[1 + ((id >> 20) & 1023)] || $pairs[1 + ((id >> 10) & 1023)]
        || $pairs[1 + (id & 1023)] || '1' AS tail,
        xor(
            xor(
                xor($checks[1][1 + (id >> 60)], $checks[2][1 + ((id >> 50) & 1023)]),
                xor($checks[3][1 + ((id >> 40) & 1023)], $checks[4][1 + ((id >> 30) & 1023)])
            ),
            xor(
                xor($checks[5][1 + ((id >> 20) & 1023)], $checks[6][1 + ((id >> 10) & 1023)]),
                $checks[7][1 + (id & 1023)]
            )
        ) AS sum_of_tail
    FROM counted
)

SELECT
    g,
    place,
    amount_minor,
    paid_s,
    CASE WHEN place = 9 THEN $other_heads[merchant] ELSE $heads[merchant] END || tail
    || $letters[
        1 + xor(sum_of_tail, CASE WHEN place = 9 THEN $other_sums[merchant] ELSE $head_sums[merchant] END)
    ] AS trade_no,
    $refund_heads[merchant] || tail || $letters[1 + xor(sum_of_tail, $refund_sums[merchant])] AS refund_no
FROM written;

-- name: making_lines :none
-- The rows of the bill: payments, the second ones of doubles, refunds. A fee is six thousandths.
CREATE TABLE line AS
SELECT
    s.g,
    0 AS copy,
    s.trade_no,
    '0' AS refund_no,
    s.paid_s + CASE WHEN s.place = 7 THEN 0 ELSE 3 END AS at_s,
    'SUCCESS' AS state,
    CASE WHEN s.place = 4 THEN 'USD' ELSE 'CNY' END AS currency,
    s.amount_minor + CASE WHEN s.place = 3 THEN 1 ELSE 0 END AS paid_minor,
    0 AS back_minor,
    '' AS refund_state,
    s.amount_minor * 6 + CASE WHEN s.place = 5 THEN 100000 ELSE 0 END AS fee_e5
FROM sold AS s
WHERE s.place <> 2
UNION ALL
SELECT
    s.g,
    1 AS copy,
    s.trade_no,
    '0' AS refund_no,
    s.paid_s + 4 AS at_s,
    'SUCCESS' AS state,
    'CNY' AS currency,
    s.amount_minor AS paid_minor,
    0 AS back_minor,
    '' AS refund_state,
    s.amount_minor * 6 AS fee_e5
FROM sold AS s
WHERE s.place = 6
UNION ALL
SELECT
    s.g,
    2 AS copy,
    s.trade_no,
    s.refund_no,
    s.paid_s + 9 AS at_s,
    'REFUND' AS state,
    'CNY' AS currency,
    0 AS paid_minor,
    CASE WHEN s.place = 12 THEN 51 ELSE 50 END AS back_minor,
    CASE WHEN s.place = 13 THEN 'PROCESSING' ELSE 'SUCCESS' END AS refund_state,
    -300 AS fee_e5
FROM sold AS s
WHERE s.place IN (10, 12, 13) OR s.place BETWEEN 20 AND 29;

-- name: making_sums :one
-- What the summary says.
SELECT
    count(*) AS row_count,
    sum(paid_minor)::bigint AS paid_minor,
    sum(back_minor)::bigint AS back_minor,
    sum(fee_e5)::bigint AS fee_e5
FROM line;

-- name: making_texts :none
-- The rows as WeChat writes them, in the order of their time.
CREATE VIEW written_line AS
SELECT
    '`' || strftime(to_timestamp(at_s + 28800) AT TIME ZONE 'UTC', '%Y-%m-%d %H:%M:%S')
    || ',`wx0000000000000001,`1900000109,`0,`,`4200' || lpad(g::varchar, 18, '0') || copy || ',`' || trade_no
    || ',`oTestOpenid000000000000001,`NATIVE,`' || state || ',`OTHERS,`' || currency || ',`' || yuan(paid_minor)
    || ',`0.00,`' || CASE WHEN copy = 2 THEN '5030' || lpad(g::varchar, 18, '0') ELSE '0' END || ',`' || refund_no
    || ',`' || yuan(back_minor) || ',`0.00,`' || CASE WHEN copy = 2 THEN 'ORIGINAL' ELSE '' END
    || ',`' || refund_state || ',`门店点单-拿铁,大杯,`store=7,`' || fee(fee_e5) || ',`0.60%,`' || yuan(paid_minor)
    || ',`' || yuan(back_minor) || ',`' AS row_text
FROM line
ORDER BY g, copy;

-- name: making_yuan :none
CREATE MACRO yuan(minor) AS (minor // 100)::varchar || '.' || lpad((minor % 100)::varchar, 2, '0');

-- name: making_fee :none
CREATE MACRO fee(e5) AS
CASE WHEN e5 < 0 THEN '-' ELSE '' END || (abs(e5) // 100000)::varchar || '.'
|| lpad((abs(e5) % 100000)::varchar, 5, '0');

-- name: making_expected :none
-- What comparing must find, and nothing else.
CREATE TABLE expected AS
SELECT
    'payment' AS kind,
    CASE place
        WHEN 1 THEN 'there_only' WHEN 2 THEN 'here_only' WHEN 3 THEN 'amount_differs' WHEN 4 THEN 'currency_differs'
        WHEN 5 THEN 'fee_differs' WHEN 6 THEN 'double' WHEN 8 THEN 'unknown_number' ELSE 'other_environment'
    END AS verdict,
    trade_no AS subject
FROM sold
WHERE place BETWEEN 1 AND 6 OR place IN (8, 9)
UNION ALL
SELECT
    'refund' AS kind,
    CASE place
        WHEN 10 THEN 'there_only' WHEN 11 THEN 'here_only' WHEN 12 THEN 'amount_differs' ELSE 'status_differs'
    END AS verdict,
    refund_no AS subject
FROM sold
WHERE place BETWEEN 10 AND 13;

-- name: making_compare :one
-- How many of the planted differences were found under their names, and how many were found that nobody planted.
WITH found AS ( -- what the database has, as COPY wrote it
    SELECT
        kind,
        verdict,
        subject
    FROM read_csv(
        $path,
        header = FALSE,
        auto_detect = FALSE,
        columns = { 'kind': 'VARCHAR', 'verdict': 'VARCHAR', 'subject': 'VARCHAR' }
    )
),

beside AS ( -- in the bill of this day and ours of the next: no difference
    SELECT count(*) AS row_count
    FROM sold
    WHERE place = 7
)

SELECT
    count(e.subject) AS planted,
    any_value(b.row_count) AS planted_beside,
    count(*) FILTER (WHERE e.subject IS NOT NULL AND d.subject IS NOT NULL) AS found,
    count(*) FILTER (WHERE e.subject IS NULL) AS invented
FROM expected AS e
FULL JOIN found AS d ON e.kind = d.kind AND e.verdict = d.verdict AND e.subject = d.subject
CROSS JOIN beside AS b;

-- name: making_scan :one
-- The bare reading of the bill, once: every line is parted into its fields.
SELECT
    count(*) AS row_count,
    sum(length(column_7)) AS number_length,
    sum(length(column_25)) AS amount_length
FROM read_csv(
    $path,
    delim = ',`',
    quote = '',
    escape = '',
    header = FALSE,
    auto_detect = FALSE,
    skip = 1,
    null_padding = TRUE,
    columns = $columns
);
