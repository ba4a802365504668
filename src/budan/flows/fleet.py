"""What no worker can tell where none lives: lanes that nobody holds, and how long the oldest work of all has waited."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from math import nan
from typing import Final

from budan.core.numbers import Lane
from budan.flows.failures import Failures
from budan.flows.keeping import KINDS
from budan.store import leases, work
from budan.store.database import Database
from budan.telemetry import metrics

LOOK_EVERY_S: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetCount:
    """Lanes without a live lease, and how long the oldest row of each kind of work has been due, whoever's lane it is in."""

    lanes_free: int
    oldest_s: Mapping[str, float]


class Fleet:
    """Looks at all lanes from a process that holds none."""

    def __init__(self, *, database: Database, lanes: int) -> None:
        self._database = database
        self._lanes = [Lane(lane) for lane in range(lanes)]

    async def keep(self) -> None:
        """Look every few seconds, and show it in the metrics, until cancelled."""
        failures = Failures(work="fleet")
        while True:
            try:
                show(await self.look())
            except Exception as error:  # noqa: BLE001 - the top of a turn: what only watches takes no server down
                failures.count(error)
                show(None)
            await asyncio.sleep(LOOK_EVERY_S)

    async def look(self) -> FleetCount:
        """One lease of each lane and one entry of each kind of work, however much is due. Raises `StoreUnavailable`."""
        async with self._database.reading_statement() as transaction:
            free = await leases.count_free_lanes(transaction)
        async with self._database.reading_statement() as transaction:
            counts = await work.count_due(transaction, lanes=self._lanes, rows_max=1)
        oldest_s = {count.work: count.oldest_s for count in counts}
        return FleetCount(lanes_free=free, oldest_s={kind: oldest_s.get(kind, 0.0) for kind in KINDS})


def show(count: FleetCount | None) -> None:
    """Put a count on the page of metrics; None takes off it what nobody knows just now."""
    if count is None:
        metrics.FLEET_LANES_FREE.set(nan)
        metrics.FLEET_DUE_OLDEST_SECONDS.clear()
        return
    metrics.FLEET_LANES_FREE.set(count.lanes_free)
    for kind, oldest_s in count.oldest_s.items():
        metrics.FLEET_DUE_OLDEST_SECONDS.labels(kind).set(oldest_s)
