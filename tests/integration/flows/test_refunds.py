"""Refunds through the real flows, the real adapters and the sandbox over HTTP; each step is taken by the test."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from secrets import token_hex
from typing import Any

import asyncpg
import pytest
from structlog.testing import capture_logs

from budan.core.errors import Refused, StoreUnavailable
from budan.core.evidence import Source
from budan.core.numbers import AccountId, Lane
from budan.core.pace import REFUND_UNSENT_S_MAX
from budan.core.refund import RefundEvidence, RefundOutcome
from budan.flows.books import Books
from budan.flows.refund_door import RefundItem
from budan.flows.refunding import REFUNDS_BY_API_MAX, RefundOrder
from budan.flows.timelines import OrderTimeline, Timelines
from budan.flows.views import Caller, CreateOrder, OrderView, PaymentWish, RefundView
from budan.ports.channel import Method
from budan.telemetry import metrics
from integration.cli.commands import CommandLine, Typist
from integration.flows.conftest import House
from integration.flows.standing import until
from integration.sandbox.running import Caller as SandboxCaller
from integration.sandbox.running import calling

PAID_MINOR = 1_280
LANES = [Lane(lane) for lane in range(64)]
STEPS_MAX = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """A house with a payer's side and a look at the rows."""

    house: House
    payer: SandboxCaller
    rows: "asyncpg.Connection[asyncpg.Record]"

    async def paid(self, channel: str = "wechat_v3") -> OrderView:
        """An order that its customer paid; what the channel tells of it is lost, so that we ask."""
        house = self.house
        order = await house.flows.payments.create_order(
            CreateOrder(
                caller=house.caller,
                reference=f"ref-{token_hex(6)}",
                amount_minor=PAID_MINOR,
                currency="CNY",
                subject="Latte",
                request_digest=bytes(32),
                payment=PaymentWish(method=Method.NATIVE, channel=channel),
            )
        )
        await self.payer.pay(code_text=order.trades[0].qr_text, faults={"drop_notice": True})
        await self.rows.execute("UPDATE query_due SET due_at = now()")
        for due in await house.flows.questions.list_due(lanes=LANES, accounts_left_out=(), rows_max=10):
            await house.flows.questions.ask_due(due)
        return await self.order(order)

    async def order(self, order: OrderView) -> OrderView:
        return await self.house.flows.reading.get_order(self.house.caller, order.order_no)

    async def ask(self, order: OrderView, amount_minor: int, **changes: Any) -> RefundView:
        fields: dict[str, Any] = {
            "caller": self.house.caller,
            "order_no": order.order_no,
            "amount_minor": amount_minor,
            "reason": "退一杯",
            "request_digest": amount_minor.to_bytes(32, "big", signed=True),
            "idempotency_key": token_hex(8),
            **changes,
        }
        return await self.house.flows.refunding.request(RefundOrder(**fields))

    async def step(self) -> int:
        """Takes every next step, as a worker does when all are due; gives how many there were."""
        await self.rows.execute("UPDATE refund_due SET due_at = now() - interval '1 second'")
        refunding = self.house.flows.refunding
        dues = await refunding.list_due(lanes=LANES, accounts_left_out=(), rows_max=100)
        await asyncio.gather(*(refunding.advance(due) for due in dues))
        return len(dues)

    async def settle(self) -> None:
        """Steps until nothing is due; the send windows of what was sent are over before each."""
        for _ in range(STEPS_MAX):
            await self.rows.execute("UPDATE refund SET send_until = send_until - interval '1 minute'")
            if not await self.step():
                return
        pytest.fail("refunds never came to rest")

    async def refund(self, order: OrderView, refund: RefundView) -> RefundView:
        return await self.house.flows.refunding.get(self.house.caller, order.order_no, refund.refund_no)

    async def faults(self, order: OrderView, **faults: Any) -> None:
        wish = {"trade_no": order.trades[0].trade_no, "faults": faults}
        status, _ = await self.payer.admin("PUT", "/sandbox/refund-faults", wish)
        assert status == 200

    async def at_channel(self, order: OrderView) -> dict[str, Any]:
        return await self.payer.trade(order.trades[0].trade_no)

    async def sums(self) -> tuple[int, int, int]:
        """What is reserved and refunded on the trade, and what all accounts together hold of one another."""
        row = await self.rows.fetchrow("SELECT refund_reserved_minor, refunded_minor FROM trade")
        total = await self.rows.fetchval("SELECT sum(amount_minor) FROM posting")
        assert row is not None
        return row[0], row[1], total

    async def balance(self, account: str) -> int:
        return await self.rows.fetchval(
            "SELECT coalesce(sum(amount_minor), 0) FROM posting WHERE account LIKE $1", account
        )

    async def timeline(self, order: OrderView) -> OrderTimeline:
        """What `budan orders show` tells."""
        opened = self.house.opened
        timelines = Timelines(database=opened.database, environment=opened.settings.environment, lanes=opened.lanes)
        return await timelines.get_timeline(order.order_no)

    async def events(self) -> list[str]:
        return [row[0] for row in await self.rows.fetch("SELECT event FROM webhook ORDER BY order_id, version")]


@pytest.fixture
async def desk(house: House) -> AsyncIterator[Desk]:
    connection = await asyncpg.connect(house.dsn)
    async with calling(house.sandbox.url) as payer:
        yield Desk(house=house, payer=payer, rows=connection)
    await connection.close()


@pytest.mark.invariant("I10", "I11")
@pytest.mark.parametrize("channel", ["wechat_v3", "alipay"])
async def test_a_refund_goes_back_and_is_booked_with_its_share_of_the_fee(desk: Desk, channel: str) -> None:
    order = await desk.paid(channel)
    asked = await desk.ask(order, 280)
    assert (asked.state, asked.origin, asked.amount_minor) == ("created", "merchant", 280)
    assert await desk.sums() == (280, 0, 0)
    await desk.settle()
    done = await desk.refund(order, asked)
    # Alipay's answer moves the money and names no time.
    assert (done.state, done.refunded_at is not None) == ("succeeded", channel == "wechat_v3")
    assert await desk.sums() == (0, 280, 0)
    assert (await desk.at_channel(order))["refunded_minor"] == 280
    assert await desk.balance("channel:%") == PAID_MINOR - 280
    assert await desk.events() == ["order.paid", "refund.succeeded"]
    view = await desk.order(order)
    assert (view.state, [refund.refund_no for refund in view.refunds]) == ("paid", [asked.refund_no])
    intent = await desk.rows.fetchval("SELECT intent->>'refund_no' FROM refund")
    assert intent == asked.refund_no
    shown = await desk.timeline(order)
    said = [(row.ordinal, row.outcome, row.decision, row.amount_minor) for row in shown.rows.refund_evidence]
    assert said == [(1, "succeeded", "give_back", 280)]
    happened = [moment.what for moment in shown.moments]
    assert happened.count("refund_evidence") == 1
    assert ("channel_refunded" in happened) == (channel == "wechat_v3")


@pytest.mark.parametrize("channel", ["wechat_v3", "alipay"])
async def test_refunds_of_all_parts_give_back_all_of_the_money_and_the_fee(desk: Desk, channel: str) -> None:
    order = await desk.paid(channel)
    for amount_minor in (1, 279, 1000):
        await desk.ask(order, amount_minor)
        await desk.settle()
    assert await desk.sums() == (0, PAID_MINOR, 0)
    for account in ("channel:%", "merchant:%", "fee_income"):
        assert await desk.balance(account) == 0, account
    with pytest.raises(Refused, match="refund_exceeds_paid"):
        await desk.ask(order, 1)


BREAKS = [
    ("DELETE FROM posting WHERE entry_key = 'refund:1'", "refund", (-280, 0)),
    ("UPDATE refund SET state = 'failed'", "refund", (0, -280)),
    ("UPDATE posting SET amount_minor = 2 * amount_minor WHERE entry_key = 'payment:1'", "payment", (1_280, 2_560)),
    ("UPDATE trade SET state = 'closed'", "payment", (0, 1_280)),
]


@pytest.mark.invariant("I10")
async def test_money_that_moved_and_is_booked_otherwise_breaks_the_check(desk: Desk) -> None:
    """Every entry balances, and no order says otherwise; each break is taken back before the next."""
    order = await desk.paid()
    await desk.ask(order, 280)
    await desk.settle()
    opened = desk.house.opened
    books = Books(database=opened.database, environment=opened.settings.environment, lanes=opened.lanes)
    assert (await books.check(progress=lambda _: None)).holds
    for break_it, what, (moved, booked) in BREAKS:
        await desk.rows.execute("DROP TABLE IF EXISTS kept; CREATE TABLE kept AS TABLE posting")
        rows = await desk.rows.fetch("SELECT state FROM refund UNION ALL SELECT state FROM trade")
        await desk.rows.execute(break_it)
        found = await books.check(progress=lambda _: None)
        assert [(one.what, one.moved_minor, one.booked_minor) for one in found.wrong_moves] == [(what, moved, booked)]
        assert not found.holds
        await desk.rows.execute("TRUNCATE posting; INSERT INTO posting TABLE kept")
        await desk.rows.execute("UPDATE refund SET state = $1", rows[0]["state"])
        await desk.rows.execute("UPDATE trade SET state = $1", rows[1]["state"])


async def test_what_cannot_be_refunded_is_refused_and_changes_nothing(desk: Desk) -> None:
    order = await desk.paid()
    other = Caller(merchant_id=desk.house.merchant.merchant_id + 1, lane=desk.house.merchant.lane)
    refusals: list[tuple[int, dict[str, Any], str]] = [
        (0, {}, "amount_not_positive"),
        (-280, {}, "amount_not_positive"),
        (10**18, {}, "amount_too_large"),
        (280, {"reason": "x" * 81}, "reason_malformed"),
        (280, {"reason": "a\nb"}, "reason_malformed"),
        (PAID_MINOR + 1, {}, "refund_exceeds_paid"),
        (280, {"caller": other}, "order_not_found"),
        (280, {"order_no": order.trades[0].trade_no}, "order_not_found"),
        (280, {"order_no": "T1"}, "order_no_malformed"),
    ]
    before = await desk.rows.fetch("SELECT o.*, t.* FROM orders AS o, trade AS t")
    for amount_minor, changes, code in refusals:
        with pytest.raises(Refused) as refused:
            await desk.ask(order, amount_minor, **({"idempotency_key": "k1"} | changes))
        assert refused.value.code == code
    assert await desk.rows.fetch("SELECT o.*, t.* FROM orders AS o, trade AS t") == before
    for table in ("refund", "refund_due", "idempotency"):
        assert await desk.rows.fetchval(f"SELECT count(*) FROM {table}") == 0  # noqa: S608 - a test's own word


async def test_an_order_that_is_not_paid_or_is_held_is_not_refunded(desk: Desk) -> None:
    order = await desk.paid()
    await desk.rows.execute("UPDATE orders SET hold_reason = 'wrong_amount', hold_since = now()")
    with pytest.raises(Refused, match="order_on_hold"):
        await desk.ask(order, 1)
    unpaid = await desk.house.flows.payments.create_order(
        CreateOrder(
            caller=desk.house.caller,
            reference="unpaid",
            amount_minor=1,
            currency="CNY",
            subject="Latte",
            request_digest=bytes(32),
        )
    )
    with pytest.raises(Refused, match="order_not_paid"):
        await desk.ask(unpaid, 1)
    assert await desk.rows.fetchval("SELECT count(*) FROM refund") == 0


async def test_one_key_makes_one_refund_and_has_one_amount(desk: Desk) -> None:
    order = await desk.paid()
    first = await desk.ask(order, 280, idempotency_key="k1")
    await desk.settle()
    again = await desk.ask(order, 280, idempotency_key="k1")
    assert (again.refund_no, again.state) == (first.refund_no, "succeeded")
    with pytest.raises(Refused, match="idempotency_key_reused"):
        await desk.ask(order, 281, idempotency_key="k1")
    other = await desk.paid()
    with pytest.raises(Refused, match="idempotency_key_reused"):
        await desk.ask(other, 280, idempotency_key="k1")
    assert await desk.rows.fetchval("SELECT count(*) FROM refund") == 1


@pytest.mark.invariant("I10")
async def test_concurrent_refunds_never_promise_more_than_was_paid(desk: Desk) -> None:
    order = await desk.paid()
    answers = await asyncio.gather(*(desk.ask(order, 500) for _ in range(6)), return_exceptions=True)
    refused = [answer for answer in answers if isinstance(answer, BaseException)]
    assert len(refused) == 4
    assert {error.code for error in refused if isinstance(error, Refused)} == {"refund_exceeds_paid"}
    await desk.settle()
    assert await desk.sums() == (0, 1_000, 0)
    assert (await desk.at_channel(order))["refunded_minor"] == 1_000


async def test_an_order_has_so_many_refunds_and_keeps_numbers_for_payments_that_must_go_back(desk: Desk) -> None:
    order = await desk.paid()
    for _ in range(REFUNDS_BY_API_MAX):
        await desk.ask(order, 1)
    with pytest.raises(Refused, match="too_many_refunds"):
        await desk.ask(order, 1)


@pytest.mark.invariant("I5", "I11")
@pytest.mark.parametrize("channel", ["wechat_v3", "alipay"])
async def test_a_refund_that_was_done_and_never_answered_is_found_by_asking(desk: Desk, channel: str) -> None:
    order = await desk.paid(channel)
    await desk.faults(order, busy=True)
    asked = await desk.ask(order, 280)
    await desk.step()
    assert (await desk.refund(order, asked)).state == "unknown"
    assert await desk.sums() == (280, 0, 0)
    await desk.settle()
    assert (await desk.refund(order, asked)).state == "succeeded"
    assert (await desk.at_channel(order))["refunded_minor"] == 280


@pytest.mark.invariant("I11")
@pytest.mark.parametrize("fault", ["timeout_after_charge", "timeout_before_charge"])
async def test_a_worker_that_dies_between_sending_and_recording_loses_and_doubles_nothing(
    desk: Desk, fault: str
) -> None:
    """Killed while the channel has the request: its intent is committed, and whoever comes next asks first."""
    order = await desk.paid()
    await desk.faults(order, **{fault: True})
    asked = await desk.ask(order, 280)
    refunding = desk.house.flows.refunding
    (due,) = await refunding.list_due(lanes=LANES, accounts_left_out=(), rows_max=2)
    sending = asyncio.create_task(refunding.advance(due))
    await until(desk.rows, "SELECT send_until IS NOT NULL FROM refund", is_so=bool)
    if fault == "timeout_after_charge":
        await desk.payer.trade_when(order.trades[0].trade_no, lambda trade: bool(trade["refunds"]))
    sending.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await sending
    row = await desk.rows.fetchrow("SELECT state, to_send FROM refund")
    assert row is not None
    assert tuple(row) == ("created", False)
    await desk.faults(order)
    await desk.settle()
    assert (await desk.refund(order, asked)).state == "succeeded"
    trade = await desk.at_channel(order)
    assert (trade["refunded_minor"], len(trade["refunds"])) == (280, 1)
    assert await desk.sums() == (0, 280, 0)


@pytest.mark.invariant("I5")
@pytest.mark.parametrize("channel", ["wechat_v3", "alipay"])
async def test_a_refused_refund_is_freed_after_a_query_confirms_it_and_can_be_asked_for_anew(
    desk: Desk, channel: str
) -> None:
    order = await desk.paid(channel)
    await desk.faults(order, refund_refused=True)
    asked = await desk.ask(order, PAID_MINOR)
    await desk.step()
    refused = await desk.refund(order, asked)
    assert (refused.state, await desk.sums()) == ("unknown", (PAID_MINOR, 0, 0))
    await desk.step()
    assert await desk.sums() == (PAID_MINOR, 0, 0), "the send window is not over: an earlier copy might arrive"
    await desk.settle()
    failed = await desk.refund(order, asked)
    assert (failed.state, failed.code != "") == ("failed", True)
    assert await desk.sums() == (0, 0, 0)
    assert (await desk.events())[-1] == "refund.failed"
    await desk.faults(order)
    again = await desk.ask(order, PAID_MINOR)
    await desk.settle()
    assert (await desk.refund(order, again)).state == "succeeded"


async def test_a_row_that_goes_on_failing_is_put_off_and_asks_its_channel_seldom(desk: Desk) -> None:
    order = await desk.paid()
    await desk.ask(order, 280)
    await desk.step()
    await desk.rows.execute("ALTER TABLE refund_evidence ADD CONSTRAINT never CHECK (ordinal > 31) NOT VALID")
    await desk.rows.execute("UPDATE refund_due SET due_at = now() - interval '1 second'")
    refunding = desk.house.flows.refunding
    (due,) = await refunding.list_due(lanes=LANES, accounts_left_out=(), rows_max=2)
    with pytest.raises(StoreUnavailable):
        await refunding.advance(due)
    assert await refunding.list_due(lanes=LANES, accounts_left_out=(), rows_max=2) == []
    assert await desk.rows.fetchval("SELECT attempts FROM refund_due") == due.attempts + 1
    await desk.rows.execute("ALTER TABLE refund_evidence DROP CONSTRAINT never")
    await desk.settle()
    assert await desk.sums() == (0, 280, 0)


async def test_a_step_that_could_not_leave_comes_again_by_the_refunds_age_on_whatever_rung_it_stands(
    desk: Desk,
) -> None:
    """A refund asked about once a day waited another day because its account was busy for a moment."""
    order = await desk.paid()
    asked = await desk.ask(order, 280)
    unsent = replace(
        told_elsewhere(desk, order),
        refund_no=asked.refund_no,
        outcome=RefundOutcome.UNKNOWN,
        source=Source.QUERY,
        sent=False,
    )
    await desk.house.flows.refund_door.record(RefundItem(evidence=unsent, attempts=8))
    due = await desk.rows.fetchrow("SELECT attempts, extract(epoch FROM due_at - now()) AS wait_s FROM refund_due")
    assert due is not None
    assert due["attempts"] == 8
    assert due["wait_s"] <= REFUND_UNSENT_S_MAX


async def test_a_dead_card_is_told_and_its_money_stays_promised(desk: Desk) -> None:
    order = await desk.paid()
    await desk.faults(order, refund_ends="abnormal")
    asked = await desk.ask(order, 280)
    for _ in range(3):
        await desk.step()
    assert (await desk.refund(order, asked)).state == "abnormal"
    assert await desk.sums() == (280, 0, 0)
    assert (await desk.events())[-1] == "refund.abnormal"
    assert await desk.rows.fetchval("SELECT count(*) FROM refund_due") == 1


@pytest.mark.invariant("I8", "I10")
async def test_a_notice_before_our_own_answer_and_doubled_books_once(desk: Desk) -> None:
    order = await desk.paid()
    await desk.faults(order, refund_takes_s=600)
    asked = await desk.ask(order, 280)
    told = RefundEvidence(
        refund_no=asked.refund_no,
        trade_no=order.trades[0].trade_no,
        account_id=AccountId(desk.house.account_ids["wechat_v3"]),
        outcome=RefundOutcome.SUCCEEDED,
        source=Source.NOTICE,
        learned_at=order.created_at,
        amount_minor=280,
        currency="CNY",
    )
    door = desk.house.flows.refund_door
    decided = await asyncio.gather(*(door.record(RefundItem(evidence=told)) for _ in range(2)), desk.step())
    assert sorted(planned.decision for planned in decided[:2]) == ["already_succeeded", "give_back"]
    await desk.step()
    assert (await desk.refund(order, asked)).state == "succeeded"
    assert await desk.sums() == (0, 280, 0)
    assert (await desk.events()).count("refund.succeeded") == 1


@pytest.mark.invariant("I8")
async def test_a_refund_that_succeeds_after_it_was_freed_is_booked_and_opens_an_inquiry(desk: Desk) -> None:
    order = await desk.paid()
    await desk.faults(order, refund_refused=True)
    asked = await desk.ask(order, PAID_MINOR)
    await desk.settle()
    await desk.ask(order, PAID_MINOR)
    told = RefundEvidence(
        refund_no=asked.refund_no,
        trade_no=order.trades[0].trade_no,
        account_id=AccountId(desk.house.account_ids["wechat_v3"]),
        outcome=RefundOutcome.SUCCEEDED,
        source=Source.NOTICE,
        learned_at=order.created_at,
        amount_minor=PAID_MINOR,
        currency="CNY",
    )
    planned = await desk.house.flows.refund_door.record(RefundItem(evidence=told))
    assert planned.decision == "give_back_freed"
    assert await desk.balance("channel:%") == 0
    assert (await desk.order(order)).hold_reason == "refunded_after_failed"


@pytest.mark.invariant("I4")
@pytest.mark.parametrize(
    ("changes", "decision", "mismatch", "hold_reason"),
    [
        ({"currency": "USD"}, "wrong_currency", "wrong_currency", "wrong_currency"),
        ({"account_id": AccountId(9_999)}, "unrelated_account", "wrong_account", None),
        (
            {"account_id": AccountId(9_999), "outcome": RefundOutcome.FAILED},
            "unrelated_account",
            "wrong_account",
            None,
        ),
    ],
)
async def test_a_refund_made_elsewhere_in_another_currency_or_account_books_nothing(
    desk: Desk, changes: dict[str, Any], decision: str, mismatch: str, hold_reason: str | None
) -> None:
    """Only an account that has to do with the order or its merchant can hold it."""
    order = await desk.paid()
    told = replace(told_elsewhere(desk, order), **changes)
    planned = await desk.house.flows.refund_door.record(RefundItem(evidence=told))
    assert planned.decision == decision
    assert (await desk.order(order)).hold_reason == hold_reason
    assert await desk.rows.fetchval("SELECT mismatch FROM contradiction") == mismatch
    assert await desk.rows.fetchval("SELECT count(*) FROM refund") == 0
    assert await desk.balance("channel:%") == PAID_MINOR
    assert await desk.events() == ["order.paid"] + ["order.held"] * (hold_reason is not None)


@pytest.mark.invariant("I4")
async def test_a_strangers_word_about_a_refund_hurries_no_question_and_stays_a_contradiction(desk: Desk) -> None:
    """Whoever knows one account's keys could have another's channel asked as often as he likes."""
    order = await desk.paid()
    asked = await desk.ask(order, 500)
    await desk.rows.execute("UPDATE refund_due SET attempts = 8, due_at = clock_timestamp() + interval '1 day'")
    waits = await desk.rows.fetchrow("SELECT * FROM refund_due")
    told = replace(told_elsewhere(desk, order), account_id=AccountId(9_999), refund_no=asked.refund_no)
    planned = await desk.house.flows.refund_door.record(RefundItem(evidence=told))
    assert planned.decision == "unrelated_account"
    assert await desk.rows.fetchrow("SELECT * FROM refund_due") == waits
    assert await desk.rows.fetchval("SELECT count(*) FROM refund_evidence") == 0
    assert await desk.rows.fetchval("SELECT mismatch FROM contradiction") == "wrong_account"


@pytest.mark.invariant("I8", "I10")
async def test_a_refund_that_a_total_may_hold_already_is_not_booked_again(desk: Desk) -> None:
    """Alipay's notice of the second tells both as one sum; the bill then names the first, which is left to a person."""
    order = await desk.paid()
    one = replace(told_elsewhere(desk, order), source=Source.QUERY, amount_minor=100)
    both = replace(one, refund_no="PORTAL2", source=Source.NOTICE, amount_minor=None, refunded_total_minor=280)
    later = replace(one, refund_no="PORTAL3", refunded_at=desk.house.opened.clock.now() + timedelta(hours=1))
    told = [
        both,
        one,
        replace(one, refunded_at=order.created_at),
        later,
        replace(one, refund_no="PORTAL4", amount_minor=281),
    ]
    decisions = [(await desk.house.flows.refund_door.record(RefundItem(evidence=said))).decision for said in told]
    assert decisions == ["external", "may_be_in_total", "may_be_in_total", "external", "external"]
    assert await desk.balance("channel:%") == PAID_MINOR - 280 - 100 - 281
    assert await desk.rows.fetchval("SELECT sum(amount_minor) FROM posting") == 0


def told_elsewhere(desk: Desk, order: OrderView) -> RefundEvidence:
    """The channel's word of 280 that somebody gave back in its portal."""
    return RefundEvidence(
        refund_no="PORTAL1",
        trade_no=order.trades[0].trade_no,
        account_id=AccountId(desk.house.account_ids["wechat_v3"]),
        outcome=RefundOutcome.SUCCEEDED,
        source=Source.NOTICE,
        learned_at=order.created_at,
        amount_minor=280,
        currency="CNY",
    )


def _counted(decision: str, source: str) -> float:
    labels = {"source": source, "decision": decision}
    return metrics.REGISTRY.get_sample_value("budan_evidence_total", labels) or 0.0


async def test_a_refund_that_a_person_must_look_at_is_counted_and_named_in_the_log(desk: Desk) -> None:
    order, stuck = await desk.paid(), await desk.paid()
    await desk.faults(stuck, refund_ends="abnormal")
    asked = await desk.ask(stuck, 280)
    external, abnormal = _counted("external", "notice"), _counted("ask_person", "query")
    told = told_elsewhere(desk, order)
    with capture_logs() as logged:
        for _ in range(2):
            await desk.house.flows.refund_door.record(RefundItem(evidence=told))
        for _ in range(3):
            await desk.step()
    assert _counted("external", "notice") == external + 1
    assert _counted("ask_person", "query") == abnormal + 1
    named = [
        (line["refund_no"], line["decision"], line["hold_reason"])
        for line in logged
        if line["event"] == "refund_needs_person"
    ]
    assert named == [("PORTAL1", "external", "refunded_elsewhere"), (asked.refund_no, "ask_person", None)]


async def test_an_operator_refunds_by_command_and_is_refused_clearly(desk: Desk, command_line: CommandLine) -> None:
    """Money that a person gives out has that person's name; its merchant did not ask for it."""
    order = await desk.paid()
    typist = Typist(dsn=desk.house.dsn, folder=Path(desk.house.settings.text("folder")), line=command_line)
    named = ("--reason", "damaged", "--by", "Ann")
    words = ("orders", "refund", order.trades[0].trade_no, "--amount", "280", "--key", "k1", *named)
    made = await typist.json(*words)
    assert (made["state"], made["amount_minor"], made["origin"]) == ("created", 280, "operator")
    assert (await typist.json(*words[:-1], "Bob"))["refund_no"] == made["refund_no"]
    acts = await desk.rows.fetch("SELECT kind, acted_by, reason, wish ->> 'ordinal' FROM operator_act")
    assert acts == [("refund", "Ann", "damaged", "1")], "whoever repeats it gives nothing more"
    assert "refunded_by_hand" in {moment.what for moment in (await desk.timeline(order)).moments}
    ended = await typist.type("orders", "refund", order.order_no, "--amount", "1001", "--key", "k2", *named)
    assert (ended.code, "refund_exceeds_paid" in ended.err) == (2, True)
    for option in ("--key", "--reason", "--by"):
        place = words.index(option)
        unsaid = await typist.type(*words[:place], *words[place + 2 :])
        assert (unsaid.code, option in unsaid.err) == (2, True)
    blank = await typist.type("orders", "refund", order.order_no, "--amount", "280", "--key", "", *named)
    assert (blank.code, "idempotency_key_malformed" in blank.err) == (2, True)
    await desk.settle()
    assert await desk.sums() == (0, 280, 0)
