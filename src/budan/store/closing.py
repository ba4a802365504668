"""Orders to look at and trades to end: what is due, what a look needs, and what it brings."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from budan.core.closing import Ending
from budan.core.numbers import AccountId, Lane, MerchantId, OrderId
from budan.store.database import Transaction, columns
from budan.store.door import Key, NewWebhook
from budan.store.queries import query

_LOOK_LIST_DUE = query("look_list_due")
_CLOSE_LIST_DUE = query("close_list_due")
_CLOSING_LIST = query("closing_list")
_CLOSING_WRITE = query("closing_write")
_REVERSE_BEGIN = query("reverse_begin")
_ORDER_LOOK_SOONER = query("order_look_sooner")

RETURNS_LATE = "refund"


@dataclass(frozen=True, slots=True, kw_only=True)
class DueOrder:
    """An order to look at."""

    lane: Lane
    order_id: OrderId
    attempts: int
    due_at: datetime
    merchant_id: MerchantId


@dataclass(frozen=True, slots=True, kw_only=True)
class DueClose:
    """A trade to end at its channel; `now` is the database's clock when the row was read."""

    lane: Lane
    order_id: OrderId
    attempt: int
    attempts: int
    due_at: datetime
    account_id: AccountId
    method: str
    state: str
    created_at: datetime
    send_until: datetime
    expires_at: datetime | None
    channel_reference: str | None
    merchant_id: MerchantId
    now: datetime

    @property
    def key(self) -> Key:
        """Where its order's rows are."""
        return self.lane, self.order_id


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseMark:
    """How far a trade is with being ended at its channel."""

    tried: int
    unpaid_asked_at: datetime | None


@dataclass(slots=True, kw_only=True)
class OrderMarks:
    """What belongs to a locked order besides its row and its trades; `looks` is None where it has no due row."""

    returns_late: bool
    looks: int | None
    ends_as: Ending
    opened_at: dict[int, datetime] = field(default_factory=dict[int, datetime])
    closes: dict[int, CloseMark] = field(default_factory=dict[int, CloseMark])


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderEnd:
    """An order's row after a look that changed it."""

    key: Key
    version: int
    state: str
    told_unpaid: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class NextLook:
    """When to look at an order again."""

    key: Key
    due_at: datetime
    attempts: int
    ends_as: Ending


@dataclass(frozen=True, slots=True, kw_only=True)
class NextClose:
    """When to try to end a trade, for the first time or again."""

    key: Key
    attempt: int
    due_at: datetime
    attempts: int
    unpaid_asked_at: datetime | None


@dataclass(slots=True, kw_only=True)
class ClosingWrites:
    """Everything that one batch of looks writes, collected by table."""

    orders: list[OrderEnd] = field(default_factory=list[OrderEnd])
    webhooks: list[NewWebhook] = field(default_factory=list[NewWebhook])
    looks: list[NextLook] = field(default_factory=list[NextLook])
    looked: list[Key] = field(default_factory=list[Key])
    closes: list[NextClose] = field(default_factory=list[NextClose])
    closed: list[tuple[Key, int]] = field(default_factory=list[tuple[Key, int]])


async def list_due_orders(transaction: Transaction, *, lanes: Sequence[Lane], rows_max: int) -> list[DueOrder]:
    """Orders to look at now, oldest first."""
    return [DueOrder(**dict(row)) for row in await transaction.many(_LOOK_LIST_DUE, lanes, rows_max)]


async def list_due_closes(
    transaction: Transaction,
    *,
    lanes: Sequence[Lane],
    accounts_left_out: Sequence[AccountId],
    rows_max: int,
) -> list[DueClose]:
    """Trades to end now, oldest first."""
    rows = await transaction.many(_CLOSE_LIST_DUE, lanes, accounts_left_out, rows_max)
    return [DueClose(**dict(row)) for row in rows]


async def list_marks(transaction: Transaction, keys: Sequence[Key]) -> dict[Key, OrderMarks]:
    """What belongs to orders that this transaction holds."""
    found: dict[Key, OrderMarks] = {}
    for row in await transaction.many(_CLOSING_LIST, *columns(sorted(keys), 2)):
        marks = found.setdefault(
            (row["lane"], row["order_id"]),
            OrderMarks(
                returns_late=row["late_payment"] == RETURNS_LATE,
                looks=row["looks"],
                ends_as=Ending.EXPIRED if row["ends_as"] is None else Ending(row["ends_as"]),
            ),
        )
        if row["attempt"] is not None:
            marks.opened_at[row["attempt"]] = row["opened_at"]
        if row["closes_tried"] is not None:
            marks.closes[row["attempt"]] = CloseMark(tried=row["closes_tried"], unpaid_asked_at=row["unpaid_asked_at"])
    return found


async def write(transaction: Transaction, writes: ClosingWrites, *, now: datetime) -> set[Key]:
    """Write what a batch of looks brought; gives the orders whose version was still the one that was read."""
    orders = sorted((*item.key, item.version, item.state, item.told_unpaid) for item in writes.orders)
    webhooks = sorted((*item.key, item.version, item.merchant_id, item.event, item.body) for item in writes.webhooks)
    looks = sorted((*item.key, item.due_at, item.attempts, item.ends_as.value) for item in writes.looks)
    closes = [
        (*item.key, item.attempt, item.due_at, item.attempts, item.unpaid_asked_at)
        for item in sorted(writes.closes, key=lambda item: (item.key, item.attempt))
    ]
    closed = sorted((*key, attempt) for key, attempt in writes.closed)
    rows = await transaction.many(
        _CLOSING_WRITE,
        *columns(orders, 5),
        now,
        *columns(webhooks, 6),
        *columns(looks, 5),
        *columns(sorted(writes.looked), 2),
        *columns(closes, 6),
        *columns(closed, 3),
    )
    return {(row["lane"], row["id"]) for row in rows}


async def begin_reverse(transaction: Transaction, *, key: Key, attempt: int, version: int, told_unpaid: bool) -> bool:
    """Commit the intent to reverse an open trade of a locked order; False when either changed."""
    lane, order_id = key
    row = await transaction.maybe(_REVERSE_BEGIN, lane, order_id, attempt, version, told_unpaid)
    return row is not None


async def look_sooner(transaction: Transaction, *, key: Key, due_at: datetime) -> None:
    """Let somebody look at an order no later than at `due_at`."""
    lane, order_id = key
    await transaction.none(_ORDER_LOOK_SOONER, lane, order_id, due_at)
