"""What all processes together see of each channel account."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from budan.core.health import AccountHealth
from budan.core.numbers import AccountId
from budan.store.database import Transaction, columns
from budan.store.queries import query

_ACCOUNT_HEALTH_START = query("account_health_start")
_ACCOUNT_HEALTH_LOCK = query("account_health_lock")
_ACCOUNT_HEALTH_WRITE = query("account_health_write")
_ACCOUNT_HEALTH_LIST = query("account_health_list")


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthsRead:
    """Accounts as they were read, and the database's clock at that moment; None where there was no account."""

    by_account: Mapping[AccountId, AccountHealth]
    now: datetime | None


async def lock_healths(transaction: Transaction, accounts: Sequence[AccountId]) -> HealthsRead:
    """Hold the rows of these accounts, in order; a row is made for one that has none."""
    ordered = sorted(accounts)
    await transaction.none(_ACCOUNT_HEALTH_START, ordered)
    return _read(await transaction.many(_ACCOUNT_HEALTH_LOCK, ordered))


async def write_healths(transaction: Transaction, healths: Mapping[AccountId, AccountHealth]) -> None:
    """Write accounts that this transaction holds."""
    rows = [
        (
            account_id,
            health.at,
            health.timely,
            health.missed,
            health.asked,
            health.noticed_at,
            health.rate_per_s,
            health.cut_at,
            health.answered_at,
        )
        for account_id, health in sorted(healths.items())
    ]
    await transaction.none(_ACCOUNT_HEALTH_WRITE, *columns(rows, 9))


async def list_healths(transaction: Transaction, *, rows_max: int) -> HealthsRead:
    """Every account that was seen, up to a bound."""
    return _read(await transaction.many(_ACCOUNT_HEALTH_LIST, rows_max))


def _read(rows: Sequence[asyncpg.Record]) -> HealthsRead:
    return HealthsRead(
        by_account={
            AccountId(row["account_id"]): AccountHealth(
                at=row["folded_at"],
                timely=row["timely"],
                missed=row["missed"],
                asked=row["asked"],
                noticed_at=row["noticed_at"],
                rate_per_s=row["rate_per_s"],
                cut_at=row["cut_at"],
                answered_at=row["answered_at"],
            )
            for row in rows
        },
        now=rows[0]["now"] if rows else None,
    )
