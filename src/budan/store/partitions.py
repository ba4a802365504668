"""Partitions, made ahead of time."""

from typing import cast

from budan.store.database import Transaction
from budan.store.queries import query

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
    "refund",
    "refund_evidence",
    "webhook",
    "delivery",
    "cashback",
    "cashback_movement",
)


async def make_partitions(transaction: Transaction, table: str) -> int:
    """Make what is missing of a table's partitions for this week and the next two; gives how many.

    Safe to repeat and to race. One table in a transaction: it shuts the table's default partition for a moment.
    """
    row = await transaction.one(_PARTITIONS_MAKE, table)
    return cast("int", row["made"])


async def count_default_rows(transaction: Transaction) -> int:
    """Orders that found no partition of their own: above 0 partitions were late."""
    row = await transaction.one(_PARTITIONS_DEFAULT_ROWS)
    return cast("int", row["rows_found"])
