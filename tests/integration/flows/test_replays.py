import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from budan.core.errors import Refused
from budan.core.numbers import Environment
from budan.flows.replaying import NoticeFilter, Replays
from integration.flows.ears import IDS, Ear, is_yes, open_ear
from integration.flows.platform_side import OURS, TELLERS, by_alipay, by_wechat, refund_by_wechat
from integration.flows.standing import LANES, Standing, Till

CHANNELS = pytest.mark.parametrize("channel", sorted(TELLERS))


@pytest.fixture
async def ear(till: Till) -> AsyncIterator[Ear]:
    async with open_ear(till) as opened:
        yield opened


def replays(ear: Ear) -> Replays:
    return Replays(database=ear.till.database, environment=Environment.LOCAL, lanes=LANES, notices=ear.notices)


def found(ear: Ear, **wanted: Any) -> NoticeFilter:
    parts = {
        "order_no": None,
        "since": ear.clock.now() - timedelta(hours=1),
        "account_id": None,
        "decision": None,
        "of_no_order": False,
        "limit": 50,
    }
    return NoticeFilter(**(parts | wanted))


async def forget(ear: Ear) -> None:
    """As if the notices had had no effect, in an older version say: the rows of the payment are gone."""
    await ear.till.outside.execute(
        """
        UPDATE orders SET state = 'paying', paid_attempt = NULL, completed_at = NULL, version = version + 1;
        UPDATE trade SET state = 'submitted', paid_seen = false;
        DELETE FROM posting; DELETE FROM webhook_due; DELETE FROM webhook; DELETE FROM evidence;
        """
    )


async def state(ear: Ear) -> list[tuple[Any, ...]]:
    return await ear.till.rows("SELECT state, version FROM orders ORDER BY id")


@CHANNELS
async def test_a_stored_notice_completes_what_it_should_have_completed_a_day_later(ear: Ear, channel: str) -> None:
    """Its signature is five minutes old at most when it comes; a replay sets the clock to that moment."""
    standing = await ear.stand(channel)
    assert is_yes(await ear.receive(TELLERS[channel](standing.trade_no())))
    await forget(ear)
    ear.clock.ahead = timedelta(days=1)
    (would,) = await replays(ear).replay_found(found(ear, order_no=standing.trade_no()), dry=True)
    assert (would.was, would.decision, would.changed) == ("complete", "complete", True)
    assert await state(ear) == [("paying", 3)]
    (did,) = await replays(ear).replay_found(found(ear, order_no=standing.trade_no()), dry=False)
    assert (did.decision, did.changed, did.order_state) == ("complete", True, "paid")
    assert await state(ear) == [("paid", 4)]
    assert await ear.till.rows("SELECT sum(amount_minor), count(*) FROM posting") == [(0, 3)]


async def test_a_replay_is_safe_to_repeat_and_stores_nothing_twice(ear: Ear) -> None:
    for channel in ("wechat_v3", "alipay", "wechat_v3"):
        assert is_yes(await ear.receive(TELLERS[channel]((await ear.stand(channel)).trade_no())))
    before = await state(ear)
    for _ in range(2):
        done = await replays(ear).replay_found(found(ear), dry=False)
        assert [(one.decision, one.changed) for one in done] == [("already_succeeded", False)] * 3
    assert await state(ear) == before
    assert await ear.till.count("notice") == 3


async def test_a_replayed_refund_notice_says_what_the_door_of_refunds_decides(ear: Ear) -> None:
    """What it says of the payment is old news; whether the money that went back is booked is what somebody replays it for."""
    standing = await ear.stand("wechat_v3")
    assert is_yes(await ear.receive(by_wechat(standing.trade_no())))
    assert is_yes(await ear.receive(refund_by_wechat(standing.trade_no())))
    await ear.till.outside.execute(
        "DELETE FROM refund; DELETE FROM refund_evidence; DELETE FROM posting WHERE entry_key LIKE 'refund:%';"
        " UPDATE trade SET refunded_elsewhere_minor = 0, fee_given_back_minor = 0; UPDATE orders SET refund_count = 0"
    )
    wanted = found(ear, decision="returned_elsewhere")
    (would,) = await replays(ear).replay_found(wanted, dry=True)
    assert (would.refund_decision, would.refund_state, would.changed) == ("external", "succeeded", True)
    assert await ear.till.count("refund") == 0
    (did,) = await replays(ear).replay_found(wanted, dry=False)
    assert (did.refund_decision, did.refund_state, did.changed) == ("external", "succeeded", True)
    assert await ear.till.rows("SELECT sum(amount_minor) FROM posting WHERE entry_key LIKE 'refund:%'") == [(0,)]
    (again,) = await replays(ear).replay_found(wanted, dry=False)
    assert (again.refund_decision, again.changed) == ("already_known", False)


async def test_notices_are_listed_by_order_account_and_decision(ear: Ear) -> None:
    paid, odd = await ear.stand("wechat_v3"), await ear.stand("alipay")
    await ear.receive(by_wechat(paid.trade_no()))
    await ear.receive(by_wechat(odd.trade_no()))
    await ear.receive(by_alipay(odd.trade_no()))
    unknown = Standing(lane=ear.till.lane, order_id=1 << 57, merchant_id=ear.till.merchant_id)
    await ear.receive(by_wechat(unknown.trade_no()))
    listing = replays(ear).list_verified
    assert [line.decision for line in await listing(found(ear))] == ["complete", "wrong_account", "complete"]
    assert [line.trade_no for line in await listing(found(ear, order_no=paid.trade_no()))] == [paid.trade_no()]
    assert [line.trade_no for line in await listing(found(ear, decision="wrong_account"))] == [odd.trade_no()]
    assert len(await listing(found(ear, account_id=IDS["wechat_v3"]))) == 2
    assert await listing(found(ear, since=ear.clock.now() + timedelta(hours=1))) == []
    assert len(await listing(found(ear, limit=1))) == 1


@pytest.mark.invariant("I4")
async def test_a_notice_that_was_rejected_counts_once_its_key_is_right(ear: Ear) -> None:
    """The platform changed its key overnight: everything it said was refused until the new key was entered."""
    standing = await ear.stand("wechat_v3")
    told = by_wechat(standing.trade_no())
    # As with the wrong key: what came is right, and was not believed.
    assert not is_yes(await ear.receive(replace(told, headers={**told.headers, "wechatpay-serial": "ANOTHER"})))
    await ear.till.outside.execute(
        "UPDATE notice_rejected SET headers = jsonb_set(headers, '{wechatpay-serial}', to_jsonb($1::text))",
        told.headers["wechatpay-serial"],
    )
    (line,) = await replays(ear).list_rejected(found(ear))
    assert (line.times, line.can_be_replayed) == (1, True)
    ear.clock.ahead = timedelta(hours=9)
    (would,) = await replays(ear).replay([line.notice], dry=True)
    assert (would.was, would.decision, would.changed) == ("rejected", "complete", True)
    assert await ear.till.count("notice") == 0
    (did,) = await replays(ear).replay([line.notice], dry=False)
    assert (did.decision, did.order_state) == ("complete", "paid")
    stored = await ear.till.rows(
        "SELECT n.received_at = r.received_at, n.body = r.sample FROM notice AS n CROSS JOIN notice_rejected AS r"
    )
    assert stored == [(True, True)]


@pytest.mark.invariant("I4")
async def test_a_forged_notice_stays_forged_however_often_it_is_replayed(ear: Ear) -> None:
    standing = await ear.stand("wechat_v3")
    assert not is_yes(await ear.receive(by_wechat(standing.trade_no(), key=OURS)))
    (line,) = await replays(ear).list_rejected(found(ear))
    (done,) = await replays(ear).replay([line.notice], dry=False)
    assert (done.decision, done.changed) == ("rejected", False)
    assert done.reason.startswith("signature")
    assert await state(ear) == [("paying", 1)]


async def test_a_long_forgery_is_kept_in_part_and_cannot_be_replayed(ear: Ear) -> None:
    told = by_wechat((await ear.stand("wechat_v3")).trade_no())
    junk = {f"wechatpay-{number}": "x" * 5_000 for number in range(50)}
    assert not is_yes(await ear.receive(replace(told, headers={**told.headers, **junk}, body=b"x" * 10_000)))
    (line,) = await replays(ear).list_rejected(found(ear))
    assert not line.can_be_replayed
    with pytest.raises(Refused, match="notice_not_found"):
        await replays(ear).replay([line.notice], dry=False)
    ((headers,),) = await ear.till.rows("SELECT headers::text FROM notice_rejected")
    assert len(json.loads(headers)) == 10
    assert len(headers) < 12_000


@pytest.mark.parametrize("name", ["", "1:2", "1:2:3:4", "64:x:1", "1:" + "0" * 63, "99999999999:1:1", "\u0661:1:1"])
async def test_what_names_no_notice_is_refused(ear: Ear, name: str) -> None:
    with pytest.raises(Refused, match="notice_malformed"):
        await replays(ear).replay([name], dry=False)
    with pytest.raises(Refused, match="notice_not_found"):
        await replays(ear).replay(["1:1:1"], dry=False)
