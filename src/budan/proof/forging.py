"""Notices that no channel sent: in a channel's own words, by somebody who knows all that an order's payer and shop know."""

from base64 import b64encode
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any, Final
from urllib.parse import urlencode

from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256

from budan.proof.client import HttpAnswer, render_request
from budan.proof.drawing import Wish
from budan.proof.house import House

ANSWER_S_MAX: Final = 60.0
# Of the right form, and of nothing.
_SIGNATURE: Final = "QUJD" * 86
_UNSIGNED: Final = frozenset({"sign", "sign_type"})
_BEIJING: Final = timezone(timedelta(hours=8))
_FORM: Final = "Content-Type: application/x-www-form-urlencoded\r\n"
_OK: Final = 200
_NO_CONTENT: Final = 204


async def forge(house: House, wish: Wish, trade: Mapping[str, str], *, key: RSAPrivateKey | None = None) -> HttpAnswer:
    """A stranger says that this attempt was paid; signed by a key of their own, if they have one: the channel's they have not."""
    channel = trade["channel"]
    if channel == "alipay":
        fields = await forged_fields(house, wish, trade["trade_no"])
        headers, body = _FORM, urlencode(fields if key is None else signed(fields, key=key))
    else:
        body = f'{{"event_type":"TRANSACTION.SUCCESS","resource":{{"out_trade_no":"{trade["trade_no"]}"}}}}'
        now_s = int(datetime.now(_BEIJING).timestamp())
        sign = _SIGNATURE if key is None else _sign(f"{now_s}\nnonce\n{body}\n", key=key)
        headers = (
            "Content-Type: application/json\r\n"
            f"Wechatpay-Timestamp: {now_s}\r\nWechatpay-Nonce: nonce\r\n"
            f"Wechatpay-Signature: {sign}\r\nWechatpay-Serial: {await _serial(house)}\r\n"
        )
    return await tell(house, channel=channel, headers=headers, body=body.encode())


async def tell(house: House, *, channel: str, headers: str = _FORM, body: bytes) -> HttpAnswer:
    """This body comes to the address of the channel's notices; the answer."""
    path = f"/notify/local/{channel}/{house.instance.accounts[channel]}"
    request = render_request(method="POST", path=path, headers=headers, body=body)
    answer = await house.api.send(request, timeout_s=ANSWER_S_MAX)
    house.tell(f"a forgery of {channel} was answered {answer.status} {answer.body[:60]!r}")
    return answer


def is_taken(answer: HttpAnswer) -> bool:
    """Whether a notice was acknowledged: Alipay and the flat channels by a word, WeChat by the status alone."""
    return answer.status == _NO_CONTENT or (answer.status == _OK and b"fail" not in answer.body.lower())


def is_refused(answer: HttpAnswer) -> bool:
    """Whether a notice was heard and refused, in the channel's own words; a server that is away has others."""
    return not is_taken(answer) and b"fail" in answer.body.lower()


def signed(fields: Mapping[str, str], *, key: RSAPrivateKey) -> dict[str, str]:
    """Alipay's fields with this key's signature of them."""
    content = "&".join(f"{name}={fields[name]}" for name in sorted(fields) if name not in _UNSIGNED)
    return {**fields, "sign": _sign(content, key=key)}


async def forged_fields(house: House, wish: Wish, trade_no: str) -> dict[str, str]:
    """What Alipay would say of the payment of this attempt, with a signature of nothing."""
    account = await _account(house, "alipay")
    now = datetime.now(_BEIJING).strftime("%Y-%m-%d %H:%M:%S")
    amount = f"{wish.amount_minor / 100:.2f}"
    return {
        "notify_time": now,
        "notify_type": "trade_status_sync",
        "notify_id": "f" * 34,
        "app_id": account["app_id"],
        "seller_id": account["seller_id"],
        "trade_no": "2026" + "0" * 24,
        "out_trade_no": trade_no,
        "trade_status": "TRADE_SUCCESS",
        "total_amount": amount,
        "receipt_amount": amount,
        "buyer_pay_amount": amount,
        "buyer_id": "2088000000000000",
        "gmt_payment": now,
        "sign_type": "RSA2",
        "sign": _SIGNATURE,
    }


def _sign(content: str, *, key: RSAPrivateKey) -> str:
    return b64encode(key.sign(content.encode(), PKCS1v15(), SHA256())).decode()


async def _serial(house: House) -> str:
    """The serial of WeChat's own key, which anybody may know."""
    account = await _account(house, "wechat_v3")
    return next(iter(account["platform_keys"]))


async def _account(house: House, channel: str) -> Mapping[str, Any]:
    listed = await house.sandbox.get("/sandbox/accounts", timeout_s=ANSWER_S_MAX)
    return next(one for one in listed.json()["accounts"] if one["channel"] == channel)
