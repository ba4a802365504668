"""Left-over evidence: what had no effect when it came is taken to the door again until it has one."""

from collections.abc import Sequence
from datetime import timedelta

import msgspec

from budan.core.evidence import Evidence
from budan.core.numbers import Lane
from budan.core.pace import LEFTOVER_LADDER_S, delay_after
from budan.flows.door import Door, DoorItem
from budan.flows.door_plan import Planned
from budan.store import door as stored_door
from budan.store import work as stored
from budan.store.database import Database
from budan.store.door import KeptEvidence
from budan.store.work import DueEvidence

UNREADABLE = "unreadable"

_DECODER = msgspec.json.Decoder(Evidence)


class Leftovers:
    """Takes kept evidence to the door."""

    def __init__(self, *, database: Database, door: Door) -> None:
        self._database = database
        self._door = door

    async def list_due(self, *, lanes: Sequence[Lane], rows_max: int) -> list[DueEvidence]:
        """Left-over evidence due in held lanes, oldest first."""
        async with self._database.statement() as transaction:
            return await stored.list_due_evidence(transaction, lanes=lanes, rows_max=rows_max)

    async def retry(self, due: DueEvidence) -> Planned:
        """Let it have its effect and leave the table, or wait for its next turn; it is never given up (I6).

        Safe to repeat. Raises `Overloaded` or `StoreUnavailable`; it stays due then.
        """
        try:
            evidence = _DECODER.decode(due.statement)
        except msgspec.DecodeError:
            await self._put_off(due)
            return Planned(decision=UNREADABLE, order_state="", trade_state="", version=0)
        return await self._door.record(DoorItem(evidence=evidence, leftover_attempts=due.attempts))

    async def _put_off(self, due: DueEvidence) -> None:
        """A statement that this version cannot read waits for one that can, and is shown meanwhile."""
        attempts = due.attempts + 1
        delay: timedelta = delay_after(LEFTOVER_LADDER_S, attempts=attempts)
        async with self._database.transaction() as transaction:
            kept = KeptEvidence(
                lane=due.lane,
                trade_no=due.trade_no,
                digest=due.digest,
                due_at=await transaction.clock() + delay,
                attempts=attempts,
                reason=UNREADABLE,
                statement=due.statement,
            )
            await stored_door.keep_evidence(transaction, [kept])
