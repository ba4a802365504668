"""Orders as their operator sees them: the list, and one order's whole life with its gap named."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import assert_never

from budan.core.errors import Refused
from budan.core.gap import Gap, Milestones, Outage, name_gap
from budan.core.numbers import (
    AccountId,
    BadNumber,
    Environment,
    Lane,
    MerchantId,
    Number,
    NumberKind,
    OrderId,
    id_floor,
    lane_of,
    parse_number,
    trade_number,
)
from budan.core.order import OrderState
from budan.flows.door import TOLD_OF_REFUND
from budan.flows.moments import Moment, OrderRows, list_moments
from budan.flows.presence import list_outages
from budan.ports.channel import Method, direction_of
from budan.store import acts, adjustments, directory
from budan.store import reading as stored_reading
from budan.store import timeline as stored
from budan.store.database import Database, Transaction
from budan.store.rows import TradeRow
from budan.store.timeline import Key, NoticeRow, WholeOrder

LIST_ROWS_MAX = 500
# Of each table of one order; a channel that repeats a notice for days must not fill a screen.
CHILD_ROWS_MAX = 200
# A filter that few orders fit looks back this far in each lane at a time, and so many times.
LOOKED_AT_PER_LANE = 1_000
LOOKS_MAX = 40
_NEWEST = OrderId((1 << 63) - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderFilter:
    """Which orders to list; None leaves a filter out. `before` is an order's number or, as `since`, a moment."""

    state: str | None
    merchant_id: int | None
    held: bool
    since: datetime | None
    before: str | datetime | None
    limit: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderLine:
    """One order of a list."""

    order_no: str
    merchant_id: MerchantId
    reference: str
    state: str
    amount_minor: int
    currency: str
    created_at: datetime
    paid_at: datetime | None
    hold_reason: str | None
    hold_since: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderLines:
    """Orders, newest first. `next_before` goes on with older ones; None where none is left."""

    orders: tuple[OrderLine, ...]
    next_before: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TradeLine:
    """A trade without what only its payer may see."""

    trade_no: str
    attempt: int
    account_id: AccountId
    channel: str
    method: str
    state: str
    amount_minor: int
    currency: str
    created_at: datetime
    send_until: datetime
    expires_at: datetime | None
    paid_at: datetime | None
    channel_reference: str | None
    asked_count: int
    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderTimeline:
    """One order with everything that belongs to it; `cut` names the tables of which not all rows are here."""

    order_no: str
    order: WholeOrder
    trades: tuple[TradeLine, ...]
    rows: OrderRows
    moments: tuple[Moment, ...]
    gap: Gap | None
    cut: tuple[str, ...]


def parse_order_no(order_no: str, *, environment: Environment) -> Number:
    """The parts of an order's number, or of one of its trades'.

    Raises `Refused` with `order_no_malformed` or `wrong_environment` (I13), in this order.
    """
    try:
        number = parse_number(order_no.strip().upper())
    except BadNumber as error:
        raise Refused("order_no_malformed", param="order_no") from error
    if number.environment is not environment:
        raise Refused("wrong_environment", param="order_no", detail=f"a number of {number.environment.value}")
    if number.kind is not NumberKind.ORDER:
        raise Refused("order_no_malformed", param="order_no", detail=f"a {number.kind.value}'s number")
    return number


class Timelines:
    """Answers an operator's questions about orders; changes nothing."""

    def __init__(self, *, database: Database, environment: Environment, lanes: int) -> None:
        self._database = database
        self._environment = environment
        self._lanes = lanes

    async def list_orders(self, wanted: OrderFilter) -> OrderLines:
        """The newest orders that fit.

        Raises `Refused` with `limit_out_of_range`, `state_unknown`, or as `parse_order_no` does, then with
        `merchant_unknown`.
        """
        if not 1 <= wanted.limit <= LIST_ROWS_MAX:
            raise Refused("limit_out_of_range", param="limit", detail=f"1 to {LIST_ROWS_MAX}")
        if wanted.state is not None and wanted.state not in {known.value for known in OrderState}:
            known = ", ".join(state.value for state in OrderState)
            raise Refused("state_unknown", param="state", detail=f"one of {known}")
        async with self._database.reading() as transaction:
            keys, bound = await self._scan(transaction, wanted, before=self._first_before(wanted.before))
            shown = keys[: wanted.limit]
            last = shown[-1] if len(keys) > wanted.limit else bound
            rows = await stored.find_orders(transaction, [*shown, *([] if last is None else [last])])
        lines = tuple(self._line(rows[key]) for key in shown)
        return OrderLines(orders=lines, next_before=None if last is None else self._number(rows[last], attempt=0))

    def _first_before(self, before: str | datetime | None) -> OrderId:
        match before:
            case None:
                return _NEWEST
            case datetime():
                return OrderId(id_floor(before))
            case str():
                return parse_order_no(before, environment=self._environment).order_id
            case _:
                assert_never(before)

    async def _scan(
        self, transaction: Transaction, wanted: OrderFilter, *, before: OrderId
    ) -> tuple[list[Key], Key | None]:
        merchant_id = None if wanted.merchant_id is None else MerchantId(wanted.merchant_id)
        lanes = [Lane(lane) for lane in range(self._lanes)]
        if merchant_id is not None:
            if await directory.find_merchant(transaction, merchant_id) is None:
                raise Refused("merchant_unknown", param="merchant")
            lanes = [lane_of(merchant_id, lanes=self._lanes)]
        is_filtered = wanted.state is not None or wanted.held
        keys: list[Key] = []
        bound: Key | None = None
        for _ in range(LOOKS_MAX):
            scanned = await stored.scan_orders(
                transaction,
                lanes=lanes,
                merchant_id=merchant_id,
                before=before,
                since=OrderId(0 if wanted.since is None else id_floor(wanted.since)),
                looked_at_max=LOOKED_AT_PER_LANE if is_filtered else wanted.limit + 1,
                state=wanted.state,
                held=wanted.held,
            )
            keys.extend(scanned.keys)
            bound = scanned.bound
            if bound is None or len(keys) > wanted.limit:
                break
            before = bound[1]
        return keys, bound

    async def get_timeline(self, order_no: str) -> OrderTimeline:
        """One order's whole life; a trade's number means its order.

        Raises `Refused` as `parse_order_no` does, then with `order_not_found`.
        """
        number = parse_order_no(order_no, environment=self._environment)
        key = (number.lane, number.order_id)
        async with self._database.reading() as transaction:
            now = await transaction.clock()
            order = (await stored.find_orders(transaction, [key])).get(key)
            if order is None or order.merchant_id != number.merchant_id:
                raise Refused("order_not_found", param="order_no")
            trades = (await stored_reading.list_trades(transaction, [key])).get(key, [])
            rows = await _read_rows(transaction, key)
            rejected_at = await _find_rejected(transaction, order, trades)
            outages = await _list_outages(transaction, order, now=now)
        return OrderTimeline(
            order_no=self._number(order, attempt=0),
            order=order,
            trades=tuple(self._trade_line(order, trade) for trade in trades),
            rows=rows,
            moments=tuple(list_moments(order, trades, rows)),
            gap=_name_gap(order, trades, rows, rejected_at=rejected_at, outages=outages, now=now),
            cut=rows.cut(CHILD_ROWS_MAX),
        )

    def _line(self, row: WholeOrder) -> OrderLine:
        return OrderLine(
            order_no=self._number(row, attempt=0),
            merchant_id=row.merchant_id,
            reference=row.reference,
            state=row.state,
            amount_minor=row.amount_minor,
            currency=row.currency,
            created_at=row.created_at,
            paid_at=row.paid_at,
            hold_reason=row.hold_reason,
            hold_since=row.hold_since,
        )

    def _trade_line(self, order: WholeOrder, trade: TradeRow) -> TradeLine:
        return TradeLine(
            trade_no=self._number(order, attempt=trade.attempt),
            attempt=trade.attempt,
            account_id=trade.account_id,
            channel=trade.channel,
            method=trade.method,
            state=trade.state,
            amount_minor=trade.amount_minor,
            currency=trade.currency,
            created_at=trade.created_at,
            send_until=trade.send_until,
            expires_at=trade.expires_at,
            paid_at=trade.paid_at,
            channel_reference=trade.channel_reference,
            asked_count=trade.asked_count,
            code=trade.code,
            message=trade.message,
        )

    def _number(self, row: WholeOrder, *, attempt: int) -> str:
        return trade_number(
            environment=self._environment,
            lane=row.lane,
            merchant_id=row.merchant_id,
            order_id=row.order_id,
            attempt=attempt,
        )


async def _read_rows(transaction: Transaction, key: Key) -> OrderRows:
    return OrderRows(
        evidence=tuple(await stored.list_evidence(transaction, [key], rows_max=CHILD_ROWS_MAX)),
        notices=tuple(await stored.list_notices(transaction, [key], rows_max=CHILD_ROWS_MAX)),
        postings=tuple(await stored.list_postings(transaction, [key], rows_max=CHILD_ROWS_MAX)),
        remedies=tuple(await stored.list_remedies(transaction, [key], rows_max=CHILD_ROWS_MAX)),
        contradictions=tuple(await stored.list_contradictions(transaction, [key], rows_max=CHILD_ROWS_MAX)),
        refunds=tuple(await stored.list_refunds(transaction, [key], rows_max=CHILD_ROWS_MAX)),
        refund_evidence=tuple(await stored.list_refund_evidence(transaction, [key], rows_max=CHILD_ROWS_MAX)),
        webhooks=tuple(await stored.list_webhooks(transaction, [key], rows_max=CHILD_ROWS_MAX)),
        deliveries=tuple(await stored.list_deliveries(transaction, [key], rows_max=CHILD_ROWS_MAX)),
        acts=tuple(await acts.list_acts(transaction, [key], rows_max=CHILD_ROWS_MAX)),
        adjustments=tuple(await adjustments.list_of_order(transaction, key, rows_max=CHILD_ROWS_MAX)),
    )


async def _find_rejected(transaction: Transaction, order: WholeOrder, trades: Sequence[TradeRow]) -> datetime | None:
    """The first notice to the paying account, from the payment until we knew of it, that could not be verified."""
    paying = next((trade for trade in trades if trade.attempt == order.paid_attempt), None)
    if paying is None or order.paid_at is None or order.learned_at is None:
        return None
    return await stored.find_first_rejected(transaction, paying.account_id, since=order.paid_at, until=order.learned_at)


async def _list_outages(transaction: Transaction, order: WholeOrder, *, now: datetime) -> Sequence[Outage]:
    """When we were away while a paid order waited."""
    since = order.paid_at or order.learned_at
    return [] if since is None else await list_outages(transaction, since=since, until=now)


def _is_of(notice: NoticeRow, trade: TradeRow) -> bool:
    """Whether a notice told of this trade's payment: not of another trade's, nor of a refund."""
    return notice.decision not in TOLD_OF_REFUND and parse_number(notice.trade_no).ordinal == trade.attempt


def _name_gap(
    order: WholeOrder,
    trades: Sequence[TradeRow],
    rows: OrderRows,
    *,
    rejected_at: datetime | None,
    outages: Sequence[Outage],
    now: datetime,
) -> Gap | None:
    """Where a paid order lost its time; an order that is not paid has none yet."""
    paying = next((trade for trade in trades if trade.attempt == order.paid_attempt), None)
    if paying is None or order.learned_at is None or order.completed_at is None or order.learned_source is None:
        return None
    told = [hook for hook in rows.webhooks if hook.event == "order.paid"]
    versions = {hook.version for hook in told}
    left_at = [delivery.started_at for delivery in rows.deliveries if delivery.version in versions]
    # With several endpoints the last one's word counts: until then somebody waits.
    taken_at = [hook.taken_at for hook in told if hook.taken_at is not None]
    return name_gap(
        Milestones(
            direction=direction_of(Method(paying.method)),
            paid_at=order.paid_at,
            learned_at=order.learned_at,
            learned_source=order.learned_source,
            completed_at=order.completed_at,
            noticed_at=min((notice.received_at for notice in rows.notices if _is_of(notice, paying)), default=None),
            rejected_at=rejected_at,
            is_to_tell=bool(told),
            told_at=min(left_at, default=None),
            taken_at=max(taken_at) if told and len(taken_at) == len(told) else None,
        ),
        outages=outages,
        now=now,
    )
