"""A shop at one channel of a sandbox: the adapter on one side, the payer's fingers on the other."""

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from secrets import token_hex
from typing import Any

from budan.channels.alipay import settings as alipay_settings
from budan.channels.alipay.adapter import AlipayChannel
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
from budan.ports.channel import (
    AccountConfig,
    Call,
    EndState,
    Method,
    Notice,
    PayResult,
    RawNotice,
    RefundIntent,
    RefundRef,
    RefundResult,
    TradeIntent,
    TradeRef,
)
from budan.wire.http_fast import FastHttpClient
from budan.wire.rsa import Signer
from integration.sandbox.running import (
    Caller,
    Receiver,
)
from unit.channels.builders import vectors

AMOUNT_MINOR = 1280
SHORT_S = 0.3
PATIENCE_S = 10.0
# The channels that can end a code that nobody paid; at iPaynow only its time-out does.
CLOSING = ["wechat_v3", "alipay", "swiftpass", "swiftpass_rsa"]
# Those that tell of refunds by a notice, and whose query of a payment knows of them.
TELLING_REFUNDS = ["wechat_v3", "alipay"]


# Swiftpass signs in two ways, and a merchant there has one of them.
KINDS = ["wechat_v3", "alipay", "swiftpass", "swiftpass_rsa", "ipaynow"]
# With those that have nothing to scan: what they cannot do is not asked of them.
ALL_KINDS = [*KINDS, "wechat_v2", "wechat_v2_hmac"]


async def an_account(caller: Caller, name: str) -> AccountConfig:
    """A fresh account of one of `ALL_KINDS` at the sandbox, as the store would keep it."""
    keys = vectors()["keys"]["merchant"]
    channel, is_rsa = name.removesuffix("_rsa").removesuffix("_hmac"), name.endswith("_rsa")
    how: dict[str, object] = {"sign_type": "RSA_1_256"} if is_rsa else {}
    channel, how = ("alipay", {"certificates": True}) if name == "alipay_certified" else (channel, how)
    opened = await caller.open_account(channel, keys["public_spki_b64"], reverse_after_s=0, **how)
    if channel == "swiftpass":
        settings = {field: opened[field] for field in ("gateway", "mch_id", "sign_type", "sub_appid")}
        secrets = {"api_key": opened["api_key"]}
        if is_rsa:
            platform_key = opened["platform_public_key"]
            secrets = {"merchant_private_key": keys["private_pkcs8_b64"], "platform_public_key": platform_key}
    elif channel == "wechat_v2":
        names = ("gateway", "secure_gateway", "gateway_issuer", "appid", "mch_id")
        settings = {field: opened[field] for field in names}
        settings["sign_type"] = "HMAC-SHA256" if name.endswith("_hmac") else "MD5"
        secrets = {field: opened[field] for field in ("api_key", "client_certificate", "client_key")}
    elif name == "wechat_v3":
        settings = {field: opened[field] for field in ("gateway", "mchid", "appid", "merchant_serial")}
        secrets = {
            "merchant_private_key": keys["private_pkcs8_b64"],
            "apiv3_key": opened["apiv3_key"],
            "platform_keys": json.dumps(opened["platform_keys"]),
        }
    elif name == "ipaynow":
        # The sandbox refuses a refund's query for one reason only, so there the word may be believed.
        believed = {"refused_refund_query": "not_found"}
        settings = {field: opened[field] for field in ("gateway", "app_id")} | believed
        secrets = {"app_key": opened["app_key"]}
    else:
        settings = {field: opened[field] for field in ("gateway", "app_id", "seller_id")}
        given = ("app_certificate", "alipay_certificate", "alipay_root_certificate")
        fields = given if name == "alipay_certified" else ("alipay_public_key",)
        secrets = {"app_private_key": keys["private_pkcs8_b64"]} | {field: opened[field] for field in fields}
    return AccountConfig(
        account_id=AccountId(1), channel=channel, name="一号店", enabled=True, settings=settings, secrets=secrets
    )


def built(config: AccountConfig, signer: Signer) -> SessionChannel:
    http = FastHttpClient(connections_per_host_max=4)
    if config.channel == "wechat_v3":
        wechat = wechat_settings.parse_settings(config)
        return WechatV3Channel(settings=wechat, http=http, signer=signer, monotonic_s=time.monotonic)
    if config.channel == "swiftpass":
        swift = swiftpass_settings.parse_settings(config)
        return SwiftpassChannel(settings=swift, http=http, signer=signer, monotonic_s=time.monotonic)
    if config.channel == "ipaynow":
        now = ipaynow_settings.parse_settings(config)
        return IpaynowChannel(settings=now, http=http, monotonic_s=time.monotonic)
    if config.channel == "wechat_v2":
        older = wechat_v2_settings.parse_settings(config)
        secure = FastHttpClient(connections_per_host_max=4, ssl_context=older.tls)
        return WechatV2Channel(settings=older, http=http, secure_http=secure, monotonic_s=time.monotonic)
    ali = alipay_settings.parse_settings(config)
    return AlipayChannel(settings=ali, http=http, signer=signer, monotonic_s=time.monotonic)


def a_call(*, deadline_s: float = PATIENCE_S) -> Call:
    return Call(
        now=datetime.now(UTC),
        nonce=token_hex(16).upper(),
        deadline_s=deadline_s,
        send_before_s=time.monotonic() + deadline_s,
    )


def an_intent(*, method: Method = Method.NATIVE, notify_url: str = "http://127.0.0.1:9/nobody") -> TradeIntent:
    now = datetime.now(UTC)
    return TradeIntent(
        trade_no=f"D{token_hex(12).upper()}",
        method=method,
        amount_minor=AMOUNT_MINOR,
        currency="CNY",
        subject="门店点单-拿铁",
        notify_url=notify_url,
        created_at=now,
        expires_at=now + timedelta(minutes=10),
        payer_openid="oSandbox" if method is Method.JSAPI else None,
        return_url="https://pay.example.com/back" if method is Method.WAP else None,
        payer_ip="203.0.113.7" if method is Method.WAP else None,
    )


@dataclass(frozen=True)
class Desk:
    """A shop at one channel, and the payer's side of it."""

    name: str
    channel: SessionChannel
    caller: Caller

    async def place(self, intent: TradeIntent) -> PayResult:
        return (await self.channel.create(intent, call=a_call())).result

    async def charge(self, *, deadline_s: float = PATIENCE_S, **faults: Any) -> tuple[TradeIntent, PayResult]:
        intent = an_intent(method=Method.CODE)
        auth_code = await self.caller.auth_code(self.name, **faults)
        call = a_call(deadline_s=deadline_s)
        return intent, await self.channel.charge(intent, auth_code=auth_code, call=call)

    async def query(self, intent: TradeIntent) -> PayResult:
        return await self.channel.query(ref_of(intent), call=a_call())

    async def query_until(self, intent: TradeIntent, outcome: Outcome) -> PayResult:
        """Asks until the payer's fingers are done; each look is one round over the wire."""
        ends_s = time.monotonic() + PATIENCE_S
        while (result := await self.query(intent)).outcome is not outcome:
            assert time.monotonic() < ends_s, result
        return result

    async def query_while_typing(self, intent: TradeIntent) -> PayResult:
        """Asks until the payer's fingers are done, whatever came of it."""
        ends_s = time.monotonic() + PATIENCE_S
        while (result := await self.query(intent)).user_paying:
            assert time.monotonic() < ends_s, result
        return result

    async def placed(self, *, scanned: bool = True, notify_url: str = "http://127.0.0.1:9/nobody") -> TradeIntent:
        """A placed trade; Alipay makes one only when its code is scanned."""
        intent = an_intent(notify_url=notify_url)
        created = await self.channel.create(intent, call=a_call())
        assert created.result.outcome is Outcome.UNPAID_OPEN
        assert created.action is not None
        if scanned:
            await self.caller.admin("POST", "/sandbox/scan", {"code_text": created.action.qr_text})
        return intent

    async def paid(self, *, notify_url: str = "http://127.0.0.1:9/nobody", **faults: Any) -> TradeIntent:
        if Method.NATIVE not in self.channel.capabilities.methods:
            charged, result = await self.charge(**faults)
            assert result.outcome is Outcome.PAID
            return charged
        intent = await self.placed(notify_url=notify_url)
        await self.caller.pay(trade_no=intent.trade_no, faults=faults)
        return intent

    async def close(self, intent: TradeIntent) -> EndState:
        return (await self.channel.close(ref_of(intent), call=a_call())).state

    async def refund(self, refund: RefundIntent, *, deadline_s: float = PATIENCE_S) -> RefundResult:
        return await self.channel.refund(refund, call=a_call(deadline_s=deadline_s))

    async def query_refund(self, refund: RefundIntent) -> RefundResult:
        ref = RefundRef(refund_no=refund.refund_no, trade_no=refund.trade_no, created_at=refund.created_at)
        return await self.channel.query_refund(ref, call=a_call())

    async def choose_refund_faults(self, intent: TradeIntent, **faults: Any) -> None:
        wish = {"trade_no": intent.trade_no, "faults": faults}
        status, _ = await self.caller.admin("PUT", "/sandbox/refund-faults", wish)
        assert status == 200


def ref_of(intent: TradeIntent) -> TradeRef:
    direction = Direction.B2C if intent.method is Method.CODE else Direction.C2B
    return TradeRef(trade_no=intent.trade_no, direction=direction, created_at=intent.created_at)


def a_refund_of(
    intent: TradeIntent, amount_minor: int, *, notify_url: str = "http://127.0.0.1:9/nobody"
) -> RefundIntent:
    return RefundIntent(
        refund_no=f"R{token_hex(12)}",
        trade_no=intent.trade_no,
        amount_minor=amount_minor,
        total_minor=intent.amount_minor,
        currency=intent.currency,
        reason="退一杯",
        notify_url=notify_url,
        created_at=intent.created_at,
    )


def expect_refunded(result: RefundResult, refund: RefundIntent) -> None:
    assert (result.outcome, result.refund_no) == (RefundOutcome.SUCCEEDED, refund.refund_no)
    assert (result.amount_minor, result.currency) == (refund.amount_minor, "CNY")


@asynccontextmanager
async def a_desk(config: AccountConfig, caller: Caller) -> AsyncIterator[Desk]:
    signer = Signer(threads=1)
    channel = built(config, signer)
    try:
        yield Desk(config.channel, channel, caller)
    finally:
        await channel.end_session()
        signer.close()


async def heard(desk: Desk, receiver: Receiver) -> Notice:
    received = await receiver.next()
    return desk.channel.parse_notice(RawNotice(headers=received.headers, body=received.body), now=datetime.now(UTC))


def expect_paid(result: PayResult, intent: TradeIntent) -> None:
    assert (result.outcome, result.trade_no) == (Outcome.PAID, intent.trade_no)
    assert (result.order_minor, result.currency) == (AMOUNT_MINOR, "CNY")
    assert result.channel_reference
    assert result.payer_id
    assert result.paid_at is not None
    assert abs(result.paid_at - datetime.now(UTC)) < timedelta(minutes=1)
