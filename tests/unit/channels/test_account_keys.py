"""Keys of accounts: pairs, places, certificates, and what the keys of before a rotation are worth."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from budan.channels.alipay.settings import parse_settings as parse_alipay
from budan.channels.kind import ChannelKind, Tools
from budan.channels.settings import BadSettings
from budan.channels.wechat_v3.settings import parse_settings as parse_wechat
from budan.cli.wiring import KINDS, _connect
from budan.core.numbers import Environment
from budan.flows.choosing import CHANNELS
from budan.ports.channel import AccountConfig, BadNotice, OldKeys, RawNotice
from budan.wire import alipay, field_signatures, ipaynow
from budan.wire.forms import render_form
from budan.wire.ipaynow import Signed
from budan.wire.key_pairs import public_text
from budan.wire.rsa import Signer
from budan.wire.wechat_v3 import encrypt_resource, sign_answer
from budan.wire.xml_fields import render_fields
from unit.channels.builders import (
    APP_ID,
    APPID,
    IPAYNOW_APP_ID,
    MCHID,
    NOW,
    NOW_S,
    PLATFORM_SERIAL,
    SELLER_ID,
    SWIFTPASS_MCH_ID,
    TRADE_NO,
    a_swiftpass_config,
    a_wechat_config,
    an_alipay_config,
    an_ipaynow_config,
    merchant_key,
    platform_key,
    with_secret,
)
from unit.channels.certified import a_certificate, another_key

UNTIL = NOW + timedelta(hours=1)
LIVE = {
    "wechat_v3": "https://api.mch.weixin.qq.com",
    "wechat_v2": "https://api2.mch.weixin.qq.com",
    "alipay": "https://openapi.alipay.com/gateway.do",
    "swiftpass": "https://pay.swiftpass.cn/pay/gateway",
    "ipaynow": "https://pay.ipaynow.cn",
}


def placed_at(gateway: str, channel: str) -> AccountConfig:
    return replace(an_alipay_config(gateway=gateway), channel=channel)


def refused(act: Callable[[], object]) -> str:
    with pytest.raises(BadSettings) as error:
        act()
    return error.value.field_name


def test_every_channel_that_the_flows_know_is_built_and_no_other() -> None:
    assert set(KINDS) == CHANNELS
    for kind in KINDS.values():
        assert {*kind.identity, *kind.gateways} <= kind.settings, kind.name


@pytest.mark.invariant("I13")
@pytest.mark.parametrize("name", sorted(KINDS))
def test_an_account_belongs_where_its_installation_stands(name: str) -> None:
    """Otherwise a test moves real money, or a live order is paid with play money."""
    kind = KINDS[name]

    def place(gateway: str, environment: Environment) -> None:
        kind.refuse_wrong_place(placed_at(gateway, name), environment=environment)

    for near in ("https://127.0.0.1:8081", "https://10.0.0.8/x", "https://sandbox.internal", "https://localhost"):
        place(near, Environment.LOCAL)
        place(near, Environment.TEST)
        assert refused(lambda near=near: place(near, Environment.LIVE)) == "gateway"
    place(LIVE[name], Environment.LIVE)
    for other in (Environment.LOCAL, Environment.TEST):
        assert refused(lambda other=other: place(LIVE[name], other)) == "gateway"
    for host in kind.test_hosts:
        place(f"https://{host}/x", Environment.TEST)
        assert refused(lambda host=host: place(f"https://{host}/x", Environment.LIVE)) == "gateway"


@pytest.mark.parametrize("name", sorted(KINDS))
def test_only_a_local_installation_calls_without_tls(name: str) -> None:
    kind = KINDS[name]
    kind.refuse_wrong_place(placed_at("http://127.0.0.1:8081", name), environment=Environment.LOCAL)
    for environment in (Environment.TEST, Environment.LIVE):
        account = placed_at("http://gateway.example.com", name)
        assert refused(lambda a=account, e=environment: kind.refuse_wrong_place(a, environment=e)) == "gateway"


def test_every_address_of_an_account_is_looked_at() -> None:
    config = an_ipaynow_config(gateway="https://dby.ipaynow.cn", refund_gateway=LIVE["ipaynow"])
    assert refused(lambda: KINDS["ipaynow"].examine(config, environment=Environment.TEST)) == "refund_gateway"


def test_a_field_that_the_channel_does_not_know_is_a_typing_mistake() -> None:
    kind = KINDS["alipay"]
    assert kind.examine(an_alipay_config(), environment=Environment.LOCAL).identity["app_id"] == APP_ID
    wrong = an_alipay_config(precreate_productcode="QR_CODE_OFFLINE")
    assert refused(lambda: kind.examine(wrong, environment=Environment.LOCAL)) == "precreate_productcode"
    secret = with_secret(an_alipay_config(), "app_id", APP_ID)
    assert refused(lambda: kind.examine(secret, environment=Environment.LOCAL)) == "app_id"


def test_a_merchant_certificate_must_be_that_of_the_key_and_of_the_serial() -> None:
    kind, ends_at = KINDS["wechat_v3"], NOW + timedelta(days=9)

    def with_certificate(text: str, serial: str) -> AccountConfig:
        return with_secret(a_wechat_config(merchant_serial=serial), "merchant_certificate", text)

    own = a_certificate(merchant_key().public_key(), ends_at=ends_at)
    lives = kind.examine(with_certificate(own, "5A3F"), environment=Environment.LOCAL).key_lives
    assert [(life.field_name, life.ends_at) for life in lives] == [("merchant_certificate", ends_at)]
    other = with_certificate(a_certificate(platform_key().public_key()), "5A3F")
    assert refused(lambda: parse_wechat(other)) == "merchant_certificate"
    assert refused(lambda: parse_wechat(with_certificate(own, "5A40"))) == "merchant_serial"
    assert refused(lambda: parse_wechat(with_certificate("-----BEGIN CERTIFICATE-----\nAA", "5A3F"))) == (
        "merchant_certificate"
    )


def test_a_platform_certificate_tells_its_key_its_serial_and_its_end() -> None:
    held = a_certificate(platform_key().public_key(), serial=0xABC, ends_at=UNTIL)
    both = {PLATFORM_SERIAL: public_text(platform_key()), "0ABC": held}
    config = with_secret(a_wechat_config(), "platform_keys", json.dumps(both))
    lives = KINDS["wechat_v3"].list_key_lives(config)
    assert [(life.field_name, life.ends_at) for life in lives] == [("platform_keys[0ABC]", UNTIL)]
    assert parse_wechat(config).platform_keys["0ABC"].public_numbers() == platform_key().public_key().public_numbers()
    wrong = with_secret(a_wechat_config(), "platform_keys", json.dumps({"5A3F": held}))
    assert refused(lambda: parse_wechat(wrong)) == "platform_keys[5A3F]"
    own = with_secret(a_wechat_config(), "platform_keys", json.dumps({"5A3F": public_text(merchant_key())}))
    assert refused(lambda: parse_wechat(own)) == "platform_keys[5A3F]"


def certificate_mode(*alipay_certificates: str) -> AccountConfig:
    config = an_alipay_config()
    mine = a_certificate(merchant_key().public_key(), serial=1)
    secrets = {name: text for name, text in config.secrets.items() if name != "alipay_public_key"} | {
        "app_certificate": mine,
        "alipay_certificate": "\n".join(alipay_certificates),
        "alipay_root_certificate": a_certificate(another_key().public_key(), serial=2),
    }
    return replace(config, secrets=secrets)


def test_alipays_certificates_come_together_and_in_pairs() -> None:
    held = a_certificate(platform_key().public_key())
    good = certificate_mode(held)
    parse = KINDS["alipay"].list_key_lives
    assert [life.field_name for life in parse(good)] == ["app_certificate", "alipay_certificate"]
    for name in ("app_certificate", "alipay_certificate", "alipay_root_certificate"):
        lacking = replace(good, secrets={**good.secrets, "alipay_public_key": public_text(platform_key()), name: ""})
        assert refused(lambda lacking=lacking: parse(lacking)) == name
    assert refused(lambda: parse(with_secret(good, "app_certificate", held))) == "app_certificate"
    own = a_certificate(merchant_key().public_key())
    assert refused(lambda: parse(with_secret(good, "alipay_certificate", own))) == "alipay_certificate"


def told_by_alipay(*, key: Any, cert_sn: str = "") -> RawNotice:
    fields = {
        "notify_type": "trade_status_sync",
        "app_id": APP_ID,
        "seller_id": SELLER_ID,
        "out_trade_no": TRADE_NO,
        "trade_no": "2026",
        "trade_status": "TRADE_SUCCESS",
        "total_amount": "12.80",
        "sign_type": "RSA2",
        **({"alipay_cert_sn": cert_sn} if cert_sn else {}),
    }
    fields["sign"] = alipay.sign_notify(fields, private_key=key)
    return RawNotice(headers={}, body=render_form(fields))


def told_by_wechat(*, key: Any, serial: str, apiv3_key: str) -> RawNotice:
    paid = {
        "mchid": MCHID,
        "appid": APPID,
        "out_trade_no": TRADE_NO,
        "trade_state": "SUCCESS",
        "amount": {"total": 1280},
    }
    sealed = encrypt_resource(
        json.dumps(paid).encode(), api_v3_key=apiv3_key, nonce="fdasflkja484", associated_data="transaction"
    )
    resource = {"algorithm": "AEAD_AES_256_GCM", "ciphertext": sealed, "nonce": "fdasflkja484"}
    body = json.dumps(
        {"event_type": "TRANSACTION.SUCCESS", "resource": resource | {"associated_data": "transaction"}}
    ).encode()
    headers = sign_answer(body, private_key=key, serial=serial, timestamp=NOW_S, nonce="n")
    return RawNotice(headers={name.lower(): value for name, value in headers.items()}, body=body)


def told_by_swiftpass(*, key: str) -> RawNotice:
    fields = {
        "status": "0",
        "result_code": "0",
        "mch_id": SWIFTPASS_MCH_ID,
        "out_trade_no": TRADE_NO,
        "total_fee": "1280",
        "pay_result": "0",
        "transaction_id": "1",
    }
    return RawNotice(headers={}, body=render_fields(fields | {"sign": field_signatures.sign_md5(fields, key=key)}))


def told_by_ipaynow(*, key: str) -> RawNotice:
    fields = {
        "funcode": "N001",
        "appId": IPAYNOW_APP_ID,
        "mhtOrderNo": TRADE_NO,
        "mhtOrderAmt": "1280",
        "transStatus": "A001",
        "nowPayOrderNo": "1",
    }
    return RawNotice(headers={}, body=render_form(ipaynow.signed(fields, app_key=key, kind=Signed.PAY_ANSWER)))


def rotations() -> dict[str, tuple[AccountConfig, RawNotice, RawNotice]]:
    """By channel: an account just rotated, and notices under its old key and its new one."""
    wechat, ali, swift, now = a_wechat_config(), an_alipay_config(), a_swiftpass_config(), an_ipaynow_config()
    new_v3, new_key, old_v3 = "n" * 32, "k" * 32, wechat.secrets["apiv3_key"]
    new_platform = json.dumps({"PUB_KEY_ID_NEW": public_text(another_key())})
    rotated = {
        "wechat_v3": with_secret(with_secret(wechat, "platform_keys", new_platform), "apiv3_key", new_v3),
        "alipay": with_secret(ali, "alipay_public_key", public_text(another_key())),
        "swiftpass": with_secret(swift, "api_key", new_key),
        "ipaynow": with_secret(now, "app_key", new_key),
    }
    notices = {
        "wechat_v3": (
            told_by_wechat(key=platform_key(), serial=PLATFORM_SERIAL, apiv3_key=old_v3),
            told_by_wechat(key=another_key(), serial="PUB_KEY_ID_NEW", apiv3_key=new_v3),
        ),
        "alipay": (told_by_alipay(key=platform_key()), told_by_alipay(key=another_key())),
        "swiftpass": (told_by_swiftpass(key=swift.secrets["api_key"]), told_by_swiftpass(key=new_key)),
        "ipaynow": (told_by_ipaynow(key=now.secrets["app_key"]), told_by_ipaynow(key=new_key)),
    }
    before = {"wechat_v3": wechat, "alipay": ali, "swiftpass": swift, "ipaynow": now}
    return {
        name: (replace(config, old_keys=OldKeys(secrets=before[name].secrets, until=UNTIL)), *notices[name])
        for name, config in rotated.items()
    }


def reads(kind: ChannelKind, config: AccountConfig, notice: RawNotice, *, at: datetime) -> bool:
    """Whether the account believes the notice at this moment; WeChat judges its time too, so the clock is set by key."""
    signer = Signer(threads=1)
    try:
        channel = kind.build(config, Tools(connect=_connect, signer=signer, monotonic_s=lambda: 0.0))
        try:
            return channel.parse_notice(notice, now=at).result.trade_no == TRADE_NO
        except BadNotice:
            return False
    finally:
        signer.close()


@pytest.mark.invariant("I4")
@pytest.mark.parametrize("name", ["wechat_v3", "alipay", "swiftpass", "ipaynow"])
def test_old_keys_count_until_the_overlap_ends_and_new_ones_at_once(name: str) -> None:
    """Before the end a notice on its way is not lost; after it, whoever stole the old key can tell nothing."""
    config, old, new = rotations()[name]
    assert config.old_keys is not None
    within = replace(config, old_keys=replace(config.old_keys, until=NOW + timedelta(seconds=1)))
    over = replace(config, old_keys=replace(config.old_keys, until=NOW))
    kind = KINDS[name]
    assert [reads(kind, within, notice, at=NOW) for notice in (old, new)] == [True, True]
    assert [reads(kind, over, notice, at=NOW) for notice in (old, new)] == [False, True]
    assert [reads(kind, replace(config, old_keys=None), notice, at=NOW) for notice in (old, new)] == [False, True]


@pytest.mark.invariant("I4")
def test_of_two_alipay_certificates_the_one_that_a_message_names_judges_it() -> None:
    first, second = a_certificate(platform_key().public_key(), serial=7), a_certificate(another_key().public_key())
    config = certificate_mode(first, second)
    names = [key.cert_sn for key in parse_alipay(config).alipay_keys]
    kind = KINDS["alipay"]
    assert reads(kind, config, told_by_alipay(key=platform_key(), cert_sn=names[0] or ""), at=NOW)
    assert reads(kind, config, told_by_alipay(key=another_key(), cert_sn=names[1] or ""), at=NOW)
    assert reads(kind, config, told_by_alipay(key=another_key()), at=NOW)
    assert not reads(kind, config, told_by_alipay(key=another_key(), cert_sn=names[0] or ""), at=NOW)
    assert not reads(kind, config, told_by_alipay(key=merchant_key()), at=NOW)
