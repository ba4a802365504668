"""The Alipay adapter against a real server on loopback that signs as Alipay does."""

import json
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest

from budan.channels.alipay.adapter import AlipayChannel
from budan.channels.alipay.settings import parse_settings
from budan.core.evidence import Outcome
from budan.core.refund import RefundOutcome
from budan.core.trade import Direction
from budan.ports.channel import BadNotice, EndState, Method, NoticeKind, RawNotice
from budan.wire import alipay
from budan.wire.forms import parse_form, render_form
from budan.wire.http_fast import FastHttpClient
from budan.wire.rsa import Signer
from contract.canned import CannedServer, alipay_answer, http
from unit.channels.builders import (
    APP_ID,
    NOW,
    REFUND_NO,
    SELLER_ID,
    TRADE_NO,
    a_call,
    a_ref,
    a_refund_intent,
    a_refund_ref,
    an_alipay_config,
    an_intent,
    merchant_key,
    platform_key,
    vectors,
)

# The trade of the vectors.
VECTOR_NO = "T20260101000003"


@dataclass(frozen=True)
class Party:
    """The adapter and the server that it talks to."""

    channel: AlipayChannel
    server: CannedServer

    def expect_signed(self) -> dict[str, str]:
        """The last request's parameters, after Alipay has judged their signature."""
        asked = self.server.asked[-1]
        query = parse_form(urlsplit(asked.path_and_query).query.encode())
        assert (asked.method, query) == ("POST", {"charset": "utf-8"})
        parameters = query | parse_form(asked.body)
        assert alipay.verify_request(parameters, public_key=merchant_key().public_key())
        assert (parameters["app_id"], parameters["timestamp"]) == (APP_ID, "2026-01-01 08:00:00")
        return parameters


@pytest.fixture
async def party() -> AsyncIterator[Party]:
    server, signer = CannedServer(), Signer(threads=1)
    await server.start()
    channel = AlipayChannel(
        settings=parse_settings(an_alipay_config(gateway=f"http://127.0.0.1:{server.port}/gateway.do")),
        http=FastHttpClient(connections_per_host_max=4),
        signer=signer,
        monotonic_s=time.monotonic,
    )
    yield Party(channel, server)
    await channel.end_session()
    await server.stop()
    signer.close()


def done(method: str, **fields: Any) -> bytes:
    return alipay_answer(method, {"code": "10000", "msg": "Success", "out_trade_no": TRADE_NO, **fields})


async def test_a_precreate_gives_a_code_to_draw(party: Party) -> None:
    party.server.answer = done("alipay.trade.precreate", qr_code="https://qr.alipay.com/bax0000001")
    created = await party.channel.create(an_intent(expires_at=NOW + timedelta(minutes=10)), call=a_call())
    assert (created.result.outcome, created.result.sent) == (Outcome.UNPAID_OPEN, True)
    assert created.action is not None
    assert created.action.qr_text == "https://qr.alipay.com/bax0000001"
    sent = party.expect_signed()
    assert (sent["method"], sent["notify_url"]) == ("alipay.trade.precreate", "https://pay.example.com/cb/wx")
    assert json.loads(sent["biz_content"])["time_expire"] == "2026-01-01 08:10:00"


async def test_the_answers_of_the_vectors_are_read(party: Party) -> None:
    """One holds a closing brace inside a string, the other escaped slashes."""
    answers = vectors()["alipay"]
    party.server.answer = http(200, answers["response_query_paid"]["http_body"].encode())
    result = await party.channel.query(a_ref(trade_no=VECTOR_NO), call=a_call())
    assert (result.outcome, result.order_minor, result.settle_minor) == (Outcome.PAID, 1280, 1280)
    party.server.answer = http(200, answers["response_precreate_slash"]["http_body"].encode())
    created = await party.channel.create(an_intent(trade_no=VECTOR_NO), call=a_call())
    assert created.action is not None
    assert created.action.qr_text == "https://qr.alipay.com/bax0000001"


async def test_a_wap_page_is_a_signed_address_and_no_call(party: Party) -> None:
    intent = an_intent(method=Method.WAP, return_url="https://pay.example.com/back?o=1&x=拿铁")
    created = await party.channel.create(intent, call=a_call())
    assert (created.result.outcome, created.result.sent) == (Outcome.UNPAID_OPEN, True)
    assert party.server.asked == []
    assert created.action is not None
    assert created.action.redirect_url is not None
    parts = urlsplit(created.action.redirect_url)
    assert parts.path == "/gateway.do"
    sent = parse_form(parts.query.encode())
    assert alipay.verify_request(sent, public_key=merchant_key().public_key())
    assert (sent["method"], sent["return_url"]) == ("alipay.trade.wap.pay", intent.return_url)
    content = json.loads(sent["biz_content"])
    assert (content["quit_url"], content["product_code"]) == (intent.return_url, "QUICK_WAP_PAY")


async def test_a_method_without_what_it_needs_is_refused_before_anything_is_sent(party: Party) -> None:
    for intent in (an_intent(method=Method.WAP), an_intent(method=Method.JSAPI, payer_openid="o")):
        created = await party.channel.create(intent, call=a_call())
        assert (created.result.outcome, created.result.sent) == (Outcome.UNPAID_OPEN, False)
    assert party.server.asked == []


async def test_a_charge_is_paid_by_its_answer(party: Party) -> None:
    party.server.answer = done("alipay.trade.pay", total_amount="12.80", trade_no="2026", gmt_payment="x")
    result = await party.channel.charge(
        an_intent(method=Method.CODE, store_id="7"), auth_code="280000000000000000", call=a_call()
    )
    assert (result.outcome, result.order_minor, result.currency) == (Outcome.PAID, 1280, "CNY")
    content = json.loads(party.expect_signed()["biz_content"])
    assert (content["auth_code"], content["scene"], content["store_id"]) == ("280000000000000000", "bar_code", "7")


async def test_a_repeat_of_a_placement_is_equal_in_all_but_its_signature(party: Party) -> None:
    party.server.answer = done("alipay.trade.precreate", qr_code="https://qr")
    for seconds in (0, 60):
        await party.channel.create(an_intent(), call=a_call(now=NOW + timedelta(seconds=seconds)))
    first, second = (parse_form(asked.body) for asked in party.server.asked)
    assert first["biz_content"] == second["biz_content"]
    assert {name for name in first if first[name] != second[name]} == {"timestamp", "sign"}


async def test_ends_are_asked_for_by_their_own_methods(party: Party) -> None:
    party.server.answer = done("alipay.trade.close")
    assert (await party.channel.close(a_ref(), call=a_call())).state is EndState.ENDED
    assert party.expect_signed()["method"] == "alipay.trade.close"
    party.server.answer = done("alipay.trade.cancel", retry_flag="N", action="refund")
    for direction in Direction:
        ended = await party.channel.reverse(a_ref(direction=direction), call=a_call())
        assert (ended.state, ended.money_returned) == (EndState.ENDED, True)
    assert party.expect_signed()["method"] == "alipay.trade.cancel"
    unsupported = await party.channel.close(a_ref(direction=Direction.B2C), call=a_call())
    assert (unsupported.state, unsupported.sent) == (EndState.NOT_SUPPORTED, False)


async def test_a_refund_is_asked_for_in_yuan_under_its_own_number(party: Party) -> None:
    party.server.answer = done("alipay.trade.refund", fund_change="Y", refund_fee="2.80", trade_no="2026")
    result = await party.channel.refund(a_refund_intent(), call=a_call())
    assert (result.outcome, result.refund_no, result.amount_minor) == (RefundOutcome.SUCCEEDED, REFUND_NO, 280)
    sent = party.expect_signed()
    assert sent["method"] == "alipay.trade.refund"
    assert json.loads(sent["biz_content"]) == {
        "out_trade_no": TRADE_NO,
        "refund_amount": "2.80",
        "out_request_no": REFUND_NO,
        "refund_reason": "退一杯",
    }


@pytest.mark.invariant("I11")
async def test_a_repeat_of_a_refund_is_equal_in_all_but_its_signature(party: Party) -> None:
    party.server.answer = done("alipay.trade.refund", fund_change="N", refund_fee="2.80")
    for seconds, learned in ((0, None), (60, "2026010122001400000500000001")):
        call = a_call(now=NOW + timedelta(seconds=seconds))
        result = await party.channel.refund(a_refund_intent(channel_reference=learned), call=call)
        assert result.outcome is RefundOutcome.PENDING
    first, second = (parse_form(asked.body) for asked in party.server.asked)
    assert {name for name in first if first[name] != second[name]} == {"timestamp", "sign"}


async def test_a_refund_is_queried_by_our_number(party: Party) -> None:
    method = "alipay.trade.fastpay.refund.query"
    shown = {"out_request_no": REFUND_NO, "refund_amount": "2.80", "gmt_refund_pay": "2026-01-01 09:00:03"}
    party.server.answer = done(method, refund_status="REFUND_SUCCESS", **shown)
    result = await party.channel.query_refund(a_refund_ref(), call=a_call())
    assert (result.outcome, result.amount_minor) == (RefundOutcome.SUCCEEDED, 280)
    assert result.refunded_at is not None
    assert result.refunded_at.isoformat() == "2026-01-01T01:00:03+00:00"
    sent = party.expect_signed()
    assert (sent["method"], json.loads(sent["biz_content"])) == (
        method,
        {"out_trade_no": TRADE_NO, "out_request_no": REFUND_NO, "query_options": ["gmt_refund_pay"]},
    )
    party.server.answer = done(method)
    assert (await party.channel.query_refund(a_refund_ref(), call=a_call())).outcome is RefundOutcome.NOT_FOUND


async def test_an_answer_to_another_method_is_no_answer(party: Party) -> None:
    party.server.answer = done("alipay.trade.cancel", action="close")
    assert (await party.channel.close(a_ref(), call=a_call())).state is EndState.UNKNOWN


@pytest.mark.parametrize("status", [302, 404, 500, 502])
async def test_any_status_but_200_is_a_gateway_on_the_way(party: Party, status: int) -> None:
    good = done("alipay.trade.query", trade_status="TRADE_CLOSED", total_amount="12.80")
    party.server.answer = good.replace(b"200", str(status).encode(), 1)
    result = await party.channel.query(a_ref(), call=a_call())
    assert (result.outcome, result.sent) == (Outcome.UNKNOWN, True)


NOTICE = {
    "notify_type": "trade_status_sync",
    "app_id": APP_ID,
    "seller_id": SELLER_ID,
    "out_trade_no": TRADE_NO,
    "trade_no": "2026010122001400000500000001",
    "trade_status": "TRADE_SUCCESS",
    "total_amount": "12.80",
    "gmt_payment": "2026-01-01 08:00:03",
    "sign_type": "RSA2",
}


def raw(fields: Mapping[str, str], **signing: Any) -> RawNotice:
    sign = alipay.sign_notify(fields, private_key=signing.get("key") or platform_key())
    return RawNotice(headers={}, body=render_form({**fields, "sign": sign}))


async def test_the_notice_of_the_vectors_is_read(party: Party) -> None:
    body = vectors()["alipay"]["notify_paid"]["form_urlencoded"].encode()
    notices = [party.channel.parse_notice(RawNotice(headers={}, body=body), now=NOW) for _ in range(2)]
    assert notices[0] == notices[1]
    result = notices[0].result
    assert (notices[0].kind, result.outcome, result.trade_no) == (NoticeKind.PAYMENT, Outcome.PAID, VECTOR_NO)
    assert (result.order_minor, result.settle_minor) == (1280, 1280)


@pytest.mark.invariant("I4")
async def test_only_alipays_word_about_our_account_is_a_notice(party: Party) -> None:
    good = raw(NOTICE)
    assert party.channel.parse_notice(good, now=NOW).result.outcome is Outcome.PAID
    bad = {
        "unsigned": RawNotice(headers={}, body=render_form(NOTICE)),
        "forged": raw(NOTICE, key=merchant_key()),
        "changed": RawNotice(headers={}, body=good.body.replace(b"12.80", b"12.81")),
        "named twice": RawNotice(headers={}, body=good.body + b"&total_amount=0.01"),
        "cut": RawNotice(headers={}, body=good.body[:-9]),
        "no form": RawNotice(headers={}, body=b"\xff"),
        "empty": RawNotice(headers={}, body=b""),
        "other app": raw(NOTICE | {"app_id": "2021000000000002"}),
        "other seller": raw(NOTICE | {"seller_id": "2088000000000157"}),
        "no seller": raw({name: value for name, value in NOTICE.items() if name != "seller_id"}),
        "other kind": raw(NOTICE | {"notify_type": "batch_refund_notify"}),
        "no amount": raw(NOTICE | {"total_amount": "NaN"}),
    }
    for name, notice in bad.items():
        with pytest.raises(BadNotice):
            pytest.fail(f"{name}: {party.channel.parse_notice(notice, now=NOW)}")


async def test_a_notice_is_answered_with_exactly_one_word(party: Party) -> None:
    accepted, refused = (party.channel.acknowledge(accepted=answer) for answer in (True, False))
    assert (accepted.status, accepted.body, refused.body) == (200, b"success", b"fail")
