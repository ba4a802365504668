"""Values for the tests of the channels: accounts with the throw-away keys of the vectors, trades, calls, a clock."""

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from budan.core.numbers import AccountId
from budan.core.trade import Direction
from budan.ports.channel import AccountConfig, Call, Method, RefundIntent, RefundRef, TradeIntent, TradeRef
from budan.wire import rsa

TESTS = Path(__file__).parents[2]
NOW_S = 1_767_225_600
NOW = datetime.fromtimestamp(NOW_S, UTC)
TRADE_NO = "T20260101000001"
REFUND_NO = "R20260101000001"
MCHID = "1900000109"
APPID = "wx0000000000000001"
PLATFORM_SERIAL = "PUB_KEY_ID_0119000001092026010100000000000000"
APP_ID = "2021000000000001"
SELLER_ID = "2088000000000156"
SWIFTPASS_MCH_ID = "755000000001"
IPAYNOW_APP_ID = "1400000000000001"


@cache
def vectors() -> dict[str, Any]:
    return json.loads((TESTS / "vectors.json").read_text("utf-8"))


@cache
def platform_key() -> RSAPrivateKey:
    """The channel's private key."""
    return rsa.load_private_key(vectors()["keys"]["platform"]["private_pkcs8_b64"])


@cache
def merchant_key() -> RSAPrivateKey:
    """Our private key; as a channel's it is a forger's."""
    return rsa.load_private_key(vectors()["keys"]["merchant"]["private_pkcs8_b64"])


def a_wechat_config(*, gateway: str = "http://127.0.0.1:1", **settings: str) -> AccountConfig:
    wechat, keys = vectors()["wechat_v3"], vectors()["keys"]
    return AccountConfig(
        account_id=AccountId(1),
        channel="wechat_v3",
        name="WeChat",
        enabled=True,
        settings={
            "gateway": gateway,
            "mchid": MCHID,
            "appid": APPID,
            "merchant_serial": wechat["merchant_cert_serial"],
            **settings,
        },
        secrets={
            "merchant_private_key": keys["merchant"]["private_pkcs8_b64"],
            "apiv3_key": wechat["apiv3_key"],
            "platform_keys": json.dumps({PLATFORM_SERIAL: keys["platform"]["public_spki_b64"]}),
        },
    )


def an_alipay_config(*, gateway: str = "http://127.0.0.1:1/gateway.do", **settings: str) -> AccountConfig:
    keys = vectors()["keys"]
    return AccountConfig(
        account_id=AccountId(2),
        channel="alipay",
        name="Alipay",
        enabled=True,
        settings={"gateway": gateway, "app_id": APP_ID, "seller_id": SELLER_ID, **settings},
        secrets={
            "app_private_key": keys["merchant"]["private_pkcs8_b64"],
            "alipay_public_key": keys["platform"]["public_spki_b64"],
        },
    )


def a_swiftpass_config(*, gateway: str = "http://127.0.0.1:1/pay/gateway", **settings: str) -> AccountConfig:
    keys = vectors()["keys"]
    secrets = {"api_key": vectors()["swiftpass"]["md5_key"]}
    if settings.get("sign_type") == "RSA_1_256":
        secrets = {
            "merchant_private_key": keys["merchant"]["private_pkcs8_b64"],
            "platform_public_key": keys["platform"]["public_spki_b64"],
        }
    return AccountConfig(
        account_id=AccountId(3),
        channel="swiftpass",
        name="Swiftpass",
        enabled=True,
        settings={
            "gateway": gateway,
            "mch_id": SWIFTPASS_MCH_ID,
            "sub_appid": APPID,
            **settings,
        },
        secrets=secrets,
    )


def an_ipaynow_config(*, gateway: str = "http://127.0.0.1:1", **settings: str) -> AccountConfig:
    return AccountConfig(
        account_id=AccountId(4),
        channel="ipaynow",
        name="iPaynow",
        enabled=True,
        settings={"gateway": gateway, "app_id": IPAYNOW_APP_ID, **settings},
        secrets={"app_key": vectors()["ipaynow"]["app_key"]},
    )


def with_secret(config: AccountConfig, name: str, value: str) -> AccountConfig:
    return replace(config, secrets={**config.secrets, name: value})


def an_intent(*, method: Method = Method.NATIVE, trade_no: str = TRADE_NO, **changes: Any) -> TradeIntent:
    values: dict[str, Any] = {
        "trade_no": trade_no,
        "method": method,
        "amount_minor": 1280,
        "currency": "CNY",
        "subject": "门店点单-拿铁",
        "notify_url": "https://pay.example.com/cb/wx",
        "created_at": NOW,
        **changes,
    }
    return TradeIntent(**values)


def a_ref(*, direction: Direction = Direction.C2B, trade_no: str = TRADE_NO) -> TradeRef:
    return TradeRef(trade_no=trade_no, direction=direction, created_at=NOW)


def a_refund_intent(**changes: Any) -> RefundIntent:
    values: dict[str, Any] = {
        "refund_no": REFUND_NO,
        "trade_no": TRADE_NO,
        "amount_minor": 280,
        "total_minor": 1280,
        "currency": "CNY",
        "reason": "退一杯",
        "notify_url": "https://pay.example.com/cb/wx",
        "created_at": NOW,
        **changes,
    }
    return RefundIntent(**values)


def a_refund_ref(**changes: Any) -> RefundRef:
    values: dict[str, Any] = {"refund_no": REFUND_NO, "trade_no": TRADE_NO, "created_at": NOW, **changes}
    return RefundRef(**values)


def a_call(*, now: datetime = NOW, deadline_s: float = 5.0, send_before_s: float | None = None) -> Call:
    return Call(now=now, nonce="0F1E2D3C4B5A69788796A5B4C3D2E1F0", deadline_s=deadline_s, send_before_s=send_before_s)


@dataclass(slots=True)
class HandClock:
    """Time that only the test moves."""

    seconds: float = 1_000.0

    def now(self) -> datetime:
        return NOW

    def monotonic_s(self) -> float:
        return self.seconds
