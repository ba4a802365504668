"""Postings read in bulk, and the ledger's closed days."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import msgspec

from budan.core.day_closing import StandPoint, list_against
from budan.core.numbers import Lane, MerchantId, OrderId
from budan.store.database import Record, Transaction, columns
from budan.store.queries import query

_LEDGER_COUNT_ENTRIES = query("ledger_count_entries")
_LEDGER_LIST_UNBALANCED = query("ledger_list_unbalanced")
_LEDGER_LIST_UNBOOKED = query("ledger_list_unbooked")
_LEDGER_LIST_WRONG_MOVES = query("ledger_list_wrong_moves")
_LEDGER_LIST_WRONG_CASHBACK = query("ledger_list_wrong_cashback")
_LEDGER_LIST_WRONG_BUDGETS = query("ledger_list_wrong_budgets")
_LEDGER_LIST_WRONG_FEES = query("ledger_list_wrong_fees")
_LEDGER_LIST_STRAYS = query("ledger_list_strays")
_LEDGER_LIST_WRONG_ADJUSTMENTS = query("ledger_list_wrong_adjustments")
_LEDGER_LIST_MOVED = query("ledger_list_moved")
_LEDGER_DAY_LIST = query("ledger_day_list")
_LEDGER_DAY_NEXT = query("ledger_day_next")
_LEDGER_DAY_CLOSE = query("ledger_day_close")
_LEDGER_BALANCE_ADD = query("ledger_balance_add")
_LEDGER_BALANCE_LIST = query("ledger_balance_list")
_LEDGER_BALANCE_LIST_MOVED = query("ledger_balance_list_moved")
_LEDGER_BALANCE_FIND = query("ledger_balance_find")
_LEDGER_LIST_LINES = query("ledger_list_lines")
_LEDGER_LIST_STATEMENT = query("ledger_list_statement")
_LEDGER_LIST_BATCH_LINES = query("ledger_list_batch_lines")

_STOOD = msgspec.json.Decoder(tuple[StandPoint, ...])


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """The orders of some lanes whose ids are from `first_id` up to and without `past_id`."""

    lanes: Sequence[Lane]
    first_id: int
    past_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryCount:
    """How much was looked at, and how many entries do not sum to zero."""

    postings: int
    entries: int
    unbalanced: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Unbalanced:
    """An entry whose lines do not sum to zero."""

    lane: Lane
    order_id: OrderId
    entry_key: str
    currency: str
    sum_minor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Unbooked:
    """A paid order beside what is booked for its payment."""

    lane: Lane
    order_id: OrderId
    currency: str
    amount_minor: int
    fee_minor: int | None
    came_minor: int
    fee_booked_minor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WrongMove:
    """A payment or refund as its row says that it moved at a channel account, and as it is booked there.

    `what` is payment or refund, `ordinal` the trade's attempt or the refund's number.
    """

    lane: Lane
    order_id: OrderId
    what: str
    ordinal: int
    account: str
    currency: str
    moved_minor: int
    booked_minor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WrongCashback:
    """What an order's payer has by its grant, by the books, and by its movements.

    `funded_minor` is what the books have of it on the account of whoever pays for it by the grant.
    """

    lane: Lane
    order_id: OrderId
    currency: str
    booked_minor: int
    posted_minor: int
    funded_minor: int
    moved_minor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WrongBudget:
    """What a plan has given in a lane by its budget, and what stands granted to its orders."""

    lane: Lane
    plan_id: int
    currency: str
    given_minor: int
    standing_minor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WrongFee:
    """What a refund, or a payment of all its refunds, says of the fee that went back, and what of it is booked.

    `what` and `ordinal` are as a `WrongMove` has them; of a payment `booked_minor` is what its refunds say.
    """

    lane: Lane
    order_id: OrderId
    what: str
    ordinal: int
    currency: str
    told_minor: int
    booked_minor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stray:
    """An entry that belongs to no order, batch or correction that is there."""

    lane: Lane
    order_id: OrderId
    entry_key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WrongAdjustment:
    """What an approved adjustment says of one account, and what is booked there in its name; 0 and no moment where nothing is.

    Both moments are the same but where an entry was moved.
    """

    lane: Lane
    order_id: OrderId
    entry_key: str
    account: str
    currency: str
    approved_minor: int
    booked_minor: int
    approved_at: datetime | None
    booked_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """What moved on one account in a stretch of time."""

    lane: Lane
    account: str
    currency: str
    debit_minor: int
    credit_minor: int
    postings: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedDay:
    """A day whose sums stand: by whom it was closed, where somebody was named, and what there was to tell of it then.

    With a `reason` something stood against it.
    """

    day: date
    postings: int
    closed_at: datetime
    closed_by: str | None
    reason: str | None
    stood: tuple[StandPoint, ...]

    @property
    def despite(self) -> tuple[StandPoint, ...]:
        """What stood against it."""
        return list_against(self.stood)

    @property
    def shown(self) -> tuple[StandPoint, ...]:
        """What is told wherever the day is: what stood against it, and where a person's file alone was compared."""
        return tuple(point for point in self.stood if point.is_shown)


@dataclass(frozen=True, slots=True, kw_only=True)
class NextDay:
    """The first day that is not closed, by the database's calendar and clock."""

    now: datetime
    day: date


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """An account at the end of `day`, which is the last on which it moved."""

    lane: Lane
    account: str
    currency: str
    day: date
    debit_minor: int
    credit_minor: int
    balance_minor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One posting with what names its order, or the settlement batch whose id stands in the order's place.

    An adjustment may have neither, and no merchant; `reason` is an adjustment's, else empty.
    """

    lane: Lane
    order_id: OrderId
    entry_key: str
    line: int
    account: str
    amount_minor: int
    currency: str
    booked_at: datetime
    merchant_id: MerchantId | None
    reference: str
    is_batch: bool
    reason: str

    @property
    def place(self) -> tuple[datetime, int, str, int]:
        """Where it stands in a statement: what comes next comes after this."""
        return self.booked_at, self.order_id, self.entry_key, self.line


async def count_entries(transaction: Transaction, stretch: Stretch) -> EntryCount:
    """Entries of a stretch, summed."""
    row = await transaction.one(_LEDGER_COUNT_ENTRIES, stretch.lanes, stretch.first_id, stretch.past_id)
    return EntryCount(**dict(row))


async def list_wrong_cashback(transaction: Transaction, stretch: Stretch, *, rows_max: int) -> list[WrongCashback]:
    """Orders of a stretch whose cashback is not booked as it was granted."""
    rows = await transaction.many(
        _LEDGER_LIST_WRONG_CASHBACK, stretch.lanes, stretch.first_id, stretch.past_id, rows_max
    )
    return [WrongCashback(**dict(row)) for row in rows]


async def list_wrong_budgets(transaction: Transaction, lanes: Sequence[Lane], *, rows_max: int) -> list[WrongBudget]:
    """Plans whose budgets in these lanes are not what their orders were granted."""
    rows = await transaction.many(_LEDGER_LIST_WRONG_BUDGETS, lanes, rows_max)
    return [WrongBudget(**dict(row)) for row in rows]


async def list_unbalanced(transaction: Transaction, stretch: Stretch, *, rows_max: int) -> list[Unbalanced]:
    """Entries of a stretch that do not sum to zero."""
    rows = await transaction.many(_LEDGER_LIST_UNBALANCED, stretch.lanes, stretch.first_id, stretch.past_id, rows_max)
    return [Unbalanced(**dict(row)) for row in rows]


async def list_unbooked(transaction: Transaction, stretch: Stretch, *, rows_max: int) -> list[Unbooked]:
    """Paid orders of a stretch whose payment is not booked as they say."""
    rows = await transaction.many(_LEDGER_LIST_UNBOOKED, stretch.lanes, stretch.first_id, stretch.past_id, rows_max)
    return [Unbooked(**dict(row)) for row in rows]


async def list_wrong_moves(transaction: Transaction, stretch: Stretch, *, rows_max: int) -> list[WrongMove]:
    """Payments and refunds of a stretch that are booked otherwise than they moved, or moved and are not booked."""
    rows = await transaction.many(_LEDGER_LIST_WRONG_MOVES, stretch.lanes, stretch.first_id, stretch.past_id, rows_max)
    return [WrongMove(**dict(row)) for row in rows]


async def list_wrong_fees(transaction: Transaction, stretch: Stretch, *, rows_max: int) -> list[WrongFee]:
    """Refunds and payments of a stretch whose fee did not go back as they say."""
    rows = await transaction.many(_LEDGER_LIST_WRONG_FEES, stretch.lanes, stretch.first_id, stretch.past_id, rows_max)
    return [WrongFee(**dict(row)) for row in rows]


async def list_strays(transaction: Transaction, stretch: Stretch, *, rows_max: int) -> list[Stray]:
    """Entries of a stretch that belong to nothing."""
    rows = await transaction.many(_LEDGER_LIST_STRAYS, stretch.lanes, stretch.first_id, stretch.past_id, rows_max)
    return [Stray(**dict(row)) for row in rows]


async def list_wrong_adjustments(transaction: Transaction, stretch: Stretch, *, rows_max: int) -> list[WrongAdjustment]:
    """Adjustments of a stretch that are booked otherwise than they were approved, or not at all, or not approved."""
    rows = await transaction.many(
        _LEDGER_LIST_WRONG_ADJUSTMENTS, stretch.lanes, stretch.first_id, stretch.past_id, rows_max
    )
    return [WrongAdjustment(**dict(row)) for row in rows]


async def list_moved(transaction: Transaction, *, since: datetime, until: datetime) -> list[Moved]:
    """Movements from `since` up to and without `until`."""
    return [Moved(**dict(row)) for row in await transaction.many(_LEDGER_LIST_MOVED, since, until)]


async def list_days(transaction: Transaction, *, day: date | None = None) -> list[ClosedDay]:
    """Closed days, the oldest first; with `day` that one alone, where it is closed."""
    rows = await transaction.many(_LEDGER_DAY_LIST, day)
    return [_closed_day(row) for row in rows]


def _closed_day(row: Record) -> ClosedDay:
    values: dict[str, Any] = dict(row)
    values["stood"] = _STOOD.decode(row["stood"])
    return ClosedDay(**values)


async def find_day(transaction: Transaction, day: date) -> ClosedDay | None:
    """A closed day; None where it is open."""
    return next(iter(await list_days(transaction, day=day)), None)


async def next_day(transaction: Transaction) -> NextDay:
    """The day to close next."""
    return NextDay(**dict(await transaction.one(_LEDGER_DAY_NEXT)))


async def close_day(
    transaction: Transaction,
    day: date,
    moved: Sequence[Moved],
    *,
    by: str | None,
    reason: str | None,
    stood: Sequence[StandPoint],
) -> None:
    """Keep a day's sums, and who closed it, why, and what there was to tell of it.

    A day that is closed already is a constraint's error.
    """
    assert reason is not None or not list_against(stood), "nobody says why it is closed all the same"
    postings = sum(one.postings for one in moved)
    await transaction.none(_LEDGER_DAY_CLOSE, day, postings, by, reason, msgspec.json.encode(stood).decode())
    rows = sorted((one.lane, one.account, one.currency, one.debit_minor, one.credit_minor) for one in moved)
    await transaction.none(_LEDGER_BALANCE_ADD, day, *columns(rows, 5))


async def list_balances(transaction: Transaction, *, day: date) -> list[Balance]:
    """Every account as it stood at the end of a closed day."""
    return [Balance(**dict(row)) for row in await transaction.many(_LEDGER_BALANCE_LIST, day)]


async def list_moved_balances(transaction: Transaction, *, day: date) -> list[Balance]:
    """Every account that moved on a closed day, as it stood at its end."""
    return [Balance(**dict(row)) for row in await transaction.many(_LEDGER_BALANCE_LIST_MOVED, day)]


async def find_balances(
    transaction: Transaction, *, lane: Lane, accounts: Sequence[str], before: date
) -> dict[tuple[str, str], int]:
    """Some accounts before a day, by account and currency."""
    rows = await transaction.many(_LEDGER_BALANCE_FIND, lane, accounts, before)
    return {(row["account"], row["currency"]): row["balance_minor"] for row in rows}


async def list_batch_lines(
    transaction: Transaction,
    *,
    lane: Lane,
    merchant_id: MerchantId,
    accounts: Sequence[str],
    since: datetime,
    until: datetime,
) -> list[Line]:
    """The lines of a merchant's batches on these accounts in a time, oldest first."""
    rows = await transaction.many(_LEDGER_LIST_BATCH_LINES, lane, merchant_id, accounts, since, until)
    return [Line(**dict(row)) for row in rows]


async def list_lines(transaction: Transaction, *, since: datetime, until: datetime) -> list[Line]:
    """Every line from `since` up to and without `until`, entry by entry."""
    return [Line(**dict(row)) for row in await transaction.many(_LEDGER_LIST_LINES, since, until)]


async def list_statement(
    transaction: Transaction,
    *,
    lane: Lane,
    account: str,
    since: datetime,
    until: datetime,
    after: tuple[datetime, int, str, int],
    rows_max: int,
) -> list[Line]:
    """An account's lines of a time after a place, oldest first."""
    rows = await transaction.many(_LEDGER_LIST_STATEMENT, lane, account, since, until, *after, rows_max)
    return [Line(**dict(row)) for row in rows]
