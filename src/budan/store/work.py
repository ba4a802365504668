"""Work that is due in held lanes."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Final, cast

from budan.core.numbers import AccountId, Lane, MerchantId, OrderId
from budan.store.database import Transaction, columns, id_bounds
from budan.store.queries import query

_QUERY_LIST_DUE = query("query_list_due")
_QUERY_BRING_FORWARD = query("query_bring_forward")
_QUERY_COUNT_NEEDING_PERSON = query("query_count_needing_person")
_WEBHOOK_LIST_DUE = query("webhook_list_due")
_WEBHOOK_LIST_EVENTS = query("webhook_list_events")
_WEBHOOK_WRITE = query("webhook_write")
_WEBHOOK_PUT_OFF = query("webhook_put_off")
_WEBHOOK_BRING_FORWARD = query("webhook_bring_forward")
_WEBHOOK_LIST_WAITING_ENDPOINTS = query("webhook_list_waiting_endpoints")
_EVIDENCE_LIST_DUE = query("evidence_list_due")
_WORK_COUNT_DUE = query("work_count_due")


@dataclass(frozen=True, slots=True, kw_only=True)
class DueQuestion:
    """A trade to ask about; `now` is the database's clock when the row was read."""

    lane: Lane
    order_id: OrderId
    attempt: int
    attempts: int
    due_at: datetime
    account_id: AccountId
    method: str
    state: str
    created_at: datetime
    channel_reference: str | None
    merchant_id: MerchantId
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class TightPace:
    """How long a question may wait when notices are missing.

    Until the trade is `first_s` old, then `wait_s` or that share of its age. What waits longer than `horizon_s` is not
    read.
    """

    first_s: float
    wait_s: float
    wait_share: float
    horizon_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BroughtForward:
    """One page of waiting questions: how many were read and made due sooner, and where the next page begins."""

    rows_moved: int
    rows_read: int
    last_due_at: datetime | None


DeliveryKey = tuple[Lane, OrderId, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class DueWebhook:
    """That a webhook is to be delivered, and where; `old_sealed_secret` signs it too while a rotation's overlap lasts."""

    lane: Lane
    order_id: OrderId
    version: int
    endpoint_id: int
    attempts: int
    due_at: datetime
    url: str
    sealed_secret: bytes
    old_sealed_secret: bytes | None
    merchant_id: MerchantId

    @property
    def key(self) -> DeliveryKey:
        """Its row."""
        return self.lane, self.order_id, self.version, self.endpoint_id


_KEY: Final = ("lane", "order_id", "version", "endpoint_id")
_BESIDE_THE_KEY: Final = tuple(field.name for field in fields(DueWebhook) if field.name not in _KEY)


@dataclass(frozen=True, slots=True, kw_only=True)
class DueDelivery(DueWebhook):
    """A webhook to deliver, with what it says."""

    event: str
    body: bytes
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """What one delivery brought; `retry_s` is the wait before the next one when it was not taken."""

    due: DueDelivery
    fence: int
    started_at: datetime
    latency_ms: int
    status: int | None
    error: str
    taken: bool
    retry_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DueEvidence:
    """Left-over evidence to try again; `statement` is its JSON text."""

    lane: Lane
    trade_no: str
    digest: bytes
    attempts: int
    reason: str
    statement: str


async def list_due_questions(
    transaction: Transaction,
    *,
    lanes: Sequence[Lane],
    accounts_left_out: Sequence[AccountId],
    rows_max: int,
) -> list[DueQuestion]:
    """Questions due now, oldest first."""
    rows = await transaction.many(_QUERY_LIST_DUE, lanes, accounts_left_out, rows_max)
    return [DueQuestion(**dict(row)) for row in rows]


async def bring_questions_forward(
    transaction: Transaction,
    *,
    lanes: Sequence[Lane],
    accounts: Sequence[AccountId],
    after: datetime | None,
    pace: TightPace,
    rows_max: int,
) -> BroughtForward:
    """Let what waits for these accounts wait no longer than `pace`; reads about `rows_max` rows that are due after `after`."""
    row = await transaction.one(
        _QUERY_BRING_FORWARD,
        lanes,
        accounts,
        after,
        pace.horizon_s,
        pace.first_s,
        pace.wait_s,
        pace.wait_share,
        rows_max,
    )
    return BroughtForward(**dict(row))


async def count_questions_needing_person(transaction: Transaction, *, lanes: Sequence[Lane], rows_max: int) -> int:
    """Open questions that a person must look at, counted up to `rows_max`."""
    row = await transaction.one(_QUERY_COUNT_NEEDING_PERSON, lanes, rows_max)
    return cast("int", row["rows_found"])


async def list_due_webhooks(
    transaction: Transaction,
    *,
    lanes: Sequence[Lane],
    endpoints_left_out: Sequence[int],
    rows_max: int,
) -> list[DueWebhook]:
    """Deliveries due now, oldest first, in order within an order."""
    rows = await transaction.many(_WEBHOOK_LIST_DUE, lanes, endpoints_left_out, rows_max)
    return [DueWebhook(**dict(row)) for row in rows]


async def list_deliveries(transaction: Transaction, due: Sequence[DueWebhook]) -> list[DueDelivery]:
    """The same, in the same order, with what they say."""
    keys = columns([one.key for one in due], 4)
    rows = await transaction.many(_WEBHOOK_LIST_EVENTS, *keys, *id_bounds(one.order_id for one in due))
    says = {(row["lane"], row["order_id"], row["version"], row["endpoint_id"]): dict(row) for row in rows}
    return [DueDelivery(**_fields_of(one), **says[one.key]) for one in due if one.key in says]


def _fields_of(due: DueWebhook) -> dict[str, Any]:
    """All but the key; `dataclasses.asdict` copies each value, and takes ten times as long."""
    return {name: getattr(due, name) for name in _BESIDE_THE_KEY}


async def write_deliveries(transaction: Transaction, delivered: Sequence[Delivered]) -> set[DeliveryKey]:
    """Write outcomes where the lane is still held under the same fence; gives those that were."""
    rows = [
        (
            item.due.lane,
            item.due.order_id,
            item.due.version,
            item.due.endpoint_id,
            item.due.attempts + 1,
            item.started_at,
            item.latency_ms,
            item.status,
            item.error,
            item.taken,
            item.retry_s,
            item.fence,
        )
        for item in sorted(delivered, key=lambda item: item.due.key)
    ]
    bounds = id_bounds(item.due.order_id for item in delivered)
    return {
        (row["lane"], row["order_id"], row["version"], row["endpoint_id"])
        for row in await transaction.many(_WEBHOOK_WRITE, *columns(rows, 12), *bounds)
    }


async def put_deliveries_off(
    transaction: Transaction,
    due: DueDelivery,
    *,
    fence: int,
    delay_s: float,
    rows_kept: int,
    rows_max: int,
) -> int:
    """Put off what else is due at the endpoint of `due`, but for the oldest few; gives how many were."""
    arguments = ([due.lane], due.endpoint_id, fence, rows_kept, rows_max, delay_s)
    return len(await transaction.many(_WEBHOOK_PUT_OFF, *arguments))


async def list_waiting_endpoints(transaction: Transaction, lane: Lane) -> frozenset[int]:
    """The endpoints that have a delivery in the lane whose turn is later."""
    return frozenset(row["endpoint_id"] for row in await transaction.many(_WEBHOOK_LIST_WAITING_ENDPOINTS, lane))


async def bring_deliveries_forward(transaction: Transaction, due: DueDelivery, *, fence: int, rows_max: int) -> int:
    """Make due what waits for the endpoint of `due`; gives how many were."""
    return len(await transaction.many(_WEBHOOK_BRING_FORWARD, [due.lane], due.endpoint_id, fence, rows_max))


async def list_due_evidence(transaction: Transaction, *, lanes: Sequence[Lane], rows_max: int) -> list[DueEvidence]:
    """Left-over evidence due now, oldest first."""
    return [DueEvidence(**dict(row)) for row in await transaction.many(_EVIDENCE_LIST_DUE, lanes, rows_max)]


@dataclass(frozen=True, slots=True, kw_only=True)
class DueCount:
    """How much of one kind of work is due, and for how long the oldest of it."""

    work: str
    rows_due: int
    oldest_s: float


async def count_due(transaction: Transaction, *, lanes: Sequence[Lane], rows_max: int) -> list[DueCount]:
    """What is due in held lanes, one count for each kind of work, up to `rows_max` of each."""
    return [DueCount(**dict(row)) for row in await transaction.many(_WORK_COUNT_DUE, lanes, rows_max)]
