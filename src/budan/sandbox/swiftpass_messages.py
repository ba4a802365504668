"""What Swiftpass is asked and answers, as named texts (docs/protocols/swiftpass.md §1, §4)."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Final

import msgspec

from budan.sandbox.numbers import BEIJING, channel_no
from budan.sandbox.records import ChannelName, Method, Refund, RefundState, SwiftpassAccount, Trade, TradeState

_TIME_FORMAT: Final = "%Y%m%d%H%M%S"
_AMOUNT_FEN_MAX: Final = 10_000_000_000
_BODY_BYTES_MAX: Final = 128
_ALIPAY_USER: Final = re.compile(r"2088[0-9]{12}")
# How a trade type ends, after the wallet's part.
_TYPES: Final[Mapping[Method, str]] = {
    Method.NATIVE: "native",
    Method.JSAPI: "jspay",
    Method.MICROPAY: "micropay",
}
_REFUND_STATUS: Final[Mapping[RefundState, str]] = {
    RefundState.PROCESSING: "PROCESSING",
    RefundState.DONE: "SUCCESS",
    RefundState.ABNORMAL: "CHANGE",
    RefundState.CLOSED: "FAIL",
}

OutTradeNo = Annotated[str, msgspec.Meta(pattern=r"^[0-9A-Za-z_]{5,32}$")]


class OrderFields(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of native, both jspays and micropay; what else may come is not judged."""

    out_trade_no: OutTradeNo
    body: Annotated[str, msgspec.Meta(min_length=1)]
    total_fee: Annotated[str, msgspec.Meta(pattern=r"^[1-9][0-9]{0,11}$")]
    mch_create_ip: Annotated[str, msgspec.Meta(pattern=r"^[0-9.]{7,16}$")]
    notify_url: Annotated[str, msgspec.Meta(max_length=255)] = ""
    attach: Annotated[str, msgspec.Meta(max_length=127)] = ""
    time_start: str = ""
    time_expire: str = ""
    auth_code: str = ""
    is_raw: str = ""
    sub_openid: str = ""
    sub_appid: str = ""
    buyer_id: str = ""

    @property
    def payer_id(self) -> str:
        """Whom a jspay names, at WeChat or at Alipay."""
        return self.sub_openid or self.buyer_id


class RefundFields(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of a refund beside those that name its trade."""

    out_refund_no: Annotated[str, msgspec.Meta(pattern=r"^[0-9A-Za-z_|*@-]{1,32}$")]
    total_fee: Annotated[str, msgspec.Meta(pattern=r"^[1-9][0-9]{0,11}$")]
    refund_fee: Annotated[str, msgspec.Meta(pattern=r"^[1-9][0-9]{0,11}$")]
    op_user_id: Annotated[str, msgspec.Meta(min_length=1, max_length=32)]


class WrongValue(ValueError):  # noqa: N818 - named by what it is
    """A value that Swiftpass would refuse."""


def parse_order(fields: Mapping[str, str]) -> OrderFields:
    """The order's fields; WrongValue names the first that is not as it must be."""
    try:
        order = msgspec.convert(dict(fields), OrderFields)
    except msgspec.ValidationError as error:
        raise WrongValue(str(error)) from error
    if int(order.total_fee) > _AMOUNT_FEN_MAX:
        raise WrongValue("total_fee")
    if len(order.body.encode()) > _BODY_BYTES_MAX:
        raise WrongValue("body")
    return order


def parse_refund(fields: Mapping[str, str]) -> RefundFields:
    """The refund's fields; WrongValue names the first that is not as it must be."""
    try:
        return msgspec.convert(dict(fields), RefundFields)
    except msgspec.ValidationError as error:
        raise WrongValue(str(error)) from error


def expires_at(order: OrderFields) -> datetime | None:
    """The last moment to pay, which counts only with the first; WrongValue when it cannot be read."""
    if not order.time_start or not order.time_expire:
        return None
    try:
        return datetime.strptime(order.time_expire, _TIME_FORMAT).replace(tzinfo=BEIJING)
    except ValueError as error:
        raise WrongValue("time_expire") from error


def beijing(moment: datetime) -> str:
    """Swiftpass's way to write a time."""
    return moment.astimezone(BEIJING).strftime(_TIME_FORMAT)


def trade_state(trade: Trade) -> str:
    """The word for the trade's state: a payer who failed leaves it open until it is reversed."""
    match trade.state:
        case TradeState.WAITING | TradeState.FAILED:
            return "NOTPAY"
        case TradeState.TYPING:
            return "USERPAYING"
        case TradeState.PAID:
            return "REFUND" if trade.refunded_minor else "SUCCESS"
        case TradeState.CLOSED | TradeState.RETURNED:
            return "REVERSE" if trade.method.is_b2c else "CLOSED"


def is_alipay_user(payer_id: str) -> bool:
    """Whether a payer is Alipay's; WeChat's have other names."""
    return _ALIPAY_USER.fullmatch(payer_id) is not None


def is_of_alipay(trade: Trade) -> bool:
    """Whether the payer's wallet is Alipay's."""
    return is_alipay_user(trade.payer_id)


def trade_type(trade: Trade) -> str:
    """The wallet that paid, and how."""
    return f"pay.{'alipay' if is_of_alipay(trade) else 'weixin'}.{_TYPES[trade.method]}"


def paid_fields(trade: Trade) -> dict[str, str]:
    """What charge, query and notice tell of a trade that was paid."""
    assert trade.paid_at is not None
    wallet = ChannelName.ALIPAY if is_of_alipay(trade) else ChannelName.WECHAT_V3
    return {
        "trade_type": trade_type(trade),
        "openid": trade.payer_id,
        "transaction_id": trade.channel_no,
        "out_transaction_id": channel_no(trade, channel=wallet, now=trade.paid_at),
        "out_trade_no": trade.trade_no,
        "total_fee": str(trade.amount_minor),
        "coupon_fee": "0",
        "fee_type": "CNY",
        "attach": trade.attach,
        "bank_type": "OTHERS",
        "time_end": beijing(trade.paid_at),
    }


def refund_fields(trade: Trade, refund: Refund) -> dict[str, str]:
    """The answer to a refund: it was accepted, whether or not it is done."""
    return {
        "transaction_id": trade.channel_no,
        "out_trade_no": trade.trade_no,
        "out_refund_no": refund.refund_no,
        "refund_id": refund.channel_no,
        "refund_channel": "ORIGINAL",
        "refund_fee": str(refund.amount_minor),
        "trade_type": trade_type(trade),
    }


def refund_list_fields(trade: Trade, refunds: Sequence[Refund]) -> dict[str, str]:
    """What a query tells of these refunds."""
    fields = {
        "transaction_id": trade.channel_no,
        "out_trade_no": trade.trade_no,
        "refund_count": str(len(refunds)),
    }
    for at, refund in enumerate(refunds):
        fields |= {
            f"out_refund_no_{at}": refund.refund_no,
            f"refund_id_{at}": refund.channel_no,
            f"refund_channel_{at}": "ORIGINAL",
            f"refund_fee_{at}": str(refund.amount_minor),
            f"refund_status_{at}": _REFUND_STATUS[refund.state],
            f"refund_time_{at}": beijing(refund.ended_at or refund.asked_at),
        }
    return fields


def head_fields(account: SwiftpassAccount, *, nonce: str) -> dict[str, str]:
    """What every answer that is signed begins with, and every notice."""
    return {
        "version": "2.0",
        "charset": "UTF-8",
        "sign_type": account.sign_type,
        "status": "0",
        "mch_id": account.mch_id,
        "nonce_str": nonce,
    }
