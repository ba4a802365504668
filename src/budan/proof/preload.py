"""Fills a private database with orders of the last days, so that what grows with it can be measured."""

from typing import Final

import asyncpg

from budan.proof.instance import Instance
from budan.proof.queries import query
from budan.proof.records import CONNECT_S_MAX

ORDERS_PER_STATEMENT: Final = 20_000
STATEMENT_S_MAX: Final = 300.0
# Merchants that nobody else has: the audit compares only orders that the sandbox and the merchants can know.
PRELOAD_MERCHANT_MIN: Final = 1_000_000
_PARTITIONS_MAKE: Final = query("preload_partitions_make")
_ORDERS_ADD: Final = query("preload_orders_add")
_CLEAN: Final = query("preload_clean")
# What the checkpointer would do some minutes later: its work must not fall into a measurement.
_CHECKPOINT: Final = "CHECKPOINT"


async def settle(instance: Instance) -> None:
    """What autovacuum and the checkpointer would do later is done, and falls into no measurement."""
    connection = await asyncpg.connect(instance.dsn, timeout=CONNECT_S_MAX, command_timeout=STATEMENT_S_MAX)
    try:
        await connection.execute(_CLEAN)
        await connection.execute(_CHECKPOINT)
    finally:
        await connection.close()


async def preload(instance: Instance, *, orders: int) -> None:
    """`orders` finished orders with all their rows lie in the instance's own tables, lanes and partitions."""
    merchants = [PRELOAD_MERCHANT_MIN + shop.merchant_id for shop in instance.shops]
    lanes = [shop.lane for shop in instance.shops]
    connection = await asyncpg.connect(instance.dsn, timeout=CONNECT_S_MAX, command_timeout=STATEMENT_S_MAX)
    try:
        await connection.fetchval(_PARTITIONS_MAKE)
        for first in range(1, orders + 1, ORDERS_PER_STATEMENT):
            last = min(orders, first + ORDERS_PER_STATEMENT - 1)
            await connection.execute(_ORDERS_ADD, first, last, orders, merchants, lanes)
    finally:
        await connection.close()
