"""Whether anybody of ours is here: seen each second, and written down afterwards when nobody was."""

import asyncio
from datetime import datetime
from typing import Final

import structlog

from budan.core.errors import StoreUnavailable
from budan.core.gap import GAP_NAMED_FROM, GapCause, Outage, Role
from budan.flows.failures import Failures, attempt
from budan.store import presence as stored
from budan.store.database import Database, RowsFailed, Transaction

SEEN_EVERY_S: Final = 1.0
# Beyond it a payer's wait is called a gap, so that each one has its outage. A restart takes less.
AWAY_FROM_S: Final = GAP_NAMED_FROM.total_seconds()
# A day in which it is worse than this has more wrong with it than a report can tell.
OUTAGES_MAX: Final = 1_000

_log = structlog.get_logger(__name__)


class Presence:
    """Says for one process that its role is here."""

    def __init__(self, *, database: Database, role: Role, away_from_s: float = AWAY_FROM_S) -> None:
        self._database = database
        self._role = role
        self._away_from_s = away_from_s
        self._has_missed = False

    async def keep(self) -> None:
        """Say it each second until cancelled."""
        failures = Failures(work="presence")
        while True:
            await attempt(self.see, failures)
            await asyncio.sleep(SEEN_EVERY_S)

    async def see(self) -> None:
        """Say it once, and write down the stretch before it in which nobody could. Safe to repeat.

        Raises `StoreUnavailable` or `RowsFailed`; the next one that gets through then tells that the database was away.
        """
        cause = GapCause.DATABASE_AWAY if self._has_missed else GapCause.WE_WERE_DOWN
        try:
            async with self._database.transaction() as transaction:
                absence = await stored.see(transaction, self._role, cause=cause, away_from_s=self._away_from_s)
        except (StoreUnavailable, RowsFailed):
            self._has_missed = True
            raise
        self._has_missed = False
        if absence is not None:
            _log.warning(
                "outage_over",
                role=self._role.value,
                cause=cause.value,
                began_at=absence.began_at,
                seconds=round((absence.ended_at - absence.began_at).total_seconds(), 1),
            )


async def list_outages(transaction: Transaction, *, since: datetime, until: datetime) -> list[Outage]:
    """The stretches between two moments in which nobody of a role was here, newest first."""
    return await stored.list_outages(
        transaction, since=since, until=until, away_from_s=AWAY_FROM_S, rows_max=OUTAGES_MAX
    )
