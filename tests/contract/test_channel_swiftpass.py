"""The Swiftpass adapter against a real server on loopback that signs as Swiftpass does."""

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import time as time_of_day
from datetime import timedelta
from typing import Any

import pytest

from budan.channels.settings import BadSettings
from budan.channels.swiftpass.adapter import SwiftpassChannel
from budan.channels.swiftpass.settings import parse_settings
from budan.core.evidence import Outcome
from budan.core.refund import RefundOutcome
from budan.core.trade import Direction
from budan.ports.channel import BadNotice, EndState, Method, NoticeKind, RawNotice
from budan.wire.field_signatures import verify_md5, verify_rsa_sha256
from budan.wire.http_fast import FastHttpClient
from budan.wire.rsa import Signer
from budan.wire.xml_fields import parse_fields, render_fields
from contract.canned import CannedServer, http, swiftpass_answer, swiftpass_message, xml_http
from contract.swiftpass_lies import REFUND_ACCEPTED, REFUND_DONE
from unit.channels.builders import (
    APPID,
    NOW,
    REFUND_NO,
    SWIFTPASS_MCH_ID,
    TRADE_NO,
    a_call,
    a_ref,
    a_refund_intent,
    a_refund_ref,
    a_swiftpass_config,
    an_intent,
    merchant_key,
    platform_key,
    vectors,
)

# The trade of the vectors.
VECTOR_NO = "T20260101000006"
PAID = {"out_trade_no": TRADE_NO, "pay_result": "0", "total_fee": "1280", "fee_type": "CNY"}


@dataclass(frozen=True)
class Party:
    """The adapter and the server that it talks to."""

    channel: SwiftpassChannel
    server: CannedServer

    def expect_signed(self) -> dict[str, str]:
        """The last request's fields, after Swiftpass has judged their signature."""
        asked = self.server.asked[-1]
        assert (asked.method, asked.path_and_query) == ("POST", "/pay/gateway")
        fields = parse_fields(asked.body)
        if fields["sign_type"] == "MD5":
            assert verify_md5(fields, key=vectors()["swiftpass"]["md5_key"])
        else:
            assert verify_rsa_sha256(fields, public_key=merchant_key().public_key())
        assert (fields["mch_id"], fields["version"], fields["charset"]) == (SWIFTPASS_MCH_ID, "2.0", "UTF-8")
        assert len(fields["nonce_str"]) == 32
        return fields


async def a_party(**settings: str) -> tuple[Party, Signer]:
    server, signer = CannedServer(), Signer(threads=1)
    await server.start()
    config = a_swiftpass_config(gateway=f"http://127.0.0.1:{server.port}/pay/gateway", **settings)
    channel = SwiftpassChannel(
        settings=parse_settings(config),
        http=FastHttpClient(connections_per_host_max=4),
        signer=signer,
        monotonic_s=time.monotonic,
    )
    return Party(channel, server), signer


@pytest.fixture(params=["MD5", "RSA_1_256"])
def sign_type(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
async def party(sign_type: str) -> AsyncIterator[Party]:
    party, signer = await a_party(sign_type=sign_type)
    yield party
    await party.channel.end_session()
    await party.server.stop()
    signer.close()


@pytest.fixture
def signing(sign_type: str) -> dict[str, Any]:
    return {} if sign_type == "MD5" else {"rsa_key": platform_key()}


async def test_a_native_placement_gives_a_code_to_draw(party: Party, signing: dict[str, Any]) -> None:
    party.server.answer = swiftpass_answer({"code_url": "https://qr.swiftpass.cn/1"}, **signing)
    created = await party.channel.create(an_intent(expires_at=NOW + timedelta(minutes=10)), call=a_call())
    assert (created.result.outcome, created.result.sent) == (Outcome.UNPAID_OPEN, True)
    assert created.action is not None
    assert created.action.qr_text == "https://qr.swiftpass.cn/1"
    sent = party.expect_signed()
    assert (sent["service"], sent["total_fee"], sent["body"]) == ("unified.trade.native", "1280", "门店点单-拿铁")
    assert (sent["notify_url"], sent["mch_create_ip"]) == ("https://pay.example.com/cb/wx", "127.0.0.1")
    # The one has no effect without the other.
    assert (sent["time_start"], sent["time_expire"]) == ("20260101080000", "20260101081000")


async def test_a_jsapi_placement_names_payer_and_official_account(party: Party, signing: dict[str, Any]) -> None:
    party.server.answer = swiftpass_answer({"pay_info": '{"package":"prepay_id=wx1"}'}, **signing)
    created = await party.channel.create(an_intent(method=Method.JSAPI, payer_openid="oTest"), call=a_call())
    assert created.action is not None
    assert created.action.jsapi_parameters == {"package": "prepay_id=wx1"}
    sent = party.expect_signed()
    assert (sent["service"], sent["is_raw"], sent["sub_openid"]) == ("pay.weixin.jspay", "1", "oTest")
    assert sent["sub_appid"] == APPID


async def test_a_payer_of_alipay_is_led_by_alipays_script(party: Party, signing: dict[str, Any]) -> None:
    """The payer's number says whose wallet it is: the wrong service would refuse every one of them."""
    party.server.answer = swiftpass_answer({"pay_info": '{"tradeNO":"20260101"}'}, **signing)
    buyer_id = "2088000000000001"
    created = await party.channel.create(an_intent(method=Method.JSAPI, payer_openid=buyer_id), call=a_call())
    assert created.action is not None
    assert created.action.jsapi_parameters == {"tradeNO": "20260101"}
    sent = party.expect_signed()
    assert (sent["service"], sent["buyer_id"]) == ("pay.alipay.jspay", buyer_id)
    assert not {"is_raw", "sub_openid", "sub_appid"} & sent.keys()


async def test_a_method_without_what_it_needs_is_refused_before_anything_is_sent() -> None:
    party, signer = await a_party(sub_appid="")
    assert party.channel.capabilities.methods == {Method.NATIVE, Method.CODE}
    for intent in (
        an_intent(method=Method.WAP, return_url="https://x"),
        an_intent(method=Method.JSAPI, payer_openid="o"),
    ):
        created = await party.channel.create(intent, call=a_call())
        assert (created.result.outcome, created.result.sent) == (Outcome.UNPAID_OPEN, False)
    assert party.server.asked == []
    await party.channel.end_session()
    await party.server.stop()
    signer.close()


@pytest.mark.parametrize(
    ("given", "ready_at"), [({}, time_of_day(10)), ({"bill_ready_at": "13:30"}, time_of_day(13, 30))]
)
def test_an_account_says_when_its_bills_are_ready(given: dict[str, str], ready_at: time_of_day) -> None:
    """No document confirms ten o'clock."""
    assert parse_settings(a_swiftpass_config(**given)).bill_ready_at == ready_at


@pytest.mark.parametrize("wrong", ["24:00", "10", "10:60", "9:00"])
def test_a_time_that_is_none_is_refused_by_name(wrong: str) -> None:
    """A setting that cannot be read would stop the planning of every account's bills."""
    with pytest.raises(BadSettings, match="bill_ready_at"):
        parse_settings(a_swiftpass_config(bill_ready_at=wrong))


async def test_a_life_that_the_account_calls_too_short_is_not_sent() -> None:
    """Whether a bank's gateway takes less than five minutes is not confirmed, so the account says it."""
    party, signer = await a_party(c2b_life_s_min="300")
    for life_s, sent in ((299, False), (300, True)):
        party.server.answer = swiftpass_answer({"code_url": "https://qr.example/1"})
        created = await party.channel.create(an_intent(expires_at=NOW + timedelta(seconds=life_s)), call=a_call())
        assert (created.result.sent, created.action is not None) == (sent, sent)
    await party.channel.end_session()
    await party.server.stop()
    signer.close()


async def test_a_charge_sends_the_code_and_no_address_for_a_notice(party: Party, signing: dict[str, Any]) -> None:
    party.server.answer = swiftpass_answer(PAID, **signing)
    intent = an_intent(method=Method.CODE, store_id="7", device_id="POS7", device_ip="10.0.0.8")
    result = await party.channel.charge(intent, auth_code="280000000000000000", call=a_call())
    assert (result.outcome, result.order_minor, result.currency) == (Outcome.PAID, 1280, "CNY")
    sent = party.expect_signed()
    assert (sent["service"], sent["auth_code"]) == ("unified.trade.micropay", "280000000000000000")
    assert (sent["mch_create_ip"], sent["device_info"], sent["op_shop_id"]) == ("10.0.0.8", "POS7", "7")
    assert "notify_url" not in sent


async def test_an_address_that_the_field_cannot_hold_is_replaced(party: Party, signing: dict[str, Any]) -> None:
    party.server.answer = swiftpass_answer(PAID, **signing)
    intent = an_intent(method=Method.CODE, device_ip="2001:db8::1")
    await party.channel.charge(intent, auth_code="280000000000000000", call=a_call())
    assert party.expect_signed()["mch_create_ip"] == "127.0.0.1"


async def test_a_repeat_of_a_placement_is_equal_in_all_but_its_signature(party: Party, signing: dict[str, Any]) -> None:
    party.server.answer = swiftpass_answer({"code_url": "https://qr"}, **signing)
    for seconds in (0, 60):
        await party.channel.create(an_intent(), call=a_call(now=NOW + timedelta(seconds=seconds)))
    first, second = (parse_fields(asked.body) for asked in party.server.asked)
    assert first == second


async def test_ends_and_questions_are_asked_for_by_their_own_services(party: Party, signing: dict[str, Any]) -> None:
    party.server.answer = swiftpass_answer({}, **signing)
    assert (await party.channel.close(a_ref(), call=a_call())).state is EndState.ENDED
    assert party.expect_signed()["service"] == "unified.trade.close"
    b2c = a_ref(direction=Direction.B2C)
    assert (await party.channel.reverse(b2c, call=a_call())).state is EndState.ENDED
    assert party.expect_signed()["service"] == "unified.micropay.reverse"
    for unsupported in (
        await party.channel.close(b2c, call=a_call()),
        await party.channel.reverse(a_ref(), call=a_call()),
    ):
        assert (unsupported.state, unsupported.sent) == (EndState.NOT_SUPPORTED, False)
    party.server.answer = swiftpass_answer({"out_trade_no": TRADE_NO, "trade_state": "NOTPAY"}, **signing)
    assert (await party.channel.query(a_ref(), call=a_call())).outcome is Outcome.UNPAID_OPEN
    assert party.expect_signed()["service"] == "unified.trade.query"


async def test_a_refund_is_sent_and_asked_for_by_our_number(party: Party, signing: dict[str, Any]) -> None:
    party.server.answer = swiftpass_answer(REFUND_ACCEPTED, **signing)
    sent = await party.channel.refund(a_refund_intent(), call=a_call())
    assert (sent.outcome, sent.channel_reference) == (RefundOutcome.PENDING, "7550")
    fields = party.expect_signed()
    assert (fields["service"], fields["total_fee"], fields["refund_fee"]) == ("unified.trade.refund", "1280", "280")
    assert (fields["op_user_id"], fields["out_refund_no"]) == (SWIFTPASS_MCH_ID, REFUND_NO)
    party.server.answer = swiftpass_answer(REFUND_DONE, **signing)
    asked = await party.channel.query_refund(a_refund_ref(), call=a_call())
    assert (asked.outcome, asked.amount_minor) == (RefundOutcome.SUCCEEDED, 280)
    fields = party.expect_signed()
    # Another number in the question would win over ours, or list other refunds.
    assert fields.keys().isdisjoint({"refund_id", "transaction_id", "out_trade_no"})
    assert fields["service"] == "unified.trade.refundquery"


async def test_the_documented_answer_and_notice_are_read() -> None:
    answers = vectors()["swiftpass"]
    party, signer = await a_party(sign_type="MD5")
    party.server.answer = xml_http(answers["response_md5_paid"]["xml"].encode())
    intent = an_intent(method=Method.CODE, trade_no=VECTOR_NO)
    result = await party.channel.charge(intent, auth_code="281234567890123456", call=a_call())
    assert (result.outcome, result.order_minor, result.payer_minor) == (Outcome.PAID, 1280, 1280)
    assert result.wallet_reference == "2026010122001400000500000006"
    await party.channel.end_session()
    await party.server.stop()
    signer.close()
    rsa = SwiftpassChannel(
        settings=parse_settings(a_swiftpass_config(sign_type="RSA_1_256")),
        http=FastHttpClient(connections_per_host_max=1),
        signer=signer,
        monotonic_s=time.monotonic,
    )
    body = answers["notify_rsa_1_256_paid"]["xml"].encode()
    notices = [rsa.parse_notice(RawNotice(headers={}, body=body), now=NOW) for _ in range(2)]
    assert notices[0] == notices[1]
    assert (notices[0].kind, notices[0].result.outcome) == (NoticeKind.PAYMENT, Outcome.PAID)
    assert (notices[0].result.trade_no, notices[0].result.order_minor) == (VECTOR_NO, 1280)


@pytest.mark.parametrize("status", [302, 404, 500, 502])
async def test_any_status_but_200_is_a_gateway_on_the_way(party: Party, signing: dict[str, Any], status: int) -> None:
    closed = swiftpass_answer({"out_trade_no": TRADE_NO, "trade_state": "CLOSED"}, **signing)
    party.server.answer = closed.replace(b"200", str(status).encode(), 1)
    result = await party.channel.query(a_ref(), call=a_call())
    assert (result.outcome, result.sent) == (Outcome.UNKNOWN, True)


@pytest.mark.invariant("I4")
async def test_only_swiftpass_word_about_our_account_is_a_notice(
    party: Party, signing: dict[str, Any], sign_type: str
) -> None:
    good = swiftpass_message(PAID, **signing)
    result = party.channel.parse_notice(RawNotice(headers={}, body=good), now=NOW).result
    assert (result.outcome, result.order_minor) == (Outcome.PAID, 1280)
    fields = parse_fields(good)
    other_way = {"rsa_key": platform_key()} if sign_type == "MD5" else {}
    bad = {
        "unsigned": render_fields(fields | {"sign": ""}),
        "forged": swiftpass_message(PAID, rsa_key=merchant_key()),
        "forged by key": swiftpass_message(PAID, key="SwiftTestKeySwiftTestKey00000002"),
        "signed by the platform in another way": swiftpass_message(PAID, **other_way),
        "changed": good.replace(b"1280", b"1281"),
        "with a field more": render_fields(fields | {"cash_fee": "1"}),
        "named twice": good.replace(b"</xml>", b"<total_fee>1280</total_fee></xml>"),
        "cut": good[:-9],
        "no XML": b"\xff",
        "empty": b"",
        "other merchant": swiftpass_message(PAID | {"mch_id": "755000000002"}, **signing),
        "no amount": swiftpass_message(PAID | {"total_fee": "NaN"}, **signing),
        "no number": swiftpass_message(PAID | {"out_trade_no": ""}, **signing),
        "entities": b'<!DOCTYPE xml [<!ENTITY a "1">]>' + good,
    }
    for name, body in bad.items():
        with pytest.raises(BadNotice):
            pytest.fail(f"{name}: {party.channel.parse_notice(RawNotice(headers={}, body=body), now=NOW)}")


async def test_a_notice_that_tells_of_no_payment_pays_nothing(party: Party, signing: dict[str, Any]) -> None:
    body = swiftpass_message(PAID | {"pay_result": "1"}, **signing)
    assert party.channel.parse_notice(RawNotice(headers={}, body=body), now=NOW).result.outcome is Outcome.UNKNOWN


async def test_a_value_that_xml_cannot_hold_is_not_sent(party: Party) -> None:
    party.server.answer = http(200, b"")
    created = await party.channel.create(an_intent(notify_url="https://x/\x00"), call=a_call())
    assert (created.result.outcome, created.result.sent) == (Outcome.UNPAID_OPEN, False)
    assert party.server.asked == []
