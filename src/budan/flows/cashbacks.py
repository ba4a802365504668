"""Cashback plans as an operator keeps them, and what merchants ask and tell of their payers."""

import re
from dataclasses import dataclass
from datetime import datetime

from budan.core.cashback import CashbackCause, Funder
from budan.core.errors import Refused, StaleState, StoreUnavailable
from budan.core.fees import FEE_RATE_BP_MAX
from budan.core.money import AMOUNT_MINOR_MAX, CURRENCY_EXPONENTS
from budan.core.numbers import Environment, Lane, MerchantId, OrderId, trade_number
from budan.core.order import OrderState
from budan.flows.cashback_plan import find_paid, plan_settled, read_cashbacks
from budan.flows.rates import METHODS
from budan.flows.reading import PAGE_ROWS_MAX, Reading, own_number
from budan.flows.views import Caller, MovementView, OrderView, PayerPage, PayerSum
from budan.store import cashbacks as stored
from budan.store import directory
from budan.store import door as gate
from budan.store.cashbacks import MovementRow, NewPlan, PayerKey, PlanRow
from budan.store.database import Database, RowsFailed, Transaction
from budan.store.door import DoorWrites, Key, OrderChange

FUNDERS = tuple(funder.value for funder in Funder)
# A plan's budget is that of many payments, each at most AMOUNT_MINOR_MAX.
BUDGET_MINOR_MAX = AMOUNT_MINOR_MAX * 1_000

_NAME_CHARACTERS_MAX = 80
_PAYER_ID = re.compile(r"[!-~]{1,128}")
_CURSOR = re.compile(r"([0-9A-Z]{1,40})_([0-9]{1,4})")
_NEWEST = (OrderId((1 << 63) - 1), 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanWish:
    """A plan as a person gives it; nothing of it is checked yet. `merchant_id` None is every merchant."""

    name: str
    merchant_id: int | None
    funded_by: str
    fixed_minor: int | None
    rate_bp: int | None
    cap_minor: int | None
    currency: str
    budget_minor: int
    methods: tuple[str, ...]
    begins_at: datetime | None
    ends_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AddedPlan:
    """A plan that was added, and when it begins."""

    plan_id: int
    begins_at: datetime


class CashbackPlans:
    """Adds, lists and ends plans. A plan is never changed but by its end: what payers were offered stands."""

    def __init__(self, *, database: Database, lanes: int) -> None:
        self._database = database
        self._lanes = lanes

    async def add(self, wish: PlanWish) -> AddedPlan:
        """A plan, with its budget portioned to lanes: its merchant's lane has all of it, else each lane the same.

        Not safe to repeat: each call adds. Raises `Refused` as `check_plan` does, then with `merchant_unknown`,
        `effective_from_past` or `window_reversed`.
        """
        funder = check_plan(wish)
        async with self._database.transaction() as transaction:
            lane = await _find_lane(transaction, wish.merchant_id)
            now = await transaction.clock()
            if wish.begins_at is not None and wish.begins_at < now:
                raise Refused("effective_from_past", param="from", detail="what payers were offered is never changed")
            if wish.ends_at is not None and wish.ends_at <= (wish.begins_at or now):
                raise Refused("window_reversed", param="until", detail="it ends before it begins")
            plan = NewPlan(
                name=" ".join(wish.name.split()),
                merchant_id=None if wish.merchant_id is None else MerchantId(wish.merchant_id),
                funded_by=funder,
                fixed_minor=wish.fixed_minor,
                rate_bp=wish.rate_bp,
                cap_minor=wish.cap_minor,
                currency=wish.currency,
                budget_minor=wish.budget_minor,
                methods=wish.methods or None,
                begins_at=wish.begins_at,
                ends_at=wish.ends_at,
            )
            portions = portion_budget(wish.budget_minor, lane=lane, lanes=self._lanes)
            plan_id, begins_at = await stored.add_plan(transaction, plan, portions)
        return AddedPlan(plan_id=plan_id, begins_at=begins_at)

    async def end(self, plan_id: int) -> datetime:
        """End a plan for payments that begin from now on; raises `Refused` with `plan_not_running`."""
        async with self._database.transaction() as transaction:
            ended_at = await stored.end_plan(transaction, plan_id)
        if ended_at is None:
            raise Refused("plan_not_running", param="plan", detail="there is none of this number that has not ended")
        return ended_at

    async def list_all(self) -> list[PlanRow]:
        """Every plan with what of its budget stands granted."""
        async with self._database.reading() as transaction:
            return await stored.list_plans(transaction)


def portion_budget(budget_minor: int, *, lane: Lane | None, lanes: int) -> list[tuple[Lane, int]]:
    """The lanes' portions of a budget: all to the one lane, or the same to each and the rest to the first."""
    if lane is not None:
        return [(lane, budget_minor)]
    each, rest = divmod(budget_minor, lanes)
    return [(Lane(number), each + (number < rest)) for number in range(lanes)]


def check_plan(wish: PlanWish) -> Funder:
    """Who pays for it.

    Raises `Refused` with `name_malformed`, `currency_unknown`, `funder_unknown`, `merchant_missing`, `amount_ambiguous`,
    `amount_out_of_range`, `rate_out_of_range`, `cap_without_rate`, `budget_out_of_range` or `method_unknown`.
    """
    name = " ".join(wish.name.split())
    if not 1 <= len(name) <= _NAME_CHARACTERS_MAX or not name.isprintable():
        raise Refused("name_malformed", param="name", detail=f"1 to {_NAME_CHARACTERS_MAX} printable characters")
    if wish.currency not in CURRENCY_EXPONENTS:
        raise Refused("currency_unknown", param="currency")
    if wish.funded_by not in FUNDERS:
        raise Refused("funder_unknown", param="funded_by", detail=f"one of {FUNDERS}")
    funder = Funder(wish.funded_by)
    if funder is Funder.MERCHANT and wish.merchant_id is None:
        raise Refused("merchant_missing", param="merchant", detail="a plan that a merchant pays names it")
    _check_amounts(wish)
    unknown = set(wish.methods) - METHODS
    if unknown:
        raise Refused("method_unknown", param="method", detail=f"one of {sorted(METHODS)}")
    return funder


def _check_amounts(wish: PlanWish) -> None:
    if (wish.fixed_minor is None) == (wish.rate_bp is None):
        raise Refused("amount_ambiguous", param="fixed", detail="a fixed amount, or a rate")
    for param, amount_minor in (("fixed", wish.fixed_minor), ("cap", wish.cap_minor)):
        if amount_minor is not None and not 1 <= amount_minor <= AMOUNT_MINOR_MAX:
            raise Refused("amount_out_of_range", param=param, detail=f"1 to {AMOUNT_MINOR_MAX}")
    if wish.rate_bp is not None and not 1 <= wish.rate_bp <= FEE_RATE_BP_MAX:
        raise Refused("rate_out_of_range", param="rate", detail=f"1 to {FEE_RATE_BP_MAX} basis points")
    if wish.cap_minor is not None and wish.rate_bp is None:
        raise Refused("cap_without_rate", param="cap", detail="a fixed amount has no cap")
    if not 1 <= wish.budget_minor <= BUDGET_MINOR_MAX:
        raise Refused("budget_out_of_range", param="budget", detail=f"1 to {BUDGET_MINOR_MAX}")


async def _find_lane(transaction: Transaction, merchant_id: int | None) -> Lane | None:
    if merchant_id is None:
        return None
    merchant = await directory.find_merchant(transaction, MerchantId(merchant_id))
    if merchant is None:
        raise Refused("merchant_unknown", param="merchant")
    return merchant.lane


class Payers:
    """What a merchant's payers have of cashback, and whose a payment was."""

    def __init__(self, *, database: Database, environment: Environment, reading: Reading) -> None:
        self._database = database
        self._environment = environment
        self._reading = reading

    async def bind(self, caller: Caller, order_no: str, payer_id: str) -> OrderView:
        """Say whose payment a paid order's was where its channel did not; books the cashback that waits for it.

        Safe to repeat. Raises `Refused` with `payer_malformed`, the codes of `own_number`, `order_not_paid`,
        `no_cashback`, `payer_bound` where another payer is known; `StoreUnavailable`.
        """
        if not _PAYER_ID.fullmatch(payer_id):
            raise Refused("payer_malformed", param="payer_id", detail="1 to 128 visible ASCII characters")
        number = own_number(caller, order_no, environment=self._environment)
        try:
            async with self._database.transaction() as transaction:
                await _bind(transaction, (number.lane, number.order_id), payer_id)
        except RowsFailed as failed:
            raise StoreUnavailable(str(failed)) from failed
        return await self._reading.get_order(caller, order_no)

    async def get(self, caller: Caller, payer_id: str, *, cursor: str | None, limit: int) -> PayerPage:
        """What a payer has of the caller, and how that came, the newest orders first; nothing of an unknown one.

        Raises `Refused` with `payer_malformed`, `limit_out_of_range` or `cursor_malformed`.
        """
        if not _PAYER_ID.fullmatch(payer_id):
            raise Refused("payer_malformed", param="payer_id", detail="1 to 128 visible ASCII characters")
        if not 1 <= limit <= PAGE_ROWS_MAX:
            raise Refused("limit_out_of_range", param="limit", detail=f"1 to {PAGE_ROWS_MAX}")
        before = self._cursor(caller, cursor)
        payer = PayerKey(lane=caller.lane, merchant_id=caller.merchant_id, payer_id=payer_id)
        async with self._database.reading() as transaction:
            sums = await stored.sum_payer(transaction, payer)
            rows = await stored.list_payer(transaction, payer, before=before, rows_max=limit + 1)
        movements = tuple(self._view(caller, row) for row in rows[:limit])
        last = rows[limit - 1] if len(rows) > limit else None
        return PayerPage(
            payer_id=payer_id,
            balances=tuple(PayerSum(currency=currency, amount_minor=amount) for currency, amount in sums),
            movements=movements,
            next_cursor=None if last is None else f"{movements[-1].order_no}_{last.ordinal}",
        )

    def _view(self, caller: Caller, row: MovementRow) -> MovementView:
        return MovementView(
            order_no=trade_number(
                environment=self._environment,
                lane=row.lane,
                merchant_id=caller.merchant_id,
                order_id=row.order_id,
                attempt=0,
            ),
            amount_minor=row.amount_minor,
            currency=row.currency,
            cause=row.cause,
            booked_at=row.booked_at,
        )

    def _cursor(self, caller: Caller, cursor: str | None) -> tuple[OrderId, int]:
        if cursor is None:
            return _NEWEST
        parts = _CURSOR.fullmatch(cursor)
        try:
            number = None if parts is None else own_number(caller, parts[1], environment=self._environment)
        except Refused as refused:
            raise Refused("cursor_malformed", param="cursor") from refused
        if parts is None or number is None:
            raise Refused("cursor_malformed", param="cursor")
        return number.order_id, int(parts[2])


async def _bind(transaction: Transaction, key: Key, payer_id: str) -> None:
    locked = (await gate.lock_orders(transaction, [key])).get(key)
    if locked is None:
        raise Refused("order_not_found", param="order_no")
    if locked.order.state is not OrderState.PAID:
        raise Refused("order_not_paid", param="order_no", detail=f"the order is {locked.order.state.value}")
    trades = (await gate.list_trades(transaction, [key]))[key]
    paid = find_paid(locked, trades)
    assert paid is not None, "a paid order has the trade that paid it"
    writes = DoorWrites(orders=[OrderChange(locked=locked, state=locked.order.state)])
    cashback = (await read_cashbacks(transaction, {key: locked}, {key: trades}, writes)).get(key)
    if cashback is None or cashback.granted_minor == 0:
        raise Refused("no_cashback", param="order_no", detail="the order was granted none: nothing waits for its payer")
    if cashback.payer_id == payer_id:
        return
    if cashback.payer_id is not None:
        raise Refused("payer_bound", param="payer_id", detail="the payment's payer is known, and is another one")
    plan_settled(
        locked,
        paid,
        cashback,
        writes,
        cause=CashbackCause.PAYER_KNOWN,
        payer_id=payer_id,
        is_held=locked.order.hold_reason is not None,
    )
    if len(await gate.write(transaction, writes, now=locked.now)) != 1:
        raise StaleState
