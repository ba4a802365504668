"""Refunds that somebody made in a channel's portal and only a bill tells of, asked about at the sandbox over HTTP."""

from dataclasses import replace
from typing import Any

import pytest

from budan.cli.reconciling import tell_state
from budan.core.numbers import parse_number
from budan.flows.discrepancies import Discrepancies
from budan.flows.portal_refunds import PortalRefunds
from budan.flows.refund_door import RefundItem
from budan.flows.views import OrderView, RefundView
from budan.store import asked_refunds
from budan.store.reconcile import DiscrepancyFilter, DiscrepancyRow
from integration.flows.test_refunds import PAID_MINOR, Desk, desk, told_elsewhere

__all__ = ["desk"]

GIVEN_MINOR = 280


def asking(desk: Desk) -> PortalRefunds:
    flows, opened = desk.house.flows, desk.house.opened
    return PortalRefunds(
        database=opened.database,
        environment=opened.settings.environment,
        accounts=flows.accounts,
        door=flows.refund_door,
        clock=opened.clock,
    )


def clerk(desk: Desk) -> Discrepancies:
    return Discrepancies(database=desk.house.opened.database, door=desk.house.flows.door)


async def ask_all(desk: Desk) -> int:
    """As if each question were due."""
    await desk.rows.execute("UPDATE discrepancy SET ask_at = now() - interval '1 second'")
    return await asking(desk).ask()


async def refund_by_portal(desk: Desk, order: OrderView, *, channel: str) -> str:
    """Somebody gives back, and nobody is told; gives the refund's number there."""
    wish = {
        "trade_no": order.trades[0].trade_no,
        "amount_minor": GIVEN_MINOR,
        "faults": {"drop_notice": True},
    }
    status, refund = await desk.payer.admin("POST", "/sandbox/portal-refunds", wish)
    assert status == 201, channel
    return refund["refund_no"]


@pytest.mark.invariant("I4", "I9")
async def test_a_refund_whose_number_is_ours_only_by_its_text_is_one_made_past_us(desk: Desk) -> None:
    """The number alone is no proof: what is made past us may have any, and we keep ordinals for what was made there."""
    order, other = await desk.paid(), await desk.paid()
    door = desk.house.flows.refund_door
    first = told_elsewhere(desk, order)
    assert (await door.record(RefundItem(evidence=first))).decision == "external"
    (made,) = (await desk.order(order)).refunds
    second = replace(first, refund_no=made.refund_no)
    decided = [(await door.record(RefundItem(evidence=second))).decision for _ in range(2)]
    assert decided == ["external", "already_known"]
    promised = await desk.ask(other, GIVEN_MINOR)
    astray = replace(first, refund_no=promised.refund_no)
    assert (await door.record(RefundItem(evidence=astray))).decision == "external"
    assert (await desk.refund(other, promised)).state == "created"
    assert [one.amount_minor for one in (await desk.order(order)).refunds] == [GIVEN_MINOR] * 3
    assert await desk.rows.fetchval("SELECT refunded_elsewhere_minor FROM trade ORDER BY order_id LIMIT 1") == 3 * 280


async def find_in_bill(desk: Desk, order: OrderView, refund_no: str, *, channel: str, **changes: Any) -> None:
    """The difference that comparing the day's bill leaves of it."""
    number = parse_number(order.trades[0].trade_no)
    account_id = desk.house.account_ids[channel]
    run_id = await desk.rows.fetchval(
        """
        INSERT INTO reconcile_run (account_id, day, digest, origin, is_partial, lines, fee_e5, begun_at)
        VALUES ($1, '2026-01-05', sha256($2::text::bytea), 'channel', FALSE, 1, 0, now()) RETURNING id
        """,
        account_id,
        refund_no,
    )
    row = {"their_minor": GIVEN_MINOR, "found_s_ago": 0.0} | changes
    await desk.rows.execute(
        """
        INSERT INTO discrepancy (
            account_id, day, kind, subject, occurrence, verdict, run_id, line_no, happened_at, status, currency,
            their_minor, lane, order_id, ordinal, state, found_at
        )
        VALUES (
            $1, '2026-01-05', 'refund', $2, 0, 'there_only', $3, 2, now(), 'succeeded', 'CNY', $4, $5, $6, $7, 'asked',
            now() - make_interval(secs => $8)
        )
        """,
        account_id,
        refund_no,
        run_id,
        row["their_minor"],
        number.lane,
        number.order_id,
        number.ordinal,
        row["found_s_ago"],
    )


async def fail_here(desk: Desk, order: OrderView) -> RefundView:
    """A refund that its channel did and that ended here as one that it refused."""
    refund = await desk.ask(order, GIVEN_MINOR)
    await desk.faults(order, drop_notice=True, busy=True)
    await desk.step()
    await desk.rows.execute("DELETE FROM refund_due")
    await desk.rows.execute("UPDATE refund SET state = 'failed', ended_at = now()")
    await desk.rows.execute("UPDATE trade SET refund_reserved_minor = 0")
    await desk.rows.execute("UPDATE orders SET refund_reserved_minor = 0")
    return refund


async def differences(desk: Desk) -> list[DiscrepancyRow]:
    return await clerk(desk).list_page(DiscrepancyFilter(with_resolved=True), rows_max=10)


@pytest.mark.invariant("I4", "I10")
@pytest.mark.parametrize("channel", ["wechat_v3", "alipay"])
async def test_a_refund_made_in_the_portal_is_booked_by_the_channels_answer(desk: Desk, channel: str) -> None:
    """The bill's word alone moves no books; the channel's does, once, and the order waits for an inquiry."""
    order = await desk.paid(channel)
    refund_no = await refund_by_portal(desk, order, channel=channel)
    await find_in_bill(desk, order, refund_no, channel=channel)
    await clerk(desk).follow_up()
    assert await desk.balance("channel:%") == PAID_MINOR
    assert await asking(desk).ask() == 1
    assert await ask_all(desk) == 0, "asked again, it is known"
    assert await desk.balance("channel:%") == PAID_MINOR - GIVEN_MINOR
    assert await desk.rows.fetchval("SELECT sum(amount_minor) FROM posting") == 0
    view = await desk.order(order)
    assert (view.hold_reason, [one.origin for one in view.refunds]) == ("refunded_elsewhere", ["external"])
    assert (await clerk(desk).follow_up()).repaired == 1
    assert [(row.state, row.resolution) for row in await differences(desk)] == [("resolved", "repaired")]


async def test_a_refund_that_only_a_file_tells_of_books_nothing_and_is_left_to_a_person(desk: Desk) -> None:
    """Also one of another amount than the channel's own: the books have the channel's, and a person both."""
    order, other = await desk.paid(), await desk.paid()
    await find_in_bill(desk, order, "PORTAL-NEVER-MADE", channel="wechat_v3")
    known = await refund_by_portal(desk, other, channel="wechat_v3")
    await find_in_bill(desk, other, known, channel="wechat_v3", their_minor=GIVEN_MINOR + 1)
    assert await asking(desk).ask() == 1
    assert (await clerk(desk).follow_up()).repaired == 0
    assert await desk.balance("channel:%") == 2 * PAID_MINOR - GIVEN_MINOR
    await desk.rows.execute("UPDATE discrepancy SET found_at = now() - interval '61 minutes'")
    await clerk(desk).follow_up()
    assert [row.state for row in await differences(desk)] == ["open", "open"]
    assert await ask_all(desk) == 0, "nobody asks for ever"


@pytest.mark.parametrize("is_own", [False, True])
async def test_a_refund_of_the_bill_is_asked_about_until_its_channel_answers_however_old_the_bill_is(
    desk: Desk, *, is_own: bool
) -> None:
    """A channel that was away for the hour after its bill had it given up: its money was never booked."""
    order = await desk.paid()
    if is_own:
        refund_no = (await fail_here(desk, order)).refund_no
    else:
        refund_no = await refund_by_portal(desk, order, channel="wechat_v3")
    await find_in_bill(desk, order, refund_no, channel="wechat_v3", found_s_ago=7_200.0)
    await desk.payer.admin("PUT", "/sandbox/weather", {"down": True})
    for asked in (1, 2):
        assert await ask_all(desk) == 0
        await clerk(desk).follow_up()
        (found,) = await differences(desk)
        assert (found.state, found.answered_at) == ("asked", None)
        assert tell_state(found) == f"asked {asked} times, no final answer yet"
    assert await asking(desk).ask() == 0, "not due for minutes"
    await desk.payer.admin("PUT", "/sandbox/weather", {})
    assert await ask_all(desk) == 1
    assert await desk.balance("channel:%") == PAID_MINOR - GIVEN_MINOR
    assert (await clerk(desk).follow_up()).repaired == 1


async def test_what_the_channel_denies_at_once_is_asked_about_for_an_hour(desk: Desk) -> None:
    """Its bill and its answers are of two systems; after that hour it contradicts itself, which is a person's."""
    order = await desk.paid()
    await find_in_bill(desk, order, "PORTAL-NEVER-MADE", channel="wechat_v3", found_s_ago=3_500.0)
    for found_s_more, state in ((0, "asked"), (200, "open")):
        await desk.rows.execute("UPDATE discrepancy SET found_at = found_at - make_interval(secs => $1)", found_s_more)
        await ask_all(desk)
        await clerk(desk).follow_up()
        assert [row.state for row in await differences(desk)] == [state]


async def test_each_account_has_its_own_queue_of_refunds_to_ask_about_and_its_first_is_due_longest(desk: Desk) -> None:
    """Of 5,000 in one bill those at the end were never asked about, and those of other accounts waited for them."""
    wechat, alipay = await desk.paid(), await desk.paid("alipay")
    for number in ("A", "B", "C"):
        await find_in_bill(desk, wechat, number, channel="wechat_v3")
    await find_in_bill(desk, alipay, "D", channel="alipay")
    await desk.rows.execute("UPDATE discrepancy SET ask_at = now() - interval '1 hour' WHERE subject = 'C'")
    async with desk.house.opened.database.reading() as transaction:
        due = await asked_refunds.list_due(transaction, account_rows_max=2)
    assert {row.subject for row in due} == {"C", "A", "D"}


async def test_a_refund_of_another_order_is_no_news_of_this_one(desk: Desk) -> None:
    """A file may name the refund of one order beside the payment of another; the channel's answer names both."""
    order, other = await desk.paid(), await desk.paid()
    theirs = await refund_by_portal(desk, other, channel="wechat_v3")
    await find_in_bill(desk, order, theirs, channel="wechat_v3")
    assert await asking(desk).ask() == 0
    assert await desk.rows.fetchval("SELECT count(*) FROM refund") == 0
    assert (await desk.order(order)).hold_reason is None
