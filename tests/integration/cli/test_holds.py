import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from budan.core.errors import Refused
from budan.core.evidence import Outcome, Source
from budan.flows.door import DoorItem
from budan.flows.holding import Released, Resolution
from budan.wire.key_pairs import make_private_key, public_text
from budan.wire.rsa import load_private_key
from integration.cli.commands import Typist
from stage import AMOUNT_MINOR, Stage, StagedOrder

Rows = asyncpg.Connection


async def order_row(rows: Rows) -> tuple[Any, ...]:
    return tuple(await rows.fetchrow("SELECT state, hold_reason, hold_since IS NULL, version FROM orders"))


async def refused(code: str, acting: Any) -> None:
    with pytest.raises(Refused) as caught:
        await acting
    assert caught.value.code == code


async def held_order(stage: Stage, **changes: Any) -> StagedOrder:
    """An order that its channel's word does not fit; by one fen unless `changes` say how."""
    order = await stage.add_order(await stage.add_merchant())
    await say(stage, order, **({"order_minor": AMOUNT_MINOR - 1} | changes))
    return order


async def say(stage: Stage, order: StagedOrder, **changes: Any) -> str:
    planned = await stage.flows.door.record(DoorItem(evidence=stage.payment(order, **changes)))
    return planned.decision


async def release(stage: Stage, order: StagedOrder, *, by: str = "Bob", **wish: Any) -> Released:
    """Ann proposes and another confirms."""
    wanted = {"accept": False, "resolution": None} | wish
    proposed = await stage.operator.holds.propose_release(order.order_no, by="Ann", reason="looked into it", **wanted)
    return await stage.operator.holds.confirm_release(order.order_no, by=by, act=proposed.act)


async def test_a_person_holds_an_order_and_it_can_still_be_paid(stage: Stage, rows: Rows) -> None:
    order = await stage.add_order(await stage.add_merchant())
    held = await stage.operator.holds.hold(order.order_no, by="Ann", reason="the shop called")
    assert (held.act, held.version, held.contradictions) == (1, 2, ())
    assert await order_row(rows) == ("paying", "operator", False, 2)
    assert tuple(await rows.fetchrow("SELECT kind, acted_by, reason FROM operator_act")) == (
        "hold",
        "Ann",
        "the shop called",
    )
    await refused("order_already_held", stage.operator.holds.hold(order.order_no, by="Bob", reason="again"))
    assert await say(stage, order) == "complete"
    assert (await order_row(rows))[:2] == ("paid", "operator")


async def test_the_merchant_is_told_of_each_hold_and_release_once(stage: Stage, rows: Rows) -> None:
    """A shop that is not paid out must not have to ask why; persons' names and reasons are not its business."""
    order = await stage.add_order(await stage.add_merchant(webhook_url="http://127.0.0.1:9/"))
    await stage.operator.holds.hold(order.order_no, by="Ann", reason="looks odd")
    await say(stage, order)
    await release(stage, order)
    await say(stage, order, order_minor=AMOUNT_MINOR - 1)
    told = await rows.fetch("SELECT version, convert_from(body, 'UTF8') AS body FROM webhook ORDER BY version")
    events = [(row["version"], json.loads(row["body"])) for row in told]
    assert [(version, one["type"], one["data"]["hold_reason"], one["data"]["state"]) for version, one in events] == [
        (2, "order.held", "operator", "paying"),
        (3, "order.paid", "operator", "paid"),
        (4, "order.released", None, "paid"),
        (5, "order.held", "wrong_amount", "paid"),
    ]
    assert (await order_row(rows))[3] == 5
    assert not any(b"Ann" in row["body"].encode() or b"odd" in row["body"].encode() for row in told)


@pytest.mark.parametrize("by", ["Ann", "ann", " ANN "])
async def test_one_person_alone_lifts_no_hold(stage: Stage, rows: Rows, by: str) -> None:
    order = await stage.add_order(await stage.add_merchant())
    await stage.operator.holds.hold(order.order_no, by="Carl", reason="looks odd")
    await refused("same_person", release(stage, order, by=by))
    assert (await order_row(rows))[1] == "operator"
    released = await release(stage, order)
    assert (released.cleared, released.accepted, released.booked) == ((), (), ())
    assert await order_row(rows) == ("paying", None, True, 3)
    confirmed = await rows.fetch(
        "SELECT acted_by, confirmed_by, confirmed_at IS NULL FROM operator_act ORDER BY ordinal"
    )
    assert [tuple(row) for row in confirmed] == [("Carl", None, True), ("Ann", None, True), ("Ann", "Bob", False)]


@pytest.mark.invariant("I4")
async def test_what_still_contradicts_is_lifted_only_when_both_accept_it(stage: Stage, rows: Rows) -> None:
    order = await held_order(stage)
    await refused("suspense_unresolved", release(stage, order))
    await refused("order_still_contradicted", release(stage, order, resolution=Resolution.RETURNED))
    assert (await order_row(rows))[:2] == ("paying", "wrong_amount")
    released = await release(stage, order, accept=True, resolution=Resolution.RETURNED)
    assert [one.mismatch for one in released.accepted] == ["wrong_amount"]
    assert (await order_row(rows))[:3] == ("paying", None, True)


@pytest.mark.invariant("I10")
@pytest.mark.parametrize(
    ("resolution", "left"),
    [(Resolution.RETURNED, {}), (Resolution.CREDITED, {"channel": AMOUNT_MINOR - 1, "merchant": 1 - AMOUNT_MINOR})],
)
async def test_money_in_suspense_is_resolved_once_by_a_balanced_entry(
    stage: Stage, rows: Rows, resolution: Resolution, left: dict[str, int]
) -> None:
    order = await held_order(stage)
    released = await release(stage, order, accept=True, resolution=resolution)
    assert [key.partition(":")[0] for key in released.booked] == ["adjustment"]
    sums = await rows.fetch(
        """
        SELECT split_part(account, ':', 1) AS account, sum(amount_minor)::bigint AS amount FROM posting
        GROUP BY 1 HAVING sum(amount_minor) <> 0
        """
    )
    assert dict(map(tuple, sums)) == left
    unbalanced = "SELECT count(*) FROM (SELECT 1 FROM posting GROUP BY entry_key HAVING sum(amount_minor) <> 0) AS u"
    assert await rows.fetchval(unbalanced) == 0
    # A further release of the same order finds nothing to resolve.
    await stage.operator.holds.hold(order.order_no, by="Ann", reason="once more")
    assert (await release(stage, order)).booked == ()


@pytest.mark.invariant("I8")
async def test_a_settled_statement_that_comes_again_holds_no_more_and_a_new_one_does(stage: Stage, rows: Rows) -> None:
    """Channels repeat a notice for a day: an order that two persons released must not be held by the next copy."""
    order = await held_order(stage)
    await release(stage, order, accept=True, resolution=Resolution.RETURNED)
    for source in (Source.NOTICE, Source.QUERY):
        assert await say(stage, order, order_minor=AMOUNT_MINOR - 1, source=source) == "wrong_amount"
    assert (await order_row(rows))[1] is None
    await say(stage, order, order_minor=AMOUNT_MINOR - 2, channel_reference="another")
    assert (await order_row(rows))[1] == "wrong_amount"


@pytest.mark.invariant("I4")
async def test_what_nobody_saw_when_it_was_proposed_is_accepted_by_nobody(stage: Stage, rows: Rows) -> None:
    order = await held_order(stage)
    proposed = await stage.operator.holds.propose_release(
        order.order_no, by="Ann", reason="seen", accept=True, resolution=Resolution.RETURNED
    )
    await say(stage, order, order_minor=AMOUNT_MINOR + 5, channel_reference="another")
    await refused("order_changed", stage.operator.holds.confirm_release(order.order_no, by="Bob", act=proposed.act))
    assert (await order_row(rows))[1] == "wrong_amount"
    assert await rows.fetchval("SELECT count(*) FROM settled_contradiction") == 0


async def test_a_proposal_is_confirmed_once_and_within_a_day(stage: Stage, rows: Rows) -> None:
    order = await stage.add_order(await stage.add_merchant())
    await refused("order_not_held", release(stage, order))
    await stage.operator.holds.hold(order.order_no, by="Ann", reason="odd")
    await refused("proposal_not_found", stage.operator.holds.confirm_release(order.order_no, by="Bob", act=1))
    await release(stage, order)
    await stage.operator.holds.hold(order.order_no, by="Ann", reason="odd again")
    await refused("proposal_confirmed", stage.operator.holds.confirm_release(order.order_no, by="Bob", act=2))
    old = await stage.operator.holds.propose_release(
        order.order_no, by="Ann", reason="fine", accept=False, resolution=None
    )
    await rows.execute("UPDATE operator_act SET acted_at = acted_at - interval '25 hours' WHERE ordinal = $1", old.act)
    await refused("proposal_expired", stage.operator.holds.confirm_release(order.order_no, by="Bob", act=old.act))


@pytest.mark.parametrize(
    ("by", "reason", "code"),
    [("", "x", "name_malformed"), ("A\x07", "x", "name_malformed"), ("Ann", " ", "reason_malformed")],
)
async def test_an_act_needs_a_name_and_a_reason(stage: Stage, by: str, reason: str, code: str) -> None:
    order = await stage.add_order(await stage.add_merchant())
    await refused(code, stage.operator.holds.hold(order.order_no, by=by, reason=reason))


async def test_a_hold_and_its_release_as_they_are_typed(stage: Stage, typist: Typist, rows: Rows) -> None:
    """At night an operator reads what does not fit, and types the next command as it is printed."""
    order = await held_order(stage)
    words = ("orders", "release", order.order_no)
    proposed = await typist.json(
        *words, "--by", "Ann", "--reason", "refunded in the portal", "--accept", "--resolution", "returned"
    )
    assert [one["mismatch"] for one in proposed["contradictions"]] == ["wrong_amount"]
    again = (*words, "--by", "Cem", "--reason", "asked the bank", "--resolution", "credited")
    told = (await typist.type(*again)).out.splitlines()
    assert [line.partition(",")[0] for line in told] == [
        f"{order.order_no} stays held (wrong_amount) until another person agrees to proposal 2",
        "does not fit: wrong_amount of trade 1",
        told[2],
        f"to agree: budan orders release {order.order_no} --by NAME --confirm 2",
    ]
    assert told[2].startswith("money in suspense: suspense:1:")
    alone = await typist.type(*words, "--by", "ann", "--confirm", str(proposed["act"]))
    assert (alone.code, "same_person" in alone.err) == (2, True)
    released = await typist.json(*words, "--by", "Bob", "--confirm", str(proposed["act"]))
    assert [one["mismatch"] for one in released["accepted"]] == ["wrong_amount"]
    assert (await order_row(rows))[1] is None
    shown = await typist.json("orders", "show", order.order_no)
    assert {"release_proposed", "release_confirmed"} <= {moment["what"] for moment in shown["moments"]}
    assert (await typist.type(*words, "--by", "Ann")).code == 2
    assert (await typist.type(*words, "--by", "Bob", "--confirm", "1", "--accept")).code == 2


# ---------------------------------------------------------------- a person's word


async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    writer.close()


@asynccontextmanager
async def silent_channel(stage: Stage) -> AsyncIterator[StagedOrder]:
    """An order at a channel that takes every question and answers none; afterwards it cannot be reached at all."""
    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    key = make_private_key()
    account_id = await stage.administration.add_account(
        channel="wechat_v3",
        name="silent",
        settings={
            "gateway": f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}",
            "mchid": "1900009191",
            "appid": "wxd678efh567hg6787",
            "merchant_serial": "AB",
        },
        account_secrets={
            "merchant_private_key": key,
            "apiv3_key": "k" * 32,
            "platform_keys": json.dumps({"PUB_KEY_ID_1": public_text(load_private_key(make_private_key()))}),
        },
        by="Ann",
    )
    async with server:
        yield await stage.add_order(await stage.add_merchant(account_id=account_id))


@pytest.fixture
async def silent(stage: Stage) -> AsyncIterator[StagedOrder]:
    async with silent_channel(stage) as order:
        yield order


async def propose_word(stage: Stage, order: StagedOrder, **wish: Any) -> int:
    parts = {"by": "Ann", "reason": "the bank shows it", "outcome": "paid", "channel_reference": "42"}
    parts |= {"paid_at": stage.opened.clock.now() - timedelta(hours=2)}
    return (await stage.operator.testimony.propose(order.trade_no, **(parts | wish))).act


SILENCE = {"outcome": Outcome.UNKNOWN, "source": Source.QUERY, "order_minor": None, "currency": None}
ANSWERS: dict[str, dict[str, Any]] = {
    "a definite no": {"outcome": Outcome.UNPAID_FINAL},
    "not paid yet": {"outcome": Outcome.UNPAID_OPEN, "source": Source.QUERY},
    "no such trade": {"outcome": Outcome.UNPAID_OPEN, "source": Source.QUERY, "not_found": True},
    "nothing settled yet": {"outcome": Outcome.UNKNOWN, "source": Source.QUERY, "answered": True},
}


async def wait_half_an_hour(rows: Rows) -> None:
    await rows.execute("UPDATE operator_act SET acted_at = acted_at - interval '31 minutes' WHERE kind = 'evidence'")


@pytest.mark.invariant("I4", "I12")
async def test_two_persons_complete_an_order_whose_channel_is_gone_for_good(
    stage: Stage, silent: StagedOrder, rows: Rows
) -> None:
    order = silent
    paid_at = stage.opened.clock.now() - timedelta(hours=2)
    act = await propose_word(stage, order, paid_at=paid_at)
    confirm = stage.operator.testimony.confirm
    await refused("same_person", confirm(order.trade_no, by="ANN", act=act))
    await refused("too_early", confirm(order.trade_no, by="Bob", act=act))
    assert (await order_row(rows))[0] == "paying"
    await wait_half_an_hour(rows)
    for decision in ("complete", "already_succeeded"):  # safe to repeat
        done = await confirm(order.trade_no, by="Bob", act=act)
        assert (done.decision, done.order_state) == (decision, "paid")
    await refused("proposal_confirmed", confirm(order.trade_no, by="Carl", act=act))
    assert tuple(await rows.fetchrow("SELECT learned_source, paid_at FROM orders")) == ("operator", paid_at)
    assert tuple(await rows.fetchrow("SELECT cause, learned_source, paid_at, actor FROM remedy")) == (
        "notice_missing",
        "operator",
        paid_at,
        "Ann, Bob",
    )
    assert await rows.fetchval("SELECT sum(amount_minor) FROM posting") == 0


@pytest.mark.invariant("I4", "I5")
async def test_two_persons_end_a_trade_whose_channel_is_gone_for_good(
    stage: Stage, silent: StagedOrder, rows: Rows
) -> None:
    order = silent
    act = await propose_word(stage, order, outcome="unpaid", paid_at=None)
    await wait_half_an_hour(rows)
    done = await stage.operator.testimony.confirm(order.trade_no, by="Bob", act=act)
    assert (done.order_state, done.trade_state) == ("paying", "closed")
    # A payment that is proven later is taken all the same.
    assert await say(stage, order) == "complete"


@pytest.mark.invariant("I4")
@pytest.mark.parametrize("answer", ANSWERS)
async def test_any_word_of_the_channel_that_came_meanwhile_ends_the_need_for_a_persons(
    stage: Stage, silent: StagedOrder, rows: Rows, answer: str
) -> None:
    """The channel answers the ladder or a payer's page, and is silent only when the second person asks."""
    act = await propose_word(stage, silent)
    await say(stage, silent, **({"order_minor": None, "currency": None} | ANSWERS[answer]))
    await say(stage, silent, **SILENCE)
    await wait_half_an_hour(rows)
    await refused("channel_answers", stage.operator.testimony.confirm(silent.trade_no, by="Bob", act=act))
    assert (await order_row(rows))[0] == "paying"


@pytest.mark.invariant("I4")
@pytest.mark.parametrize("state", ["unknown", "reversing", "closed"])
async def test_an_answer_that_changes_nothing_and_was_heard_before_ends_the_need_for_a_persons(
    stage: Stage, silent: StagedOrder, rows: Rows, state: str
) -> None:
    """A "not paid" of a trade that was closed so is no news, and leaves no row of its own the second time."""
    if state == "closed":
        await say(stage, silent, outcome=Outcome.UNPAID_FINAL, order_minor=None, currency=None)
        said = {"outcome": Outcome.UNPAID_FINAL}
    else:
        await rows.execute("UPDATE trade SET state = $1", state)
        said = {"outcome": Outcome.UNPAID_OPEN, "not_found": True}
    act = await propose_word(stage, silent)
    await say(stage, silent, **(said | {"source": Source.QUERY, "order_minor": None, "currency": None}))
    await wait_half_an_hour(rows)
    await refused("channel_answers", stage.operator.testimony.confirm(silent.trade_no, by="Bob", act=act))


@pytest.mark.invariant("I4")
async def test_an_answer_about_another_trade_of_the_account_ends_the_need_for_a_persons(
    stage: Stage, silent: StagedOrder, rows: Rows
) -> None:
    """A sweep's "closed" of a trade that is closed here leaves no mark on it: the account's own moment tells."""
    act = await propose_word(stage, silent)
    healths, account_id = stage.flows.healths, silent.merchant.account_id
    healths.note_question(account_id, busy=False, answered=False)
    await healths.turn()
    assert await rows.fetchval("SELECT answered_at FROM account_health WHERE account_id = $1", account_id) is None
    healths.note_question(account_id, busy=False, answered=True)
    await healths.turn()
    await wait_half_an_hour(rows)
    await refused("channel_answers", stage.operator.testimony.confirm(silent.trade_no, by="Bob", act=act))
    assert (await order_row(rows))[0] == "paying"


@pytest.mark.invariant("I4")
async def test_what_did_not_fit_and_is_repeated_is_an_answer_too(stage: Stage, silent: StagedOrder, rows: Rows) -> None:
    wrong = {"order_minor": AMOUNT_MINOR - 1, "source": Source.QUERY}
    await say(stage, silent, **wrong)
    act = await propose_word(stage, silent)
    await say(stage, silent, **wrong)
    await wait_half_an_hour(rows)
    await refused("channel_answers", stage.operator.testimony.confirm(silent.trade_no, by="Bob", act=act))
    # None of what it named is taken for the trade's.
    assert await rows.fetchval("SELECT channel_reference FROM trade") is None


@pytest.mark.invariant("I4")
async def test_a_question_that_did_not_leave_is_no_silence(stage: Stage, rows: Rows) -> None:
    """A machine without a way out, or without the account's key, would hear nothing of any channel."""
    keyless = await stage.add_order(await stage.add_merchant())
    await refused("channel_not_asked", propose_word(stage, keyless))
    async with silent_channel(stage) as order:
        act = await propose_word(stage, order)
    await wait_half_an_hour(rows)
    await refused("channel_not_asked", stage.operator.testimony.confirm(order.trade_no, by="Bob", act=act))
    assert await rows.fetchval("SELECT count(*) FROM evidence") == 0


@pytest.mark.invariant("I4")
async def test_a_persons_word_that_did_not_fit_stands_until_two_accept_it(
    stage: Stage, silent: StagedOrder, rows: Rows
) -> None:
    """Its words are not said again without the persons, and the hold that it made can be lifted."""
    await rows.execute("UPDATE trade SET state = 'reversing', paid_seen = TRUE")
    act = await propose_word(stage, silent, outcome="unpaid", paid_at=None)
    await wait_half_an_hour(rows)
    done = await stage.operator.testimony.confirm(silent.trade_no, by="Bob", act=act)
    assert done.decision == "payment_denied"
    assert await rows.fetchval("SELECT statement ->> 'source' FROM contradiction") == "operator"
    await refused("order_still_contradicted", release(stage, silent))
    released = await release(stage, silent, accept=True)
    assert [one.mismatch for one in released.accepted] == ["payment_denied"]
    assert (await order_row(rows))[1] is None


async def test_a_word_that_makes_no_sense_is_refused(stage: Stage) -> None:
    order = await stage.add_paid_order(await stage.add_merchant())
    await refused("trade_already_paid", propose_word(stage, order))
    await refused("outcome_unknown", propose_word(stage, order, outcome="maybe"))
    await refused("paid_at_missing", propose_word(stage, order, paid_at=None))
    await refused("paid_at_missing", propose_word(stage, order, outcome="unpaid"))
    await refused(
        "trade_not_found",
        stage.operator.testimony.propose(
            order.order_no, by="Ann", reason="x", outcome="unpaid", channel_reference=None, paid_at=None
        ),
    )
