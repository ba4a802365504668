"""Partitions, made ahead of time."""

from typing import cast

from budan.store.database import Transaction
from budan.store.queries import query

_PARTITIONS_MAKE = query("partitions_make")
_PARTITIONS_DEFAULT_ROWS = query("partitions_default_rows")


async def make_partitions(transaction: Transaction) -> int:
    """Make what is missing of this week's and the next two weeks' partitions; gives how many. Safe to repeat."""
    rows = await transaction.many(_PARTITIONS_MAKE)
    return cast("int", rows[0]["made"])


async def count_default_rows(transaction: Transaction) -> int:
    """Orders that found no partition of their own: above 0 partitions were late."""
    row = await transaction.one(_PARTITIONS_DEFAULT_ROWS)
    return cast("int", row["rows_found"])
