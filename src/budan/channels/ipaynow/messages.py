"""What iPaynow is sent and answers (docs/protocols/ipaynow.md section 1)."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import unquote

import msgspec

from budan.channels.ipaynow.settings import TIME_OUT_S_MAX, TIME_OUT_S_MIN, IpaynowSettings
from budan.core.numbers import BEIJING
from budan.core.trade import Direction
from budan.ports.channel import Method, RefundIntent, TradeIntent, TradeRef
from budan.wire.errors import BadAnswer
from budan.wire.forms import parse_form

PAY: Final = "WP001"
QUERY: Final = "MQ002"
REFUND: Final = "R001"
REFUND_QUERY: Final = "Q001"
REVERSE: Final = "R002"
REVERSE_QUERY: Final = "Q002"
NOTICE: Final = "N001"

DEVICE_TYPES: Final[Mapping[Method, str]] = {Method.NATIVE: "08", Method.JSAPI: "0600", Method.CODE: "05"}
WECHAT: Final = "13"
ALIPAY: Final = "12"
CURRENCY_CODE: Final = "156"
# What our number for a reverse begins with: it must differ from every refund's, which begin otherwise.
REVERSE_PREFIX: Final = "V"

_NAME_LENGTH_MAX: Final = 40
_DETAIL_LENGTH_MAX: Final = 200
# No document names the longest; a detail of an order is no shorter.
_REASON_LENGTH_MAX: Final = 80
# The signature covers "name=value&name=value" without escapes: a subject with these could be read as other fields.
_SUBJECT_MARKS: Final = str.maketrans({"=": "＝", "&": "＆"})  # noqa: RUF001 - the wide forms are meant
_MOMENT: Final = "%Y%m%d%H%M%S"
_AMOUNT: Final = re.compile("[0-9]{1,12}")
_PICTURE: Final = "data:"


def device_type(method: Method, *, settings: IpaynowSettings) -> str:
    """How iPaynow calls the way of paying."""
    return settings.wap_device_type if method is Method.WAP else DEVICE_TYPES[method]


def render_placement(intent: TradeIntent, *, time_out_s: int, settings: IpaynowSettings) -> dict[str, str]:
    """The fields of a C2B placement; equal intents give equal fields (I11)."""
    fields = _render_pay(intent, time_out_s=time_out_s, pay_channel=settings.c2b_pay_channel, settings=settings)
    match intent.method:
        case Method.NATIVE:
            fields["outputType"] = settings.qr_output_type
        case Method.JSAPI:
            assert intent.payer_openid
            fields |= {"outputType": "0", "consumerId": intent.payer_openid}
        case Method.WAP:
            fields |= {"frontNotifyUrl": intent.return_url or "", "consumerCreateIp": intent.payer_ip or ""}
        case Method.CODE:
            raise AssertionError("a payer's code is charged, not placed")
    return fields


def render_charge(intent: TradeIntent, *, auth_code: str, settings: IpaynowSettings) -> dict[str, str]:
    """The fields of a charge."""
    pay_channel = "" if settings.code_pay_channel == "empty" else pay_channel_of_code(auth_code)
    fields = _render_pay(intent, time_out_s=settings.code_time_out_s, pay_channel=pay_channel, settings=settings)
    return fields | {"channelAuthCode": auth_code}


def render_query(ref: TradeRef, *, settings: IpaynowSettings) -> dict[str, str]:
    """The fields of a query."""
    default = Method.CODE if ref.direction is Direction.B2C else Method.NATIVE
    return {
        "funcode": QUERY,
        "version": "1.0.0",
        "appId": settings.app_id,
        "deviceType": device_type(ref.method or default, settings=settings),
        "mhtOrderNo": ref.trade_no,
        "mhtCharset": "UTF-8",
        "mhtSignType": "MD5",
    }


def render_refund(intent: RefundIntent, *, settings: IpaynowSettings) -> dict[str, str]:
    """The fields of a refund; equal intents give equal fields (I11)."""
    return {
        "funcode": REFUND,
        "appId": settings.app_id,
        "mhtRefundNo": intent.refund_no,
        "mhtOrderNo": intent.trade_no,
        "amount": str(intent.amount_minor),
        "reason": intent.reason.translate(_SUBJECT_MARKS)[:_REASON_LENGTH_MAX] or "退款",
        "mhtCharset": "UTF-8",
        "signType": "MD5",
    }


def render_reverse(trade_no: str, *, settings: IpaynowSettings) -> dict[str, str]:
    """The fields of a reverse; its number follows from the trade's, so that a repeat is the same reverse."""
    return {
        "funcode": REVERSE,
        "appId": settings.app_id,
        "mhtOrderNo": trade_no,
        "mhtRefundNo": reverse_number(trade_no),
        "reason": "撤销",
        "mhtCharset": "UTF-8",
        "signType": "MD5",
    }


def render_return_query(funcode: str, number: str, *, settings: IpaynowSettings) -> dict[str, str]:
    """The fields of a refund's query, or a reverse's."""
    return {
        "funcode": funcode,
        "appId": settings.app_id,
        "mhtRefundNo": number,
        "mhtCharset": "UTF-8",
        "signType": "MD5",
    }


def reverse_number(trade_no: str) -> str:
    """Our number for the reverse of a trade."""
    return f"{REVERSE_PREFIX}{trade_no}"


def pay_channel_of_code(auth_code: str) -> str:
    """The wallet that shows codes like this one; only those of `Capabilities.auth_code_pattern` come here."""
    return WECHAT if auth_code.startswith("1") else ALIPAY


def find_time_out_s(intent: TradeIntent, *, most_s: int) -> int | None:
    """How long iPaynow may take the payment; None when even its shortest would outlive the order."""
    if intent.expires_at is None:
        return most_s
    left_s = int((intent.expires_at - intent.created_at).total_seconds())
    return None if left_s < TIME_OUT_S_MIN else min(left_s, most_s, TIME_OUT_S_MAX)


def render_moment(moment: datetime) -> str:
    """A moment as iPaynow writes it: Beijing, whole seconds."""
    return moment.astimezone(BEIJING).strftime(_MOMENT)


def find_moment(text: str) -> datetime | None:
    """The moment, UTC; None when it is absent or unreadable.

    A payment is no less a payment for a clock that we cannot read: what proves it is its amount and number.
    """
    try:
        return datetime.strptime(text, _MOMENT).replace(tzinfo=BEIJING).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def is_same_day(one: datetime, other: datetime, *, cut_off: timedelta) -> bool:
    """Whether iPaynow's day is the same at both moments."""
    days = [(moment.astimezone(BEIJING) - cut_off).date() for moment in (one, other)]
    return days[0] == days[1]


def parse_amount(text: str) -> int:
    """The fen of an amount; raises `BadAnswer`."""
    if _AMOUNT.fullmatch(text) is None:
        raise BadAnswer("an amount is no whole number of fen")
    return int(text)


def read_code_text(tn: str) -> str:
    """The text to draw as a code; raises `BadAnswer` for a picture, which `qr_output_type` may mend, or nothing."""
    text = unquote(tn)
    if not text or text.startswith(_PICTURE):
        raise BadAnswer("tn is no text to draw")
    return text


def read_link(tn: str) -> str:
    """The page to send the payer to; raises `BadAnswer`."""
    link = unquote(tn)
    if not link.startswith(("https://", "http://")):
        raise BadAnswer("tn is no link")
    return link


def read_jsapi_parameters(tn: str) -> dict[str, str]:
    """What the wallet's script is given, as JSON or as a form: no document says which; raises `BadAnswer`."""
    text = unquote(tn)
    if not text.startswith("{"):
        # None of these parameters holds a blank, and a signature in base64 may hold a plus.
        return parse_form(text.replace("+", "%2B").encode())
    try:
        return msgspec.json.decode(text, type=dict[str, str])
    except msgspec.DecodeError as error:
        raise BadAnswer("tn holds no parameters") from error


def _render_pay(intent: TradeIntent, *, time_out_s: int, pay_channel: str, settings: IpaynowSettings) -> dict[str, str]:
    subject = intent.subject.translate(_SUBJECT_MARKS)
    return {
        "funcode": PAY,
        "version": "1.0.0",
        "appId": settings.app_id,
        "mhtOrderNo": intent.trade_no,
        "mhtOrderName": subject[:_NAME_LENGTH_MAX],
        "mhtOrderType": "01",
        "mhtCurrencyType": CURRENCY_CODE,
        "mhtOrderAmt": str(intent.amount_minor),
        "mhtOrderDetail": subject[:_DETAIL_LENGTH_MAX],
        "mhtOrderTimeOut": str(time_out_s),
        "mhtOrderStartTime": render_moment(intent.created_at),
        "notifyUrl": intent.notify_url,
        "mhtCharset": "UTF-8",
        "deviceType": device_type(intent.method, settings=settings),
        "payChannelType": pay_channel,
        "mhtLimitPay": settings.limit_pay or "",
        "mhtSignType": "MD5",
    }
