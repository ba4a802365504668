"""Ids of this process: time, a leased process number and a count."""

import asyncio
from secrets import token_hex

from budan.core.errors import StoreUnavailable
from budan.core.numbers import next_id
from budan.flows.failures import Failures, attempt
from budan.ports.clock import Clock
from budan.store import leases
from budan.store.database import Database

LEASE_S = 60.0
RENEW_EVERY_S = 10.0
# Ids stop this long before the lease ends by the database's clock, so that a slow machine makes none in another's name.
LEASE_MARGIN_S = 10.0
CLOCK_WAIT_S = 0.001


class IdSource:
    """Gives time-ordered ids; a clock behind the last id waits, a lost lease stops."""

    def __init__(self, *, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._holder = f"ids-{token_hex(8)}"
        self._process_number: int | None = None
        self._good_until_s = 0.0
        self._previous = 0

    async def start(self) -> None:
        """Lease a process number; raises `StoreUnavailable` when none is free."""
        asked_s = self._clock.monotonic_s()
        async with self._database.transaction() as transaction:
            number = await leases.take_process_number(transaction, holder=self._holder, lease_s=LEASE_S)
        if number is None:
            raise StoreUnavailable("no process number is free")
        self._process_number = number
        self._good_until_s = asked_s + LEASE_S - LEASE_MARGIN_S

    async def keep(self) -> None:
        """Renew the lease until cancelled; a lost one is replaced by another number."""
        failures = Failures(work="id_lease")
        while True:
            await asyncio.sleep(RENEW_EVERY_S)
            await attempt(self._renew, failures)

    async def _renew(self) -> None:
        assert self._process_number is not None
        asked_s = self._clock.monotonic_s()
        async with self._database.transaction() as transaction:
            kept = await leases.renew_process_number(
                transaction,
                holder=self._holder,
                process_number=self._process_number,
                lease_s=LEASE_S,
            )
        if kept:
            self._good_until_s = asked_s + LEASE_S - LEASE_MARGIN_S
        else:
            await self.start()

    async def next(self) -> int:
        """A new id; raises `StoreUnavailable` while no lease is held."""
        while True:
            if self._process_number is None or self._clock.monotonic_s() >= self._good_until_s:
                raise StoreUnavailable("the lease of the process number is over")
            now_ms = int(self._clock.now().timestamp() * 1000)
            identity = next_id(previous=self._previous, now_ms=now_ms, process_number=self._process_number)
            if identity is not None:
                self._previous = identity
                return identity
            await asyncio.sleep(CLOCK_WAIT_S)
