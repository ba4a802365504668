"""Which lanes this worker owns: leases with a fence, renewed by finished turns of its loops."""

from collections.abc import Mapping
from types import MappingProxyType

import structlog

from budan.core.numbers import Lane
from budan.ports.clock import Clock
from budan.store import leases
from budan.store.database import Database, Transaction

LEASE_S = 5.0
# Five finished rounds in one lease: four of them may fail before a lane is lost.
RENEWALS_PER_LEASE = 5

_NOTHING: Mapping[Lane, int] = MappingProxyType({})
_log = structlog.get_logger(__name__)


class LaneKeeper:
    """Holds a fair share of the lanes for one worker.

    `worker` names one run of one process and is never used again: a lane that comes back under the same name would
    have the same fence. There is no timer: a loop that hangs stops the renewals, and its lanes go to others.
    """

    def __init__(self, *, database: Database, clock: Clock, worker: str, lanes: int, lease_s: float = LEASE_S) -> None:
        self._database = database
        self._clock = clock
        self._worker = worker
        self._lanes = lanes
        self._lease_s = lease_s
        self._loops: frozenset[str] = frozenset()
        self._unfinished: set[str] = set()
        self._owned: dict[Lane, int] = {}
        self._parting: list[Lane] = []
        self._listed: Mapping[Lane, int] = _NOTHING
        self._good_until_s = 0.0
        self._renew_at_s = 0.0

    def held(self) -> Mapping[Lane, int]:
        """The lanes whose work may be listed now, each with its fence.

        Empty once the lease may be over by the database's clock; a lane about to be given back is not among them, so
        that what is in flight there can end.
        """
        return self._listed if self._clock.monotonic_s() < self._good_until_s else _NOTHING

    def count_leased(self) -> int:
        """How many lanes are this worker's now, those about to be given back too; none once the lease may be over."""
        return len(self._owned) if self._clock.monotonic_s() < self._good_until_s else 0

    @property
    def share(self) -> float:
        """How much of all work is this worker's now: the part of the lanes that it holds."""
        return len(self.held()) / self._lanes

    def watch(self, loop: str) -> None:
        """From now on lanes are kept only while this loop finishes turns."""
        self._loops |= {loop}
        self._unfinished.add(loop)

    async def finish_turn(self, loop: str) -> None:
        """Count a finished turn; when every watched loop has finished one and it is time, renew.

        Raises `StoreUnavailable` or `RowsFailed` when the renewal failed; the next finished round tries again.
        """
        self._unfinished.discard(loop)
        if self._unfinished or self._clock.monotonic_s() < self._renew_at_s:
            return
        self._unfinished = set(self._loops)
        await self.renew()

    async def renew(self) -> None:
        """Renew what is owned, give back what is above the fair share, take what is free. Safe to repeat.

        Raises `StoreUnavailable` or `RowsFailed`; what was held then stays held until its lease is over.
        """
        # Read before the statement: the lease then ends here no later than it does in the database.
        asked_s = self._clock.monotonic_s()
        self._renew_at_s = asked_s + self._lease_s / RENEWALS_PER_LEASE
        async with self._database.transaction() as transaction:
            living = await leases.worker_seen(transaction, worker=self._worker, living_s=self._lease_s)
            owned, share = await self._balance(transaction, share=-(-self._lanes // living))
        if owned.keys() != self._owned.keys():
            _log.info("lanes_changed", held=len(owned), before=len(self._owned), share=share, living=living)
        self._owned = owned
        self._parting = sorted(owned)[share:]
        self._listed = MappingProxyType({lane: owned[lane] for lane in sorted(owned)[:share]})
        self._good_until_s = asked_s + self._lease_s

    async def release(self) -> None:
        """Give every lane back and leave; nothing is held afterwards. Raises `StoreUnavailable` or `RowsFailed`.

        Where it fails, the lanes are free when their leases end.
        """
        owned, self._owned, self._listed, self._parting = sorted(self._owned), {}, _NOTHING, []
        self._good_until_s = 0.0
        async with self._database.transaction() as transaction:
            await leases.give_lanes_back(transaction, worker=self._worker, lanes=owned)
            await leases.worker_gone(transaction, worker=self._worker)

    async def _balance(self, transaction: Transaction, *, share: int) -> tuple[dict[Lane, int], int]:
        """What is owned after this renewal. A lane parts one renewal after it was last listed, so its work can end."""
        owned = await leases.renew_lanes(transaction, worker=self._worker, lease_s=self._lease_s)
        parting = [lane for lane in self._parting if lane in owned][: max(0, len(owned) - share)]
        if parting:
            await leases.give_lanes_back(transaction, worker=self._worker, lanes=parting)
            owned = {lane: fence for lane, fence in owned.items() if lane not in parting}
        elif len(owned) < share:
            owned |= await leases.take_lanes(
                transaction,
                worker=self._worker,
                lease_s=self._lease_s,
                lanes_max=share - len(owned),
            )
        return owned, share
