"""Every way in which a channel can fail to answer, for every adapter over real sockets: nothing ends, nothing is paid."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from typing import Any

import pytest

from budan.channels.alipay import settings as alipay_settings
from budan.channels.alipay.adapter import AlipayChannel
from budan.channels.guard import GuardedChannel
from budan.channels.ipaynow import settings as ipaynow_settings
from budan.channels.ipaynow.adapter import IpaynowChannel
from budan.channels.session import SessionChannel
from budan.channels.swiftpass import settings as swiftpass_settings
from budan.channels.swiftpass.adapter import SwiftpassChannel
from budan.channels.wechat_v2 import settings as wechat_v2_settings
from budan.channels.wechat_v2.adapter import WechatV2Channel
from budan.channels.wechat_v3 import settings as wechat_settings
from budan.channels.wechat_v3.adapter import WechatV3Channel
from budan.core.evidence import Outcome
from budan.core.numbers import AccountId
from budan.core.refund import RefundOutcome
from budan.core.trade import Direction
from budan.ports.channel import Call, EndResult, EndState, Method, PayResult, RefundResult
from budan.wire.forms import render_form
from budan.wire.http import HttpClient
from budan.wire.http_aiohttp import AiohttpClient
from budan.wire.http_fast import FastHttpClient
from budan.wire.rsa import Signer
from contract import swiftpass_lies, wechat_v2_lies
from contract.canned import (
    CannedServer,
    alipay_answer,
    alipay_unsigned,
    http,
    ipaynow_answer,
    ipaynow_unsigned,
    swiftpass_answer,
    wechat_answer,
    wechat_headers,
    wechat_v2_answer,
)
from unit.channels.builders import (
    APPID,
    MCHID,
    NOW_S,
    REFUND_NO,
    TRADE_NO,
    HandClock,
    a_call,
    a_ref,
    a_refund_intent,
    a_refund_ref,
    a_swiftpass_config,
    a_wechat_config,
    an_alipay_config,
    an_intent,
    an_ipaynow_config,
    merchant_key,
)
from unit.channels.certified import a_wechat_v2_config

# What each channel says of a paid trade, and of one that it ended: the two answers that must never be believed wrongly.
# Long enough for a request to leave a busy machine.
SILENCE_S = 0.5

WECHAT_PAID = {
    "mchid": MCHID,
    "appid": APPID,
    "out_trade_no": TRADE_NO,
    "trade_state": "SUCCESS",
    "amount": {"total": 1280},
}
ALIPAY_PAID = {"code": "10000", "out_trade_no": TRADE_NO, "trade_status": "TRADE_SUCCESS", "total_amount": "12.80"}
QUERY = "alipay.trade.query"
IPAYNOW_PAID = {
    "mhtOrderNo": TRADE_NO,
    "nowPayOrderNo": "2003",
    "responseCode": "A001",
    "transStatus": "A001",
    "mhtOrderAmt": "1280",
}
# And of a refund that is done.
WECHAT_REFUNDED = {
    "out_refund_no": REFUND_NO,
    "out_trade_no": TRADE_NO,
    "status": "SUCCESS",
    "amount": {"total": 1280, "refund": 280, "currency": "CNY"},
}
IPAYNOW_REFUNDED = {
    "mhtOrderNo": TRADE_NO,
    "mhtRefundNo": REFUND_NO,
    "amount": "280",
    "responseCode": "R000",
    "tradeStatus": "A001",
}
ALIPAY_REFUNDED = {"code": "10000", "out_trade_no": TRADE_NO, "fund_change": "Y", "refund_fee": "2.80"}
ALIPAY_REFUND_SHOWN = {
    "code": "10000",
    "out_trade_no": TRADE_NO,
    "out_request_no": REFUND_NO,
    "refund_status": "REFUND_SUCCESS",
    "refund_amount": "2.80",
}
REFUND = "alipay.trade.refund"
REFUND_QUERY = "alipay.trade.fastpay.refund.query"


def wechat_lies() -> dict[str, bytes]:
    paid = wechat_answer(200, WECHAT_PAID)
    body = json.dumps(WECHAT_PAID).encode()
    refused = {"code": "TRADE_ERROR", "message": "x"}
    return {
        "unsigned": http(200, body),
        "forged": wechat_answer(200, WECHAT_PAID, key=merchant_key()),
        "unknown key": wechat_answer(200, WECHAT_PAID, serial="5A3F"),
        "replayed, old": wechat_answer(200, WECHAT_PAID, timestamp=NOW_S - 301),
        "from the future": wechat_answer(200, WECHAT_PAID, timestamp=NOW_S + 301),
        "replayed, of another trade": wechat_answer(200, WECHAT_PAID | {"out_trade_no": "T20260101000002"}),
        "of another merchant": wechat_answer(200, WECHAT_PAID | {"mchid": "1900000110"}),
        "changed": paid.replace(b"1280", b"1281"),
        "truncated and signed": (wechat_answer(200, None).replace(b"Content-Length: 0", b"Content-Length: 9")),
        "half a body": http(200, body[:40], wechat_headers(body[:40])),
        "unsigned server error": http(500, b'{"code":"SYSTEM_ERROR","message":"x"}'),
        "signed server error": wechat_answer(500, {"code": "BANK_ERROR", "message": "x"}),
        "unsigned refusal": http(403, json.dumps(refused).encode()),
        "forged refusal": wechat_answer(403, refused, key=merchant_key()),
        "unsigned no such trade": http(404, b'{"code":"ORDER_NOT_EXIST","message":"x"}'),
        "unsigned close": http(204, b""),
        "a redirect": http(302, b"", {"Location": "http://127.0.0.1:1/"}),
        "a page": http(200, b"<html>maintenance</html>", wechat_headers(b"<html>maintenance</html>")),
    }


def alipay_lies() -> dict[str, bytes]:
    paid = alipay_answer(QUERY, ALIPAY_PAID)
    return {
        "unsigned": alipay_unsigned(QUERY, ALIPAY_PAID),
        "forged": alipay_answer(QUERY, ALIPAY_PAID, key=merchant_key()),
        "replayed, of another trade": alipay_answer(QUERY, ALIPAY_PAID | {"out_trade_no": "T20260101000002"}),
        "changed": paid.replace(b"12.80", b"12.81"),
        "unsigned, closed": alipay_unsigned(QUERY, ALIPAY_PAID | {"trade_status": "TRADE_CLOSED"}),
        "unsigned, unavailable": alipay_unsigned(QUERY, {"code": "20000", "sub_code": "isp.unknow-error"}),
        "signed, unavailable": alipay_answer(QUERY, {"code": "20000", "sub_code": "aop.unknow-error"}),
        "unsigned no such trade": alipay_unsigned(QUERY, {"code": "40004", "sub_code": "ACQ.TRADE_NOT_EXIST"}),
        "wrong member": alipay_answer("alipay.trade.elsewhere", ALIPAY_PAID),
        "half a body": http(200, b'{"alipay_trade_query_response":{"code":"100'),
        "a page": http(200, b"<html>maintenance</html>"),
        "not an object": http(200, b"[]"),
        "not text": http(200, b"\xff\xfe"),
        "a server error": http(500, b""),
        "a redirect": http(302, b"", {"Location": "http://127.0.0.1:1/"}),
        "no amount": alipay_answer(QUERY, {**ALIPAY_PAID, "total_amount": "12,80"}),
    }


def wechat_refund_lies() -> dict[str, bytes]:
    done = wechat_answer(200, WECHAT_REFUNDED)
    refused = {"code": "NOT_ENOUGH", "message": "x"}
    return {
        "unsigned": http(200, json.dumps(WECHAT_REFUNDED).encode()),
        "forged": wechat_answer(200, WECHAT_REFUNDED, key=merchant_key()),
        "replayed, old": wechat_answer(200, WECHAT_REFUNDED, timestamp=NOW_S - 301),
        "of another refund": wechat_answer(200, WECHAT_REFUNDED | {"out_refund_no": "R2"}),
        "of another trade": wechat_answer(200, WECHAT_REFUNDED | {"out_trade_no": "T2"}),
        "changed": done.replace(b"280,", b"281,"),
        "of no amount": wechat_answer(200, WECHAT_REFUNDED | {"amount": {"total": 1280}}),
        "in a state unheard of": wechat_answer(200, WECHAT_REFUNDED | {"status": "DONE"}),
        "unsigned refusal": http(403, json.dumps(refused).encode()),
        "forged refusal": wechat_answer(403, refused, key=merchant_key()),
        "unsigned no such refund": http(404, b'{"code":"RESOURCE_NOT_EXISTS","message":"x"}'),
        "busy": wechat_answer(429, {"code": "FREQUENCY_LIMITED", "message": "x"}),
        "broken": wechat_answer(500, {"code": "SYSTEM_ERROR", "message": "x"}),
    }


def alipay_refund_lies() -> dict[str, bytes]:
    poor = {"code": "40004", "sub_code": "ACQ.SELLER_BALANCE_NOT_ENOUGH"}
    lies = {
        "unavailable": alipay_answer(REFUND, {"code": "20000", "sub_code": "aop.unknow-error"}),
        "unsigned refusal": alipay_unsigned(REFUND, poor),
        "forged refusal": alipay_answer(REFUND, poor, key=merchant_key()),
        "to be repeated": alipay_answer(REFUND, {"code": "40004", "sub_code": "ACQ.SYSTEM_ERROR"}),
        "perhaps an earlier one": alipay_answer(REFUND, {"code": "40004", "sub_code": "ACQ.DISCORDANT_REPEAT_REQUEST"}),
    }
    for name, method, fields in (("reply", REFUND, ALIPAY_REFUNDED), ("query", REFUND_QUERY, ALIPAY_REFUND_SHOWN)):
        lies |= {
            f"unsigned {name}": alipay_unsigned(method, fields),
            f"forged {name}": alipay_answer(method, fields, key=merchant_key()),
            f"changed {name}": alipay_answer(method, fields).replace(b"2.80", b"2.81"),
            f"{name} of another trade": alipay_answer(method, fields | {"out_trade_no": "T2"}),
            f"{name} of no amount": alipay_answer(method, fields | {"refund_fee": "x", "refund_amount": "x"}),
        }
    other = alipay_answer(REFUND_QUERY, ALIPAY_REFUND_SHOWN | {"out_request_no": "R2"})
    return lies | {"query of another refund": other}


def ipaynow_lies() -> dict[str, bytes]:
    lies = {
        "not text": http(200, b"\xff\xfe"),
        "a page": http(200, b"<html>maintenance</html>"),
        "half a form": http(200, render_form(IPAYNOW_PAID)[:40]),
        "a server error": http(500, b""),
        "a redirect": http(302, b"", {"Location": "http://127.0.0.1:1/"}),
        "a refund that is done": ipaynow_answer("Q001", IPAYNOW_REFUNDED),
        "unsigned no such trade": ipaynow_unsigned("MQ002", {"mhtOrderNo": TRADE_NO, "responseCode": "A002"}),
        "a refusal of no trade": ipaynow_answer("MQ002", {"responseCode": "A002"}),
    }
    named = {"mhtRefundNo": f"V{TRADE_NO}"}
    for funcode, said in (("WP001", IPAYNOW_PAID), ("MQ002", IPAYNOW_PAID), ("R002", IPAYNOW_REFUNDED | named)):
        lies |= {
            f"unsigned {funcode}": ipaynow_unsigned(funcode, said),
            f"forged {funcode}": ipaynow_answer(funcode, said, app_key="f" * 32),
            f"{funcode} of another trade": ipaynow_answer(funcode, said | {"mhtOrderNo": "T20260101000002"}),
            f"{funcode} of another application": ipaynow_answer(funcode, said | {"appId": "1400000000000002"}),
            f"changed {funcode}": ipaynow_answer(funcode, said).replace(b"=A001", b"=A006"),
            f"unknown {funcode}": ipaynow_answer(funcode, said | {"responseCode": "A003"}),
            f"unheard of {funcode}": ipaynow_answer(funcode, said | {"responseCode": "B001"}),
        }
    for funcode in ("WP001", "MQ002"):
        lies[f"{funcode} of no amount"] = ipaynow_answer(funcode, IPAYNOW_PAID | {"mhtOrderAmt": "12.80"})
    return lies


def ipaynow_refund_lies() -> dict[str, bytes]:
    refused = {"mhtOrderNo": TRADE_NO, "mhtRefundNo": REFUND_NO, "responseCode": "A002"}
    lies = {"a payment": ipaynow_answer("MQ002", IPAYNOW_PAID)}
    for funcode in ("R001", "Q001"):
        lies |= {
            f"unsigned {funcode}": ipaynow_unsigned(funcode, IPAYNOW_REFUNDED),
            f"forged {funcode}": ipaynow_answer(funcode, IPAYNOW_REFUNDED, app_key="f" * 32),
            f"{funcode} of another refund": ipaynow_answer(funcode, IPAYNOW_REFUNDED | {"mhtRefundNo": "R2"}),
            f"{funcode} of another trade": ipaynow_answer(funcode, IPAYNOW_REFUNDED | {"mhtOrderNo": "T2"}),
            f"changed {funcode}": ipaynow_answer(funcode, IPAYNOW_REFUNDED).replace(b"amount=280", b"amount=281"),
            f"{funcode} of no amount": ipaynow_answer(funcode, IPAYNOW_REFUNDED | {"amount": ""}),
            f"{funcode} in a state unheard of": ipaynow_answer(funcode, IPAYNOW_REFUNDED | {"tradeStatus": "A009"}),
            f"unknown {funcode}": ipaynow_answer(funcode, IPAYNOW_REFUNDED | {"tradeStatus": "A003"}),
            f"unsigned refusal of {funcode}": ipaynow_unsigned(funcode, refused),
            f"forged refusal of {funcode}": ipaynow_answer(funcode, refused, app_key="f" * 32),
        }
    return lies


BROKEN = {
    "nothing and the end": b"",
    "half a head": b"HTTP/1.1 200 OK\r\nConte",
    "not http": b"hello\r\n\r\n",
    "half of the body": http(200, b"x" * 100)[:-50],
    "too long": http(200, b" " * 200_000),
    "compressed unasked": http(200, b"\x1f\x8b", {"Content-Encoding": "gzip"}),
}
LIES = {
    "wechat_v3": wechat_lies() | BROKEN,
    "alipay": alipay_lies() | BROKEN,
    "swiftpass": swiftpass_lies.lies() | BROKEN,
    "ipaynow": ipaynow_lies() | BROKEN,
    "wechat_v2": wechat_v2_lies.lies() | BROKEN,
}
REFUND_LIES = {
    "wechat_v3": wechat_refund_lies() | BROKEN,
    "alipay": alipay_refund_lies() | BROKEN,
    "swiftpass": swiftpass_lies.refund_lies() | BROKEN,
    "ipaynow": ipaynow_refund_lies() | BROKEN,
    "wechat_v2": wechat_v2_lies.refund_lies() | BROKEN,
}


@dataclass(frozen=True)
class Party:
    """An adapter, the server that it talks to, and every call that there is."""

    channel: SessionChannel
    server: CannedServer

    async def ask_everything(self, **call: Any) -> tuple[list[PayResult], list[EndResult]]:
        """What every call came to that moves money in, and every one that ends a trade; placements first."""
        how: Call = a_call(**call)
        calls: list[Awaitable[PayResult]] = []
        if Method.NATIVE in self.channel.capabilities.methods:
            calls.append(self._place(how))
        charge = an_intent(method=Method.CODE)
        calls.append(self.channel.charge(charge, auth_code="280000000000000000", call=how))
        calls.append(self.channel.query(a_ref(), call=how))
        ends = [self.channel.reverse(a_ref(direction=Direction.B2C), call=how)]
        if self.channel.capabilities.close:
            ends.append(self.channel.close(a_ref(), call=how))
        # All at once: a channel that does not answer is waited for once.
        paid, ended = await asyncio.gather(asyncio.gather(*calls), asyncio.gather(*ends))
        return paid, ended

    async def _place(self, how: Call) -> PayResult:
        created = await self.channel.create(an_intent(), call=how)
        assert created.action is None
        return created.result

    async def ask_of_refunds(self, **call: Any) -> list[RefundResult]:
        how: Call = a_call(**call)
        sent = self.channel.refund(a_refund_intent(), call=how)
        return await asyncio.gather(sent, self.channel.query_refund(a_refund_ref(), call=how))


def a_channel(name: str, *, port: int, http_client: HttpClient, signer: Signer, clock: HandClock) -> SessionChannel:
    gateway = f"http://127.0.0.1:{port}"
    if name == "wechat_v3":
        wechat = wechat_settings.parse_settings(a_wechat_config(gateway=gateway))
        return WechatV3Channel(settings=wechat, http=http_client, signer=signer, monotonic_s=clock.monotonic_s)
    if name == "swiftpass":
        swift = swiftpass_settings.parse_settings(a_swiftpass_config(gateway=f"{gateway}/pay/gateway"))
        return SwiftpassChannel(settings=swift, http=http_client, signer=signer, monotonic_s=clock.monotonic_s)
    if name == "ipaynow":
        now = ipaynow_settings.parse_settings(an_ipaynow_config(gateway=gateway))
        return IpaynowChannel(settings=now, http=http_client, monotonic_s=clock.monotonic_s)
    if name == "wechat_v2":
        older = wechat_v2_settings.parse_settings(a_wechat_v2_config(gateway=gateway))
        return WechatV2Channel(settings=older, http=http_client, secure_http=http_client, monotonic_s=clock.monotonic_s)
    ali = alipay_settings.parse_settings(an_alipay_config(gateway=f"{gateway}/gateway.do"))
    return AlipayChannel(settings=ali, http=http_client, signer=signer, monotonic_s=clock.monotonic_s)


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture(params=[FastHttpClient, AiohttpClient], ids=["fast", "aiohttp"])
def http_client(request: pytest.FixtureRequest) -> HttpClient:
    return request.param(connections_per_host_max=8)


@pytest.fixture(params=list(LIES))
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
async def party(name: str, http_client: HttpClient, clock: HandClock) -> AsyncIterator[Party]:
    server, signer = CannedServer(), Signer(threads=1)
    await server.start()
    channel = a_channel(name, port=server.port, http_client=http_client, signer=signer, clock=clock)
    yield Party(channel, server)
    await channel.end_session()
    await server.stop()
    signer.close()


@pytest.mark.invariant("I4", "I5")
async def test_no_lie_and_no_broken_answer_pays_or_ends_anything(party: Party, name: str) -> None:
    # What is cut short ends with its connection, as a dying server's answer does.
    party.server.closes = True
    for lie, answer in LIES[name].items():
        party.server.answer = answer
        paid, ended = await party.ask_everything()
        *placed, charged, asked = [result.outcome for result in paid]
        # A refused placement took no money and ends nothing; to a charge or a query it is silence.
        assert set(placed) <= {Outcome.UNKNOWN, Outcome.UNPAID_OPEN}, lie
        assert (charged, asked) == (Outcome.UNKNOWN, Outcome.UNKNOWN), lie
        assert {result.state for result in ended} <= {EndState.UNKNOWN, EndState.RETRY}, lie
        assert all(result.sent for result in (*paid, *ended)), lie
        assert not any(result.not_found or result.user_paying for result in paid), lie


@pytest.mark.invariant("I4", "I5")
async def test_no_lie_and_no_broken_answer_ends_a_refund(party: Party, name: str) -> None:
    """A refund that is wrongly done or wrongly refused costs somebody the money."""
    party.server.closes = True
    for lie, answer in REFUND_LIES[name].items():
        party.server.answer = answer
        results = await party.ask_of_refunds()
        assert [result.outcome for result in results] == [RefundOutcome.UNKNOWN] * 2, lie
        assert all(result.sent and result.refund_no == REFUND_NO for result in results), lie


async def test_the_truth_about_a_refund_is_believed(party: Party, name: str) -> None:
    answers = {
        "wechat_v3": [wechat_answer(200, WECHAT_REFUNDED)] * 2,
        "alipay": [alipay_answer(REFUND, ALIPAY_REFUNDED), alipay_answer(REFUND_QUERY, ALIPAY_REFUND_SHOWN)],
        "swiftpass": [
            swiftpass_answer(swiftpass_lies.REFUND_ACCEPTED),
            swiftpass_answer(swiftpass_lies.REFUND_DONE),
        ],
        "ipaynow": [ipaynow_answer(funcode, IPAYNOW_REFUNDED) for funcode in ("R001", "Q001")],
        "wechat_v2": [wechat_v2_answer(wechat_v2_lies.REFUND_ACCEPTED), wechat_v2_answer(wechat_v2_lies.REFUND_DONE)],
    }
    party.server.answer, shown = answers[name]
    sent = await party.channel.refund(a_refund_intent(), call=a_call())
    party.server.answer = shown
    asked = await party.channel.query_refund(a_refund_ref(), call=a_call())
    # Swiftpass and WeChat v2 accept a refund before they do it.
    taken = RefundOutcome.PENDING if name in {"swiftpass", "wechat_v2"} else RefundOutcome.SUCCEEDED
    for result, outcome in ((sent, taken), (asked, RefundOutcome.SUCCEEDED)):
        assert (result.outcome, result.amount_minor, result.currency) == (outcome, 280, "CNY")


async def test_the_truth_beside_the_lies_is_believed(party: Party, name: str) -> None:
    """Without this, a server that no adapter understands would pass all of the above."""
    answers = {
        "wechat_v3": wechat_answer(200, WECHAT_PAID),
        "alipay": alipay_answer(QUERY, ALIPAY_PAID),
        "swiftpass": swiftpass_answer(swiftpass_lies.PAID),
        "ipaynow": ipaynow_answer("MQ002", IPAYNOW_PAID),
        "wechat_v2": wechat_v2_answer(wechat_v2_lies.PAID),
    }
    party.server.answer = answers[name]
    result = await party.channel.query(a_ref(), call=a_call())
    assert (result.outcome, result.order_minor, result.currency) == (Outcome.PAID, 1280, "CNY")


@pytest.mark.invariant("I5")
async def test_a_channel_that_never_answers_leaves_everything_unknown(party: Party) -> None:
    party.server.answer = None
    paid, ended = await party.ask_everything(deadline_s=SILENCE_S)
    assert [(result.outcome, result.sent, result.code) for result in paid] == [
        (Outcome.UNKNOWN, True, "no_answer")
    ] * len(paid)
    assert [(result.state, result.sent) for result in ended] == [(EndState.UNKNOWN, True)] * len(ended)
    refunds = await party.ask_of_refunds(deadline_s=SILENCE_S)
    assert [(result.outcome, result.sent) for result in refunds] == [(RefundOutcome.UNKNOWN, True)] * 2


async def test_a_channel_that_cannot_be_reached_was_sent_nothing(party: Party) -> None:
    await party.server.stop()
    paid, ended = await party.ask_everything()
    assert [(result.outcome, result.sent, result.code) for result in paid] == [
        (Outcome.UNPAID_OPEN, False, "not_sent")
    ] * len(paid)
    assert [(result.state, result.sent) for result in ended] == [(EndState.RETRY, False)] * len(ended)
    refunds = await party.ask_of_refunds()
    assert [(result.outcome, result.sent) for result in refunds] == [(RefundOutcome.UNKNOWN, False)] * 2
    await party.server.start()


@pytest.mark.invariant("I11")
async def test_past_its_send_window_nothing_leaves(party: Party, clock: HandClock) -> None:
    """A request that leaves later could be paid after everybody was told that it was not."""
    for send_before_s in (clock.seconds, clock.seconds - 100):
        paid, ended = await party.ask_everything(send_before_s=send_before_s)
        assert [(result.outcome, result.sent) for result in paid] == [(Outcome.UNPAID_OPEN, False)] * len(paid)
        assert [(result.state, result.sent) for result in ended] == [(EndState.RETRY, False)] * len(ended)
        refunds = await party.ask_of_refunds(send_before_s=send_before_s)
        assert [(result.outcome, result.sent) for result in refunds] == [(RefundOutcome.UNKNOWN, False)] * 2
    assert party.server.asked == []


async def test_inside_its_send_window_a_call_leaves(party: Party, clock: HandClock) -> None:
    party.server.answer = http(500, b"")
    paid, ended = await party.ask_everything(send_before_s=clock.seconds + 5)
    assert len(party.server.asked) == len(paid) + len(ended)


async def test_a_guarded_adapter_knows_what_was_sent_when_its_deadline_strikes(party: Party, clock: HandClock) -> None:
    """The adapter's own word comes before the guard's: it knows whether a byte had left."""
    guard = GuardedChannel(party.channel, account_id=AccountId(1), clock=clock)
    party.server.answer = None
    result = await guard.query(a_ref(), call=a_call(deadline_s=SILENCE_S))
    assert (result.outcome, result.code) == (Outcome.UNKNOWN, "no_answer")
    await party.server.stop()
    result = await guard.query(a_ref(), call=a_call(deadline_s=SILENCE_S))
    assert (result.outcome, result.sent, result.code) == (Outcome.UNPAID_OPEN, False, "not_sent")
    await party.server.start()


async def test_a_cancelled_call_ends_as_cancelled(party: Party) -> None:
    party.server.answer = None
    task = asyncio.create_task(party.channel.query(a_ref(), call=a_call()))
    await party.server.arrived()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
