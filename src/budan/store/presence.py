"""When each role was last here, and the stretches in which nobody of it was."""

from dataclasses import dataclass
from datetime import datetime

from budan.core.gap import GapCause, Outage, Role
from budan.store.database import Transaction
from budan.store.queries import query

_PRESENCE_SEE = query("presence_see")
_OUTAGE_LIST = query("outage_list")


@dataclass(frozen=True, slots=True, kw_only=True)
class Absence:
    """A stretch that has just been written down."""

    began_at: datetime
    ended_at: datetime


async def see(transaction: Transaction, role: Role, *, cause: GapCause, away_from_s: float) -> Absence | None:
    """Say that a process of a role is here; gives the stretch before it in which nobody was, where it is so long.

    `cause` is why, as far as this process knows. Safe to repeat and to race: one of them writes it down.
    """
    row = await transaction.maybe(_PRESENCE_SEE, role.value, cause.value, away_from_s)
    return None if row is None else Absence(began_at=row["began_at"], ended_at=row["ended_at"])


async def list_outages(
    transaction: Transaction, *, since: datetime, until: datetime, away_from_s: float, rows_max: int
) -> list[Outage]:
    """What touches a time, newest first; one that goes on ends now."""
    rows = await transaction.many(_OUTAGE_LIST, since, until, away_from_s, rows_max)
    return [
        Outage(
            role=Role(row["role"]),
            cause=GapCause(row["cause"]),
            began_at=row["began_at"],
            ended_at=row["ended_at"],
        )
        for row in rows
    ]
