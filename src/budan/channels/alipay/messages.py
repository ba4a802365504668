"""What Alipay is sent and answers (docs/protocols/alipay.md section 1)."""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Annotated, Any, Final, TypeVar

import msgspec

from budan.channels.alipay.yuan import render_yuan
from budan.core.numbers import BEIJING
from budan.ports.channel import RefundIntent, RefundRef, TradeIntent
from budan.wire.errors import BadAnswer

PRECREATE: Final = "alipay.trade.precreate"
WAP_PAY: Final = "alipay.trade.wap.pay"
PAY: Final = "alipay.trade.pay"
QUERY: Final = "alipay.trade.query"
CLOSE: Final = "alipay.trade.close"
CANCEL: Final = "alipay.trade.cancel"
REFUND: Final = "alipay.trade.refund"
REFUND_QUERY: Final = "alipay.trade.fastpay.refund.query"
BILL: Final = "alipay.data.dataservice.bill.downloadurl.query"

Reference = Annotated[str, msgspec.Meta(pattern="^[!-~]{1,128}$")]
Message = TypeVar("Message", bound=msgspec.Struct)

_SUBJECT_LENGTH_MAX: Final = 256
_REASON_LENGTH_MAX: Final = 256
# Alipay refuses a subject with these (section 1); their wide forms read the same.
_SUBJECT_MARKS: Final = str.maketrans({"/": "／", "=": "＝", "&": "＆"})  # noqa: RUF001 - the wide forms are meant
_MOMENT: Final = "%Y-%m-%d %H:%M:%S"


class PrecreateSent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A code to be scanned."""

    out_trade_no: str
    total_amount: str
    subject: str
    product_code: str | None = None
    time_expire: str | None = None
    store_id: str | None = None
    terminal_id: str | None = None


class WapSent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A page to send a phone's browser to; `quit_url` is where it goes when the payer gives up."""

    out_trade_no: str
    total_amount: str
    subject: str
    product_code: str
    quit_url: str
    time_expire: str | None = None


class PaySent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A charge of a scanned code."""

    out_trade_no: str
    scene: str
    auth_code: str
    total_amount: str
    subject: str
    time_expire: str | None = None
    store_id: str | None = None
    terminal_id: str | None = None


class NumberSent(msgspec.Struct, frozen=True):
    """Query, close and cancel name the trade alone."""

    out_trade_no: str


class RefundSent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A refund; `out_request_no` refunds once, however often it is sent."""

    out_trade_no: str
    refund_amount: str
    out_request_no: str
    refund_reason: str | None = None


class RefundNumberSent(msgspec.Struct, frozen=True, kw_only=True):
    """A refund's query. Without `query_options` the answer leaves out when the money went back."""

    out_trade_no: str
    out_request_no: str
    query_options: tuple[str, ...]


class BillSent(msgspec.Struct, frozen=True):
    """The question for a day's bill."""

    bill_type: str
    bill_date: str


class BillPlace(msgspec.Struct, frozen=True):
    """Where a bill lies for half a minute."""

    bill_download_url: Annotated[str, msgspec.Meta(max_length=4_096)]


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """What every answer begins with."""

    code: str
    msg: str = ""
    sub_code: str = ""
    sub_msg: str = ""


class Precreated(msgspec.Struct, frozen=True, kw_only=True):
    """A code was made."""

    out_trade_no: str
    qr_code: str


class Paid(msgspec.Struct, frozen=True, kw_only=True):
    """A charge was taken; amounts are yuan texts."""

    out_trade_no: str
    total_amount: str
    trade_no: Reference | None = None
    buyer_pay_amount: str | None = None
    receipt_amount: str | None = None
    trans_currency: str | None = None
    gmt_payment: str | None = None
    buyer_user_id: Reference | None = None
    buyer_open_id: Reference | None = None


class Queried(msgspec.Struct, frozen=True, kw_only=True):
    """A trade as it stands; amounts are yuan texts."""

    out_trade_no: str
    trade_status: str
    total_amount: str | None = None
    trade_no: Reference | None = None
    buyer_pay_amount: str | None = None
    receipt_amount: str | None = None
    trans_currency: str | None = None
    send_pay_date: str | None = None
    buyer_user_id: Reference | None = None
    buyer_open_id: Reference | None = None


class Closed(msgspec.Struct, frozen=True, kw_only=True):
    """A trade was closed."""

    out_trade_no: str


class Cancelled(msgspec.Struct, frozen=True, kw_only=True):
    """What a cancel did: `action` is close, refund or absent; `trade_no` is there when the trade is."""

    out_trade_no: str
    trade_no: Reference | None = None
    retry_flag: str = ""
    action: str = ""


class Refunded(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a refund: `fund_change` says whether this call moved money, `refund_fee` is all that ever went back."""

    out_trade_no: str
    refund_fee: str
    fund_change: str = ""


class RefundQueried(msgspec.Struct, frozen=True, kw_only=True):
    """A refund as it stands; one that Alipay never took, or that failed, has no status."""

    out_trade_no: str | None = None
    out_request_no: str | None = None
    refund_status: str | None = None
    refund_amount: str | None = None
    gmt_refund_pay: str | None = None


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of a notice that we read."""

    app_id: str
    seller_id: str
    out_trade_no: Reference
    trade_status: str
    notify_type: str
    total_amount: str
    trade_no: Reference | None = None
    out_biz_no: Reference | None = None
    buyer_pay_amount: str | None = None
    receipt_amount: str | None = None
    gmt_payment: str | None = None
    gmt_refund: str | None = None
    refund_fee: str | None = None
    buyer_id: Reference | None = None
    buyer_open_id: Reference | None = None


def read(fields: Mapping[str, Any], message: type[Message]) -> Message:
    """The fields as this message; raises `BadAnswer`."""
    # Alipay sends what it does not know as "", which is no reference and no amount.
    present = {name: value for name, value in fields.items() if value not in ("", None)}
    try:
        return msgspec.convert(present, message)
    except msgspec.ValidationError as error:
        raise BadAnswer(f"{message.__name__} is not readable: {error}") from error


def render_precreate(intent: TradeIntent, *, product_code: str | None) -> str:
    """The biz_content of a precreate; equal intents give equal texts (I11)."""
    return _json(
        PrecreateSent(
            out_trade_no=intent.trade_no,
            total_amount=render_yuan(intent.amount_minor),
            subject=render_subject(intent.subject),
            product_code=product_code,
            time_expire=_render_expiry(intent.expires_at),
            store_id=intent.store_id,
            terminal_id=intent.device_id,
        )
    )


def render_wap(intent: TradeIntent, *, quit_url: str) -> str:
    """The biz_content of a wap page."""
    return _json(
        WapSent(
            out_trade_no=intent.trade_no,
            total_amount=render_yuan(intent.amount_minor),
            subject=render_subject(intent.subject),
            product_code="QUICK_WAP_PAY",
            quit_url=quit_url,
            time_expire=_render_expiry(intent.expires_at),
        )
    )


def render_pay(intent: TradeIntent, *, auth_code: str) -> str:
    """The biz_content of a charge."""
    return _json(
        PaySent(
            out_trade_no=intent.trade_no,
            scene="bar_code",
            auth_code=auth_code,
            total_amount=render_yuan(intent.amount_minor),
            subject=render_subject(intent.subject),
            time_expire=_render_expiry(intent.expires_at),
            store_id=intent.store_id,
            terminal_id=intent.device_id,
        )
    )


def render_bill(day: date) -> str:
    """The biz_content of the question for a day's bill."""
    return _json(BillSent(bill_type="trade", bill_date=day.isoformat()))


def render_number(trade_no: str) -> str:
    """The biz_content of a query, close or cancel."""
    return _json(NumberSent(out_trade_no=trade_no))


def render_refund(intent: RefundIntent) -> str:
    """The biz_content of a refund; equal intents give equal texts (I11)."""
    return _json(
        RefundSent(
            out_trade_no=intent.trade_no,
            refund_amount=render_yuan(intent.amount_minor),
            out_request_no=intent.refund_no,
            refund_reason=intent.reason[:_REASON_LENGTH_MAX] or None,
        )
    )


def render_refund_query(ref: RefundRef) -> str:
    """The biz_content of a refund's query."""
    return _json(
        RefundNumberSent(out_trade_no=ref.trade_no, out_request_no=ref.refund_no, query_options=("gmt_refund_pay",))
    )


def render_subject(subject: str) -> str:
    """The subject as Alipay takes it."""
    return subject.translate(_SUBJECT_MARKS)[:_SUBJECT_LENGTH_MAX]


def render_moment(moment: datetime) -> str:
    """A moment as Alipay writes it: Beijing, whole seconds."""
    return moment.astimezone(BEIJING).strftime(_MOMENT)


def find_moment(text: str | None) -> datetime | None:
    """The moment, UTC; None when it is absent or unreadable.

    A payment is no less a payment for a clock that we cannot read: what proves it is its amount and number.
    """
    try:
        # strptime wants whole seconds; some fields carry thousandths.
        return datetime.strptime((text or "")[:19], _MOMENT).replace(tzinfo=BEIJING).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _json(sent: msgspec.Struct) -> str:
    return msgspec.json.encode(sent).decode()


def _render_expiry(moment: datetime | None) -> str | None:
    return None if moment is None else render_moment(moment)
