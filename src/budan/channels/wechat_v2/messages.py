"""What WeChat v2 is sent and answers (docs/protocols/wechat_v2_micropay.md section 1)."""

from datetime import date
from typing import Final

import msgspec

from budan.channels.flat_fields import Fen, Reference, render_text
from budan.channels.wechat_v2.settings import WechatV2Settings
from budan.ports.channel import RefundIntent, TradeIntent

MICROPAY: Final = "/pay/micropay"
QUERY: Final = "/pay/orderquery"
REVERSE: Final = "/secapi/pay/reverse"
REFUND: Final = "/secapi/pay/refund"
REFUND_QUERY: Final = "/pay/refundquery"
BILL: Final = "/pay/downloadbill"

_BODY_BYTES_MAX: Final = 127
_REASON_BYTES_MAX: Final = 80


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """What every answer begins with: `return_code` says whether the call was understood, `result_code` what came of it."""

    return_code: str
    return_msg: str = ""
    result_code: str = ""
    appid: str = ""
    mch_id: str = ""
    err_code: str = ""
    err_code_des: str = ""
    recall: str = ""


class Paid(msgspec.Struct, frozen=True, kw_only=True):
    """A charge was taken."""

    out_trade_no: Reference
    total_fee: Fen
    transaction_id: Reference | None = None
    cash_fee: Fen | None = None
    settlement_total_fee: Fen | None = None
    fee_type: Reference = "CNY"
    time_end: str | None = None
    openid: Reference | None = None


class Queried(msgspec.Struct, frozen=True, kw_only=True):
    """A trade as it stands; one that is not paid has no more than its number and state."""

    out_trade_no: Reference
    trade_state: str
    total_fee: Fen | None = None
    transaction_id: Reference | None = None
    cash_fee: Fen | None = None
    settlement_total_fee: Fen | None = None
    fee_type: Reference = "CNY"
    time_end: str | None = None
    openid: Reference | None = None


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


def charge_fields(intent: TradeIntent, *, auth_code: str, settings: WechatV2Settings) -> dict[str, str]:
    """The fields of a charge; it has no notice, so it names no address for one."""
    fields = {
        "body": render_text(intent.subject, bytes_max=_BODY_BYTES_MAX),
        "out_trade_no": intent.trade_no,
        "total_fee": str(intent.amount_minor),
        "fee_type": intent.currency,
        "spbill_create_ip": intent.device_ip or settings.create_ip,
        "device_info": intent.device_id or "",
        "auth_code": auth_code,
    }
    return {name: value for name, value in fields.items() if value}


def number_fields(trade_no: str) -> dict[str, str]:
    """A query or reverse names the trade alone."""
    return {"out_trade_no": trade_no}


def refund_fields(intent: RefundIntent) -> dict[str, str]:
    """The fields of a refund; equal intents give equal fields (I11).

    It names no address: the notice of a refund is not signed, and a query tells the same.
    """
    fields = {
        "out_trade_no": intent.trade_no,
        "out_refund_no": intent.refund_no,
        "total_fee": str(intent.total_minor),
        "refund_fee": str(intent.amount_minor),
        "refund_desc": render_text(intent.reason, bytes_max=_REASON_BYTES_MAX),
    }
    return {name: value for name, value in fields.items() if value}


def refund_query_fields(refund_no: str) -> dict[str, str]:
    """A refund's query names our number alone."""
    return {"out_refund_no": refund_no}


def bill_fields(day: date) -> dict[str, str]:
    """The question for a day's bill."""
    return {"bill_date": f"{day:%Y%m%d}", "bill_type": "ALL", "tar_type": "GZIP"}
