import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from budan.core.errors import StoreUnavailable
from budan.core.numbers import Environment
from budan.flows.notices import DIGESTS_PER_HOUR_MAX, SAMPLE_BYTES_MAX, SAMPLES_PER_HOUR_MAX
from budan.telemetry import metrics
from integration.flows.ears import Ear, is_yes, open_ear
from integration.flows.platform_side import (
    ALIPAY,
    OURS,
    TELLERS,
    WECHAT,
    Told,
    by_alipay,
    by_wechat,
    refund_by_wechat,
)
from integration.flows.standing import Standing, Till

WAIT_S = 20.0
CHANNELS = pytest.mark.parametrize("channel", sorted(TELLERS))


@pytest.fixture
async def ear(till: Till) -> AsyncIterator[Ear]:
    async with open_ear(till) as opened:
        yield opened


@pytest.fixture
async def patient_ear(patient_till: Till) -> AsyncIterator[Ear]:
    async with open_ear(patient_till) as opened:
        yield opened


@CHANNELS
async def test_a_verified_notice_completes_its_order_and_is_kept_as_it_came(ear: Ear, channel: str) -> None:
    standing = await ear.stand(channel)
    told = TELLERS[channel](standing.trade_no())
    assert is_yes(await ear.receive(told))
    assert await ear.till.rows("SELECT state, learned_source, paid_at FROM orders") == [
        ("paid", "notice", datetime(2026, 1, 5, 4, 3, 2, tzinfo=UTC))
    ]
    assert await ear.till.rows("SELECT order_id, account_id, decision, body FROM notice") == [
        (standing.order_id, told.account_id, "complete", told.body)
    ]


@pytest.mark.invariant("I1")
@CHANNELS
async def test_a_notice_is_answered_only_after_the_commit(patient_ear: Ear, channel: str) -> None:
    """An answer before it would be the last that we ever hear of the payment."""
    ear, till = patient_ear, patient_ear.till
    standing = await ear.stand(channel)
    # Everything is written and nothing is committed: the commit itself waits for a row that somebody else holds.
    await till.outside.execute(
        """
        CREATE TABLE gate (held boolean);
        INSERT INTO gate VALUES (true);
        CREATE FUNCTION wait_at_commit() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN PERFORM 1 FROM gate FOR UPDATE; RETURN NULL; END $$;
        CREATE CONSTRAINT TRIGGER waits AFTER INSERT ON webhook_due DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION wait_at_commit();
        """
    )
    async with till.outside.transaction():
        await till.outside.execute("SELECT 1 FROM gate FOR UPDATE")
        receiving = asyncio.create_task(ear.receive(TELLERS[channel](standing.trade_no())))
        await till.waiting_on_lock()
        waiting = "SELECT query FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        assert await till.rows(waiting) == [("COMMIT;",)]
        assert not receiving.done()
        assert await till.order_state(standing) == "paying"
    assert is_yes(await asyncio.wait_for(receiving, WAIT_S))
    assert await till.order_state(standing) == "paid"


@pytest.mark.invariant("I1")
async def test_a_notice_is_not_answered_while_its_order_is_held(patient_ear: Ear) -> None:
    till = patient_ear.till
    standing = await patient_ear.stand("wechat_v3")
    async with till.outside.transaction():
        await till.outside.execute("SELECT 1 FROM orders FOR UPDATE")
        receiving = asyncio.create_task(patient_ear.receive(by_wechat(standing.trade_no())))
        await till.waiting_on_lock()
        assert not receiving.done()
        assert await till.count("notice") == 0
    assert is_yes(await asyncio.wait_for(receiving, WAIT_S))
    assert await till.count("notice") == 1


@pytest.mark.invariant("I1")
async def test_a_notice_is_not_answered_when_the_database_goes_away(ear: Ear) -> None:
    standing = await ear.stand("wechat_v3")
    async with ear.till.outside.transaction():
        await ear.till.outside.execute("SELECT 1 FROM orders FOR UPDATE")
        receiving = asyncio.create_task(ear.receive(by_wechat(standing.trade_no())))
        await ear.till.waiting_on_lock()
        await ear.till.outside.execute(
            """
            SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE datname = current_database() AND application_name = 'budan'
            """
        )
        with pytest.raises(StoreUnavailable):
            await asyncio.wait_for(receiving, WAIT_S)
    assert await ear.till.count("notice") == 0
    assert is_yes(await ear.receive(by_wechat(standing.trade_no())))
    assert await ear.till.order_state(standing) == "paid"


def tampered(told: Told) -> Told:
    return replace(told, body=told.body.replace(b"1", b"2", 1))


def unsigned(told: Told) -> Told:
    if told.channel == "alipay":
        return replace(told, body=told.body.partition(b"sign=")[0].rstrip(b"&"))
    return replace(told, headers={})


LIES: dict[str, Callable[[str], Told]] = {
    "wechat, forged": lambda number: by_wechat(number, key=OURS),
    "wechat, tampered": lambda number: tampered(by_wechat(number)),
    "wechat, unsigned": lambda number: unsigned(by_wechat(number)),
    "wechat, stale": lambda number: by_wechat(number, age_s=3_600),
    "wechat, from tomorrow": lambda number: by_wechat(number, age_s=-3_600),
    "wechat, of another merchant": lambda number: by_wechat(number, mchid="1900000001"),
    "wechat, of another app": lambda number: by_wechat(number, appid="wx0000000000000000"),
    "wechat, no notice at all": lambda number: replace(by_wechat(number), body=b"\x00{"),
    "alipay, forged": lambda number: by_alipay(number, key=OURS),
    "alipay, tampered": lambda number: tampered(by_alipay(number)),
    "alipay, unsigned": lambda number: unsigned(by_alipay(number)),
    "alipay, of another merchant": lambda number: by_alipay(number, seller_id="2088000000000000"),
    "alipay, no notice at all": lambda number: replace(by_alipay(number), body=b"\xff\x00=%zz"),
}


@pytest.mark.invariant("I4")
@pytest.mark.parametrize("lie", LIES)
async def test_what_is_not_provably_the_channels_changes_nothing_and_is_counted(ear: Ear, lie: str) -> None:
    told = LIES[lie]((await ear.stand(lie.partition(",")[0].replace("wechat", "wechat_v3"))).trade_no())
    for _ in range(3):
        assert not is_yes(await ear.receive(told))
    assert await ear.till.rows("SELECT state, version FROM orders") == [("paying", 1)]
    for table in ("notice", "evidence", "evidence_due", "posting", "contradiction"):
        assert await ear.till.count(table) == 0, table
    ((account_id, times, sample, reason),) = await ear.till.rows(
        "SELECT account_id, times, sample, reason FROM notice_rejected"
    )
    assert (account_id, times, sample) == (told.account_id, 3, told.body)
    assert reason


async def test_a_notice_that_is_repeated_changes_nothing_more_while_fresh_and_is_refused_when_stale(ear: Ear) -> None:
    standing = await ear.stand("wechat_v3")
    told = by_wechat(standing.trade_no())
    assert is_yes(await ear.receive(told))
    assert is_yes(await ear.receive(told))
    ear.clock.ahead = timedelta(hours=1)
    assert not is_yes(await ear.receive(told))
    assert await ear.till.rows("SELECT state, version FROM orders") == [("paid", 2)]
    assert await ear.till.rows("SELECT decision FROM notice ORDER BY id") == [("complete",), ("already_succeeded",)]
    assert await ear.till.count("posting") == 3


async def test_a_forger_fills_no_more_than_a_digest_each_and_the_hours_samples(ear: Ear) -> None:
    for number in range(SAMPLES_PER_HOUR_MAX + 5):
        body = b"%d" % number + b"x" * (2 * SAMPLE_BYTES_MAX)
        assert not is_yes(await ear.receive(replace(by_wechat("D"), body=body)))
    assert await ear.till.rows("SELECT count(*), count(sample), max(length(sample)) FROM notice_rejected") == [
        (SAMPLES_PER_HOUR_MAX + 5, SAMPLES_PER_HOUR_MAX, SAMPLE_BYTES_MAX)
    ]
    # Another account has its own share.
    assert not is_yes(await ear.receive(by_alipay("D", key=OURS)))
    assert await ear.till.rows("SELECT count(sample) FROM notice_rejected WHERE account_id = $1", ALIPAY) == [(1,)]


async def test_above_the_hours_digests_only_a_counter_rises(ear: Ear) -> None:
    """Whoever can reach the address can send for ever; the disk and each look stay bounded."""

    def not_kept() -> float:
        value = metrics.REGISTRY.get_sample_value("budan_notices_not_kept_total", {"account": str(WECHAT)})
        return value or 0.0

    first = replace(by_wechat("D"), body=b"first")
    assert not is_yes(await ear.receive(first))
    await ear.till.rows(
        """
        INSERT INTO notice_rejected (account_id, digest, reason, received_at)
        SELECT $1, sha256(n::text::bytea), 'forged', now() FROM generate_series(1, $2 - 2) AS n RETURNING 1
        """,
        WECHAT,
        DIGESTS_PER_HOUR_MAX,
    )
    before = not_kept()
    for number in range(3):
        assert not is_yes(await ear.receive(replace(by_wechat("D"), body=b"new %d" % number)))
    # What is known goes on to be counted.
    assert not is_yes(await ear.receive(first))
    assert not_kept() == before + 2
    assert await ear.till.rows("SELECT count(*), max(times) FROM notice_rejected") == [(DIGESTS_PER_HOUR_MAX, 2)]
    await ear.till.rows("UPDATE notice_rejected SET received_at = now() - interval '61 minutes' RETURNING 1")
    assert not is_yes(await ear.receive(replace(by_wechat("D"), body=b"an hour later")))
    assert await ear.till.count("notice_rejected") == DIGESTS_PER_HOUR_MAX + 1


@pytest.mark.invariant("I13")
@pytest.mark.parametrize("environment", ["test", "live", "", "LOCAL"])
async def test_an_address_of_another_environment_is_none_of_ours(ear: Ear, environment: str) -> None:
    standing = await ear.stand("wechat_v3")
    assert await ear.receive(by_wechat(standing.trade_no()), environment=environment) is None
    assert await ear.till.order_state(standing) == "paying"
    assert [await ear.till.count(table) for table in ("notice", "notice_rejected")] == [0, 0]


async def test_an_address_of_another_account_or_channel_is_none_of_ours(ear: Ear) -> None:
    told = by_wechat((await ear.stand("wechat_v3")).trade_no())
    assert await ear.receive(told, account_id=99) is None
    assert await ear.receive(told, channel="alipay") is None
    assert await ear.receive(told, account_id=ALIPAY) is None
    assert not is_yes(await ear.receive(told, account_id=ALIPAY, channel="alipay"))
    assert await ear.till.rows("SELECT state FROM orders") == [("paying",)]


@pytest.mark.invariant("I4")
async def test_a_notice_of_one_account_about_anothers_trade_is_kept_and_completes_nothing(ear: Ear) -> None:
    standing = await ear.stand("alipay")
    await ear.till.allow(WECHAT)
    assert is_yes(await ear.receive(by_wechat(standing.trade_no())))
    assert await ear.till.rows("SELECT state, hold_reason FROM orders") == [("paying", "wrong_account")]
    assert await ear.till.rows("SELECT decision FROM notice") == [("wrong_account",)]


@CHANNELS
async def test_a_notice_of_a_trade_that_is_not_here_is_acknowledged_and_kept(ear: Ear, channel: str) -> None:
    unknown = Standing(lane=ear.till.lane, order_id=1 << 57, merchant_id=ear.till.merchant_id)
    assert is_yes(await ear.receive(TELLERS[channel](unknown.trade_no())))
    assert await ear.till.rows("SELECT trade_no, reason FROM evidence_due") == [(unknown.trade_no(), "unknown_trade")]
    assert await ear.till.rows("SELECT trade_no, decision FROM notice") == [(unknown.trade_no(), "unknown_trade")]


@pytest.mark.invariant("I13")
async def test_a_notice_with_another_environments_number_is_acknowledged_kept_and_never_applied(ear: Ear) -> None:
    standing = await ear.stand("wechat_v3")
    foreign = standing.trade_no(environment=Environment.LIVE)
    assert is_yes(await ear.receive(by_wechat(foreign)))
    assert await ear.till.order_state(standing) == "paying"
    assert await ear.till.rows("SELECT trade_no, reason FROM evidence_due") == [(foreign, "foreign_environment")]


async def test_a_refund_notice_proves_the_payment_and_holds_the_order(ear: Ear) -> None:
    """Somebody gave the money back in the wallet's portal before we had heard that it came."""
    standing = await ear.stand("wechat_v3")
    assert is_yes(await ear.receive(refund_by_wechat(standing.trade_no())))
    assert await ear.till.rows("SELECT state, hold_reason FROM orders") == [("paid", "refunded_elsewhere")]
    assert await ear.till.rows("SELECT decision FROM notice") == [("complete",)]


async def test_a_refund_notice_of_a_paid_order_is_kept_and_holds_it(ear: Ear) -> None:
    standing = await ear.stand("wechat_v3")
    await ear.receive(by_wechat(standing.trade_no()))
    assert is_yes(await ear.receive(refund_by_wechat(standing.trade_no())))
    assert await ear.till.rows("SELECT state, hold_reason FROM orders") == [("paid", "returned_elsewhere")]
    assert await ear.till.rows("SELECT decision FROM notice ORDER BY id") == [("complete",), ("returned_elsewhere",)]
    assert await ear.till.rows("SELECT sum(amount_minor) FROM posting") == [(0,)]


@pytest.mark.invariant("I8", "I10")
async def test_a_refund_that_is_the_first_news_proves_its_payment_and_both_are_booked(ear: Ear) -> None:
    """Whether the payment or its refund is heard first, the books end the same, and a person is asked to look."""
    first, second = await ear.stand("wechat_v3"), await ear.stand("wechat_v3")
    await ear.receive(refund_by_wechat(first.trade_no()))
    await ear.receive(by_wechat(second.trade_no()))
    await ear.receive(refund_by_wechat(second.trade_no()))
    for standing in (first, second):
        await ear.receive(by_wechat(standing.trade_no()))
        await ear.receive(refund_by_wechat(standing.trade_no()))
    told = "SELECT decision FROM notice WHERE order_id = $1 ORDER BY id"
    told_twice = [("already_succeeded",), ("refund_told",)]
    assert await ear.till.rows(told, first.order_id) == [("complete",), *told_twice], "no refund is a late notice"
    books = "SELECT account, sum(amount_minor) FROM posting WHERE order_id = $1 GROUP BY account ORDER BY account"
    for standing in (first, second):
        assert {total for _, total in await ear.till.rows(books, standing.order_id)} == {0}
        assert await ear.till.rows(
            "SELECT origin, state, amount_minor FROM refund WHERE order_id = $1", standing.order_id
        ) == [("external", "succeeded", 1_000)]
    assert await ear.till.rows("SELECT DISTINCT state, hold_reason IS NULL FROM orders") == [("paid", False)]
    assert await ear.till.rows("SELECT count(*) FROM webhook WHERE event = 'refund.succeeded'") == [(2,)]


@pytest.mark.invariant("I4")
async def test_a_refund_notice_of_another_account_books_nothing_and_holds_the_order(ear: Ear) -> None:
    """Whoever holds the keys of one account cannot give back another merchant's money in our books."""
    standing = await ear.stand("alipay")
    await ear.till.allow(WECHAT)
    await ear.receive(by_alipay(standing.trade_no()))
    books = await ear.till.rows(
        "SELECT account, amount_minor FROM posting WHERE account <> 'suspense' ORDER BY account"
    )
    for _ in range(2):
        assert is_yes(await ear.receive(refund_by_wechat(standing.trade_no())))
    assert await ear.till.rows("SELECT state, hold_reason FROM orders") == [("paid", "wrong_account")]
    assert await ear.till.count("refund") == 0
    assert await ear.till.rows("SELECT refunded_minor, refunded_elsewhere_minor FROM trade") == [(0, 0)]
    assert await ear.till.rows("SELECT mismatch, statement IS NULL FROM contradiction ORDER BY statement IS NULL") == [
        ("wrong_account", False),
        ("wrong_account", True),
    ]
    of_trade = "SELECT account, amount_minor FROM posting WHERE account NOT IN ('suspense', $1) ORDER BY account"
    assert await ear.till.rows(of_trade, f"channel:{WECHAT}") == books
    assert await ear.till.rows("SELECT event FROM webhook ORDER BY version") == [("order.paid",), ("order.held",)]


@pytest.mark.invariant("I1")
async def test_a_refunded_total_that_cannot_be_told_apart_yet_is_not_acknowledged_and_comes_again(ear: Ear) -> None:
    """While a refund of ours is open, either may be in the total; a yes would be the last that we hear of it."""
    standing = await ear.stand("alipay")
    await ear.receive(by_alipay(standing.trade_no()))
    await ear.till.outside.execute("UPDATE trade SET refund_reserved_minor = 100")
    told = by_alipay(standing.trade_no(), refund_fee="2.80", gmt_refund="2026-01-05 12:05:00.123", out_biz_no="portal")
    with pytest.raises(StoreUnavailable, match="total_waits"):
        await ear.receive(told)
    assert await ear.till.count("refund") == 0
    await ear.till.outside.execute("UPDATE trade SET refund_reserved_minor = 0")
    for _ in range(2):
        assert is_yes(await ear.receive(told))
    assert await ear.till.rows("SELECT origin, state, amount_minor FROM refund") == [("external", "succeeded", 280)]


@pytest.mark.invariant("I1")
async def test_a_refund_of_a_payment_that_is_not_booked_is_not_acknowledged(ear: Ear) -> None:
    standing = await ear.stand("alipay")
    told = by_alipay(
        standing.trade_no(),
        total_amount="9.00",
        refund_fee="2.80",
        gmt_refund="2026-01-05 12:05:00.123",
        out_biz_no="p",
    )
    with pytest.raises(StoreUnavailable, match="payment_not_known"):
        await ear.receive(told)
    assert await ear.till.rows("SELECT state, hold_reason FROM orders") == [("paying", "wrong_amount")]
    assert await ear.till.count("refund") == 0


async def test_no_header_that_could_hold_a_secret_is_kept(ear: Ear) -> None:
    told = by_wechat((await ear.stand("wechat_v3")).trade_no())
    await ear.receive(replace(told, headers={**told.headers, "authorization": "Bearer x", "cookie": "y"}))
    ((headers,),) = await ear.till.rows("SELECT headers::text FROM notice")
    assert "wechatpay-signature" in headers
    assert "Bearer" not in headers
    assert "cookie" not in headers
