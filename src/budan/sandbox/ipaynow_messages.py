"""What iPaynow is asked and answers, as forms (docs/protocols/ipaynow.md §1, §3, §4)."""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import quote

from budan.sandbox.numbers import BEIJING, IPAYNOW_WECHAT, wallet_no
from budan.sandbox.records import Method, Trade, TradeState

TIME_FORMAT: Final = "%Y%m%d%H%M%S"
ALIPAY: Final = "12"
_PAY_CHANNELS: Final = frozenset({IPAYNOW_WECHAT, ALIPAY})
_AMOUNT: Final = re.compile("[1-9][0-9]{0,10}")
_TIME_OUT: Final = re.compile("[0-9]{2,4}")
_TIME_OUT_S: Final = range(60, 3_601)
_DEVICE_TYPES: Final[Mapping[str, Method]] = {
    "05": Method.PAY,
    "08": Method.NATIVE,
    "0600": Method.JSAPI,
    "0601": Method.WAP,
    "06": Method.WAP,
}
# Every field that WP001 must have, with the longest that it may be (section 1).
_REQUIRED: Final[Mapping[str, int]] = {
    "version": 10,
    "mhtOrderNo": 40,
    "mhtOrderName": 40,
    "mhtOrderType": 2,
    "mhtCurrencyType": 3,
    "mhtOrderAmt": 11,
    "mhtOrderDetail": 200,
    "mhtOrderTimeOut": 4,
    "mhtOrderStartTime": 14,
    "notifyUrl": 500,
    "mhtCharset": 10,
    "deviceType": 4,
    "mhtSignType": 3,
}


class WrongField(ValueError):  # noqa: N818 - named by what it is
    """A field that iPaynow would refuse."""


def read_method(fields: Mapping[str, str]) -> Method:
    """How the payer shall pay; WrongField for a scene that the sandbox does not play."""
    method = _DEVICE_TYPES.get(fields.get("deviceType", ""))
    if method is None:
        raise WrongField("deviceType")
    return method


def refuse_wrong_fields(fields: Mapping[str, str]) -> None:
    """WrongField when something is missing, too long or not one of its values."""
    for name, length_max in _REQUIRED.items():
        if not 0 < len(fields.get(name, "")) <= length_max:
            raise WrongField(name)
    expected = {"version": "1.0.0", "mhtCurrencyType": "156", "mhtCharset": "UTF-8", "mhtSignType": "MD5"}
    for name, value in expected.items():
        if fields[name] != value:
            raise WrongField(name)
    may_be_empty = fields["deviceType"] == "05"
    if fields.get("payChannelType", "") not in (_PAY_CHANNELS | {""} if may_be_empty else _PAY_CHANNELS):
        raise WrongField("payChannelType")
    if fields["deviceType"] == "0600" and not fields.get("consumerId"):
        raise WrongField("consumerId")
    if not fields["notifyUrl"].startswith(("https://", "http://")):
        raise WrongField("notifyUrl")


def read_amount(fields: Mapping[str, str], name: str) -> int:
    """Fen; WrongField for what is no amount."""
    text = fields.get(name, "")
    if _AMOUNT.fullmatch(text) is None:
        raise WrongField(name)
    return int(text)


def read_expiry(fields: Mapping[str, str]) -> datetime:
    """The last moment to pay; WrongField."""
    time_out = fields["mhtOrderTimeOut"]
    if _TIME_OUT.fullmatch(time_out) is None or int(time_out) not in _TIME_OUT_S:
        raise WrongField("mhtOrderTimeOut")
    try:
        start = datetime.strptime(fields["mhtOrderStartTime"], TIME_FORMAT).replace(tzinfo=BEIJING)
    except ValueError as error:
        raise WrongField("mhtOrderStartTime") from error
    return start + timedelta(seconds=int(time_out))


def beijing(moment: datetime) -> str:
    """How iPaynow writes a time."""
    return moment.astimezone(BEIJING).strftime(TIME_FORMAT)


def render_tn(text: str) -> str:
    """What leads the payer on, encoded once before the form encodes it again."""
    return quote(text, safe="")


def trans_status(trade: Trade) -> str:
    """The word for the trade's state. A payment that went back stays paid: what became of it only Q002 tells."""
    match trade.state:
        case TradeState.WAITING:
            return "A00I"
        case TradeState.TYPING:
            return "A004"
        case TradeState.PAID | TradeState.RETURNED:
            return "A001"
        case TradeState.FAILED:
            return "A002"
        case TradeState.CLOSED:
            return "A006"


def pay_fields(trade: Trade) -> dict[str, str]:
    """What every message about a payment tells of it."""
    fields = {
        "mhtOrderNo": trade.trade_no,
        "nowPayOrderNo": trade.channel_no,
        "transStatus": trans_status(trade),
        "mhtOrderAmt": str(trade.amount_minor),
        "oriMhtOrderAmt": str(trade.amount_minor),
        "discountAmt": "0",
        "payChannelType": trade.pay_channel,
    }
    if trade.paid_at is None:
        return fields
    return fields | {
        "channelOrderNo": wallet_no(trade, paid_at=trade.paid_at),
        "payConsumerId": trade.payer_id,
        "payTime": beijing(trade.paid_at),
    }


def order_fields(trade: Trade) -> dict[str, str]:
    """The order as its query and its notice tell it again."""
    assert trade.expires_at is not None
    time_out_s = round((trade.expires_at - trade.placed_at).total_seconds())
    devices = {method: device for device, method in reversed(_DEVICE_TYPES.items())}
    return pay_fields(trade) | {
        "mhtOrderName": trade.subject,
        "mhtOrderType": "01",
        "mhtCurrencyType": "156",
        "mhtOrderTimeOut": str(time_out_s),
        "mhtOrderStartTime": beijing(trade.placed_at),
        "mhtCharset": "UTF-8",
        "deviceType": devices.get(trade.method, "08"),
        "mhtReserved": trade.attach,
    }
