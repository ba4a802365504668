from datetime import timedelta

import pytest

from budan.core.errors import Refused
from budan.core.evidence import Source
from budan.core.numbers import Environment, trade_number
from budan.flows import timelines as flow
from budan.flows.door import DoorItem
from budan.flows.timelines import OrderFilter, Timelines
from integration.cli.commands import Typist
from stage import AMOUNT_MINOR, Stage

ANY = {"state": None, "merchant_id": None, "held": False, "since": None, "before": None, "limit": 50}


def timelines(stage: Stage) -> Timelines:
    return Timelines(database=stage.database, environment=stage.settings.environment, lanes=64)


async def listed(stage: Stage, **wanted: object) -> list[str]:
    found = await timelines(stage).list_orders(OrderFilter(**(ANY | wanted)))
    return [line.order_no for line in found.orders]


async def test_the_newest_orders_of_all_lanes_come_first_and_the_list_goes_on(stage: Stage) -> None:
    merchants = [await stage.add_merchant() for _ in range(4)]
    made = [await stage.add_order(merchant) for _ in range(3) for merchant in merchants]
    newest_first = [order.order_no for order in reversed(made)]
    assert len({merchant.lane for merchant in merchants}) > 1
    assert await listed(stage) == newest_first
    first = await timelines(stage).list_orders(OrderFilter(**(ANY | {"limit": 5})))
    assert [line.order_no for line in first.orders] == newest_first[:5]
    assert first.next_before == newest_first[4]
    assert await listed(stage, before=first.next_before) == newest_first[5:]


async def test_filters_leave_out_what_does_not_fit(stage: Stage) -> None:
    one, other = await stage.add_merchant(), await stage.add_merchant()
    paid, paying, elsewhere = await stage.add_paid_order(one), await stage.add_order(one), await stage.add_order(other)
    await stage.flows.door.record(DoorItem(evidence=stage.payment(elsewhere, order_minor=AMOUNT_MINOR - 1)))
    assert await listed(stage, state="paid") == [paid.order_no]
    assert await listed(stage, state="expired") == []
    assert await listed(stage, merchant_id=one.merchant_id) == [paying.order_no, paid.order_no]
    assert await listed(stage, merchant_id=one.merchant_id, state="paying") == [paying.order_no]
    assert await listed(stage, held=True) == [elsewhere.order_no]
    assert await listed(stage, held=True, merchant_id=one.merchant_id) == []
    now = stage.opened.clock.now()
    assert await listed(stage, since=now + timedelta(seconds=5)) == []
    assert len(await listed(stage, since=now - timedelta(hours=1))) == 3
    assert await listed(stage, before=now - timedelta(hours=1)) == []


async def test_a_rare_order_is_found_behind_many_that_do_not_fit(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look takes a bounded number of rows of each lane, and the search goes on below where the first lane was cut."""
    monkeypatch.setattr(flow, "LOOKED_AT_PER_LANE", 3)
    busy, quiet = await stage.add_merchant(), await stage.add_merchant()
    rare = [await stage.add_paid_order(busy), await stage.add_paid_order(quiet)]
    await stage.add_orders([stage.name_order(busy) for _ in range(20)])
    await stage.add_orders([stage.name_order(quiet) for _ in range(4)])
    assert await listed(stage, state="paid") == [rare[1].order_no, rare[0].order_no]
    assert await listed(stage, state="paid", merchant_id=busy.merchant_id) == [rare[0].order_no]


async def test_a_search_that_ends_at_its_bound_says_where_to_go_on(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flow, "LOOKED_AT_PER_LANE", 2)
    monkeypatch.setattr(flow, "LOOKS_MAX", 3)
    merchant = await stage.add_merchant()
    rare = await stage.add_paid_order(merchant)
    await stage.add_orders([stage.name_order(merchant) for _ in range(40)])
    before, looks = None, 0
    while True:
        wanted = OrderFilter(**(ANY | {"state": "paid", "before": before}))
        found = await timelines(stage).list_orders(wanted)
        if found.orders or found.next_before is None:
            break
        assert found.next_before != before
        before, looks = found.next_before, looks + 1
        assert looks < 40
    assert [line.order_no for line in found.orders] == [rare.order_no]


@pytest.mark.parametrize(
    ("wanted", "code"),
    [
        ({"limit": 0}, "limit_out_of_range"),
        ({"limit": 501}, "limit_out_of_range"),
        ({"state": "lost"}, "state_unknown"),
        ({"before": "D2511"}, "order_no_malformed"),
        ({"merchant_id": 999_999}, "merchant_unknown"),
    ],
)
async def test_a_question_that_makes_no_sense_is_refused(stage: Stage, wanted: dict[str, object], code: str) -> None:
    with pytest.raises(Refused) as refused:
        await listed(stage, **wanted)
    assert refused.value.code == code


@pytest.mark.invariant("I12")
async def test_an_order_shows_its_whole_life_and_who_lost_the_time(stage: Stage, typist: Typist) -> None:
    """Paid a minute ago by the channel's clock, learned by a question: the notice is missing."""
    merchant = await stage.add_merchant(webhook_url="http://127.0.0.1:9/taken")
    order = await stage.add_order(merchant)
    paid_at = stage.opened.clock.now() - timedelta(seconds=60)
    await stage.flows.door.record(
        DoorItem(evidence=stage.payment(order, source=Source.QUERY, paid_at=paid_at), asked_attempts=0),
    )
    shown = await typist.json("orders", "show", order.trade_no)
    assert shown["order_no"] == order.order_no
    assert shown["order"]["state"] == "paid"
    assert [trade["trade_no"] for trade in shown["trades"]] == [order.trade_no]
    assert shown["gap"]["cause"] == "notice_missing"
    assert 60 <= shown["gap"]["seconds"] < 90
    happened = [moment["what"] for moment in shown["moments"]]
    assert happened[0] == "channel_paid"
    assert set(happened) == {
        "channel_paid",
        "order_created",
        "trade_created",
        "evidence",
        "booked",
        "order_paid",
        "remedy",
        "webhook",
    }
    assert sum(line["amount_minor"] for line in shown["rows"]["postings"]) == 0
    assert shown["cut"] == []
    for_people = await typist.type("orders", "show", order.order_no)
    assert "notice_missing" in for_people.out


async def test_a_held_order_shows_what_did_not_fit(stage: Stage, typist: Typist) -> None:
    order = await stage.add_order(await stage.add_merchant())
    await stage.flows.door.record(DoorItem(evidence=stage.payment(order, order_minor=AMOUNT_MINOR - 1)))
    shown = await typist.json("orders", "show", order.order_no)
    assert (shown["order"]["state"], shown["order"]["hold_reason"]) == ("paying", "wrong_amount")
    assert [row["mismatch"] for row in shown["rows"]["contradictions"]] == ["wrong_amount"]
    assert {line["account"] for line in shown["rows"]["postings"]} >= {"suspense"}
    assert shown["gap"] is None
    (line,) = (await typist.json("orders", "list", "--held", "--since", "1h"))["orders"]
    assert (line["order_no"], line["hold_reason"]) == (order.order_no, "wrong_amount")


@pytest.mark.parametrize("order_no", ["", "nonsense", "' OR 1=1 --", "D" * 30])
async def test_what_is_no_order_number_is_refused(typist: Typist, order_no: str) -> None:
    ended = await typist.type("orders", "show", order_no)
    assert (ended.code, "order_no_malformed" in ended.err) == (2, True)


@pytest.mark.invariant("I13")
async def test_a_number_of_another_environment_or_of_no_order_is_refused(stage: Stage, typist: Typist) -> None:
    order = stage.name_order(await stage.add_merchant())
    ended = await typist.type("orders", "show", order.order_no)
    assert (ended.code, "order_not_found" in ended.err) == (2, True)
    foreign = trade_number(
        environment=Environment.LIVE,
        lane=order.lane,
        merchant_id=order.merchant.merchant_id,
        order_id=order.order_id,
        attempt=0,
    )
    ended = await typist.type("orders", "show", foreign)
    assert (ended.code, "wrong_environment" in ended.err) == (2, True)


@pytest.mark.parametrize("since", ["yesterday", "2026-01-01T00:00:00", "5", "-2h"])
async def test_what_is_no_moment_is_wrong_use(typist: Typist, since: str) -> None:
    assert (await typist.type("orders", "list", "--since", since)).code == 2


async def test_an_operator_closes_an_order_and_a_paid_one_is_refused(stage: Stage, typist: Typist) -> None:
    merchant = await stage.add_merchant()
    paid, open_order = await stage.add_paid_order(merchant), await stage.add_order(merchant)
    for _ in range(2):
        closed = await typist.json("orders", "close", open_order.order_no)
        assert closed == {"order_no": open_order.order_no, "state": "closing"}
    refused = await typist.type("orders", "close", paid.order_no)
    assert (refused.code, "order_already_paid" in refused.err) == (2, True)
