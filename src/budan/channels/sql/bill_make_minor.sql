-- name: bill_make_minor :none
-- An amount in minor units without its sign, where the channel writes it in minor units or in yuan.
CREATE OR REPLACE TEMPORARY MACRO minor_of(yuan, written, in_minor) AS
CASE WHEN in_minor THEN abs(try_cast(written AS bigint)) ELSE abs((yuan * 100)::bigint) END
