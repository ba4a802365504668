"""The WeChat v2 adapter against a real server on loopback: what it sends, and every answer that must not be believed."""

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from budan.channels.settings import BadSettings
from budan.channels.wechat_v2.adapter import WechatV2Channel
from budan.channels.wechat_v2.settings import parse_settings
from budan.core.evidence import Outcome
from budan.core.numbers import AccountId
from budan.core.refund import RefundOutcome
from budan.core.trade import Direction
from budan.ports.channel import AccountConfig, EndState, Method
from budan.sandbox.certificates import Certifier
from budan.wire.field_signatures import sign_hmac_sha256, sign_md5, verify_hmac_sha256, verify_md5
from budan.wire.http_fast import FastHttpClient
from budan.wire.xml_fields import parse_fields, render_fields
from contract.canned import CannedServer, http, xml_http
from unit.channels.builders import (
    APPID,
    MCHID,
    TRADE_NO,
    a_call,
    a_ref,
    a_refund_intent,
    a_refund_ref,
    an_intent,
    vectors,
    with_secret,
)

KEY = vectors()["wechat_v2"]["key"]
PAID = {"out_trade_no": TRADE_NO, "total_fee": "1280", "fee_type": "CNY", "trade_type": "MICROPAY"}


def a_config(folder: Path, *, gateway: str = "http://127.0.0.1:1", **settings: str) -> AccountConfig:
    certificate, key = Certifier(folder).certify_merchant(MCHID)
    return AccountConfig(
        account_id=AccountId(4),
        channel="wechat_v2",
        name="v2",
        enabled=True,
        settings={"gateway": gateway, "appid": APPID, "mch_id": MCHID, **settings},
        secrets={"api_key": KEY, "client_certificate": certificate, "client_key": key},
    )


def message(fields: dict[str, str], *, key: str = KEY, is_hmac: bool = False) -> bytes:
    told = {"return_code": "SUCCESS", "result_code": "SUCCESS", "appid": APPID, "mch_id": MCHID, **fields}
    sign = sign_hmac_sha256 if is_hmac else sign_md5
    return render_fields(told | {"sign": sign(told, key=key)})


@dataclass(frozen=True)
class Party:
    """The adapter and the server that it talks to."""

    channel: WechatV2Channel
    server: CannedServer
    is_hmac: bool

    def expect_signed(self, path: str) -> dict[str, str]:
        """The last request's fields, after WeChat has judged their signature."""
        asked = self.server.asked[-1]
        assert (asked.method, asked.path_and_query) == ("POST", path)
        fields = parse_fields(asked.body)
        verify = verify_hmac_sha256 if self.is_hmac else verify_md5
        assert verify(fields, key=KEY)
        assert (fields["appid"], fields["mch_id"], len(fields["nonce_str"])) == (APPID, MCHID, 32)
        return fields


@pytest.fixture(params=["MD5", "HMAC-SHA256"])
async def party(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Party]:
    server = CannedServer()
    await server.start()
    config = a_config(tmp_path, gateway=f"http://127.0.0.1:{server.port}", sign_type=request.param)
    channel = WechatV2Channel(
        settings=parse_settings(config),
        http=FastHttpClient(connections_per_host_max=4),
        secure_http=FastHttpClient(connections_per_host_max=4),
        monotonic_s=time.monotonic,
    )
    yield Party(channel, server, request.param == "HMAC-SHA256")
    await channel.end_session()
    await server.stop()


async def test_a_charge_sends_the_code_and_is_paid_by_its_answer(party: Party) -> None:
    party.server.answer = xml_http(message(PAID, is_hmac=party.is_hmac))
    intent = an_intent(method=Method.CODE, device_ip="10.0.0.8")
    result = await party.channel.charge(intent, auth_code="134567890123456789", call=a_call())
    assert (result.outcome, result.order_minor, result.currency) == (Outcome.PAID, 1280, "CNY")
    sent = party.expect_signed("/pay/micropay")
    assert (sent["auth_code"], sent["total_fee"], sent["spbill_create_ip"]) == (
        "134567890123456789",
        "1280",
        "10.0.0.8",
    )


async def test_each_call_goes_to_its_own_path(party: Party) -> None:
    party.server.answer = xml_http(message({"recall": "N"}, is_hmac=party.is_hmac))
    ended = await party.channel.reverse(a_ref(direction=Direction.B2C), call=a_call())
    assert ended.state is EndState.ENDED
    party.expect_signed("/secapi/pay/reverse")
    await party.channel.query(a_ref(direction=Direction.B2C), call=a_call())
    party.expect_signed("/pay/orderquery")
    await party.channel.refund(a_refund_intent(), call=a_call())
    assert "notify_url" not in party.expect_signed("/secapi/pay/refund")
    await party.channel.query_refund(a_refund_ref(), call=a_call())
    assert "out_trade_no" not in party.expect_signed("/pay/refundquery")


async def test_the_documented_answer_is_read(tmp_path: Path) -> None:
    server = CannedServer(answer=xml_http(vectors()["wechat_v2"]["response"]["xml"].encode()))
    await server.start()
    channel = WechatV2Channel(
        settings=parse_settings(a_config(tmp_path, gateway=f"http://127.0.0.1:{server.port}")),
        http=FastHttpClient(connections_per_host_max=1),
        secure_http=FastHttpClient(connections_per_host_max=1),
        monotonic_s=time.monotonic,
    )
    intent = an_intent(method=Method.CODE, trade_no="T20260101000002")
    result = await channel.charge(intent, auth_code="134567890123456789", call=a_call())
    assert (result.outcome, result.order_minor, result.payer_minor) == (Outcome.PAID, 1280, 1280)
    await channel.end_session()
    await server.stop()


@pytest.mark.invariant("I4", "I5")
async def test_no_lie_and_no_broken_answer_pays_or_ends_anything(party: Party) -> None:
    party.server.closes = True
    good = message(PAID | {"trade_state": "SUCCESS"}, is_hmac=party.is_hmac)
    fields = parse_fields(good)
    lies = {
        "unsigned": xml_http(render_fields(fields | {"sign": ""})),
        "forged": xml_http(message(PAID, key="0" * 32, is_hmac=party.is_hmac)),
        "signed in another way": xml_http(message(PAID, is_hmac=not party.is_hmac)),
        "changed": xml_http(good.replace(b"1280", b"1281")),
        "replayed, of another trade": xml_http(message(PAID | {"out_trade_no": "T2"}, is_hmac=party.is_hmac)),
        "of another merchant": xml_http(message(PAID | {"mch_id": "1900000110"}, is_hmac=party.is_hmac)),
        "half of it": xml_http(good[:-30]),
        "a field twice": xml_http(good.replace(b"</xml>", b"<total_fee>1280</total_fee></xml>")),
        "entities": xml_http(b'<!DOCTYPE xml [<!ENTITY a "1">]>' + good),
        "not understood": xml_http(render_fields({"return_code": "FAIL", "return_msg": "x"})),
        "a page": http(200, b"<html>maintenance</html>"),
        "a server error": http(500, b""),
        "a redirect": http(302, b"", {"Location": "http://127.0.0.1:1/"}),
        "nothing and the end": b"",
    }
    for lie, answer in lies.items():
        party.server.answer = answer
        charged = await party.channel.charge(
            an_intent(method=Method.CODE), auth_code="134567890123456789", call=a_call()
        )
        asked = await party.channel.query(a_ref(direction=Direction.B2C), call=a_call())
        assert (charged.outcome, asked.outcome, asked.not_found) == (Outcome.UNKNOWN, Outcome.UNKNOWN, False), lie
        ended = await party.channel.reverse(a_ref(direction=Direction.B2C), call=a_call())
        assert ended.state in {EndState.UNKNOWN, EndState.RETRY}, lie
        assert all(result.sent for result in (charged, asked, ended)), lie
        refund = await party.channel.refund(a_refund_intent(), call=a_call())
        shown = await party.channel.query_refund(a_refund_ref(), call=a_call())
        assert {refund.outcome, shown.outcome} == {RefundOutcome.UNKNOWN}, lie
    party.server.answer = xml_http(good)
    assert (await party.channel.query(a_ref(direction=Direction.B2C), call=a_call())).outcome is Outcome.PAID


@pytest.mark.invariant("I11")
async def test_past_its_send_window_nothing_leaves(party: Party) -> None:
    over = a_call(send_before_s=time.monotonic() - 1)
    charged = await party.channel.charge(an_intent(method=Method.CODE), auth_code="134567890123456789", call=over)
    assert (charged.outcome, charged.sent) == (Outcome.UNPAID_OPEN, False)
    assert (await party.channel.refund(a_refund_intent(), call=over)).sent is False
    assert party.server.asked == []


def test_a_wrong_setting_is_named_and_no_secret_shown(tmp_path: Path) -> None:
    config = a_config(tmp_path)
    _, other_key = Certifier(tmp_path / "other").certify_merchant(MCHID)
    wrong = {
        "gateway": replace(config, settings={**config.settings, "gateway": "ftp://x"}),
        "secure_gateway": replace(config, settings={**config.settings, "secure_gateway": "https://x/path"}),
        "appid": replace(config, settings={**config.settings, "appid": "w x"}),
        "mch_id": replace(config, settings={**config.settings, "mch_id": ""}),
        "sign_type": replace(config, settings={**config.settings, "sign_type": "RSA"}),
        "api_key": with_secret(config, "api_key", "short"),
        "client_certificate": with_secret(config, "client_key", other_key),
        "client_key": with_secret(config, "client_key", "no PEM"),
    }
    for name, changed in wrong.items():
        with pytest.raises(BadSettings) as refused:
            parse_settings(changed)
        assert refused.value.field_name == name
        assert not any(secret in str(refused.value) for secret in changed.secrets.values())
    issuer = replace(config, settings={**config.settings, "gateway_issuer": "no PEM"})
    with pytest.raises(BadSettings, match="issuer"):
        parse_settings(issuer)
