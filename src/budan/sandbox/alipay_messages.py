"""What Alipay is asked and answers, as parameters and JSON (docs/protocols/alipay.md §1, §4)."""

import re
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Annotated, Any, Final

import msgspec

from budan.sandbox.numbers import BEIJING
from budan.sandbox.records import Refund, RefundState, Trade, TradeState

TIME_FORMAT: Final = "%Y-%m-%d %H:%M:%S"
# Never shown whole, as in the real answers.
LOGON_ID: Final = "159****5620"
_TIMEOUT: Final = re.compile(r"([1-9][0-9]{0,4})([mhdc])")
_YUAN: Final = re.compile(r"([0-9]{1,9})(?:\.([0-9]{1,2}))?")
_AMOUNT_FEN_MAX: Final = 10_000_000_000

OutTradeNo = Annotated[str, msgspec.Meta(pattern=r"^[0-9A-Za-z_]{1,64}$")]
Subject = Annotated[str, msgspec.Meta(min_length=1, max_length=256, pattern=r"^[^/=&]+$")]


class BillFields(msgspec.Struct, frozen=True, kw_only=True):
    """The question for a day's bill."""

    bill_type: str
    bill_date: date


class OrderFields(msgspec.Struct, frozen=True, kw_only=True):
    """`biz_content` of precreate, wap.pay and trade.pay; what else may come is not judged."""

    out_trade_no: OutTradeNo
    total_amount: str
    subject: Subject
    product_code: str = ""
    timeout_express: str = ""
    time_expire: str = ""
    auth_code: str = ""
    scene: str = ""
    quit_url: str = ""
    seller_id: str = ""
    store_id: str = ""
    passback_params: Annotated[str, msgspec.Meta(max_length=512)] = ""


class RefFields(msgspec.Struct, frozen=True, kw_only=True):
    """`biz_content` of query, close and cancel; `trade_no` is Alipay's and wins."""

    out_trade_no: str = ""
    trade_no: str = ""


class RefundFields(msgspec.Struct, frozen=True, kw_only=True):
    """`biz_content` of a refund; without a number of its own it has the trade's."""

    refund_amount: str
    out_trade_no: str = ""
    trade_no: str = ""
    out_request_no: Annotated[str, msgspec.Meta(max_length=64)] = ""
    refund_reason: Annotated[str, msgspec.Meta(max_length=256)] = ""


class RefundQueryFields(msgspec.Struct, frozen=True, kw_only=True):
    """`biz_content` of a refund's query."""

    out_request_no: str
    out_trade_no: str = ""
    trade_no: str = ""
    query_options: tuple[str, ...] = ()


class WrongValue(ValueError):  # noqa: N818 - named by what it is
    """A value of `biz_content` that Alipay would refuse."""


def parse_yuan(text: str) -> int:
    """Fen; WrongValue for what is no amount that may be paid."""
    match = _YUAN.fullmatch(text)
    if match is None:
        raise WrongValue("total_amount")
    amount_fen = int(match[1]) * 100 + int((match[2] or "").ljust(2, "0"))
    if not 0 < amount_fen <= _AMOUNT_FEN_MAX:
        raise WrongValue("total_amount")
    return amount_fen


def yuan(amount_fen: int) -> str:
    """Yuan with two decimals."""
    return f"{amount_fen // 100}.{amount_fen % 100:02d}"


def beijing(moment: datetime) -> str:
    """Alipay's way to write a time."""
    return moment.astimezone(BEIJING).strftime(TIME_FORMAT)


def parse_beijing(text: str) -> datetime | None:
    """The moment, or None when it is not written so."""
    try:
        return datetime.strptime(text, TIME_FORMAT).replace(tzinfo=BEIJING)
    except ValueError:
        return None


def expires_at(order: OrderFields, *, now: datetime, default: timedelta | None) -> datetime | None:
    """The last moment to pay; WrongValue when it cannot be read."""
    if order.time_expire:
        moment = parse_beijing(order.time_expire)
        if moment is None:
            raise WrongValue("time_expire")
        return moment
    if not order.timeout_express:
        return None if default is None else now + default
    match = _TIMEOUT.fullmatch(order.timeout_express)
    if match is None:
        raise WrongValue("timeout_express")
    count = int(match[1])
    match match[2]:
        case "m":
            return now + timedelta(minutes=count)
        case "h":
            return now + timedelta(hours=count)
        case "d":
            return now + timedelta(days=count)
        case _:
            day = now.astimezone(BEIJING).replace(hour=0, minute=0, second=0, microsecond=0)
            return day + timedelta(days=count)


def trade_status(trade: Trade) -> str:
    """The word for the trade's state; closed also says "paid and returned", by a cancel or by refunds of all of it."""
    if trade.refunded_minor == trade.amount_minor:
        return "TRADE_CLOSED"
    match trade.state:
        case TradeState.WAITING | TradeState.TYPING:
            return "WAIT_BUYER_PAY"
        case TradeState.PAID:
            return "TRADE_SUCCESS"
        case TradeState.FAILED | TradeState.CLOSED | TradeState.RETURNED:
            return "TRADE_CLOSED"


def trade_fields(trade: Trade) -> dict[str, Any]:
    """What pay and query tell of a trade."""
    fields: dict[str, Any] = {
        "trade_no": trade.channel_no,
        "out_trade_no": trade.trade_no,
        "buyer_logon_id": LOGON_ID,
        "buyer_user_id": trade.payer_id,
        "total_amount": yuan(trade.amount_minor),
    }
    if trade.paid_at is None:
        return fields
    amount = yuan(trade.amount_minor)
    return fields | {
        "receipt_amount": amount,
        "buyer_pay_amount": amount,
        "point_amount": "0.00",
        "invoice_amount": amount,
        "fund_bill_list": [{"amount": amount, "fund_channel": "PCREDIT"}],
    }


def refund_fields(trade: Trade, refund: Refund, *, moved: bool) -> dict[str, Any]:
    """What a refund is answered: `refund_fee` is all that ever went back."""
    return {
        "trade_no": trade.channel_no,
        "out_trade_no": trade.trade_no,
        "buyer_logon_id": LOGON_ID,
        "fund_change": "Y" if moved and refund.state is RefundState.DONE else "N",
        "refund_fee": yuan(trade.refunded_minor),
    }


def refund_query_fields(trade: Trade, refund: Refund, *, options: tuple[str, ...]) -> dict[str, Any]:
    """What a refund's query is answered; one that failed has no status."""
    fields = {"trade_no": trade.channel_no, "out_trade_no": trade.trade_no, "out_request_no": refund.refund_no}
    if refund.state in {RefundState.ABNORMAL, RefundState.CLOSED}:
        return fields
    fields |= {
        "total_amount": yuan(trade.amount_minor),
        "refund_amount": yuan(refund.amount_minor),
        "refund_status": "REFUND_SUCCESS" if refund.state is RefundState.DONE else "REFUND_PROCESSING",
    }
    if "gmt_refund_pay" in options and refund.ended_at is not None:
        fields["gmt_refund_pay"] = beijing(refund.ended_at)
    return fields


def refund_notice_fields(trade: Trade, refund: Refund) -> Mapping[str, str]:
    """What a notice says besides, when it tells of a refund; the payment's own fields stay."""
    assert refund.ended_at is not None
    return {
        "trade_status": trade_status(trade),
        "out_biz_no": refund.refund_no,
        "refund_fee": yuan(trade.refunded_minor),
        "gmt_refund": f"{beijing(refund.ended_at)}.000",
    }


def notice_fields(trade: Trade, *, app_id: str, seller_id: str, notify_id: str, now: datetime) -> Mapping[str, str]:
    """The parameters of a notice before it is signed."""
    assert trade.paid_at is not None
    amount = yuan(trade.amount_minor)
    fields = {
        "notify_time": beijing(now),
        "notify_type": "trade_status_sync",
        "notify_id": notify_id,
        "charset": "utf-8",
        "version": "1.0",
        "app_id": app_id,
        "auth_app_id": app_id,
        "trade_no": trade.channel_no,
        "out_trade_no": trade.trade_no,
        "trade_status": "TRADE_SUCCESS",
        "total_amount": amount,
        "receipt_amount": amount,
        "buyer_pay_amount": amount,
        "point_amount": "0.00",
        "invoice_amount": amount,
        "buyer_id": trade.payer_id,
        "buyer_logon_id": LOGON_ID,
        "seller_id": seller_id,
        "subject": trade.subject,
        "gmt_create": beijing(trade.scanned_at or trade.placed_at),
        "gmt_payment": beijing(trade.paid_at),
        "fund_bill_list": f'[{{"amount":"{amount}","fundChannel":"PCREDIT"}}]',
    }
    if trade.attach:
        fields["passback_params"] = trade.attach
    return fields
