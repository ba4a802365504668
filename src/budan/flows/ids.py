"""Ids of this process: time, a leased process number and a count."""

import asyncio
from secrets import token_hex

import structlog

from budan.core.errors import StoreUnavailable
from budan.core.numbers import next_id
from budan.flows.failures import Failures, attempt
from budan.ports.clock import Clock
from budan.store import leases
from budan.store.database import Database
from budan.telemetry import metrics

LEASE_S = 60.0
RENEW_EVERY_S = 10.0
# While it fails: after a minute without the database the lease is over, and every order and notice waits for this.
RETRY_EVERY_S = 1.0
# Ids stop this long before the lease ends by the database's clock, so that a slow machine makes none in another's name.
LEASE_MARGIN_S = 10.0

_log = structlog.get_logger(__name__)


class IdSource:
    """Gives time-ordered ids; it runs ahead of a clock that went back, and stops without a lease.

    A restart begins at the clock again, with a process number that nobody has used for longest: 1,023 others come before
    ids could be made a second time.
    """

    def __init__(self, *, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._holder = f"ids-{token_hex(8)}"
        self._process_number: int | None = None
        self._good_until_s = 0.0
        self._previous = 0
        # The furthest that the clock was seen to be, and whether it was told that it stands behind that.
        self._latest_ms = 0
        self._is_behind = False

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
        is_held: bool | None = True
        while True:
            await asyncio.sleep(RENEW_EVERY_S if is_held else RETRY_EVERY_S)
            is_held = await attempt(self._renew, failures)

    async def _renew(self) -> bool:
        """True once a number is held; raises what kept it from being held."""
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
            # Another may hold it by now: what is given under it could be given twice.
            self._good_until_s = asked_s
            await self.start()
        return True

    def next(self) -> int:
        """A new id, above all that this process gave before; raises `StoreUnavailable` while no lease is held."""
        if self._process_number is None or self._clock.monotonic_s() >= self._good_until_s:
            raise StoreUnavailable("the lease of the process number is over")
        now_ms = int(self._clock.now().timestamp() * 1000)
        if now_ms >= self._latest_ms:
            self._latest_ms, self._is_behind = now_ms, False
        elif not self._is_behind:
            self._is_behind = True
            metrics.CLOCK_WENT_BACK.inc()
            _log.warning("clock_went_back", seconds=round((self._latest_ms - now_ms) / 1_000, 3))
        self._previous = next_id(previous=self._previous, now_ms=now_ms, process_number=self._process_number)
        return self._previous
