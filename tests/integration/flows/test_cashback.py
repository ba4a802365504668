"""What payers get back, with real rows: of the sandbox's payments, and of staged orders where many come at once."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from budan.core.cashback import CashbackOffer, Funder
from budan.core.errors import Refused
from budan.core.evidence import Source
from budan.core.refund import RefundEvidence, RefundOutcome
from budan.flows.books import Books, LedgerCheck
from budan.flows.cashback_plan import encode_offer
from budan.flows.cashbacks import CashbackPlans, PlanWish, check_plan, portion_budget
from budan.flows.door import DoorItem
from budan.flows.refund_door import RefundItem
from budan.flows.views import Caller, CashbackView
from budan.store.database import Database, Workload
from integration.flows.conftest import House
from integration.flows.test_refunds import PAID_MINOR, Desk
from integration.sandbox.running import calling
from stage import AMOUNT_MINOR, Stage, StagedMerchant, StagedOrder, open_stage

PAYER = "oUpF8"
ORDERS, GRANTED = 12, 5
GIVEN_MINOR = AMOUNT_MINOR // 10


def a_wish(**changes: Any) -> PlanWish:
    fields: dict[str, Any] = {
        "name": "A tenth back",
        "merchant_id": None,
        "funded_by": "platform",
        "fixed_minor": None,
        "rate_bp": 1_000,
        "cap_minor": None,
        "currency": "CNY",
        "budget_minor": 1_000_000,
        "methods": (),
        "begins_at": None,
        "ends_at": None,
        "by": "Ann",
    }
    return PlanWish(**(fields | changes))


@pytest.fixture
async def desk(house: House) -> AsyncIterator[Desk]:
    connection = await asyncpg.connect(house.dsn)
    async with calling(house.sandbox.url) as payer:
        yield Desk(house=house, payer=payer, rows=connection)
    await connection.close()


@pytest.fixture
async def rows(database_dsn: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    connection = await asyncpg.connect(database_dsn)
    yield connection
    await connection.close()


async def check_books(dsn: str, stage: Stage | House) -> LedgerCheck:
    database = await Database.connect(dsn, workload=Workload.BULK)
    books = Books(database=database, environment=stage.settings.environment, lanes=stage.opened.lanes)
    found = await books.check(progress=lambda _: None)
    await database.close()
    return found


async def plan_of(stage: Stage, merchant: StagedMerchant, *, budget_minor: int) -> None:
    """A plan of the platform's; the trades that are added from now on offer a tenth of it."""
    plans = CashbackPlans(database=stage.database, lanes=stage.opened.lanes)
    added = await plans.add(a_wish(merchant_id=merchant.merchant_id, budget_minor=budget_minor))
    offer = CashbackOffer(plan_id=added.plan_id, funded_by=Funder.PLATFORM, amount_minor=GIVEN_MINOR)
    stage.cashback_offer = encode_offer(offer)


async def say_paid(stage: Stage, order: StagedOrder, **changes: Any) -> str:
    return (await stage.flows.door.record(DoorItem(evidence=stage.payment(order, **changes)))).decision


async def cashback_of(stage: Stage, order: StagedOrder) -> CashbackView:
    caller = Caller(merchant_id=order.merchant.merchant_id, lane=order.lane)
    view = await stage.flows.reading.get_order(caller, order.order_no)
    assert view.cashback is not None
    return view.cashback


async def bind(stage: Stage, order: StagedOrder, payer_id: str) -> None:
    caller = Caller(merchant_id=order.merchant.merchant_id, lane=order.lane)
    await stage.flows.payers.bind(caller, order.order_no, payer_id)


async def budget_granted(rows: "asyncpg.Connection[asyncpg.Record]") -> int:
    return await rows.fetchval("SELECT sum(granted_minor) FROM cashback_budget")


@asynccontextmanager
async def two_processes(dsn: str, folder: Path) -> AsyncIterator[tuple[Stage, Stage]]:
    async with open_stage(dsn, folder) as one, open_stage(dsn, folder) as other:
        yield one, other


# Whoever pays for the cashback, and whose it is.
BOOKED_TO = """
SELECT account, sum(amount_minor)::bigint FROM posting WHERE entry_key LIKE 'cashback:%' GROUP BY account ORDER BY account
"""


@pytest.mark.invariant("I8", "I10")
async def test_a_tenth_of_a_payment_is_the_payers_until_it_is_refunded(desk: Desk) -> None:
    house = desk.house
    plans = CashbackPlans(database=house.opened.database, lanes=house.opened.lanes)
    merchant_id = house.merchant.merchant_id
    await plans.add(a_wish(merchant_id=merchant_id, funded_by="merchant", methods=("native",)))
    order = await desk.paid()
    given = (await desk.order(order)).cashback
    assert given is not None
    assert (given.decision, given.booked_minor, given.funded_by) == ("granted", PAID_MINOR // 10, "merchant")
    assert given.payer_id is not None
    assert await desk.rows.fetch(BOOKED_TO) == [("cashback_payable", -128), (f"merchant:{merchant_id}", 128)]
    # Taken back when the refund is promised, given again when it comes to nothing.
    await desk.faults(order, refund_refused=True)
    await desk.ask(order, PAID_MINOR // 2)
    assert await desk.balance("cashback_payable") == -PAID_MINOR // 20
    await desk.settle()
    assert await desk.balance("cashback_payable") == -PAID_MINOR // 10
    await desk.faults(order)
    await desk.ask(order, PAID_MINOR)
    await desk.settle()
    for account in ("channel:%", "merchant:%", "fee_income", "cashback_payable"):
        assert await desk.balance(account) == 0, account
    page = await house.flows.payers.get(house.caller, given.payer_id, cursor=None, limit=2)
    assert [(one.cause, one.amount_minor) for one in page.movements] == [("refund", -128), ("refund_freed", 64)]
    rest = await house.flows.payers.get(house.caller, given.payer_id, cursor=page.next_cursor, limit=2)
    assert [(one.cause, one.amount_minor) for one in rest.movements] == [("refund", -64), ("paid", 128)]
    assert (rest.next_cursor, [one.amount_minor for one in rest.balances]) == (None, [0])
    stranger = Caller(merchant_id=house.merchant.merchant_id + 1, lane=house.caller.lane)
    assert (await house.flows.payers.get(stranger, given.payer_id, cursor=None, limit=2)).balances == ()
    assert await budget_granted(desk.rows) == 0
    assert (await check_books(house.dsn, house)).holds
    # The merchant's own books follow what he is told with each event, without a question.
    assert [(event, cashback["decision"], cashback["booked_minor"]) for event, cashback in await told(desk)] == [
        ("order.paid", "granted", 128),
        ("refund.failed", "granted", 128),
        ("refund.succeeded", "granted", 0),
    ]


async def told(desk: Desk) -> list[tuple[str, Any]]:
    """What webhooks tell of cashback, in their order."""
    hooks = await desk.rows.fetch("SELECT event, body FROM webhook ORDER BY order_id, version")
    return [(hook["event"], json.loads(hook["body"])["data"]["cashback"]) for hook in hooks]


async def test_a_payment_that_no_plan_fits_says_why(desk: Desk) -> None:
    house = desk.house
    plans = CashbackPlans(database=house.opened.database, lanes=house.opened.lanes)
    added = await plans.add(a_wish(methods=("code",)))
    shown = (await desk.order(await desk.paid())).cashback
    assert shown is not None
    assert (shown.decision, shown.granted_minor) == ("method_excluded", 0)
    assert [cashback["decision"] for _, cashback in await told(desk)] == ["method_excluded"]
    assert await desk.rows.fetchval("SELECT count(*) FROM cashback") == 0
    await plans.end(added.plan_id, by="Ann")
    with pytest.raises(Refused, match="plan_not_running"):
        await plans.end(added.plan_id, by="Ann")


# What somebody writes, balanced and all, and what undoes it: another sum, somebody else who pays, another funder.
WRONG_GRANTS = {
    "UPDATE cashback SET booked_minor = booked_minor - 1 WHERE decision = 'granted'": (
        "UPDATE cashback SET booked_minor = booked_minor + 1 WHERE decision = 'granted'"
    ),
    "UPDATE posting SET account = 'merchant:1' WHERE account = 'cashback_expense'": (
        "UPDATE posting SET account = 'cashback_expense' WHERE entry_key LIKE 'cashback:%' AND account = 'merchant:1'"
    ),
    "UPDATE cashback SET funded_by = 'merchant'": "UPDATE cashback SET funded_by = 'platform'",
}


@pytest.mark.invariant("I3", "I10")
async def test_a_budget_is_never_exceeded_by_completions_of_two_processes_at_once(
    database_dsn: str, tmp_path: Path, rows: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    async with two_processes(database_dsn, tmp_path) as (one, other):
        merchant = await one.add_merchant()
        await plan_of(one, merchant, budget_minor=GRANTED * GIVEN_MINOR + GIVEN_MINOR - 1)
        orders = [one.name_order(merchant) for _ in range(ORDERS)]
        await one.add_orders(orders)
        # Each payment is told twice, once to each process.
        told = [say_paid(stage, order, payer_id=PAYER) for order in orders for stage in (one, other)]
        assert sorted(await asyncio.gather(*told)) == ["already_succeeded"] * ORDERS + ["complete"] * ORDERS
        decisions = [(await cashback_of(one, order)).decision for order in orders]
        assert sorted(decisions) == ["budget_exhausted"] * (ORDERS - GRANTED) + ["granted"] * GRANTED
        assert await budget_granted(rows) == GRANTED * GIVEN_MINOR
        booked = "SELECT sum(amount_minor) FROM posting WHERE account = $1"
        assert await rows.fetchval(booked, "cashback_payable") == -GRANTED * GIVEN_MINOR
        assert await rows.fetchval(booked, "cashback_expense") == GRANTED * GIVEN_MINOR
        assert (await check_books(database_dsn, one)).holds
        for wrong, right in WRONG_GRANTS.items():
            await rows.execute(wrong)
            found = await check_books(database_dsn, one)
            assert (found.holds, len(found.wrong_cashbacks), found.wrong_budgets) == (False, GRANTED, []), wrong
            await rows.execute(right)
        await rows.execute("DELETE FROM cashback")
        found = await check_books(database_dsn, one)
        assert len(found.wrong_cashbacks) == GRANTED
        assert [(one.given_minor, one.standing_minor) for one in found.wrong_budgets] == [(GRANTED * GIVEN_MINOR, 0)]


@pytest.mark.invariant("I8")
async def test_cashback_waits_for_its_payer_and_for_an_inquiry_and_comes_once(
    database_dsn: str, tmp_path: Path, rows: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    async with open_stage(database_dsn, tmp_path) as stage:
        merchant = await stage.add_merchant()
        await plan_of(stage, merchant, budget_minor=1_000_000)
        unknown, told_later, held = [await stage.add_order(merchant) for _ in range(3)]
        with pytest.raises(Refused, match="order_not_paid"):
            await bind(stage, unknown, PAYER)
        for order in (unknown, told_later):
            await say_paid(stage, order)
            assert (await cashback_of(stage, order)).decision == "payer_unknown"
        await bind(stage, unknown, PAYER)
        await bind(stage, unknown, PAYER)
        with pytest.raises(Refused, match="payer_bound"):
            await bind(stage, unknown, "somebody-else")
        assert await say_paid(stage, told_later, payer_id=PAYER) == "already_succeeded"
        assert await say_paid(stage, told_later, payer_id=PAYER) == "already_succeeded"
        await stage.operator.holds.hold(held.order_no, by="Ann", reason="looks odd")
        await say_paid(stage, held, payer_id=PAYER)
        assert (await cashback_of(stage, held)).decision == "order_held"
        proposed = await stage.operator.holds.propose_release(
            held.order_no, by="Ann", reason="all well", accept=False, resolution=None
        )
        await stage.operator.holds.confirm_release(held.order_no, by="Bob", act=proposed.act)
        for order in (unknown, told_later, held):
            given = await cashback_of(stage, order)
            assert (given.decision, given.booked_minor, given.payer_id) == ("granted", GIVEN_MINOR, PAYER)
        # Somebody refunds half in the portal: that much is taken back at once, and the budget has it again.
        told = RefundEvidence(
            refund_no="PORTAL1",
            trade_no=held.trade_no,
            account_id=merchant.account_id,
            outcome=RefundOutcome.SUCCEEDED,
            source=Source.NOTICE,
            learned_at=stage.opened.clock.now(),
            amount_minor=AMOUNT_MINOR // 2,
            currency="CNY",
        )
        for _ in range(2):
            await stage.flows.refund_door.record(RefundItem(evidence=told))
        assert (await cashback_of(stage, held)).booked_minor == GIVEN_MINOR // 2
        assert await budget_granted(rows) == 2 * GIVEN_MINOR + GIVEN_MINOR // 2
        causes = [row[0] for row in await rows.fetch("SELECT cause FROM cashback_movement ORDER BY order_id, ordinal")]
        assert causes == ["payer_known", "payer_known", "released", "refund"]
        assert (await check_books(database_dsn, stage)).holds


def test_a_budget_is_portioned_to_lanes_without_loss() -> None:
    portions = portion_budget(130, lane=None, lanes=64)
    assert [amount for _, amount in portions] == [3, 3] + [2] * 62
    assert len({lane for lane, _ in portions}) == 64


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"name": " "}, "name_malformed"),
        ({"currency": "USD"}, "currency_unknown"),
        ({"funded_by": "nobody"}, "funder_unknown"),
        ({"funded_by": "merchant"}, "merchant_missing"),
        ({"fixed_minor": 1}, "amount_ambiguous"),
        ({"rate_bp": None}, "amount_ambiguous"),
        ({"rate_bp": None, "fixed_minor": 0}, "amount_out_of_range"),
        ({"cap_minor": 0}, "amount_out_of_range"),
        ({"rate_bp": 10_001}, "rate_out_of_range"),
        ({"rate_bp": None, "fixed_minor": 1, "cap_minor": 1}, "cap_without_rate"),
        ({"budget_minor": 0}, "budget_out_of_range"),
        ({"methods": ("cash",)}, "method_unknown"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(changes: dict[str, Any], code: str) -> None:
    with pytest.raises(Refused) as caught:
        check_plan(a_wish(**changes))
    assert caught.value.code == code


async def test_a_plan_in_the_past_or_of_nobody_is_refused(
    database_dsn: str, rows: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    database = await Database.connect(database_dsn)
    plans, now = CashbackPlans(database=database, lanes=64), await rows.fetchval("SELECT clock_timestamp()")
    wrong = [
        (a_wish(merchant_id=99), "merchant_unknown"),
        (a_wish(begins_at=now), "effective_from_past"),
        (a_wish(ends_at=now - timedelta(seconds=1)), "window_reversed"),
    ]
    for wish, code in wrong:
        with pytest.raises(Refused, match=code):
            await plans.add(wish)
    later = replace(a_wish(), begins_at=now + timedelta(days=1), ends_at=now + timedelta(days=2))
    assert (await plans.add(later)).begins_at == later.begins_at
    await database.close()
