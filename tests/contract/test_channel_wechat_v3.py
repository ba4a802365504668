"""The WeChat Pay v3 adapter against a real server on loopback that signs as the platform does."""

import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from budan.channels.wechat_v3.adapter import WechatV3Channel
from budan.channels.wechat_v3.settings import parse_settings
from budan.core.evidence import Outcome
from budan.core.refund import RefundOutcome
from budan.core.trade import Direction
from budan.ports.channel import BadNotice, EndState, Method, NoticeKind, RawNotice
from budan.wire import wechat_v3
from budan.wire.http_fast import FastHttpClient
from budan.wire.rsa import Signer, verify_sha256
from budan.wire.wechat_v3 import Verdict
from contract.canned import CannedServer, http, wechat_answer, wechat_headers
from unit.channels.builders import (
    APPID,
    MCHID,
    NOW,
    NOW_S,
    PLATFORM_SERIAL,
    REFUND_NO,
    TRADE_NO,
    a_call,
    a_ref,
    a_refund_intent,
    a_refund_ref,
    a_wechat_config,
    an_intent,
    merchant_key,
    vectors,
)

TRANSACTION = {
    "mchid": MCHID,
    "appid": APPID,
    "out_trade_no": TRADE_NO,
    "transaction_id": "4200009999202601010000000001",
    "trade_state": "SUCCESS",
    "success_time": "2026-01-01T08:00:03+08:00",
    "payer": {"openid": "oTestOpenid000000000000001"},
    "amount": {"total": 1280, "payer_total": 1280, "currency": "CNY", "payer_currency": "CNY"},
}


@dataclass(frozen=True)
class Party:
    """The adapter and the server that it talks to."""

    channel: WechatV3Channel
    server: CannedServer

    def expect_signed(self) -> dict[str, Any]:
        """The last request's body, after the platform has judged its signature."""
        asked = self.server.asked[-1]
        authorization = wechat_v3.parse_authorization(asked.headers["authorization"])
        assert authorization is not None
        verdict = wechat_v3.verify_request(
            authorization,
            public_key=merchant_key().public_key(),
            method=asked.method,
            path_and_query=asked.path_and_query,
            body=asked.body,
            now_s=NOW_S,
        )
        assert verdict is Verdict.VALID
        assert (authorization.mchid, asked.headers["wechatpay-serial"]) == (MCHID, PLATFORM_SERIAL)
        return json.loads(asked.body) if asked.body else {}


@asynccontextmanager
async def a_party() -> AsyncIterator[Party]:
    server, signer = CannedServer(), Signer(threads=1)
    await server.start()
    channel = WechatV3Channel(
        settings=parse_settings(a_wechat_config(gateway=f"http://127.0.0.1:{server.port}")),
        http=FastHttpClient(connections_per_host_max=4),
        signer=signer,
        monotonic_s=time.monotonic,
    )
    try:
        yield Party(channel, server)
    finally:
        await channel.end_session()
        await server.stop()
        signer.close()


@pytest.fixture
async def party() -> AsyncIterator[Party]:
    async with a_party() as party:
        yield party


async def test_a_native_trade_is_placed_and_gives_a_code_to_draw(party: Party) -> None:
    party.server.answer = wechat_answer(200, {"code_url": "weixin://wxpay/bizpayurl?pr=p4lpSuKzz"})
    created = await party.channel.create(an_intent(expires_at=NOW + timedelta(minutes=10)), call=a_call())
    assert (created.result.outcome, created.result.sent) == (Outcome.UNPAID_OPEN, True)
    assert created.action is not None
    assert created.action.qr_text == "weixin://wxpay/bizpayurl?pr=p4lpSuKzz"
    assert party.server.asked[0].path_and_query == "/v3/pay/transactions/native"
    assert party.expect_signed()["time_expire"] == "2026-01-01T08:10:00+08:00"


async def test_a_jsapi_trade_gives_parameters_that_the_wallet_accepts(party: Party) -> None:
    party.server.answer = wechat_answer(200, {"prepay_id": "wx201410272009395522657a690389285100"})
    created = await party.channel.create(an_intent(method=Method.JSAPI, payer_openid="oTest"), call=a_call())
    assert created.action is not None
    assert created.action.jsapi_parameters is not None
    shown = dict(created.action.jsapi_parameters)
    assert shown["package"] == "prepay_id=wx201410272009395522657a690389285100"
    assert shown["signType"] == "RSA"
    text = f"{shown['appId']}\n{shown['timeStamp']}\n{shown['nonceStr']}\n{shown['package']}\n"
    assert verify_sha256(merchant_key().public_key(), text.encode(), shown["paySign"])
    assert party.expect_signed()["payer"] == {"openid": "oTest"}


async def test_an_h5_trade_gives_a_link_that_comes_back_and_lives_five_minutes(party: Party) -> None:
    """WeChat refuses an address that is not the payer's, and a link that is older."""
    h5_url = "https://wx.tenpay.com/cgi-bin/mmpayweb-bin/checkmweb?prepay_id=wx2016&package=1037687096"
    party.server.answer = wechat_answer(200, {"h5_url": h5_url})
    intent = an_intent(method=Method.WAP, payer_ip="203.0.113.7", return_url="https://pay.example.com/back?o=1")
    created = await party.channel.create(intent, call=a_call())
    assert created.action is not None
    assert created.action.redirect_url == f"{h5_url}&redirect_url=https%3A%2F%2Fpay.example.com%2Fback%3Fo%3D1"
    assert created.action.good_until == NOW + timedelta(minutes=5)
    scene = {"payer_client_ip": "203.0.113.7", "h5_info": {"type": "Wap"}}
    assert party.expect_signed()["scene_info"] == scene
    assert party.server.asked[0].path_and_query == "/v3/pay/transactions/h5"


async def test_an_h5_link_that_is_no_address_leads_no_payer_anywhere(party: Party) -> None:
    """Our page sends a browser there."""
    party.server.answer = wechat_answer(200, {"h5_url": "javascript:alert(1)"})
    created = await party.channel.create(an_intent(method=Method.WAP, payer_ip="203.0.113.7"), call=a_call())
    assert (created.result.outcome, created.action) == (Outcome.UNKNOWN, None)


async def test_a_method_without_what_it_needs_is_refused_before_anything_is_sent(party: Party) -> None:
    for intent in (an_intent(method=Method.JSAPI), an_intent(method=Method.WAP)):
        created = await party.channel.create(intent, call=a_call())
        assert (created.result.outcome, created.result.sent) == (Outcome.UNPAID_OPEN, False)
    assert party.server.asked == []


async def test_a_repeat_of_a_placement_is_equal_in_all_but_its_signature(party: Party) -> None:
    party.server.answer = wechat_answer(200, {"code_url": "weixin://x"})
    for seconds in (0, 60):
        await party.channel.create(an_intent(), call=a_call(now=NOW + timedelta(seconds=seconds)))
    first, second = party.server.asked
    assert (first.body, first.path_and_query) == (second.body, second.path_and_query)
    assert first.headers["authorization"] != second.headers["authorization"]


async def test_a_charge_is_paid_by_its_answer(party: Party) -> None:
    party.server.answer = wechat_answer(200, TRANSACTION)
    result = await party.channel.charge(
        an_intent(method=Method.CODE, device_id="POS7"), auth_code="130000000000000001", call=a_call()
    )
    assert (result.outcome, result.order_minor, result.currency) == (Outcome.PAID, 1280, "CNY")
    body = party.expect_signed()
    assert body["payer"] == {"auth_code": "130000000000000001"}
    assert party.server.asked[0].path_and_query == "/v3/pay/transactions/codepay"


async def test_a_query_is_signed_with_its_query_string(party: Party) -> None:
    party.server.answer = wechat_answer(200, TRANSACTION | {"trade_state": "NOTPAY"})
    result = await party.channel.query(a_ref(), call=a_call())
    assert result.outcome is Outcome.UNPAID_OPEN
    party.expect_signed()
    asked = party.server.asked[0]
    assert (asked.method, asked.path_and_query) == (
        "GET",
        f"/v3/pay/transactions/out-trade-no/{TRADE_NO}?mchid={MCHID}",
    )


async def test_a_query_of_a_number_that_is_not_there_says_so(party: Party) -> None:
    party.server.answer = wechat_answer(404, {"code": "ORDER_NOT_EXIST", "message": "订单不存在"})
    result = await party.channel.query(a_ref(), call=a_call())
    assert (result.outcome, result.not_found) == (Outcome.UNPAID_OPEN, True)


async def test_a_close_without_a_body_is_done_by_its_signature(party: Party) -> None:
    party.server.answer = wechat_answer(204, None)
    assert (await party.channel.close(a_ref(), call=a_call())).state is EndState.ENDED
    assert party.expect_signed() == {"mchid": MCHID}
    party.server.answer = http(204, b"")
    assert (await party.channel.close(a_ref(), call=a_call())).state is EndState.UNKNOWN


async def test_each_direction_has_its_own_end(party: Party) -> None:
    for ended in (
        await party.channel.close(a_ref(direction=Direction.B2C), call=a_call()),
        await party.channel.reverse(a_ref(direction=Direction.C2B), call=a_call()),
    ):
        assert (ended.state, ended.sent) == (EndState.NOT_SUPPORTED, False)
    assert party.server.asked == []
    fields = {"appid": APPID, "mchid": MCHID, "out_trade_no": TRADE_NO}
    party.server.answer = wechat_answer(200, fields)
    ended = await party.channel.reverse(a_ref(direction=Direction.B2C), call=a_call())
    assert (ended.state, ended.money_returned) == (EndState.ENDED, None)


REFUND = {
    "refund_id": "50300009992026010100000000001",
    "out_refund_no": REFUND_NO,
    "transaction_id": "4200009999202601010000000001",
    "out_trade_no": TRADE_NO,
    "channel": "ORIGINAL",
    "status": "PROCESSING",
    "create_time": "2026-01-01T09:00:01+08:00",
    "amount": {"total": 1280, "refund": 280, "payer_total": 1280, "payer_refund": 280, "currency": "CNY"},
}


async def test_a_refund_is_asked_for_in_integer_fen_of_the_whole(party: Party) -> None:
    party.server.answer = wechat_answer(200, REFUND)
    result = await party.channel.refund(a_refund_intent(), call=a_call())
    assert (result.outcome, result.channel_reference) == (RefundOutcome.PENDING, REFUND["refund_id"])
    assert party.expect_signed() == {
        "out_trade_no": TRADE_NO,
        "out_refund_no": REFUND_NO,
        "reason": "退一杯",
        "notify_url": "https://pay.example.com/cb/wx",
        "amount": {"refund": 280, "total": 1280, "currency": "CNY"},
    }
    assert (party.server.asked[0].method, party.server.asked[0].path_and_query) == (
        "POST",
        "/v3/refund/domestic/refunds",
    )


@pytest.mark.invariant("I11")
async def test_a_repeat_of_a_refund_is_equal_in_all_but_its_signature(party: Party) -> None:
    party.server.answer = wechat_answer(200, REFUND)
    for seconds, learned in ((0, None), (60, "4200009999202601010000000001")):
        call = a_call(now=NOW + timedelta(seconds=seconds))
        await party.channel.refund(a_refund_intent(channel_reference=learned), call=call)
    first, second = party.server.asked
    assert first.body == second.body
    assert first.headers["authorization"] != second.headers["authorization"]


async def test_a_refund_is_queried_by_our_number(party: Party) -> None:
    party.server.answer = wechat_answer(
        200, REFUND | {"status": "SUCCESS", "success_time": "2026-01-01T09:00:03+08:00"}
    )
    result = await party.channel.query_refund(a_refund_ref(), call=a_call())
    assert (result.outcome, result.amount_minor) == (RefundOutcome.SUCCEEDED, 280)
    assert result.refunded_at is not None
    assert result.refunded_at.isoformat() == "2026-01-01T01:00:03+00:00"
    party.expect_signed()
    asked = party.server.asked[0]
    assert (asked.method, asked.path_and_query) == ("GET", f"/v3/refund/domestic/refunds/{REFUND_NO}")
    party.server.answer = wechat_answer(404, {"code": "RESOURCE_NOT_EXISTS", "message": "x"})
    assert (await party.channel.query_refund(a_refund_ref(), call=a_call())).outcome is RefundOutcome.NOT_FOUND


def a_notice(
    plaintext: Mapping[str, Any], *, event_type: str = "TRANSACTION.SUCCESS", algorithm: str = "AEAD_AES_256_GCM"
) -> bytes:
    key = vectors()["wechat_v3"]["apiv3_key"]
    ciphertext = wechat_v3.encrypt_resource(
        json.dumps(plaintext).encode(), api_v3_key=key, nonce="fdasflkja484", associated_data="transaction"
    )
    resource = {
        "original_type": "transaction",
        "algorithm": algorithm,
        "ciphertext": ciphertext,
        "associated_data": "transaction",
        "nonce": "fdasflkja484",
    }
    return json.dumps({"id": "1", "event_type": event_type, "resource": resource}).encode()


def raw(body: bytes, headers: Mapping[str, str]) -> RawNotice:
    return RawNotice(headers={name.lower(): value for name, value in headers.items()}, body=body)


async def test_the_notices_of_the_vectors_are_read(party: Party) -> None:
    paid, refunded = (vectors()["wechat_v3"][name] for name in ("callback_paid", "callback_refund"))
    notice = party.channel.parse_notice(raw(paid["body"].encode(), paid["headers"]), now=NOW)
    assert (notice.kind, notice.result.outcome, notice.result.order_minor) == (NoticeKind.PAYMENT, Outcome.PAID, 1280)
    assert notice.result.trade_no == TRADE_NO
    notice = party.channel.parse_notice(raw(refunded["body"].encode(), refunded["headers"]), now=NOW)
    assert (notice.kind, notice.result.outcome, notice.result.order_minor) == (NoticeKind.REFUND, Outcome.PAID, 1280)
    assert (notice.result.trade_no, notice.result.refunded_hint) == (TRADE_NO, True)
    refund = notice.refund
    assert refund is not None
    assert (refund.outcome, refund.refund_no, refund.trade_no) == (RefundOutcome.SUCCEEDED, REFUND_NO, TRADE_NO)
    assert (refund.amount_minor, refund.channel_reference) == (280, "50300009992026010100000000001")
    assert refund.refunded_at is not None
    assert refund.refunded_at.isoformat() == "2026-01-01T01:00:03+00:00"


async def test_a_notice_read_twice_says_the_same(party: Party) -> None:
    body = a_notice(TRANSACTION)
    notices = [party.channel.parse_notice(raw(body, wechat_headers(body)), now=NOW) for _ in range(2)]
    assert notices[0] == notices[1]


@pytest.mark.invariant("I4")
async def test_only_the_platforms_word_about_our_account_is_a_notice(party: Party) -> None:
    body = a_notice(TRANSACTION)
    good = wechat_headers(body)
    assert party.channel.parse_notice(raw(body, good), now=NOW).result.outcome is Outcome.PAID
    signtest = good | {"Wechatpay-Signature": "WECHATPAY/SIGNTEST/" + good["Wechatpay-Signature"]}
    bad = {
        "unsigned": raw(body, {}),
        "forged": raw(body, wechat_headers(body, key=merchant_key())),
        "unknown key": raw(body, wechat_headers(body, serial="5A3F")),
        "stale": raw(body, wechat_headers(body, timestamp=NOW_S - 301)),
        "probe": raw(body, signtest),
        "changed": raw(body.replace(b"SUCCESS", b"FAILURE"), good),
        "cut": raw(body[:-1], wechat_headers(body[:-1])),
        "not json": raw(b"\xff", wechat_headers(b"\xff")),
    }
    contents = {
        "other mchid": a_notice(TRANSACTION | {"mchid": "1900000110"}),
        "other appid": a_notice(TRANSACTION | {"appid": "wx2"}),
        "other mchid's refund": a_notice(
            {
                "mchid": "1",
                "out_trade_no": TRADE_NO,
                "out_refund_no": REFUND_NO,
                "refund_status": "SUCCESS",
                "amount": {"total": 1, "refund": 1},
            },
            event_type="REFUND.SUCCESS",
        ),
        "unknown event": a_notice(TRANSACTION, event_type="PROFITSHARING"),
        "unknown algorithm": a_notice(TRANSACTION, algorithm="NONE"),
        "no transaction": a_notice({"a": 1}),
        "sealed with another key": body.replace(b'"nonce": "fdasflkja484"', b'"nonce": "fdasflkja485"'),
    }
    bad |= {name: raw(content, wechat_headers(content)) for name, content in contents.items()}
    for name, notice in bad.items():
        with pytest.raises(BadNotice):
            pytest.fail(f"{name}: {party.channel.parse_notice(notice, now=NOW)}")


async def test_a_notice_is_answered_in_wechats_form(party: Party) -> None:
    assert party.channel.acknowledge(accepted=True).status == 200
    refused = party.channel.acknowledge(accepted=False)
    assert refused.status == 500
    assert json.loads(refused.body)["code"] == "FAIL"
