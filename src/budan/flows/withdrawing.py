"""What a merchant takes back: an order that shall not be paid any more, and a charge that is under way."""

from budan.core.errors import Refused
from budan.core.numbers import Environment
from budan.core.order import OrderState
from budan.core.trade import OPEN_STATES, TradeState
from budan.flows.calling import ChannelCalls
from budan.flows.closing import OrderClosing
from budan.flows.reading import Reading, own_number
from budan.flows.views import Caller, OrderView
from budan.ports.channel import Method
from budan.store.rows import OrderRow, TradeRow


class Withdrawals:
    """Commits what the merchant wants and answers; the channels are called by a worker, until it is so."""

    def __init__(
        self, *, environment: Environment, reading: Reading, calls: ChannelCalls, closing: OrderClosing
    ) -> None:
        self._environment = environment
        self._reading = reading
        self._calls = calls
        self._closing = closing

    async def close_order(self, caller: Caller, order_no: str) -> OrderView:
        """Close an order: `closed` where nobody can pay it any more, else `closing`, which a payment still completes.

        Safe to repeat. From `closed` on a payment goes back. Raises `Refused` as `own_number` does, then with
        `order_already_paid`, `order_already_ended` where it expired, or `order_on_hold`.
        """
        number = own_number(caller, order_no, environment=self._environment)
        await self._closing.close(number)
        return await self._reading.get_order(caller, order_no)

    async def cancel_charge(self, caller: Caller, order_no: str) -> OrderView:
        """Reverse an order's open charge: its intent is committed when this returns, and money that came goes back.

        Safe to repeat. The order becomes `closed` when the channel confirms. Raises `Refused` as `own_number` does, then
        with `order_already_paid`, `no_open_charge`, `method_unsupported` where the channel reverses nothing, or
        `order_on_hold`.
        """
        number = own_number(caller, order_no, environment=self._environment)
        order, trades = await self._reading.get_rows(number)
        charge = _open_charge(order, trades)
        if charge is not None:
            capabilities = await self._calls.find_capabilities(charge.account_id)
            if capabilities is None or not capabilities.reverse:
                raise Refused("method_unsupported", param="order_no", detail="the channel reverses no charge")
            reverse_at = max(charge.now, charge.created_at + capabilities.reverse_after)
            await self._closing.begin_reverse((number.lane, number.order_id), charge.attempt, reverse_at=reverse_at)
        return await self._reading.get_order(caller, order_no)


def _open_charge(order: OrderRow, trades: list[TradeRow]) -> TradeRow | None:
    """The charge to reverse; None where the order is closed, or it is being reversed already."""
    if order.state == OrderState.PAID.value:
        raise Refused("order_already_paid", param="order_no")
    if order.state == OrderState.CLOSED.value:
        return None
    charges = [
        trade for trade in trades if trade.method == Method.CODE.value and TradeState(trade.state) in OPEN_STATES
    ]
    if not charges:
        raise Refused("no_open_charge", param="order_no")
    (charge,) = charges
    return None if charge.state == TradeState.REVERSING.value else charge
