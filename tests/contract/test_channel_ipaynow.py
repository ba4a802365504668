"""The iPaynow adapter against a real server on loopback that signs as iPaynow does."""

import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from budan.channels.ipaynow.adapter import IpaynowChannel
from budan.channels.ipaynow.settings import parse_settings
from budan.core.evidence import Outcome, Source
from budan.core.numbers import AccountId
from budan.core.refund import (
    OPEN_REFUND_STATES,
    Refund,
    RefundEffect,
    RefundOrigin,
    RefundOutcome,
    RefundState,
    RefundTransition,
    decide_refund,
)
from budan.core.trade import Direction
from budan.flows.stamp import stamp_refund
from budan.ports.channel import BadNotice, EndState, Method, NoticeKind, PayAction, RawNotice, TradeIntent
from budan.wire import ipaynow
from budan.wire.forms import parse_form, render_form
from budan.wire.http_fast import FastHttpClient
from budan.wire.ipaynow import Signed
from contract.canned import CannedServer, http, ipaynow_answer
from unit.channels.builders import (
    IPAYNOW_APP_ID,
    NOW,
    REFUND_NO,
    TRADE_NO,
    a_call,
    a_ref,
    a_refund_intent,
    a_refund_ref,
    an_intent,
    an_ipaynow_config,
    vectors,
)

# The trade of the vectors.
VECTOR_NO = "T20260101000005"
# One call about a refund and the fields of its answer, None where the answer is lost.
Turn = tuple[str, dict[str, str] | None]
REVERSE_NO = f"V{TRADE_NO}"
WORKED = {"responseCode": "A001", "mhtOrderNo": TRADE_NO}


@dataclass(frozen=True)
class Party:
    """The adapter and the server that it talks to."""

    channel: IpaynowChannel
    server: CannedServer

    def expect_signed(self, kind: Signed = Signed.PAY_REQUEST, *, nth: int = -1) -> dict[str, str]:
        """A request's fields, after iPaynow has judged their signature."""
        asked = self.server.asked[nth]
        assert asked.method == "POST"
        fields = parse_form(asked.body)
        assert all(fields.values())
        assert ipaynow.verify(fields, app_key=vectors()["ipaynow"]["app_key"], kind=kind)
        assert fields["appId"] == IPAYNOW_APP_ID
        return fields

    async def created(self, intent: TradeIntent, *, tn: str) -> PayAction | None:
        self.server.answer = ipaynow_answer("WP001", WORKED | {"mhtOrderNo": intent.trade_no, "tn": tn})
        return (await self.channel.create(intent, call=a_call())).action


@pytest.fixture
def more_settings() -> dict[str, str]:
    return {}


@pytest.fixture
async def party(more_settings: dict[str, str]) -> AsyncIterator[Party]:
    server = CannedServer(answer=http(500, b""))
    await server.start()
    config = an_ipaynow_config(gateway=f"http://127.0.0.1:{server.port}/pay", **more_settings)
    channel = IpaynowChannel(
        settings=parse_settings(config),
        http=FastHttpClient(connections_per_host_max=4),
        monotonic_s=time.monotonic,
    )
    yield Party(channel, server)
    await channel.end_session()
    await server.stop()


def settings(**more: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("more_settings", [more])


async def test_a_charge_is_sent_as_the_vector_has_it(party: Party) -> None:
    vector = parse_form(vectors()["ipaynow"]["request_WP001_b2c"]["form_urlencoded"].encode())
    party.server.answer = http(200, vectors()["ipaynow"]["response_WP001_b2c_paid"]["form_urlencoded"].encode())
    intent = an_intent(method=Method.CODE, trade_no=VECTOR_NO, notify_url=vector["notifyUrl"])
    result = await party.channel.charge(intent, auth_code=vector["channelAuthCode"], call=a_call())
    assert (result.outcome, result.order_minor, result.payer_minor) == (Outcome.PAID, 1280, 1280)
    sent = party.expect_signed()
    # The vector's shop writes more into the detail than the name of what it sells.
    chosen = {"mhtOrderDetail": sent["mhtOrderDetail"], "mhtSignature": sent["mhtSignature"]}
    assert sent == vector | chosen


async def test_a_query_and_a_refund_are_sent_byte_for_byte_as_the_vectors_have_them(party: Party) -> None:
    known = vectors()["ipaynow"]
    await party.channel.query(a_ref(direction=Direction.B2C, trade_no=VECTOR_NO), call=a_call())
    assert party.server.asked[0].body == known["request_MQ002"]["form_urlencoded"].encode()
    intent = a_refund_intent(refund_no="R20260101000005", trade_no=VECTOR_NO, reason="退杯")
    await party.channel.refund(intent, call=a_call())
    assert party.server.asked[1].body == known["request_R001"]["form_urlencoded"].encode()
    assert [asked.path_and_query for asked in party.server.asked] == ["/pay", "/pay/refund/refundOrder"]


@pytest.mark.parametrize(
    ("code", "wallet"),
    [("134567890123456789", "13"), ("101234567890123456", "13"), ("281234567890123456", "12"), ("30" + "0" * 22, "12")],
)
async def test_a_charge_names_the_wallet_of_the_payers_code(party: Party, code: str, wallet: str) -> None:
    await party.channel.charge(an_intent(method=Method.CODE), auth_code=code, call=a_call())
    sent = party.expect_signed()
    assert (sent["payChannelType"], sent["deviceType"], sent["channelAuthCode"]) == (wallet, "05", code)


@settings(code_pay_channel="empty", code_time_out_s="60", limit_pay="no_credit")
async def test_a_setting_leaves_the_wallet_to_ipaynow(party: Party) -> None:
    await party.channel.charge(an_intent(method=Method.CODE), auth_code="134567890123456789", call=a_call())
    sent = party.expect_signed()
    assert "payChannelType" not in sent
    assert (sent["mhtOrderTimeOut"], sent["mhtLimitPay"]) == ("60", "no_credit")


async def test_a_shops_code_is_placed_and_drawn(party: Party) -> None:
    expires_at = NOW + timedelta(minutes=10)
    intent = an_intent(expires_at=expires_at)
    action = await party.created(intent, tn="weixin%3A%2F%2Fwxpay%2Fbizpayurl%3Fpr%3Dab%2Bc")
    assert action == PayAction(qr_text="weixin://wxpay/bizpayurl?pr=ab+c")
    sent = party.expect_signed()
    assert (sent["deviceType"], sent["payChannelType"], sent["outputType"]) == ("08", "13", "0")
    assert (sent["mhtOrderStartTime"], sent["mhtOrderTimeOut"]) == ("20260101080000", "600")
    assert "mhtLimitPay" not in sent


@settings(c2b_pay_channel="12", qr_output_type="1")
async def test_a_shops_code_may_be_another_wallets_and_a_link(party: Party) -> None:
    action = await party.created(an_intent(), tn="https%3A%2F%2Fqr.alipay.com%2Fbax1")
    assert action == PayAction(qr_text="https://qr.alipay.com/bax1")
    assert (party.expect_signed()["payChannelType"], party.expect_signed()["outputType"]) == ("12", "1")


async def test_a_code_that_is_a_picture_is_no_code_but_the_trade_is_there(party: Party) -> None:
    party.server.answer = ipaynow_answer("WP001", WORKED | {"tn": "data%3Aimage%2Fpng%3Bbase64%2CAAAA"})
    created = await party.channel.create(an_intent(), call=a_call())
    assert (created.result.outcome, created.result.code, created.action) == (Outcome.UNPAID_OPEN, "bad_answer", None)


@pytest.mark.parametrize(
    "tn",
    [
        "timeStamp%3D1%26package%3Dprepay_id%3Dwx1%26paySign%3Da%2Bb%3D%3D",
        "%7B%22timeStamp%22%3A%221%22%2C%22package%22%3A%22prepay_id%3Dwx1%22%2C%22paySign%22%3A%22a%2Bb%3D%3D%22%7D",
    ],
)
async def test_a_wallets_own_browser_gets_its_parameters(party: Party, tn: str) -> None:
    intent = an_intent(method=Method.JSAPI, payer_openid="oTest")
    action = await party.created(intent, tn=tn)
    assert action is not None
    assert action.jsapi_parameters == {"timeStamp": "1", "package": "prepay_id=wx1", "paySign": "a+b=="}
    sent = party.expect_signed()
    assert (sent["deviceType"], sent["consumerId"]) == ("0600", "oTest")


@settings(wap_device_type="06")
async def test_a_phones_browser_is_sent_to_a_page(party: Party) -> None:
    intent = an_intent(method=Method.WAP, return_url="https://pay.example.com/back?o=1", payer_ip="203.0.113.7")
    action = await party.created(intent, tn="https%3A%2F%2Fpay.ipaynow.cn%2Fh5")
    assert action == PayAction(redirect_url="https://pay.ipaynow.cn/h5")
    sent = party.expect_signed()
    assert (sent["deviceType"], sent["frontNotifyUrl"], sent["consumerCreateIp"]) == (
        "06",
        "https://pay.example.com/back?o=1",
        "203.0.113.7",
    )
    assert await party.created(intent, tn="javascript%3Aalert(1)") is None


async def test_what_cannot_be_placed_is_refused_before_anything_is_sent(party: Party) -> None:
    """An expiry that iPaynow cannot give must not become a longer one: there is no close."""
    short = an_intent(expires_at=NOW + timedelta(seconds=59))
    lacking = [an_intent(method=Method.WAP), an_intent(method=Method.JSAPI), an_intent(method=Method.CODE)]
    for intent, code in ((short, "expiry_too_short"), *((intent, "not_supported") for intent in lacking)):
        created = await party.channel.create(intent, call=a_call())
        assert (created.result.outcome, created.result.sent, created.result.code) == (Outcome.UNPAID_OPEN, False, code)
    assert party.server.asked == []


@pytest.mark.parametrize(("lives_s", "time_out"), [(60, "60"), (600, "600"), (7_200, "900"), (None, "900")])
async def test_a_placement_lives_no_longer_than_its_order_and_never_long(
    party: Party, lives_s: int | None, time_out: str
) -> None:
    expires_at = None if lives_s is None else NOW + timedelta(seconds=lives_s)
    await party.channel.create(an_intent(expires_at=expires_at), call=a_call())
    assert party.expect_signed()["mhtOrderTimeOut"] == time_out


@pytest.mark.invariant("I11")
async def test_a_repeat_is_equal_byte_for_byte(party: Party) -> None:
    for seconds in (0, 60):
        call = a_call(now=NOW + timedelta(seconds=seconds))
        await party.channel.create(an_intent(), call=call)
        await party.channel.refund(a_refund_intent(), call=call)
    bodies = [asked.body for asked in party.server.asked]
    assert bodies[:2] == bodies[2:]


async def test_a_subject_cannot_pass_for_other_fields(party: Party) -> None:
    """The signature covers "name=value&name=value" without escapes."""
    await party.channel.create(an_intent(subject=f"&mhtOrderAmt=1&{'拿' * 300}"), call=a_call())
    sent = party.expect_signed()
    assert sent["mhtOrderName"].startswith("＆mhtOrderAmt＝1＆")  # noqa: RUF001 - the wide forms are meant
    assert (len(sent["mhtOrderName"]), len(sent["mhtOrderDetail"])) == (40, 200)


@pytest.mark.parametrize(
    ("method", "device"), [(Method.NATIVE, "08"), (Method.JSAPI, "0600"), (Method.WAP, "0601"), (Method.CODE, "05")]
)
async def test_a_query_names_the_scene_of_its_trade(party: Party, method: Method, device: str) -> None:
    await party.channel.query(msgspec.structs.replace(a_ref(), method=method), call=a_call())
    assert party.expect_signed()["deviceType"] == device


async def test_there_is_no_close(party: Party) -> None:
    assert not party.channel.capabilities.close
    ended = await party.channel.close(a_ref(), call=a_call())
    assert (ended.state, ended.sent) == (EndState.NOT_SUPPORTED, False)
    assert party.server.asked == []


@pytest.mark.parametrize(
    ("now", "is_sent"),
    [
        (datetime(2026, 1, 1, 0, 0, 1, tzinfo=UTC), True),
        (datetime(2026, 1, 1, 15, 59, 59, tzinfo=UTC), True),
        (datetime(2026, 1, 1, 16, 0, tzinfo=UTC), False),
        (datetime(2025, 12, 31, 15, 59, 59, tzinfo=UTC), False),
    ],
)
async def test_a_reverse_is_asked_for_on_the_day_of_the_payment_in_beijing_only(
    party: Party, now: datetime, *, is_sent: bool
) -> None:
    """After it only what became of one is asked, and silence is no word that the payment stands."""
    ended = await party.channel.reverse(a_ref(direction=Direction.B2C), call=a_call(now=now))
    assert (ended.state, ended.sent, len(party.server.asked)) == (EndState.UNKNOWN, True, 1)
    assert party.expect_signed(Signed.REFUND_REQUEST)["funcode"] == ("R002" if is_sent else "Q002")


@settings(reverse_cut_off="23:30")
async def test_the_end_of_ipaynows_day_is_a_setting(party: Party) -> None:
    for minutes, funcode in ((29, "R002"), (31, "Q002")):
        now = datetime(2026, 1, 1, 15, minutes, tzinfo=UTC)
        await party.channel.reverse(a_ref(), call=a_call(now=now))
        assert party.expect_signed(Signed.REFUND_REQUEST)["funcode"] == funcode


REVERSED = {"responseCode": "R000", "tradeStatus": "A001", "mhtOrderNo": TRADE_NO, "mhtRefundNo": REVERSE_NO}
REFUSED = {"responseCode": "A002", "mhtOrderNo": TRADE_NO, "mhtRefundNo": REVERSE_NO}
STANDS_PAID = WORKED | {"transStatus": "A001", "mhtOrderAmt": "1280"}
STANDS_CLOSED = WORKED | {"transStatus": "A006"}


@pytest.mark.parametrize(
    ("answers", "state", "returned"),
    [
        ([("R002", REVERSED), ("MQ002", STANDS_PAID)], EndState.ENDED, True),
        ([("R002", REVERSED), ("MQ002", STANDS_CLOSED)], EndState.ENDED, False),
        ([("R002", REFUSED), ("Q002", REVERSED), ("MQ002", STANDS_PAID)], EndState.ENDED, True),
        ([("R002", REFUSED), ("Q002", REFUSED), ("MQ002", STANDS_CLOSED)], EndState.ENDED, False),
        ([("R002", REFUSED), ("Q002", REFUSED), ("MQ002", STANDS_PAID)], EndState.RETRY, None),
        (
            [("R002", REFUSED), ("Q002", REFUSED), ("MQ002", {"responseCode": "A002", "mhtOrderNo": TRADE_NO})],
            EndState.NOT_FOUND,
            None,
        ),
        (
            [("R002", REVERSED | {"tradeStatus": "A004"}), ("Q002", REVERSED | {"tradeStatus": "A004"})],
            EndState.UNKNOWN,
            None,
        ),
        ([("R002", REFUSED), ("Q002", {"responseCode": "A003"})], EndState.UNKNOWN, None),
        ([("R002", {"responseCode": "A003"})], EndState.UNKNOWN, None),
    ],
)
async def test_a_refused_reverse_is_asked_about_until_it_is_known_what_the_refusal_meant(
    party: Party, answers: list[tuple[str, dict[str, str]]], state: EndState, *, returned: bool | None
) -> None:
    party.server.script = [ipaynow_answer(funcode, fields) for funcode, fields in answers]
    ended = await party.channel.reverse(a_ref(direction=Direction.B2C), call=a_call())
    assert (ended.state, ended.money_returned, ended.sent) == (state, returned, True)
    assert party.server.script == []
    first = party.expect_signed(Signed.REFUND_REQUEST, nth=0)
    assert (first["funcode"], first["mhtRefundNo"], first["mhtOrderNo"]) == ("R002", REVERSE_NO, TRADE_NO)


NEXT_DAY = datetime(2026, 1, 1, 16, 0, 3, tzinfo=UTC)
UNDER_WAY = REVERSED | {"tradeStatus": "A004"}


@pytest.mark.invariant("I5")
@pytest.mark.invariant("I7")
@pytest.mark.parametrize(
    ("answers", "minutes", "state", "returned"),
    [
        ([("Q002", UNDER_WAY)], 0, EndState.UNKNOWN, None),
        ([("Q002", UNDER_WAY)], 1_500, EndState.UNKNOWN, None),
        ([("Q002", {"responseCode": "A003"})], 1_500, EndState.UNKNOWN, None),
        ([("Q002", REVERSED), ("MQ002", STANDS_PAID)], 0, EndState.ENDED, True),
        ([("Q002", REVERSED | {"tradeStatus": "A005"})], 0, EndState.NOT_SUPPORTED, None),
        # One that left in the day's last second may be in iPaynow's hands only after it.
        ([("Q002", REFUSED)], 0, EndState.UNKNOWN, None),
        ([("Q002", REFUSED)], 1, EndState.NOT_SUPPORTED, None),
        ([("Q002", REFUSED | {"mhtRefundNo": ""})], 1, EndState.UNKNOWN, None),
    ],
)
async def test_a_reverse_that_midnight_overtook_is_not_called_impossible_before_it_ended(
    party: Party, answers: list[tuple[str, dict[str, str]]], minutes: int, state: EndState, *, returned: bool | None
) -> None:
    """Called so, the payment would stand and be refunded, while the reverse gives it back a second time."""
    party.server.script = [ipaynow_answer(funcode, fields) for funcode, fields in answers]
    now = NEXT_DAY + timedelta(minutes=minutes)
    ended = await party.channel.reverse(a_ref(direction=Direction.B2C), call=a_call(now=now))
    assert (ended.state, ended.money_returned) == (state, returned)
    assert party.server.script == []
    first = party.expect_signed(Signed.REFUND_REQUEST, nth=0)
    assert (first["funcode"], first["mhtRefundNo"]) == ("Q002", REVERSE_NO)


@settings(refused_query="unknown")
async def test_a_refused_question_of_a_reverse_is_no_word_where_the_account_says_so(party: Party) -> None:
    party.server.script = [ipaynow_answer("Q002", REFUSED)]
    ended = await party.channel.reverse(a_ref(), call=a_call(now=NEXT_DAY + timedelta(hours=1)))
    assert ended.state is EndState.UNKNOWN


async def test_a_reverse_whose_question_is_not_answered_was_sent_all_the_same(party: Party) -> None:
    party.server.script = [ipaynow_answer("R002", REFUSED), http(500, b"")]
    ended = await party.channel.reverse(a_ref(direction=Direction.B2C), call=a_call())
    assert (ended.state, ended.sent) == (EndState.UNKNOWN, True)
    party.server.script = [ipaynow_answer("R002", REVERSED), http(500, b"")]
    ended = await party.channel.reverse(a_ref(direction=Direction.B2C), call=a_call())
    assert (ended.state, ended.money_returned) == (EndState.ENDED, None)


async def test_a_refund_is_asked_about_by_our_number(party: Party) -> None:
    shown = {"responseCode": "R000", "tradeStatus": "A001", "mhtRefundNo": REFUND_NO, "amount": "280"}
    party.server.answer = ipaynow_answer("Q001", shown)
    result = await party.channel.query_refund(a_refund_ref(), call=a_call())
    assert (result.outcome, result.amount_minor) == (RefundOutcome.SUCCEEDED, 280)
    sent = party.expect_signed(Signed.REFUND_REQUEST)
    assert (sent["funcode"], sent["mhtRefundNo"]) == ("Q001", REFUND_NO)
    assert party.server.asked[-1].path_and_query == "/pay/refund/refundQuery"


REFUND_REFUSED = {"responseCode": "A002", "mhtRefundNo": REFUND_NO}


def a_new_refund() -> Refund:
    return Refund(
        ordinal=1,
        origin=RefundOrigin.MERCHANT,
        state=RefundState.CREATED,
        account_id=AccountId(7),
        amount_minor=280,
        owed_minor=280,
        currency="CNY",
    )


async def refund_after(party: Party, turns: list[Turn]) -> tuple[Refund, list[RefundEffect]]:
    """A refund of ours after these turns, a minute apart, and what they did to its amount."""
    refund = a_new_refund()
    effects = []
    for minutes, (funcode, answer) in enumerate(turns):
        now = NOW + timedelta(minutes=minutes)
        is_question = funcode == "Q001"
        party.server.answer = http(500, b"") if answer is None else ipaynow_answer(funcode, answer)
        if is_question:
            result = await party.channel.query_refund(a_refund_ref(), call=a_call())
        else:
            assert refund.to_send, "the flow sends only what is to be sent"
            refund = replace(refund, to_send=False, send_until=now + timedelta(seconds=10))
            result = await party.channel.refund(a_refund_intent(), call=a_call())
        evidence = stamp_refund(
            result,
            account_id=refund.account_id,
            source=Source.QUERY if is_question else Source.REPLY,
            learned_at=now,
            asked_at=now if is_question else None,
        )
        decision = decide_refund(refund, evidence)
        if isinstance(decision, RefundTransition):
            refund = decision.refund
            effects.append(decision.effect)
    return refund, effects


# The first was taken and its answer lost: the repeat is refused for its number, and why the question is, nobody says.
REFUSED_TWICE: list[Turn] = [
    ("R001", None),
    ("Q001", REFUND_REFUSED),
    ("R001", REFUND_REFUSED),
    ("Q001", REFUND_REFUSED),
]
REFUND_DONE = {"responseCode": "R000", "tradeStatus": "A001", "mhtRefundNo": REFUND_NO, "amount": "280"}


@pytest.mark.invariant("I5")
async def test_two_refusals_without_a_reason_do_not_free_what_may_have_been_refunded(party: Party) -> None:
    refund, effects = await refund_after(party, REFUSED_TWICE)
    assert refund.state in OPEN_REFUND_STATES
    assert set(effects) == {RefundEffect.NOTHING}
    # And it is not given up: the same number again, until iPaynow tells of it.
    assert refund.to_send
    refund, effects = await refund_after(party, [*REFUSED_TWICE, ("R001", REFUND_REFUSED), ("Q001", REFUND_DONE)])
    assert (refund.state, effects[-1]) == (RefundState.SUCCEEDED, RefundEffect.GIVE_BACK)


@settings(refused_refund_query="not_found")
async def test_an_account_may_say_that_a_refused_question_means_no_such_refund(party: Party) -> None:
    refund, effects = await refund_after(party, REFUSED_TWICE)
    assert (refund.state, effects[-1]) == (RefundState.FAILED, RefundEffect.FREE)


@settings(refund_gateway="http://127.0.0.1:1/elsewhere", refund_query_gateway="http://127.0.0.1:1/elsewhere")
async def test_refunds_may_live_elsewhere(party: Party) -> None:
    result = await party.channel.refund(a_refund_intent(), call=a_call())
    assert (result.outcome, result.sent) == (RefundOutcome.UNKNOWN, False)
    assert party.server.asked == []


@pytest.mark.parametrize("status", [302, 404, 500, 502])
async def test_any_status_but_200_is_a_gateway_on_the_way(party: Party, status: int) -> None:
    good = ipaynow_answer("MQ002", STANDS_CLOSED)
    party.server.answer = good.replace(b"200", str(status).encode(), 1)
    result = await party.channel.query(a_ref(), call=a_call())
    assert (result.outcome, result.sent) == (Outcome.UNKNOWN, True)


NOTICE = {
    "funcode": "N001",
    "appId": IPAYNOW_APP_ID,
    "mhtOrderNo": TRADE_NO,
    "transStatus": "A001",
    "mhtOrderAmt": "1280",
    "signType": "MD5",
}


def raw(fields: Mapping[str, str], *, app_key: str = "", content_type: str = "text/plain") -> RawNotice:
    key = app_key or vectors()["ipaynow"]["app_key"]
    body = render_form(ipaynow.signed(fields, app_key=key, kind=Signed.PAY_ANSWER))
    return RawNotice(headers={"content-type": content_type}, body=body)


async def test_the_notice_of_the_vectors_is_read(party: Party) -> None:
    body = vectors()["ipaynow"]["notify_N001"]["form_urlencoded"].encode()
    notices = [party.channel.parse_notice(RawNotice(headers={}, body=body), now=NOW) for _ in range(2)]
    assert notices[0] == notices[1]
    result = notices[0].result
    assert (notices[0].kind, result.outcome, result.trade_no) == (NoticeKind.PAYMENT, Outcome.PAID, VECTOR_NO)
    assert (result.order_minor, result.payer_id, result.wallet) == (1280, "oTestOpenid000000000000001", "wechat")


@pytest.mark.invariant("I4")
async def test_only_ipaynows_word_about_our_application_is_a_notice(party: Party) -> None:
    good = raw(NOTICE)
    assert party.channel.parse_notice(good, now=NOW).result.outcome is Outcome.PAID
    bad = {
        "unsigned": RawNotice(headers={}, body=render_form(NOTICE)),
        "forged": raw(NOTICE, app_key="f" * 32),
        "changed": RawNotice(headers={}, body=good.body.replace(b"1280", b"1281")),
        "named twice": RawNotice(headers={}, body=good.body + b"&mhtOrderAmt=1"),
        "one more field": RawNotice(headers={}, body=good.body + b"&discountAmt=1"),
        "cut": RawNotice(headers={}, body=good.body[:-9]),
        "no form": RawNotice(headers={}, body=b"\xff"),
        "empty": RawNotice(headers={}, body=b""),
        "other application": raw(NOTICE | {"appId": "1400000000000002"}),
        "the browser's return": raw(NOTICE | {"funcode": "N002"}),
        "an answer to a query": raw(NOTICE | {"funcode": "MQ002"}),
        "no number": raw(NOTICE | {"mhtOrderNo": ""}),
        "no amount": raw(NOTICE | {"mhtOrderAmt": "NaN"}),
    }
    for name, notice in bad.items():
        with pytest.raises(BadNotice):
            pytest.fail(f"{name}: {party.channel.parse_notice(notice, now=NOW)}")


async def test_a_notice_is_read_whatever_it_calls_itself(party: Party) -> None:
    for content_type in ("text/plain", "application/json", "application/x-www-form-urlencoded"):
        notice = party.channel.parse_notice(raw(NOTICE, content_type=content_type), now=NOW)
        assert notice.result.outcome is Outcome.PAID


async def test_a_notice_is_answered_with_exactly_one_word(party: Party) -> None:
    accepted, refused = (party.channel.acknowledge(accepted=answer) for answer in (True, False))
    assert (accepted.status, accepted.body, refused.body) == (200, b"success=Y", b"success=N")
