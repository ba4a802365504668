"""Which bills are waited for: a row for each account and day."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import cast

from budan.core.numbers import AccountId
from budan.store.database import Transaction, columns
from budan.store.queries import query

_ACCOUNT_LIST = query("bill_account_list")
_ADD = query("bill_day_add")
_WANT = query("bill_day_want")
_LIST_OUTDATED = query("bill_day_list_outdated")
_LIST_OPEN = query("bill_day_list_open")
_BEGIN = query("bill_day_begin")
_PUT_OFF = query("bill_day_put_off")
_COMPARED = query("bill_day_compared")

# What was learned so shortly before a comparison began may have been committed after it had read our side.
COMMIT_MAX = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class BillAccount:
    """An account with the last day that is planned, and the last day whose whole bill had a row.

    `used_at` is when by our own books a disabled account's money last could move; None of one that is enabled.
    `bill_ready_at` is the account's own setting, HH:MM on Beijing's clock; None where its channel's time counts.
    """

    account_id: AccountId
    channel: str
    name: str
    enabled: bool
    created_at: datetime
    bill_ready_at: str | None
    planned_to: date | None
    moved_on: date | None
    used_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewBillDay:
    """A day whose bill is wanted once it is ready."""

    account_id: AccountId
    day: date
    ready_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenBill:
    """A bill that is not compared; `code` and `message` are what was last said of it.

    `file_run_id` is the newest run of a whole file that a person loaded of its day.
    """

    account_id: AccountId
    account_name: str
    channel: str
    day: date
    state: str
    ready_at: datetime
    due_at: datetime
    attempts: int
    asked_at: datetime | None
    code: str
    message: str
    file_run_id: int | None
    now: datetime


async def list_accounts(transaction: Transaction, *, refund_days: int) -> list[BillAccount]:
    """All accounts; refunds of disabled ones are looked for in the last so many days."""
    return [BillAccount(**dict(row)) for row in await transaction.many(_ACCOUNT_LIST, refund_days)]


async def add_days(transaction: Transaction, days: Sequence[NewBillDay]) -> int:
    """Want the bills of these days; gives how many are new. Safe to repeat and to race."""
    return len(await transaction.many(_ADD, *_columns(days)))


async def want_again(transaction: Transaction, days: Sequence[NewBillDay]) -> int:
    """Want the bills of these days anew, compared or not; gives how many that is."""
    return len(await transaction.many(_WANT, *_columns(days)))


async def list_outdated(transaction: Transaction, *, since: datetime) -> set[tuple[int, date]]:
    """The accounts and compared days of which we learned since a moment that money moved which their run could not know."""
    rows = await transaction.many(_LIST_OUTDATED, since, COMMIT_MAX.total_seconds())
    return {(row["account_id"], row["day"]) for row in rows}


async def list_open(transaction: Transaction, *, due_only: bool, rows_max: int) -> list[OpenBill]:
    """The bills that are not compared, of the oldest day first."""
    return [OpenBill(**dict(row)) for row in await transaction.many(_LIST_OPEN, due_only, rows_max)]


async def begin(transaction: Transaction, bill: OpenBill, *, wait: timedelta, code: str) -> bool:
    """Count a try and move the next one away before it begins; False where somebody has brought the bill meanwhile."""
    return await transaction.maybe(_BEGIN, bill.account_id, bill.day, wait.total_seconds(), code) is not None


async def put_off(
    transaction: Transaction, bill: OpenBill, *, state: str, wait: timedelta, code: str, message: str
) -> str | None:
    """Keep why a bill did not come and when to ask again; gives its state, None where somebody has brought it meanwhile.

    One to be `missed` is `compared` where a person has loaded the whole day from a file.
    """
    arguments = (bill.account_id, bill.day, state, wait.total_seconds(), code, message)
    row = await transaction.maybe(_PUT_OFF, *arguments)
    return None if row is None else cast("str", row["state"])


async def mark_compared(
    transaction: Transaction, account_id: AccountId, *, day: date, run_id: int, origin: str
) -> None:
    """A day's whole bill was compared. Safe to repeat; nothing where nobody waits for it, or for a file in its stead.

    A wish that came while the channel's own was fetched or compared waits on.
    """
    await transaction.none(_COMPARED, account_id, day, run_id, origin)


def _columns(days: Sequence[NewBillDay]) -> list[list[object]]:
    ordered = sorted(days, key=lambda one: (one.account_id, one.day))
    return columns([(one.account_id, one.day, one.ready_at) for one in ordered], 3)
