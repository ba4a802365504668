"""The WeChat v2 adapter against a real server on loopback: what it sends, and every answer that must not be believed."""

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest

from budan.channels.settings import BadSettings
from budan.channels.wechat_v2.adapter import WechatV2Channel
from budan.channels.wechat_v2.settings import parse_settings
from budan.cli.wiring import KINDS
from budan.core.evidence import Outcome
from budan.core.numbers import Environment
from budan.core.trade import Direction
from budan.ports.channel import AccountConfig, EndState, Method, OldKeys
from budan.wire.field_signatures import verify_hmac_sha256, verify_md5
from budan.wire.http_fast import FastHttpClient
from budan.wire.xml_fields import parse_fields
from contract.canned import CannedServer, wechat_v2_answer, xml_http
from unit.channels.builders import (
    APPID,
    MCHID,
    NOW,
    TRADE_NO,
    a_call,
    a_ref,
    a_refund_intent,
    a_refund_ref,
    an_intent,
    platform_key,
    vectors,
    with_secret,
)
from unit.channels.certified import a_wechat_v2_config, as_pem

KEY = vectors()["wechat_v2"]["key"]
NEW_KEY = "n" * 32
PAID = {"out_trade_no": TRADE_NO, "total_fee": "1280", "fee_type": "CNY", "trade_type": "MICROPAY"}


def a_channel(config: AccountConfig) -> WechatV2Channel:
    """The adapter; here the money's way back needs no TLS."""
    return WechatV2Channel(
        settings=parse_settings(config),
        http=FastHttpClient(connections_per_host_max=4),
        secure_http=FastHttpClient(connections_per_host_max=4),
        monotonic_s=time.monotonic,
    )


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
async def party(request: pytest.FixtureRequest) -> AsyncIterator[Party]:
    server = CannedServer()
    await server.start()
    channel = a_channel(a_wechat_v2_config(gateway=f"http://127.0.0.1:{server.port}", sign_type=request.param))
    yield Party(channel, server, request.param == "HMAC-SHA256")
    await channel.end_session()
    await server.stop()


async def test_a_charge_sends_the_code_and_is_paid_by_its_answer(party: Party) -> None:
    party.server.answer = wechat_v2_answer(PAID, is_hmac=party.is_hmac)
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
    party.server.answer = wechat_v2_answer({"recall": "N"}, is_hmac=party.is_hmac)
    ended = await party.channel.reverse(a_ref(direction=Direction.B2C), call=a_call())
    assert ended.state is EndState.ENDED
    party.expect_signed("/secapi/pay/reverse")
    await party.channel.query(a_ref(direction=Direction.B2C), call=a_call())
    party.expect_signed("/pay/orderquery")
    await party.channel.refund(a_refund_intent(), call=a_call())
    assert "notify_url" not in party.expect_signed("/secapi/pay/refund")
    await party.channel.query_refund(a_refund_ref(), call=a_call())
    assert "out_trade_no" not in party.expect_signed("/pay/refundquery")


async def test_the_documented_answer_is_read() -> None:
    server = CannedServer(answer=xml_http(vectors()["wechat_v2"]["response"]["xml"].encode()))
    await server.start()
    channel = a_channel(a_wechat_v2_config(gateway=f"http://127.0.0.1:{server.port}"))
    intent = an_intent(method=Method.CODE, trade_no="T20260101000002")
    result = await channel.charge(intent, auth_code="134567890123456789", call=a_call())
    assert (result.outcome, result.order_minor, result.payer_minor) == (Outcome.PAID, 1280, 1280)
    await channel.end_session()
    await server.stop()


@pytest.mark.invariant("I4")
async def test_an_answer_that_is_signed_in_the_other_way_proves_nothing(party: Party) -> None:
    """The account says how messages are signed, never the message itself."""
    for is_hmac, outcome in ((not party.is_hmac, Outcome.UNKNOWN), (party.is_hmac, Outcome.PAID)):
        party.server.answer = wechat_v2_answer(PAID | {"trade_state": "SUCCESS"}, is_hmac=is_hmac)
        assert (await party.channel.query(a_ref(direction=Direction.B2C), call=a_call())).outcome is outcome


@pytest.mark.invariant("I4")
async def test_an_old_key_counts_until_the_overlap_ends_and_the_new_one_at_once() -> None:
    """Before the end an answer on its way is believed; after it, whoever stole the old key can tell nothing."""
    server = CannedServer()
    await server.start()
    before = a_wechat_v2_config(gateway=f"http://127.0.0.1:{server.port}")
    config = with_secret(before, "api_key", NEW_KEY)
    believed: dict[str, list[Outcome]] = {}
    for name, until in (("within", NOW + timedelta(seconds=1)), ("over", NOW)):
        channel = a_channel(replace(config, old_keys=OldKeys(secrets=before.secrets, until=until)))
        for key in (KEY, NEW_KEY):
            server.answer = wechat_v2_answer(PAID | {"trade_state": "SUCCESS"}, key=key)
            answer = await channel.query(a_ref(direction=Direction.B2C), call=a_call())
            believed.setdefault(name, []).append(answer.outcome)
            # What we send is signed with the new key at once.
            assert verify_md5(parse_fields(server.asked[-1].body), key=NEW_KEY)
        await channel.end_session()
    await server.stop()
    assert believed == {"within": [Outcome.PAID, Outcome.PAID], "over": [Outcome.UNKNOWN, Outcome.PAID]}


def test_its_certificates_end_is_known_where_the_account_is_judged() -> None:
    """Without it the day comes when no refund leaves any more."""
    ends_at = NOW + timedelta(days=9)
    facts = KINDS["wechat_v2"].examine(a_wechat_v2_config(ends_at=ends_at), environment=Environment.LOCAL)
    assert [(life.field_name, life.ends_at) for life in facts.key_lives] == [("client_certificate", ends_at)]


def test_a_wrong_setting_is_named_and_no_secret_shown() -> None:
    config = a_wechat_v2_config()
    wrong = {
        "gateway": replace(config, settings={**config.settings, "gateway": "ftp://x"}),
        "secure_gateway": replace(config, settings={**config.settings, "secure_gateway": "https://x/path"}),
        "appid": replace(config, settings={**config.settings, "appid": "w x"}),
        "mch_id": replace(config, settings={**config.settings, "mch_id": ""}),
        "sign_type": replace(config, settings={**config.settings, "sign_type": "RSA"}),
        "api_key": with_secret(config, "api_key", "short"),
        "client_certificate": with_secret(config, "client_key", as_pem(platform_key())),
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
