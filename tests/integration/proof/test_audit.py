"""The audit is the last to notice, so each way of breaking a promise must be counted by it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from budan.core.numbers import (
    Environment,
    Lane,
    MerchantId,
    Number,
    NumberKind,
    OrderId,
    render_number,
    trade_number,
)
from budan.proof.audit import Answer, Audit, BookedOrder, BookedRefund, Books, compare
from budan.proof.records import EventOrder, Webhook, read_webhooks
from budan.proof.truth import TradeKey, TrueTrade, parse_trade_no

AT = datetime(2026, 3, 1, tzinfo=UTC)
KEY = TradeKey(lane=7, order_id=(1 << 60) + 5, attempt=1)
TRADE_NO = trade_number(
    environment=Environment.LOCAL,
    lane=Lane(KEY.lane),
    merchant_id=MerchantId(12),
    order_id=OrderId(KEY.order_id),
    attempt=KEY.attempt,
)
TRADE = TrueTrade(key=KEY, trade_no=TRADE_NO, merchant_id=12, amount_minor=1_000, placed_at=AT, paid_at=AT)
UNPAID_TRADE = replace(TRADE, paid_at=None)
ORDER = BookedOrder(
    state="paid",
    amount_minor=1_000,
    paid_attempt=1,
    completed_at=AT,
    payments={1: (994, 1_000)},
    channel_minor=1_000,
    webhooks=1,
)
UNPAID = BookedOrder(state="created", amount_minor=1_000, paid_attempt=None, completed_at=None, payments={})
WEBHOOK = Webhook(
    at=AT,
    webhook_id="e1",
    type="order.paid",
    order=EventOrder(order_no=TRADE_NO, reference="12-1", state="paid", amount_minor=1_000, trade_no=TRADE_NO),
)


def books(*orders: BookedOrder, **changes: object) -> Books:
    found = {(KEY.lane, KEY.order_id + place): order for place, order in enumerate(orders)}
    return replace(Books(orders=found, unbalanced=frozenset(), refunds={}, send_until={}), **changes)


def refund(state: str, *, origin: str = "merchant", ordinal: int = 1) -> BookedRefund:
    return BookedRefund(ordinal=ordinal, origin=origin, state=state)


def told_refund(event: str, *, ordinal: int = 1) -> Webhook:
    """The merchant's file has it."""
    number = Number(
        kind=NumberKind.REFUND,
        environment=Environment.LOCAL,
        lane=Lane(KEY.lane),
        merchant_id=MerchantId(12),
        order_id=OrderId(KEY.order_id),
        ordinal=ordinal,
    )
    return told(type_=event, webhook_id=event, refund_no=render_number(number), trade_no=None)


def told(*, type_: str = "order.paid", webhook_id: str = "e2", **changes: object) -> Webhook:
    order = {"order_no": TRADE_NO, "reference": "12-1", "state": "paid", "amount_minor": 1_000, "trade_no": TRADE_NO}
    return Webhook(at=AT, webhook_id=webhook_id, type=type_, order=EventOrder(**(order | changes)))


def broken(audit: Audit) -> dict[str, int]:
    names = ("lost", "doubled", "wrongly_completed", "unbalanced", "webhooks_missing", "unkept", "sent_late")
    counts = {name: getattr(audit, name) for name in names}
    return {name: count for name, count in counts.items() if count}


def test_an_order_that_ends_unpaid_is_told_without_an_attempt_and_is_read_so(tmp_path: Path) -> None:
    """An audit that cannot read a merchant's file says nothing about a run of hours."""
    order = {"order_no": TRADE_NO, "reference": "12-1", "state": "expired", "amount_minor": 1_000, "trade_no": None}
    event = {"type": "order.expired", "data": order}
    line = {"at": AT, "webhook_id": "e1", "event": msgspec.Raw(msgspec.json.encode(event))}
    (tmp_path / "events").write_bytes(msgspec.json.encode(line) + b"\n")
    (webhook,) = read_webhooks(tmp_path / "events")
    assert (webhook.type, webhook.order.trade_no) == ("order.expired", None)
    assert compare(truth=[], books=books(UNPAID), webhooks=[webhook]).holds


def test_a_payment_that_is_told_without_its_attempt_is_wrong() -> None:
    assert "wrongly_completed" in broken(compare(truth=[TRADE], books=books(ORDER), webhooks=[told(trade_no=None)]))


def test_a_trade_number_is_read_without_the_code_that_wrote_it() -> None:
    assert parse_trade_no(TRADE_NO) == KEY


def test_three_records_that_agree_break_nothing() -> None:
    audit = compare(truth=[TRADE], books=books(ORDER), webhooks=[WEBHOOK])
    assert audit.holds
    assert (audit.paid, audit.completed, audit.webhooks) == (1, 1, 1)


def test_the_same_event_delivered_again_is_allowed() -> None:
    audit = compare(truth=[TRADE], books=books(ORDER), webhooks=[WEBHOOK, WEBHOOK])
    assert audit.holds
    assert audit.webhooks_repeated == 1


def test_an_order_that_nobody_paid_may_stay_open() -> None:
    assert compare(truth=[UNPAID_TRADE], books=books(UNPAID), webhooks=[]).holds


@pytest.mark.parametrize(
    ("truth", "booked", "webhooks", "expected"),
    [
        ([TRADE], books(UNPAID), [], {"lost": 1}),
        ([TRADE], books(), [], {"lost": 1}),
        (
            [TRADE],
            books(replace(ORDER, payments={1: (994, 1_000), 2: (994, 1_000)}, channel_minor=2_000)),
            [WEBHOOK],
            {"doubled": 1, "unbalanced": 1},
        ),
        ([TRADE], books(ORDER), [WEBHOOK, told()], {"doubled": 1}),
        ([], books(ORDER), [], {"wrongly_completed": 1, "webhooks_missing": 1, "unbalanced": 1}),
        ([TRADE], books(replace(ORDER, payments={})), [WEBHOOK], {"unbalanced": 1}),
        ([TRADE], books(ORDER, unbalanced={(KEY.lane, KEY.order_id)}), [WEBHOOK], {"unbalanced": 1}),
        ([TRADE], books(ORDER), [], {"webhooks_missing": 1}),
        ([TRADE], books(ORDER), [told(amount_minor=999)], {"wrongly_completed": 1}),
        ([TRADE], books(replace(ORDER, channel_minor=0)), [WEBHOOK], {"unbalanced": 1}),
        ([replace(TRADE, is_returned=True)], books(ORDER), [WEBHOOK], {"unbalanced": 1}),
        ([replace(TRADE, refunded_minor=400)], books(ORDER), [WEBHOOK], {"unbalanced": 1}),
        (
            [replace(TRADE, refunded_minor=1_001)],
            books(replace(ORDER, channel_minor=-1)),
            [WEBHOOK],
            {"doubled": 1},
        ),
        ([TRADE], books(replace(ORDER, webhooks=2)), [WEBHOOK], {"webhooks_missing": 1}),
        ([replace(TRADE, notices_acknowledged=1)], books(ORDER), [WEBHOOK], {"unkept": 1}),
        ([UNPAID_TRADE], books(UNPAID, send_until={KEY: AT - timedelta(seconds=9)}), [], {"sent_late": 1}),
    ],
    ids=[
        "paid and not completed",
        "paid and unknown here",
        "completed twice",
        "told twice",
        "completed without a payment",
        "completed and not booked",
        "an entry that does not sum to zero",
        "completed and not told",
        "told another amount",
        "booked and not booked at the channel",
        "given back at the channel and not here",
        "refunded at the channel and not here",
        "given back twice",
        "another event that the merchant does not have",
        "a notice that was acknowledged and not stored",
        "sent after its window",
    ],
)
def test_a_broken_promise_is_counted(
    truth: list[TrueTrade], booked: Books, webhooks: list[Webhook], expected: dict[str, int]
) -> None:
    assert broken(compare(truth=truth, books=booked, webhooks=webhooks)) == expected


def test_a_payment_on_its_way_back_is_not_lost() -> None:
    """A second or a late payment completes nothing, and its refund is its end (I9)."""
    back = replace(TRADE, refunds_minor={"r": 1_000}, refunded_minor=1_000)
    booked = books(UNPAID, refunds={KEY: [refund("succeeded", origin="unwanted")]})
    assert compare(truth=[back], books=booked, webhooks=[told_refund("refund.succeeded")]).holds


@pytest.mark.invariant("I9")
@pytest.mark.parametrize("state", ["failed", "abnormal", "succeeded"])
def test_a_second_payment_that_the_shop_still_has_is_lost_whatever_its_refund_says(state: str) -> None:
    """A row that says "refund" is no money: its payer has it back when the channel says so."""
    booked = books(UNPAID, refunds={KEY: [refund(state, origin="unwanted")]})
    webhooks = [told_refund(f"refund.{state}")]
    assert broken(compare(truth=[TRADE], books=booked, webhooks=webhooks)) == {"lost": 1}


@pytest.mark.parametrize(
    ("booked", "event"),
    [
        (books(replace(UNPAID, state="expired")), told(type_="order.expired")),
        (books(replace(UNPAID, state="closed")), told(type_="order.closed")),
        (books(replace(UNPAID, state="closed")), told(type_="order.payment_returned", state="closed")),
        (books(UNPAID, refunds={KEY: [refund("succeeded", ordinal=2)]}), told_refund("refund.succeeded", ordinal=2)),
        (books(UNPAID, refunds={KEY: [refund("failed", ordinal=2)]}), told_refund("refund.failed", ordinal=2)),
        (books(UNPAID, refunds={KEY: [refund("abnormal", ordinal=2)]}), told_refund("refund.abnormal", ordinal=2)),
    ],
    ids=["expired", "closed", "returned by a cancel", "refund succeeded", "refund failed", "refund abnormal"],
)
def test_an_event_that_was_never_written_is_missed_by_what_it_is_about(booked: Books, event: Webhook) -> None:
    """Who counts only the rows of events believes the program that forgot to write one."""
    other = told_refund("refund.succeeded", ordinal=1)
    assert compare(truth=[UNPAID_TRADE], books=booked, webhooks=[event]).holds
    assert broken(compare(truth=[UNPAID_TRADE], books=booked, webhooks=[other])) == {"webhooks_missing": 1}


def test_a_refund_that_begins_anew_under_another_number_is_told_once_it_has_ended() -> None:
    """Of money that must go back a dead number is no news."""
    booked = books(UNPAID, refunds={KEY: [refund("failed", origin="unwanted"), refund("succeeded", ordinal=2)]})
    assert compare(truth=[UNPAID_TRADE], books=booked, webhooks=[told_refund("refund.succeeded", ordinal=2)]).holds


@pytest.mark.parametrize("state", ["created", "submitted", "unknown"])
def test_a_refund_without_an_end_is_a_broken_promise(state: str) -> None:
    """Somebody waits for that money: a run is not over before the channel has told what became of it."""
    booked = books(UNPAID, refunds={KEY: [refund("succeeded"), refund(state, ordinal=2)]})
    intended = compare(truth=[TRADE], books=booked, webhooks=[])
    assert intended.refunds_unknown == 1
    assert not intended.holds


def test_a_refund_that_was_promised_and_is_not_there_is_unkept() -> None:
    promised = Answer(order_no=TRADE_NO, payment_status="paid", refund_no="R1")
    booked, webhooks = books(ORDER, refunds={KEY: [refund("failed")]}), [WEBHOOK, told_refund("refund.failed")]
    kept = compare(truth=[TRADE], books=booked, webhooks=webhooks, answers=[promised])
    assert kept.holds
    assert broken(compare(truth=[TRADE], books=books(ORDER), webhooks=[WEBHOOK], answers=[promised])) == {"unkept": 1}


def test_a_payment_that_a_cancel_gave_back_is_not_lost() -> None:
    assert compare(truth=[replace(TRADE, is_returned=True)], books=books(UNPAID), webhooks=[]).holds


def test_money_in_suspense_is_neither_lost_nor_compared() -> None:
    """A person decides whose it is; what was booked there is what somebody claimed."""
    suspended = replace(UNPAID, channel_minor=999, suspended=frozenset({1}))
    assert compare(truth=[TRADE], books=books(suspended), webhooks=[]).holds


@pytest.mark.parametrize(
    ("truth", "booked", "status", "expected"),
    [
        ([UNPAID_TRADE], books(), "pending", {"unkept": 1}),
        ([UNPAID_TRADE], books(UNPAID), "paid", {"wrongly_completed": 1}),
        ([TRADE], books(ORDER), "unpaid", {"wrongly_completed": 1}),
        ([TRADE], books(ORDER), "paid", {}),
        ([TRADE], books(ORDER), "pending", {}),
    ],
)
def test_an_answer_is_a_promise(truth: list[TrueTrade], booked: Books, status: str, expected: dict[str, int]) -> None:
    """A shop hands its goods out, or does not, by what it was answered (I1)."""
    webhooks = [WEBHOOK] if ORDER in booked.orders.values() else []
    answers = [Answer(order_no=TRADE_NO, payment_status=status)]
    assert broken(compare(truth=truth, books=booked, webhooks=webhooks, answers=answers)) == expected
