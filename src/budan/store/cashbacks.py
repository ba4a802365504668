"""Cashback plans and their budgets, what orders were granted, and what payers have."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import cast

from budan.core.cashback import Cashback, CashbackCause, CashbackDecision, CashbackPlan, Funder
from budan.core.numbers import Lane, MerchantId, OrderId
from budan.store.database import Transaction, columns
from budan.store.queries import query

_PLAN_ADD = query("cashback_plan_add")
_BUDGET_ADD = query("cashback_budget_add")
_PLAN_END = query("cashback_plan_end")
_PLAN_LIST = query("cashback_plan_list")
_PLAN_LIST_OF = query("cashback_plan_list_of")
_LOCK_BUDGETS = query("cashback_lock_budgets")
_FIND_MANY = query("cashback_find_many")
_WRITE = query("cashback_write")
_SUM_PAYER = query("cashback_sum_payer")
_LIST_PAYER = query("cashback_list_payer")

Key = tuple[Lane, OrderId]
# A lane's portion of a plan's budget: lane, plan.
BudgetKey = tuple[Lane, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPlan:
    """A plan to add; the columns are those of the table."""

    name: str
    merchant_id: MerchantId | None
    funded_by: Funder
    fixed_minor: int | None
    rate_bp: int | None
    cap_minor: int | None
    currency: str
    budget_minor: int
    methods: Sequence[str] | None
    begins_at: datetime | None
    ends_at: datetime | None
    set_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRow:
    """A plan as people see it, with what of its budget stands granted."""

    plan_id: int
    name: str
    merchant_id: MerchantId | None
    funded_by: str
    fixed_minor: int | None
    rate_bp: int | None
    cap_minor: int | None
    currency: str
    methods: Sequence[str] | None
    begins_at: datetime
    ends_at: datetime | None
    budget_minor: int
    set_by: str | None
    ended_by: str | None
    granted_minor: int
    left_minor_of_lanes: list[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class CashbackChange:
    """An order's cashback after a decision; `moved_minor` is booked, `taken_minor` comes from the plan's budget."""

    key: Key
    merchant_id: MerchantId
    currency: str
    after: Cashback
    moved_minor: int
    taken_minor: int
    cause: CashbackCause


@dataclass(frozen=True, slots=True, kw_only=True)
class MovementRow:
    """One movement of a payer's cashback; taken back it is negative."""

    lane: Lane
    order_id: OrderId
    ordinal: int
    amount_minor: int
    currency: str
    cause: str
    booked_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class PayerKey:
    """A merchant's payer: another merchant's of the same name is another one."""

    lane: Lane
    merchant_id: MerchantId
    payer_id: str


async def add_plan(
    transaction: Transaction, plan: NewPlan, portions: Sequence[tuple[Lane, int]]
) -> tuple[int, datetime]:
    """A plan with its budget portioned to lanes; gives its id and when it begins."""
    row = await transaction.one(
        _PLAN_ADD,
        plan.name,
        plan.merchant_id,
        plan.funded_by.value,
        plan.fixed_minor,
        plan.rate_bp,
        plan.cap_minor,
        plan.currency,
        plan.budget_minor,
        plan.methods,
        plan.begins_at,
        plan.ends_at,
        plan.set_by,
    )
    await transaction.none(_BUDGET_ADD, row["id"], *columns(portions, 2))
    return row["id"], row["begins_at"]


async def end_plan(transaction: Transaction, plan_id: int, *, by: str) -> datetime | None:
    """End a plan for payments that begin from now on; None where there is none that has not ended."""
    row = await transaction.maybe(_PLAN_END, plan_id, by)
    return None if row is None else cast("datetime", row["ends_at"])


async def list_plans(transaction: Transaction) -> list[PlanRow]:
    """Every plan, oldest first."""
    return [PlanRow(**dict(row)) for row in await transaction.many(_PLAN_LIST)]


async def list_plans_of(
    transaction: Transaction, merchant_ids: Sequence[MerchantId]
) -> list[tuple[MerchantId | None, CashbackPlan]]:
    """Plans in force, to come, and ended lately, each with its merchant, or None where it is for all."""
    return [
        (
            row["merchant_id"],
            CashbackPlan(
                plan_id=row["plan_id"],
                funded_by=Funder(row["funded_by"]),
                fixed_minor=row["fixed_minor"],
                rate_bp=row["rate_bp"],
                cap_minor=row["cap_minor"],
                methods=None if row["methods"] is None else frozenset(row["methods"]),
                begins_at=row["begins_at"],
                ends_at=row["ends_at"],
            ),
        )
        for row in await transaction.many(_PLAN_LIST_OF, merchant_ids)
    ]


async def lock_budgets(transaction: Transaction, keys: Sequence[BudgetKey]) -> dict[BudgetKey, int]:
    """Lock budgets in lane and plan order; gives what is left of each. The caller holds its orders."""
    rows = await transaction.many(_LOCK_BUDGETS, *columns(sorted(set(keys)), 2))
    return {(row["lane"], row["plan_id"]): row["left_minor"] for row in rows}


async def find_cashbacks(transaction: Transaction, keys: Sequence[Key]) -> dict[Key, Cashback]:
    """What these orders were granted; absent where nothing was decided."""
    return {
        (row["lane"], row["order_id"]): Cashback(
            plan_id=row["plan_id"],
            funded_by=Funder(row["funded_by"]),
            decision=CashbackDecision(row["decision"]),
            granted_minor=row["granted_minor"],
            standing_minor=row["standing_minor"],
            booked_minor=row["booked_minor"],
            payer_id=row["payer_id"],
            movements=row["movements"],
        )
        for row in await transaction.many(_FIND_MANY, *columns(sorted(keys), 2))
    }


async def write_cashbacks(transaction: Transaction, changes: Sequence[CashbackChange], *, now: datetime) -> None:
    """Write what changes; the caller holds orders and budgets, and books the entries."""
    rows = [
        (
            *change.key,
            change.after.plan_id,
            change.after.funded_by.value,
            change.after.decision.value,
            change.after.granted_minor,
            change.after.standing_minor,
            change.after.booked_minor,
            change.currency,
            change.after.payer_id,
            change.after.movements,
            change.merchant_id,
            change.moved_minor,
            change.cause.value,
            change.taken_minor,
        )
        for change in sorted(changes, key=lambda change: change.key)
    ]
    await transaction.none(_WRITE, now, *columns(rows, 15))


async def sum_payer(transaction: Transaction, payer: PayerKey) -> list[tuple[str, int]]:
    """What a payer has, by currency."""
    rows = await transaction.many(_SUM_PAYER, payer.lane, payer.merchant_id, payer.payer_id)
    return [(row["currency"], row["amount_minor"]) for row in rows]


async def list_payer(
    transaction: Transaction, payer: PayerKey, *, before: tuple[OrderId, int], rows_max: int
) -> list[MovementRow]:
    """How a payer came to it, the newest orders first, before an order's movement."""
    rows = await transaction.many(_LIST_PAYER, payer.lane, payer.merchant_id, payer.payer_id, *before, rows_max)
    return [MovementRow(**dict(row)) for row in rows]
