"""Orders as merchants see them."""

from collections.abc import Mapping, Sequence

import msgspec

from budan.core.cashback import Cashback, CashbackOffer
from budan.core.errors import Refused
from budan.core.numbers import (
    BadNumber,
    Environment,
    MerchantId,
    Number,
    NumberKind,
    OrderId,
    parse_number,
    render_number,
    trade_number,
)
from budan.core.order import OrderState
from budan.core.trade import OPEN_STATES, TradeState
from budan.flows.cashback_plan import decode_offer, view_cashback
from budan.flows.views import Caller, OrderPage, OrderView, PaymentStatus, RefundView, TradeView
from budan.ports.channel import PayAction
from budan.store import reading as stored
from budan.store.cashbacks import find_cashbacks
from budan.store.database import Database
from budan.store.refunds import RefundRow, list_refunds
from budan.store.rows import NewOrder, OrderRow, TradeRow

PAGE_ROWS_MAX = 100
# Of a merchant's orders for a page of one state: more would let one caller read the table again and again.
LOOKED_AT_MAX = 5_000
_NEWEST = OrderId((1 << 63) - 1)


def own_number(caller: Caller, order_no: str, *, environment: Environment) -> Number:
    """The parts of a merchant's own order number.

    Raises `Refused` with `order_no_malformed`, `wrong_environment` (I13) or `order_not_found`, in this order; another
    merchant's order is "not found", so that nobody learns which numbers exist.
    """
    try:
        number = parse_number(order_no)
    except BadNumber as error:
        raise Refused("order_no_malformed", param="order_no") from error
    if number.environment is not environment:
        raise Refused("wrong_environment", param="order_no", detail=f"a number of {number.environment.value}")
    own = number.merchant_id == caller.merchant_id and number.lane == caller.lane
    if not own or number.kind is not NumberKind.ORDER or number.ordinal != 0:
        raise Refused("order_not_found", param="order_no")
    return number


class Reading:
    """Answers questions about orders; changes nothing."""

    def __init__(self, *, database: Database, environment: Environment) -> None:
        self._database = database
        self._environment = environment

    async def get_order(self, caller: Caller, order_no: str) -> OrderView:
        """One order with its trades; raises `Refused` as `own_number` does."""
        number = own_number(caller, order_no, environment=self._environment)
        row, trades = await self.get_rows(number)
        refunds = await self._list_refunds([row])
        cashbacks = await self._list_cashbacks([row], {(row.lane, row.order_id): trades})
        return view_order(
            row,
            trades,
            refunds.get((row.lane, row.order_id), []),
            cashbacks.get((row.lane, row.order_id)),
            environment=self._environment,
        )

    async def find_shop_id(self, caller: Caller, order_no: str) -> int | None:
        """Which shop took the order, None where none did; raises `Refused` as `own_number` does."""
        order, _ = await self.get_rows(own_number(caller, order_no, environment=self._environment))
        return order.shop_id

    async def get_rows(self, number: Number) -> tuple[OrderRow, list[TradeRow]]:
        """The rows behind a view; raises `Refused` with `order_not_found`."""
        key = (number.lane, number.order_id)
        # Of one moment: an order from before its completion beside a trade from after it would read as "unpaid".
        async with self._database.snapshot() as transaction:
            rows = await stored.find_orders(transaction, [key])
            trades = await stored.list_trades(transaction, [key])
        row = rows.get(key)
        if row is None or row.merchant_id != number.merchant_id:
            raise Refused("order_not_found", param="order_no")
        return row, trades.get(key, [])

    async def list_orders(
        self,
        caller: Caller,
        *,
        cursor: str | None,
        limit: int,
        state: str | None,
        reference: str | None,
    ) -> OrderPage:
        """A page of the caller's orders, newest first.

        A page of one `state` has what `LOOKED_AT_MAX` orders hold of it, and may have fewer orders than `limit`, or none,
        and go on at its cursor all the same.

        Raises `Refused` with `limit_out_of_range`, `state_unknown` or `cursor_malformed`. With `reference` the page has
        at most the one order that the merchant calls so.
        """
        if not 1 <= limit <= PAGE_ROWS_MAX:
            raise Refused("limit_out_of_range", param="limit", detail=f"1 to {PAGE_ROWS_MAX}")
        if state is not None and state not in {known.value for known in OrderState}:
            raise Refused("state_unknown", param="state")
        before = self._cursor(caller, cursor)
        bound: OrderId | None = None
        async with self._database.snapshot() as transaction:
            if reference is not None:
                found = await stored.find_reference(
                    transaction,
                    lane=caller.lane,
                    merchant_id=caller.merchant_id,
                    reference=reference,
                )
                keys = [] if found is None else [(caller.lane, found)]
                rows = list((await stored.find_orders(transaction, keys)).values())
            else:
                rows = await stored.list_orders(
                    transaction,
                    lane=caller.lane,
                    merchant_id=caller.merchant_id,
                    before=before,
                    rows_max=limit + 1,
                    state=state,
                    looked_at_max=limit + 1 if state is None else LOOKED_AT_MAX,
                )
                if state is not None and len(rows) <= limit:
                    bound = await stored.find_nth(
                        transaction,
                        lane=caller.lane,
                        merchant_id=caller.merchant_id,
                        before=before,
                        nth=LOOKED_AT_MAX,
                    )
            shown = rows[:limit]
            trades = await stored.list_trades(transaction, [(row.lane, row.order_id) for row in shown])
        refunds = await self._list_refunds(shown)
        cashbacks = await self._list_cashbacks(shown, trades)
        views = tuple(
            view_order(
                row,
                trades.get((row.lane, row.order_id), []),
                refunds.get((row.lane, row.order_id), []),
                cashbacks.get((row.lane, row.order_id)),
                environment=self._environment,
            )
            for row in shown
        )
        return OrderPage(
            orders=views,
            next_cursor=views[-1].order_no if len(rows) > limit else self._cursor_at(caller, bound),
        )

    def _cursor_at(self, caller: Caller, order_id: OrderId | None) -> str | None:
        if order_id is None:
            return None
        return trade_number(
            environment=self._environment,
            lane=caller.lane,
            merchant_id=caller.merchant_id,
            order_id=order_id,
            attempt=0,
        )

    async def _list_refunds(self, rows: Sequence[OrderRow]) -> dict[stored.Key, list[RefundRow]]:
        """The refunds of the orders that have any: most have none, and are not asked for."""
        keys = [(row.lane, row.order_id) for row in rows if row.refund_count]
        if not keys:
            return {}
        async with self._database.reading() as transaction:
            return await list_refunds(transaction, keys)

    async def _list_cashbacks(
        self, rows: Sequence[OrderRow], trades: Mapping[stored.Key, Sequence[TradeRow]]
    ) -> dict[stored.Key, Cashback]:
        """The cashback of the paid orders that a plan offered some to. Orders without an offer cost no query."""
        keys = [
            (row.lane, row.order_id)
            for row in rows
            if (offer := _paid_offer(row, trades.get((row.lane, row.order_id), ()))) is not None and offer.plan_id
        ]
        if not keys:
            return {}
        async with self._database.reading() as transaction:
            return await find_cashbacks(transaction, keys)

    def _cursor(self, caller: Caller, cursor: str | None) -> OrderId:
        if cursor is None:
            return _NEWEST
        try:
            return own_number(caller, cursor, environment=self._environment).order_id
        except Refused as refused:
            raise Refused("cursor_malformed", param="cursor") from refused


def view_order(
    row: OrderRow,
    trades: Sequence[TradeRow],
    refunds: Sequence[RefundRow],
    cashback: Cashback | None,
    *,
    environment: Environment,
) -> OrderView:
    """An order row, its trades, its refunds and its cashback as merchants see them."""
    return OrderView(
        order_no=_render(row, 0, environment=environment),
        reference=row.reference,
        state=row.state,
        payment_status=payment_status(row.state, [trade.state for trade in trades]),
        version=row.version,
        amount_minor=row.amount_minor,
        currency=row.currency,
        subject=row.subject,
        created_at=row.created_at,
        expires_at=row.expires_at,
        hold_reason=row.hold_reason,
        paid_at=row.paid_at,
        learned_source=row.learned_source,
        completed_at=row.completed_at,
        fee_minor=row.fee_minor,
        trades=tuple(view_trade(trade, _render(row, trade.attempt, environment=environment)) for trade in trades),
        refunds=tuple(view_refund(refund, merchant_id=row.merchant_id, environment=environment) for refund in refunds),
        cashback=view_cashback(_paid_offer(row, trades), cashback),
    )


def _paid_offer(row: OrderRow, trades: Sequence[TradeRow]) -> CashbackOffer | None:
    """What the trade that paid the order offered its payer."""
    return next((decode_offer(trade.cashback_offer) for trade in trades if trade.attempt == row.paid_attempt), None)


def view_refund(row: RefundRow, *, merchant_id: MerchantId, environment: Environment) -> RefundView:
    """A refund row as merchants see it."""

    def number(kind: NumberKind, ordinal: int) -> str:
        return render_number(
            Number(
                environment=environment,
                kind=kind,
                lane=row.lane,
                merchant_id=merchant_id,
                order_id=row.order_id,
                ordinal=ordinal,
            )
        )

    return RefundView(
        refund_no=number(NumberKind.REFUND, row.ordinal),
        state=row.state,
        origin=row.origin,
        amount_minor=row.amount_minor,
        currency=row.currency,
        reason=row.reason,
        trade_no=number(NumberKind.ORDER, row.attempt),
        created_at=row.created_at,
        refunded_at=row.refunded_at,
        ended_at=row.ended_at,
        fee_given_back_minor=row.fee_given_back_minor,
        channel_reference=row.channel_reference,
        code=row.code,
        message=row.message,
    )


def view_trade(trade: TradeRow, trade_no: str) -> TradeView:
    """A trade row as merchants see it."""
    action = PayAction() if trade.action is None else decode_action(trade.action)
    return TradeView(
        trade_no=trade_no,
        channel=trade.channel,
        method=trade.method,
        state=trade.state,
        created_at=trade.created_at,
        qr_text=action.qr_text,
        jsapi_parameters=action.jsapi_parameters,
        redirect_url=action.redirect_url if action.is_good(trade.now) else None,
        channel_reference=trade.channel_reference,
        code=trade.code,
        message=trade.message,
    )


def view_new_order(
    order: NewOrder, trades: Sequence[TradeView], *, state: str, version: int, order_no: str
) -> OrderView:
    """An order that this process has just committed, without reading it again."""
    return OrderView(
        order_no=order_no,
        reference=order.reference,
        state=state,
        payment_status=payment_status(state, [trade.state for trade in trades]),
        version=version,
        amount_minor=order.amount_minor,
        currency=order.currency,
        subject=order.subject,
        created_at=order.created_at,
        expires_at=order.expires_at,
        hold_reason=None,
        paid_at=None,
        learned_source=None,
        completed_at=None,
        fee_minor=None,
        trades=tuple(trades),
    )


def payment_status(order_state: str, trade_states: Sequence[str]) -> PaymentStatus:
    """The answer that a shop needs: pending while a trade may still bring money."""
    if order_state == OrderState.PAID.value:
        return PaymentStatus.PAID
    may_pay = any(TradeState(state) in OPEN_STATES for state in trade_states)
    return PaymentStatus.PENDING if may_pay else PaymentStatus.UNPAID


_ACTION_DECODER = msgspec.json.Decoder(PayAction)


def decode_action(text: str) -> PayAction:
    """The action that a placement brought, from its stored JSON."""
    return _ACTION_DECODER.decode(text)


def _render(row: OrderRow, attempt: int, *, environment: Environment) -> str:
    return trade_number(
        environment=environment,
        lane=row.lane,
        merchant_id=row.merchant_id,
        order_id=row.order_id,
        attempt=attempt,
    )
