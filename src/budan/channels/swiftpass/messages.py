"""What Swiftpass is sent and answers (docs/protocols/swiftpass.md section 1)."""

import re
from collections.abc import Mapping
from datetime import date
from typing import Final

import msgspec

from budan.channels.flat_fields import Fen, Reference, render_moment, render_text
from budan.channels.swiftpass.settings import SwiftpassSettings
from budan.ports.channel import Method, RefundIntent, TradeIntent
from budan.wire.errors import BadAnswer

NATIVE: Final = "unified.trade.native"
WECHAT_JSPAY: Final = "pay.weixin.jspay"
ALIPAY_JSPAY: Final = "pay.alipay.jspay"
MICROPAY: Final = "unified.trade.micropay"
QUERY: Final = "unified.trade.query"
CLOSE: Final = "unified.trade.close"
REVERSE: Final = "unified.micropay.reverse"
REFUND: Final = "unified.trade.refund"
REFUND_QUERY: Final = "unified.trade.refundquery"

_BODY_BYTES_MAX: Final = 128
# Alipay's users; WeChat's openids are longer and no numbers.
_ALIPAY_BUYER: Final = re.compile("2088[0-9]{12}")
_IPV4: Final = re.compile(r"[0-9]{1,3}(\.[0-9]{1,3}){3}")


BILL: Final = "pay.bill.merchant"


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """What every answer begins with: `status` says whether the message was understood, `result_code` what came of it."""

    status: str
    message: str = ""
    code: str = ""
    result_code: str = ""
    mch_id: str = ""
    err_code: str = ""
    err_msg: str = ""
    need_query: str = ""


class Placed(msgspec.Struct, frozen=True, kw_only=True):
    """What the payer's side needs: the text of a code, or the parameters of JSAPI as JSON."""

    code_url: str = ""
    pay_info: str = ""  # their name


class Paid(msgspec.Struct, frozen=True, kw_only=True):
    """A charge was taken, or a notice says that somebody paid."""

    out_trade_no: Reference
    total_fee: Fen
    pay_result: str
    transaction_id: Reference | None = None
    out_transaction_id: Reference | None = None
    trade_type: str = ""
    cash_fee: Fen | None = None
    coupon_fee: Fen | None = None
    fee_type: Reference = "CNY"
    time_end: str | None = None
    openid: Reference | None = None
    sub_openid: Reference | None = None


class Queried(msgspec.Struct, frozen=True, kw_only=True):
    """A trade as it stands; a trade that is not paid has no more than its number and state."""

    out_trade_no: Reference
    trade_state: str
    total_fee: Fen | None = None
    transaction_id: Reference | None = None
    out_transaction_id: Reference | None = None
    trade_type: str = ""
    cash_fee: Fen | None = None
    coupon_fee: Fen | None = None
    fee_type: Reference = "CNY"
    time_end: str | None = None
    gmt_payment: str | None = None
    openid: Reference | None = None
    sub_openid: Reference | None = None


class Refunded(msgspec.Struct, frozen=True, kw_only=True):
    """A refund was accepted, which is not yet done."""

    out_trade_no: Reference
    out_refund_no: Reference
    refund_fee: Fen
    refund_id: Reference | None = None


class QueriedRefund(msgspec.Struct, frozen=True, kw_only=True):
    """One of the refunds that a query lists, without the number at the end of its fields' names."""

    out_refund_no: Reference
    refund_status: str
    refund_fee: Fen
    refund_id: Reference | None = None
    refund_time: str | None = None


def placement_fields(intent: TradeIntent, *, settings: SwiftpassSettings) -> dict[str, str] | None:
    """The fields of a placement, None where the account or the trade lacks what its method needs.

    Equal intents give equal fields (I11).
    """
    if intent.method is Method.NATIVE:
        return {"service": NATIVE, **_order_fields(intent, settings=settings)}
    if intent.method is Method.JSAPI and intent.payer_openid and settings.sub_appid:
        if _ALIPAY_BUYER.fullmatch(intent.payer_openid):
            order = _order_fields(intent, settings=settings)
            return {"service": ALIPAY_JSPAY, **order, "buyer_id": intent.payer_openid}
        return {
            "service": WECHAT_JSPAY,
            **_order_fields(intent, settings=settings),
            "is_raw": "1",
            "sub_openid": intent.payer_openid,
            "sub_appid": settings.sub_appid,
        }
    return None


def charge_fields(intent: TradeIntent, *, auth_code: str, settings: SwiftpassSettings) -> dict[str, str]:
    """The fields of a charge; it has no notice, so it names no address for one."""
    order = _order_fields(intent, settings=settings)
    del order["notify_url"]
    return {"service": MICROPAY, **order, "auth_code": auth_code}


def number_fields(service: str, trade_no: str) -> dict[str, str]:
    """A query, close or reverse names the trade alone."""
    return {"service": service, "out_trade_no": trade_no}


def refund_fields(intent: RefundIntent, *, settings: SwiftpassSettings) -> dict[str, str]:
    """The fields of a refund; equal intents give equal fields (I11)."""
    return {
        "service": REFUND,
        "out_trade_no": intent.trade_no,
        "out_refund_no": intent.refund_no,
        "total_fee": str(intent.total_minor),
        "refund_fee": str(intent.amount_minor),
        "op_user_id": settings.mch_id,
        "refund_channel": "ORIGINAL",
    }


def refund_query_fields(refund_no: str) -> dict[str, str]:
    """A refund's query names our number alone: it wins over the trade's."""
    return {"service": REFUND_QUERY, "out_refund_no": refund_no}


def parse_jsapi(text: str) -> Mapping[str, str]:
    """The parameters for the wallet's script; raises `BadAnswer`."""
    try:
        parameters = msgspec.json.decode(text, type=dict[str, str])
    except msgspec.DecodeError as error:
        raise BadAnswer("pay_info is no JSON object of texts") from error
    if not parameters:
        raise BadAnswer("pay_info is empty")
    return parameters


def _order_fields(intent: TradeIntent, *, settings: SwiftpassSettings) -> dict[str, str]:
    device_ip = intent.device_ip or ""
    fields = {
        "out_trade_no": intent.trade_no,
        "body": render_text(intent.subject, bytes_max=_BODY_BYTES_MAX),
        "total_fee": str(intent.amount_minor),
        # The field takes an IPv4 address only.
        "mch_create_ip": device_ip if _IPV4.fullmatch(device_ip) else settings.create_ip,
        "notify_url": intent.notify_url,
        "device_info": intent.device_id or "",
        "op_shop_id": intent.store_id or "",
    }
    if intent.expires_at is not None:
        # Both or neither have effect.
        fields["time_start"] = render_moment(intent.created_at)
        fields["time_expire"] = render_moment(intent.expires_at)
    return {name: value for name, value in fields.items() if value}


def bill_fields(day: date, *, settings: SwiftpassSettings) -> dict[str, str]:
    """The question for a day's bill."""
    return {
        "service": BILL,
        "version": settings.bill_version,
        "bill_date": f"{day:%Y%m%d}",
        "bill_type": "ALL",
    }
