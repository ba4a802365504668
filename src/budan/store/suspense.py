"""Money in suspense as bills are held against it: what came on which day, and what persons have said of it since."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from budan.core.numbers import AccountId
from budan.store.database import Transaction, columns
from budan.store.queries import query

_LIST_CAME = query("suspense_list_came")
_LIST_SETTLED = query("suspense_list_settled")
_LIST_ENDED = query("suspense_list_ended")

# What its day is written down as, and its rows in the bills of other days: a trade's own payment is another one.
SUSPENSE = "suspense"

# Of a trade at an account that told of its money: account, lane, order, attempt.
SuspenseKey = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class SuspendedRow:
    """One payment in suspense; `payment` is the channel's number, or what the books call it by.

    Where its channel told no moment `moved_at` is when we learned of it, and no bill from before `begun_at` can have it.
    """

    lane: int
    order_id: int
    ordinal: int
    merchant_id: int
    payment: str
    amount_minor: int
    currency: str
    moved_at: datetime
    begun_at: datetime | None
    known_at: datetime
    wanted_minor: int
    wanted_currency: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SettledRow:
    """One payment in suspense that is settled: it went back to its payer, or else its merchant has it.

    `payment` is its channel's number of it where that `is_named`, else what the books call it by.
    """

    account_id: int
    lane: int
    order_id: int
    ordinal: int
    payment: str
    is_named: bool
    amount_minor: int
    currency: str
    is_returned: bool

    @property
    def key(self) -> SuspenseKey:
        """Where it is."""
        return self.account_id, self.lane, self.order_id, self.ordinal


@dataclass(frozen=True, slots=True, kw_only=True)
class BilledRow:
    """A payment of a bill that is a difference, with that one's number, and by which number its channel has it."""

    id: int
    account_id: int
    lane: int
    order_id: int
    ordinal: int
    channel_no: str | None
    their_minor: int | None
    currency: str

    @property
    def key(self) -> SuspenseKey:
        """Where its money would lie in suspense."""
        return self.account_id, self.lane, self.order_id, self.ordinal


async def list_came(transaction: Transaction, account_id: AccountId, *, first: date, last: date) -> list[SuspendedRow]:
    """What is or was in suspense of an account's money of these days, Beijing's."""
    return [SuspendedRow(**dict(row)) for row in await transaction.many(_LIST_CAME, account_id, first, last)]


async def list_settled(transaction: Transaction, keys: Sequence[SuspenseKey]) -> list[SettledRow]:
    """What of these trades' money in suspense persons have settled, the oldest first."""
    rows = await transaction.many(_LIST_SETTLED, *columns(sorted(keys), 4))
    return [SettledRow(**dict(row)) for row in rows]


async def list_ended(transaction: Transaction, keys: Sequence[SuspenseKey]) -> list[BilledRow]:
    """The payments of bills, of these trades, whose difference has ended as one of money in suspense does."""
    rows = await transaction.many(_LIST_ENDED, *columns(sorted(keys), 4))
    return [BilledRow(**dict(row)) for row in rows]
