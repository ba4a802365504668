"""Cashback plans as an operator keeps them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from budan.core.cashback import Funder
from budan.core.errors import Refused
from budan.core.fees import FEE_RATE_BP_MAX
from budan.core.money import AMOUNT_MINOR_MAX, CURRENCY_EXPONENTS
from budan.core.numbers import Lane, MerchantId
from budan.flows.acts import check_name
from budan.flows.rates import METHODS
from budan.store import cashbacks as stored
from budan.store import directory
from budan.store.cashbacks import NewPlan, PlanRow
from budan.store.database import Database, Transaction

FUNDERS = tuple(funder.value for funder in Funder)
# A plan's budget is that of many payments, each at most AMOUNT_MINOR_MAX.
BUDGET_MINOR_MAX = AMOUNT_MINOR_MAX * 1_000

_NAME_CHARACTERS_MAX = 80


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
    by: str


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
        `effective_from_past`, `window_reversed` or `budget_too_small` (a lane's portion is less than one payer may get).
        """
        funder, by = check_plan(wish), check_name(wish.by)
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
                set_by=by,
            )
            portions = portion_budget(wish.budget_minor, lane=lane, lanes=self._lanes)
            _check_portions(wish, portions)
            plan_id, begins_at = await stored.add_plan(transaction, plan, portions)
        return AddedPlan(plan_id=plan_id, begins_at=begins_at)

    async def end(self, plan_id: int, *, by: str) -> datetime:
        """End a plan for payments that begin from now on; raises `Refused` with `name_malformed` or `plan_not_running`."""
        by = check_name(by)
        async with self._database.transaction() as transaction:
            ended_at = await stored.end_plan(transaction, plan_id, by=by)
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


def _check_portions(wish: PlanWish, portions: Sequence[tuple[Lane, int]]) -> None:
    """A lane that has less than one grant gives nothing: what a share without a cap comes to nobody knows, so it passes."""
    most = wish.fixed_minor or wish.cap_minor or 1
    if min(portion for _, portion in portions) < most:
        detail = (
            f"{len(portions)} lanes have a part each, and one payer may get {most}: at least {most * len(portions)}"
        )
        raise Refused("budget_too_small", param="budget", detail=detail)


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
