"""The channels' side of notices: signed by keys that the tests hold, for two accounts of ours."""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from secrets import token_hex
from typing import Any

from budan.channels.alipay.adapter import AlipayChannel
from budan.channels.alipay.bill import read_bill_facts as read_alipay_bill_facts
from budan.channels.alipay.settings import AlipayKey, AlipaySettings
from budan.channels.wechat_bills import read_bill_facts as read_wechat_bill_facts
from budan.channels.wechat_v3.adapter import WechatV3Channel
from budan.channels.wechat_v3.settings import WechatV3Settings
from budan.core.numbers import AccountId
from budan.ports.channel import ChannelAccount
from budan.wire import alipay
from budan.wire.forms import render_form
from budan.wire.http_fast import FastHttpClient
from budan.wire.rsa import Signer, load_private_key
from budan.wire.wechat_v3 import encrypt_resource, sign_answer
from builders import ACCOUNT, AMOUNT_MINOR, OTHER_ACCOUNT

SERIAL = "PUB_KEY_ID_0114232134912410000000000000"
APIV3_KEY = "k" * 32
WECHAT, ALIPAY = ACCOUNT, OTHER_ACCOUNT
MCHID, APPID = "1900009191", "wxd678efh567hg6787"
APP_ID, SELLER_ID = "2014072300007148", "2088101117955611"

_KEYS = json.loads(Path(__file__).parents[2].joinpath("vectors.json").read_text("utf-8"))["keys"]
PLATFORM = load_private_key(_KEYS["platform"]["private_pkcs8_b64"])
OURS = load_private_key(_KEYS["merchant"]["private_pkcs8_b64"])


@dataclass(slots=True)
class MovingClock:
    """The machine's clock, moved by the test."""

    ahead: timedelta = timedelta(0)

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def monotonic_s(self) -> float:
        return time.monotonic() + self.ahead.total_seconds()


@dataclass(frozen=True, slots=True)
class Accounts:
    """The accounts of these tests, by id."""

    by_id: Mapping[AccountId, ChannelAccount]

    async def find(self, account_id: AccountId) -> ChannelAccount | None:
        return self.by_id.get(account_id)

    async def close(self) -> None:
        return


@contextmanager
def open_accounts() -> Iterator[Accounts]:
    """One account on each channel, with the real adapters."""
    signer, http = Signer(threads=1), FastHttpClient(connections_per_host_max=1)
    wechat = WechatV3Channel(
        settings=WechatV3Settings(
            gateway="http://127.0.0.1:9",
            mchid=MCHID,
            appid=APPID,
            merchant_serial="AB",
            merchant_private_key=OURS,
            apiv3_key=APIV3_KEY,
            platform_keys={SERIAL: PLATFORM.public_key()},
            bill_facts=read_wechat_bill_facts({}),
        ),
        http=http,
        signer=signer,
        monotonic_s=time.monotonic,
    )
    alipay_channel = AlipayChannel(
        settings=AlipaySettings(
            gateway="http://127.0.0.1:9/gateway.do",
            app_id=APP_ID,
            seller_id=SELLER_ID,
            precreate_product_code=None,
            app_private_key=OURS,
            alipay_keys=(AlipayKey(public_key=PLATFORM.public_key()),),
            bill_facts=read_alipay_bill_facts({}),
            bill_not_found_codes=frozenset(),
        ),
        http=http,
        signer=signer,
        monotonic_s=time.monotonic,
    )
    by_id = {
        WECHAT: ChannelAccount(
            account_id=WECHAT, channel="wechat_v3", name="w", enabled=True, adapter=wechat, takes_new=lambda: True
        ),
        ALIPAY: ChannelAccount(
            account_id=ALIPAY, channel="alipay", name="a", enabled=True, adapter=alipay_channel, takes_new=lambda: True
        ),
    }
    try:
        yield Accounts(by_id)
    finally:
        signer.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A notice on its way to us."""

    channel: str
    account_id: AccountId
    headers: Mapping[str, str]
    body: bytes


def by_wechat(
    trade_no: str, *, key: Any = PLATFORM, age_s: int = 0, event: str = "TRANSACTION.SUCCESS", **changes: Any
) -> Told:
    """WeChat tells of a payment of 10.00, or of what `event` and `changes` say."""
    amount = {"total": AMOUNT_MINOR, "payer_total": AMOUNT_MINOR, "currency": "CNY", "payer_currency": "CNY"}
    plain = {
        "appid": APPID,
        "mchid": MCHID,
        "out_trade_no": trade_no,
        "transaction_id": "4200000001",
        "trade_state": "SUCCESS",
        "success_time": "2026-01-05T12:03:02+08:00",
        "payer": {"openid": "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o"},
        "amount": amount,
    } | changes
    nonce = token_hex(6)
    sealed = encrypt_resource(
        json.dumps(plain).encode(), api_v3_key=APIV3_KEY, nonce=nonce, associated_data="transaction"
    )
    resource = {
        "algorithm": "AEAD_AES_256_GCM",
        "ciphertext": sealed,
        "associated_data": "transaction",
        "nonce": nonce,
    }
    body = json.dumps({"id": token_hex(8), "event_type": event, "resource": resource}).encode()
    headers = sign_answer(body, private_key=key, serial=SERIAL, timestamp=int(time.time()) - age_s, nonce=token_hex(16))
    lowered = {name.lower(): value for name, value in headers.items()}
    return Told(channel="wechat_v3", account_id=WECHAT, headers=lowered, body=body)


def refund_by_wechat(trade_no: str) -> Told:
    """WeChat tells that a refund went through."""
    amount = {"total": AMOUNT_MINOR, "refund": AMOUNT_MINOR, "payer_total": AMOUNT_MINOR, "payer_refund": AMOUNT_MINOR}
    return by_wechat(trade_no, event="REFUND.SUCCESS", refund_status="SUCCESS", out_refund_no="r1", amount=amount)


def by_alipay(trade_no: str, *, key: Any = PLATFORM, **changes: str) -> Told:
    """Alipay tells of a payment of 10.00, or of what `changes` say."""
    fields = {
        "app_id": APP_ID,
        "seller_id": SELLER_ID,
        "notify_type": "trade_status_sync",
        "out_trade_no": trade_no,
        "trade_no": "2026010522001",
        "trade_status": "TRADE_SUCCESS",
        "total_amount": "10.00",
        "gmt_payment": "2026-01-05 12:03:02",
        "buyer_id": "2088102116773037",
        "charset": "utf-8",
        "sign_type": "RSA2",
    } | changes
    fields["sign"] = alipay.sign_notify(fields, private_key=key)
    return Told(channel="alipay", account_id=ALIPAY, headers={}, body=render_form(fields))


TELLERS = {"wechat_v3": by_wechat, "alipay": by_alipay}
