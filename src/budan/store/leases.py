"""Leases: who owns which lanes, and which process number goes into ids."""

from collections.abc import Sequence
from typing import cast

from budan.core.numbers import Lane
from budan.store.database import Transaction
from budan.store.queries import query

_WORKER_SEEN = query("worker_seen")
_WORKER_GONE = query("worker_gone")
_LANE_RENEW = query("lane_renew")
_LANE_TAKE = query("lane_take")
_LANE_GIVE_BACK = query("lane_give_back")
_LANE_COUNT_FREE = query("lane_count_free")
_ID_LEASE_TAKE = query("id_lease_take")
_ID_LEASE_RENEW = query("id_lease_renew")


async def worker_seen(transaction: Transaction, *, worker: str, living_s: float) -> int:
    """Say that a worker lives; gives how many do."""
    row = await transaction.one(_WORKER_SEEN, worker, living_s)
    return cast("int", row["living"])


async def worker_gone(transaction: Transaction, *, worker: str) -> None:
    """Say that a worker left."""
    await transaction.none(_WORKER_GONE, worker)


async def renew_lanes(transaction: Transaction, *, worker: str, lease_s: float) -> dict[Lane, int]:
    """Renew all lanes of a worker; gives each with its fence."""
    rows = await transaction.many(_LANE_RENEW, worker, lease_s)
    return {row["lane"]: row["fence"] for row in rows}


async def take_lanes(transaction: Transaction, *, worker: str, lease_s: float, lanes_max: int) -> dict[Lane, int]:
    """Take free lanes, at most `lanes_max`; gives each with its new fence."""
    rows = await transaction.many(_LANE_TAKE, worker, lease_s, lanes_max)
    return {row["lane"]: row["fence"] for row in rows}


async def give_lanes_back(transaction: Transaction, *, worker: str, lanes: Sequence[Lane]) -> None:
    """Free lanes at once; their fence rises."""
    await transaction.none(_LANE_GIVE_BACK, worker, lanes)


async def count_free_lanes(transaction: Transaction) -> int:
    """How many lanes no worker holds."""
    row = await transaction.one(_LANE_COUNT_FREE)
    return cast("int", row["lanes_free"])


async def take_process_number(transaction: Transaction, *, holder: str, lease_s: float) -> int | None:
    """Lease a process number for ids; None when all 1,024 are in use."""
    row = await transaction.maybe(_ID_LEASE_TAKE, holder, lease_s)
    return None if row is None else cast("int", row["process_number"])


async def renew_process_number(transaction: Transaction, *, holder: str, process_number: int, lease_s: float) -> bool:
    """Renew; False when the lease was lost and no further id may be made with the number."""
    return await transaction.maybe(_ID_LEASE_RENEW, process_number, holder, lease_s) is not None
