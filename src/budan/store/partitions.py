"""Partitions, made ahead of time."""

from typing import Final, cast

from budan.store.database import Transaction
from budan.store.queries import query

_PARTITIONS_LIMITS = query("partitions_limits")
_PARTITIONS_MAKE = query("partitions_make")
_PARTITIONS_DEFAULT_ROWS = query("partitions_default_rows")


# What an order owns, each partitioned by the order's id.
PARTITIONED = (
    "orders",
    "trade",
    "evidence",
    "notice",
    "posting",
    "settlement_line",
    "contradiction",
    "settled_contradiction",
    "operator_act",
    "remedy",
    "late_money",
    "refund",
    "refund_evidence",
    "webhook",
    "delivery",
    "cashback",
    "cashback_movement",
)
# At least seven days ahead: this week and the next two.
WEEKS_AHEAD: Final = range(3)
LOCK_TIMEOUT_MS: Final = 100
MOVE_TIMEOUT_MS: Final = 4_000


async def make_partition(
    transaction: Transaction, table: str, *, weeks_ahead: int, lock_timeout_ms: int = LOCK_TIMEOUT_MS
) -> int:
    """Make a table's partition of that week where it is missing, and move there what came before it; gives how many.

    Safe to repeat and to race. One table and week in a transaction: it shuts the table's default partition for a moment,
    for `MOVE_TIMEOUT_MS` at most where rows move.
    """
    await transaction.one(_PARTITIONS_LIMITS, f"{lock_timeout_ms}ms", f"{MOVE_TIMEOUT_MS}ms")
    row = await transaction.one(_PARTITIONS_MAKE, table, weeks_ahead)
    return cast("int", row["made"])


async def count_default_rows(transaction: Transaction) -> int:
    """Orders that found no partition of their own: above 0 partitions were late."""
    row = await transaction.one(_PARTITIONS_DEFAULT_ROWS)
    return cast("int", row["rows_found"])
