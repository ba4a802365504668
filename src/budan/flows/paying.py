"""From a wish to a payment under way: create, place, charge."""

import asyncio
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import msgspec

from budan.core.closing import CHARGE_PATIENCE
from budan.core.errors import Overloaded, Refused, StoreUnavailable
from budan.core.evidence import Outcome
from budan.core.numbers import ORDINAL_MAX, Environment, MerchantId, Number, trade_number
from budan.core.order import OrderState
from budan.core.pace import QUERY_LADDER_B2C_S
from budan.core.trade import OPEN_STATES, TradeState
from budan.flows.asking import asking_of
from budan.flows.calling import CALL_TIMEOUT_S, ChannelCalls, Sending
from budan.flows.choosing import Chooser
from budan.flows.directory import Directory
from budan.flows.door_plan import Planned
from budan.flows.failures import Failures, attempt
from budan.flows.intake import OrderIntake, Replayed, Taken, check_wish
from budan.flows.intents import IntentMaker, OrderFacts, TradePlan
from budan.flows.locking import lock_named
from budan.flows.reading import Reading, decode_action, own_number, view_new_order
from budan.flows.views import (
    Caller,
    ChargeOrder,
    CreateOrder,
    OrderView,
    Payable,
    PaymentStatus,
    PaymentWish,
    TradeView,
)
from budan.ports.channel import Method, PayAction, PayResult
from budan.ports.clock import Clock
from budan.store import closing as looks
from budan.store import door as gate
from budan.store import intake as stored
from budan.store.database import Database, RowsFailed
from budan.store.rows import NewOrder, NewTrade, OrderRow, TradeRow

# A caller who waits longer is better served by the webhook.
WAIT_S_MAX = 15.0
# Of one merchant in one process: as many desks that charge in the same seconds, and a tenth of the requests that may be open.
CHARGES_WAITING_MAX = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Charging:
    """A payer's code for an order that is there already; `wait_s` bounds the caller's wait."""

    auth_code: str
    device_id: str
    device_ip: str
    wait_s: float


class Payments:
    """The use cases of shops and payers. Nothing here completes an order: the door does.

    Use as an async context manager; leaving waits for charges whose callers have gone.
    """

    def __init__(
        self,
        *,
        database: Database,
        environment: Environment,
        clock: Clock,
        directory: Directory,
        chooser: Chooser,
        intake: OrderIntake,
        intents: IntentMaker,
        calls: ChannelCalls,
        reading: Reading,
    ) -> None:
        self._database = database
        self._environment = environment
        self._clock = clock
        self._directory = directory
        self._chooser = chooser
        self._intake = intake
        self._intents = intents
        self._calls = calls
        self._reading = reading
        self._tasks = asyncio.TaskGroup()
        self._failures = Failures(work="charge")
        self._charges: set[asyncio.Task[None]] = set()
        self._waiting: Counter[MerchantId] = Counter()

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # A charge under way gets the time that a call may take; what it brings after that, the next question brings.
        if self._charges:
            _, late = await asyncio.wait(self._charges, timeout=CALL_TIMEOUT_S)
            for call in late:
                call.cancel()
        await self._tasks.__aexit__(None, None, None)

    async def create_order(self, wish: CreateOrder) -> OrderView:
        """Take an order and, where a payment is wished, place its trade.

        Safe to repeat under one idempotency key: a replay resumes the same order and answers with its present state.
        Raises `Refused` as `check_wish`, `Chooser.choose` and `OrderIntake.take` do, `channel_unavailable` when nothing
        could be sent, `Overloaded`, `StoreUnavailable`.
        """
        check_wish(wish)
        plan = None
        if wish.payment is not None:
            chosen = await self._chooser.choose(wish.caller, wish.payment, shop_id=wish.shop_id)
            plan = TradePlan(chosen=chosen, wish=wish.payment)
        dated = await self._dated(wish)
        read_at_s = self._clock.monotonic_s()
        answer = await self._intake.take(dated, plan)
        if isinstance(answer, Replayed):
            return await self._resume(wish, answer)
        if answer.trade is None:
            return view_new_order(
                answer.order, (), state=answer.order.state, version=1, order_no=self._order_no(answer)
            )
        return await self._place_first(wish.caller, answer.order, answer.trade, read_at_s=read_at_s)

    async def list_payable(self, caller: Caller, order_no: str) -> tuple[Payable, ...]:
        """What the order's payer can be offered, first choice first; raises `Refused` as `own_number` does."""
        number = own_number(caller, order_no, environment=self._environment)
        order, _ = await self._reading.get_rows(number)
        return await self._chooser.list_payable(caller, shop_id=order.shop_id)

    async def start_payment(self, caller: Caller, order_no: str, wish: PaymentWish) -> OrderView:
        """Start a C2B payment of an order: an open trade of this method and channel goes on, else a new one is placed.

        Safe to repeat. Raises `Refused` with the codes of `own_number`, `order_not_payable`, `order_expired`,
        `too_many_attempts`, those of `Chooser.choose`, and `channel_unavailable`.
        """
        number = own_number(caller, order_no, environment=self._environment)
        rows_read_at_s = self._clock.monotonic_s()
        order, trades = await self._reading.get_rows(number)
        chosen = await self._chooser.choose(
            caller,
            wish,
            shop_id=order.shop_id,
            stays_with={trade.account_id for trade in trades if TradeState(trade.state) in OPEN_STATES},
        )
        for trade in trades:
            same = trade.account_id == chosen.account.account_id and trade.method == wish.method.value
            # One whose answer never came and that may not be sent again leads no payer anywhere; nor does an old link.
            goes_on = _leads_on(trade) or _may_be_placed(trade)
            if same and goes_on and TradeState(trade.state) in OPEN_STATES:
                await self._place_again(trade, read_at_s=rows_read_at_s)
                return await self._reading.get_order(caller, order_no)
        read_at_s = self._clock.monotonic_s()
        opened = await self._open_trade(number, order, TradePlan(chosen=chosen, wish=wish))
        await self._place(opened, read_at_s=read_at_s)
        return await self._reading.get_order(caller, order_no)

    async def charge(self, wish: ChargeOrder) -> OrderView:
        """Take an order and charge the payer's code; answers within `wait_s` with paid, unpaid or pending.

        Under one idempotency key a repeat never charges again. Raises `Refused` as `create_order` does, and with
        `too_many_charges_waiting` or `auth_code_unknown`.
        """
        check_wish(wish.order)
        with self._waits(wish.order.caller):
            return await self._charge_new(wish.order.caller, wish)

    async def _charge_new(self, caller: Caller, wish: ChargeOrder) -> OrderView:
        chosen = await self._chooser.choose_by_code(caller, wish.auth_code, shop_id=wish.order.shop_id)
        plan = TradePlan(chosen=chosen, device_id=wish.device_id, device_ip=wish.device_ip)
        dated = await self._dated(wish.order)
        read_at_s = self._clock.monotonic_s()
        answer = await self._intake.take(dated, plan)
        if isinstance(answer, Replayed):
            return await self._answer(caller, self._replayed_no(wish.order, answer), wait_s=wish.wait_s)
        assert answer.trade is not None, "a charge plans its trade"
        await self._charge(answer.trade, wish.auth_code, read_at_s=read_at_s, wait_s=wish.wait_s)
        return await self._answer(caller, self._order_no(answer), wait_s=self._left_s(wish.wait_s, since_s=read_at_s))

    async def charge_again(self, caller: Caller, order_no: str, charging: Charging) -> OrderView:
        """Charge another code for an unpaid order.

        Not safe to repeat by itself: each call sends its code once. Raises `Refused` with `charge_open` while an
        earlier charge may still take money, else as `start_payment` and `charge` do.
        """
        number = own_number(caller, order_no, environment=self._environment)
        with self._waits(caller):
            return await self._charge_once_more(caller, number, order_no, charging)

    @contextmanager
    def _waits(self, caller: Caller) -> Generator[None]:
        """While a charge's caller waits; raises `Refused` with `too_many_charges_waiting` before anything is promised."""
        merchant_id = caller.merchant_id
        if self._waiting[merchant_id] >= CHARGES_WAITING_MAX:
            raise Refused("too_many_charges_waiting", detail=f"at most {CHARGES_WAITING_MAX} wait at a time")
        self._waiting[merchant_id] += 1
        try:
            yield
        finally:
            self._waiting[merchant_id] -= 1
            if not self._waiting[merchant_id]:
                del self._waiting[merchant_id]

    async def _charge_once_more(self, caller: Caller, number: Number, order_no: str, charging: Charging) -> OrderView:
        order, _ = await self._reading.get_rows(number)
        chosen = await self._chooser.choose_by_code(caller, charging.auth_code, shop_id=order.shop_id)
        plan = TradePlan(chosen=chosen, device_id=charging.device_id, device_ip=charging.device_ip)
        read_at_s = self._clock.monotonic_s()
        opened = await self._open_trade(number, order, plan)
        await self._charge(opened, charging.auth_code, read_at_s=read_at_s, wait_s=charging.wait_s)
        return await self._answer(caller, order_no, wait_s=self._left_s(charging.wait_s, since_s=read_at_s))

    async def _dated(self, wish: CreateOrder) -> CreateOrder:
        """The wish with its merchant's time where it names none; a known payer is given more (docs/design.md section 5)."""
        if wish.expires_in_s is not None:
            return wish
        with_payer = wish.payment is not None and wish.payment.payer_openid is not None
        expires_in_s = await self._directory.find_expiry_s(wish.caller.merchant_id, with_payer=with_payer)
        return msgspec.structs.replace(wish, expires_in_s=expires_in_s)

    async def _open_trade(self, number: Number, order: OrderRow, plan: TradePlan) -> NewTrade:
        """Commit one more trade intent behind the gate; raises `Refused` in the order of `_refuse_new_trade`."""
        key = (number.lane, number.order_id)
        try:
            async with self._database.transaction() as transaction:
                locked = await lock_named(transaction, number)
                siblings = (await gate.list_trades(transaction, [key])).get(key, [])
                _refuse_new_trade(locked, siblings, charges=plan.chosen.method is Method.CODE)
                attempt = await stored.open_trade(
                    transaction,
                    lane=number.lane,
                    order_id=number.order_id,
                    version=locked.version,
                )
                assert attempt is not None, "the order is locked and was found payable"
                trade = self._intents.make(_facts(order), plan, attempt=attempt, now=locked.now)
                await stored.add(transaction, orders=[], trades=[trade])
                if plan.chosen.method is Method.CODE:
                    await looks.look_sooner(transaction, key=key, due_at=locked.now + CHARGE_PATIENCE)
        except RowsFailed as failed:
            raise StoreUnavailable(str(failed)) from failed
        return trade

    async def _resume(self, wish: CreateOrder, replayed: Replayed) -> OrderView:
        """A replay answers with the present state; a trade that never reached its channel is placed now."""
        order_no = self._replayed_no(wish, replayed)
        number = own_number(wish.caller, order_no, environment=self._environment)
        read_at_s = self._clock.monotonic_s()
        _, trades = await self._reading.get_rows(number)
        for trade in trades:
            await self._place_again(trade, read_at_s=read_at_s)
        return await self._reading.get_order(wish.caller, order_no)

    async def _place_again(self, trade: TradeRow, *, read_at_s: float) -> None:
        """Repeat a placement whose answer is missing, with the same intent and inside its send window only.

        `read_at_s` was read before the row: what the caller has waited for since can only make the window shorter.
        """
        if trade.action is not None or not _may_be_placed(trade):
            return
        sending = Sending(
            account_id=trade.account_id,
            intent=trade.intent,
            window=trade.send_until - trade.now,
            read_at_s=read_at_s,
        )
        await self._calls.place(sending)

    async def _place_first(self, caller: Caller, order: NewOrder, trade: NewTrade, *, read_at_s: float) -> OrderView:
        """Place the trade of a new order; what the door says of it is the view, unless more has happened by then."""
        planned, result, action = await self._place(trade, read_at_s=read_at_s)
        if planned.order_state != OrderState.PAYING.value:
            return await self._reading.get_order(caller, self._number(order, 0))
        shown = PayAction() if action is None else action
        view = TradeView(
            trade_no=self._number(order, trade.attempt),
            channel=trade.channel,
            method=trade.method,
            state=planned.trade_state,
            created_at=trade.created_at,
            qr_text=shown.qr_text,
            jsapi_parameters=shown.jsapi_parameters,
            redirect_url=shown.redirect_url,
            channel_reference=result.channel_reference,
            code=result.code,
            message=result.message,
        )
        return view_new_order(
            order, (view,), state=planned.order_state, version=planned.version, order_no=self._number(order, 0)
        )

    async def _place(self, trade: NewTrade, *, read_at_s: float) -> tuple[Planned, PayResult, PayAction | None]:
        planned, result, action = await self._calls.place(_sending(trade, read_at_s=read_at_s))
        if action is None and result.outcome is Outcome.UNPAID_OPEN and not result.sent:
            raise Refused("channel_unavailable", detail="nothing was sent; repeat with the same Idempotency-Key")
        return planned, result, action

    async def _charge(self, trade: NewTrade, auth_code: str, *, read_at_s: float, wait_s: float) -> None:
        """Send a charge and wait for its answer as long as the caller may; it is recorded whenever it comes."""
        call = self._tasks.create_task(self._charge_to_end(_sending(trade, read_at_s=read_at_s), auth_code))
        self._charges.add(call)
        call.add_done_callback(self._charges.discard)
        await asyncio.wait([call], timeout=self._left_s(min(wait_s, WAIT_S_MAX), since_s=read_at_s))

    async def _charge_to_end(self, sending: Sending, auth_code: str) -> None:
        # Whatever fails here, the trade's question is due since the intent was committed, and the caller hears "pending",
        # which is true. Nothing may pass: the group of these tasks is the whole process's.
        await attempt(lambda: self._calls.charge(sending, auth_code), self._failures)

    async def _answer(self, caller: Caller, order_no: str, *, wait_s: float) -> OrderView:
        """Paid, pending or unpaid: asks on the B2C ladder until the trade is decided or the caller's time is over.

        "Unpaid" needs nothing written here: the door commits that it is told with the end that is read (I1).
        """
        number = own_number(caller, order_no, environment=self._environment)
        until_s = self._clock.monotonic_s() + min(wait_s, WAIT_S_MAX)
        for pause_s in QUERY_LADDER_B2C_S:
            view = await self._reading.get_order(caller, order_no)
            left_s = until_s - self._clock.monotonic_s()
            if view.payment_status is not PaymentStatus.PENDING or left_s <= pause_s:
                return view
            await asyncio.sleep(pause_s)
            _, trades = await self._reading.get_rows(number)
            await asyncio.gather(*(self._ask(number, trade) for trade in trades if _is_open(trade)))
        return await self._reading.get_order(caller, order_no)

    async def _ask(self, number: Number, trade: TradeRow) -> None:
        try:
            await self._calls.ask(asking_of(number, trade, environment=self._environment))
        except (Overloaded, StoreUnavailable):
            # The question stays due; the caller hears "pending", which is true.
            return

    def _left_s(self, wait_s: float, *, since_s: float) -> float:
        return max(0.0, wait_s - (self._clock.monotonic_s() - since_s))

    def _order_no(self, taken: Taken) -> str:
        return self._number(taken.order, 0)

    def _number(self, order: NewOrder, attempt: int) -> str:
        return trade_number(
            environment=self._environment,
            lane=order.lane,
            merchant_id=order.merchant_id,
            order_id=order.order_id,
            attempt=attempt,
        )

    def _replayed_no(self, wish: CreateOrder, replayed: Replayed) -> str:
        return trade_number(
            environment=self._environment,
            lane=wish.caller.lane,
            merchant_id=wish.caller.merchant_id,
            order_id=replayed.order_id,
            attempt=0,
        )


def _refuse_new_trade(locked: gate.LockedOrder, siblings: list[gate.LockedTrade], *, charges: bool) -> None:
    """Raises `Refused` with `order_not_payable`, `order_expired`, `charge_open` or `too_many_attempts`, in this order.

    At most one open B2C trade per order, and none beside it: its money is on the way (docs/design.md section 5).
    """
    if locked.order.state not in {OrderState.CREATED, OrderState.PAYING}:
        raise Refused("order_not_payable", param="order_no", detail=f"the order is {locked.order.state.value}")
    if locked.now >= locked.expires_at:
        raise Refused("order_expired", param="order_no")
    opened = [sibling for sibling in siblings if sibling.trade.is_open]
    if any(sibling.method == Method.CODE.value for sibling in opened) or (charges and opened):
        raise Refused("charge_open", param="order_no")
    if locked.trade_count >= ORDINAL_MAX:
        raise Refused("too_many_attempts", param="order_no", detail=f"at most {ORDINAL_MAX}")


def _leads_on(trade: TradeRow) -> bool:
    return trade.action is not None and decode_action(trade.action).is_good(trade.now)


def _may_be_placed(trade: TradeRow) -> bool:
    """Whether its placement may be sent (again): a code is sent once, and nothing is sent after the window (I11)."""
    unanswered = trade.state in {TradeState.CREATED.value, TradeState.UNKNOWN.value}
    return unanswered and trade.method != Method.CODE.value and trade.now < trade.send_until


def _is_open(trade: TradeRow) -> bool:
    return TradeState(trade.state) in OPEN_STATES


def _sending(trade: NewTrade, *, read_at_s: float) -> Sending:
    """What may be sent of a trade that was just committed; `read_at_s` was read before its `created_at`."""
    return Sending(
        account_id=trade.account_id,
        intent=trade.intent,
        window=trade.send_until - trade.created_at,
        read_at_s=read_at_s,
    )


def _facts(order: OrderRow) -> OrderFacts:
    return OrderFacts(
        lane=order.lane,
        order_id=order.order_id,
        merchant_id=order.merchant_id,
        amount_minor=order.amount_minor,
        currency=order.currency,
        subject=order.subject,
        expires_at=order.expires_at,
        shop_id=order.shop_id,
    )
