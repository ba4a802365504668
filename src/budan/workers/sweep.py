"""One sweep: lists what is due in held lanes and starts it, within the bounds of the worker and of each group."""

from collections.abc import Hashable, Mapping, Sequence
from functools import partial
from typing import Generic, Protocol, TypeVar

from budan.core.numbers import Environment, Lane, MerchantId, OrderId, trade_number
from budan.flows.lanes import LaneKeeper
from budan.ports.clock import Clock
from budan.workers.gates import Gates, Verdict
from budan.workers.in_flight import InFlight

ROWS_LISTED_MAX = 256
# Rows that must wait for their group are listed in vain, so fewer are asked for until all of a listing can start.
ROWS_LISTED_MIN = 32
# A full listing of rows that must wait is followed by one without their groups, so that they hide nobody.
LISTINGS_PER_TURN_MAX = 4

Row = TypeVar("Row")
Row_contra = TypeVar("Row_contra", contravariant=True)


class Work(Protocol[Row]):
    """One kind of due work; rows of one group share a gate."""

    @property
    def name(self) -> str:
        """What it is called in logs and metrics."""
        ...

    async def list_due(self, *, lanes: Sequence[Lane], left_out: Sequence[int], rows_max: int) -> list[Row]:
        """Rows due now, oldest first, less the groups left out."""
        ...

    def key(self, row: Row) -> tuple[Lane, Hashable]:
        """The row's lane and what else names it."""
        ...

    def group(self, row: Row) -> int:
        """Whose bound it counts against."""
        ...

    def order_no(self, row: Row, *, environment: Environment) -> str:
        """The number of the order that it is about, for the log; of a trade that may not be here, the trade's."""
        ...

    async def do(self, row: Row, *, fence: int) -> bool | None:
        """Do it; whether the group answered as it should, None where that is not known."""
        ...


class OfOrder(Protocol):
    """A due row that belongs to an order."""

    @property
    def lane(self) -> Lane:
        """Where the order's rows are."""
        ...

    @property
    def merchant_id(self) -> MerchantId:
        """Whose order it is."""
        ...

    @property
    def order_id(self) -> OrderId:
        """Which one."""
        ...


def number_order(row: OfOrder, *, environment: Environment) -> str:
    """The number by which people name the row's order."""
    return trade_number(
        environment=environment, lane=row.lane, merchant_id=row.merchant_id, order_id=row.order_id, attempt=0
    )


class Follow(Protocol[Row_contra]):
    """What follows when the end of a row changed how its group is seen."""

    async def __call__(self, row: Row_contra, verdict: Verdict, *, fence: int, pause_s: float) -> None:
        """Called after the row's outcome is written; `pause_s` is the time between two probes, 0 without a pause."""
        ...


class Sweep(Generic[Row]):
    """The turns of one kind of work."""

    def __init__(
        self,
        *,
        work: Work[Row],
        environment: Environment,
        lanes: LaneKeeper,
        clock: Clock,
        gates: Gates,
        in_flight: InFlight,
        follow: Follow[Row] | None,
    ) -> None:
        self._work = work
        self._environment = environment
        self._follow = follow
        self._lanes = lanes
        self._clock = clock
        self._gates = gates
        self._in_flight = in_flight
        self._rows_wanted = ROWS_LISTED_MAX

    @property
    def name(self) -> str:
        """See Turns.name."""
        return self._work.name

    async def turn(self) -> bool:
        """See Turns.turn."""
        found = False
        for _ in range(LISTINGS_PER_TURN_MAX):
            held = self._lanes.held()
            if not held or self._in_flight.free == 0:
                return found or bool(held)
            # Rows in flight are due until their outcome is written, and would else hide those behind them.
            rows_max = len(self._in_flight) + min(self._in_flight.free, self._rows_wanted)
            # One of these may end, its outcome written, while it is being listed from an older snapshot.
            known = self._in_flight.keys()
            left_out = self._gates.left_out(now_s=self._clock.monotonic_s())
            rows = await self._work.list_due(lanes=list(held), left_out=left_out, rows_max=rows_max)
            started, waiting = self._start([row for row in rows if self._work.key(row) not in known], held)
            found = found or started or waiting
            self._rows_wanted = (
                max(self._rows_wanted // 2, ROWS_LISTED_MIN) if waiting else min(self._rows_wanted * 2, ROWS_LISTED_MAX)
            )
            if len(rows) < rows_max or not waiting:
                break
        return found

    def _start(self, rows: Sequence[Row], held: Mapping[Lane, int]) -> tuple[bool, bool]:
        """Whether a row was started, and whether one must wait for its group."""
        started = waiting = False
        now_s = self._clock.monotonic_s()
        for row in rows:
            if self._in_flight.free == 0:
                break
            key, group = self._work.key(row), self._work.group(row)
            if self._gates.admit(group, key, now_s=now_s):
                self._in_flight.start(
                    key,
                    partial(self._do, row, group, key, held[key[0]]),
                    order_no=partial(self._work.order_no, row, environment=self._environment),
                )
                started = True
            else:
                waiting = True
        return started, waiting

    async def _do(self, row: Row, group: int, key: Hashable, fence: int) -> None:
        succeeded: bool | None = None
        try:
            succeeded = await self._work.do(row, fence=fence)
        finally:
            now_s = self._clock.monotonic_s()
            verdict = self._gates.settle(group, key, succeeded=succeeded, fence=fence, now_s=now_s)
        if verdict is not Verdict.NOTHING_NEW and self._follow is not None:
            await self._follow(row, verdict, fence=fence, pause_s=self._gates.pause_s(group))
