"""What WeChat Pay v3 is sent and answers, as JSON (docs/protocols/wechat_v3.md section 1)."""

from datetime import UTC, date, datetime
from typing import Annotated, Final, TypeVar
from urllib.parse import quote

import msgspec

from budan.core.numbers import BEIJING
from budan.ports.channel import Method, RefundIntent, TradeIntent
from budan.wire.errors import BadAnswer

PLACE_NATIVE: Final = "/v3/pay/transactions/native"
PLACE_JSAPI: Final = "/v3/pay/transactions/jsapi"
PLACE_H5: Final = "/v3/pay/transactions/h5"
CHARGE: Final = "/v3/pay/transactions/codepay"
REFUND: Final = "/v3/refund/domestic/refunds"

# Bounds of what WeChat itself can name; beyond them a message is no word of a payment.
Fen = Annotated[int, msgspec.Meta(ge=0, le=10**15)]
Currency = Annotated[str, msgspec.Meta(pattern="^[A-Z]{3}$")]
Reference = Annotated[str, msgspec.Meta(pattern="^[!-~]{1,128}$")]

Message = TypeVar("Message", bound=msgspec.Struct)

# "127" in the documents does not say of what: in bytes it is right either way.
_DESCRIPTION_BYTES_MAX: Final = 127
_REASON_BYTES_MAX: Final = 80


class AmountSent(msgspec.Struct, frozen=True):
    """Integer fen."""

    total: int
    currency: str


class OpenidSent(msgspec.Struct, frozen=True):
    """Who may pay a JSAPI order."""

    openid: str


class H5Sent(msgspec.Struct, frozen=True):
    """What kind of page leads to the wallet: `Wap` is one in a browser."""

    type: str = "Wap"


class PayerSceneSent(msgspec.Struct, frozen=True):
    """Where the payer's browser is; H5 refuses an order without it."""

    payer_client_ip: str
    h5_info: H5Sent  # their name


class PlaceSent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A C2B placement."""

    appid: str
    mchid: str
    description: str
    out_trade_no: str
    time_expire: str | None = None
    notify_url: str
    amount: AmountSent
    payer: OpenidSent | None = None
    scene_info: PayerSceneSent | None = None  # their name


class AuthCodeSent(msgspec.Struct, frozen=True):
    """The code that the shop scanned."""

    auth_code: str


class StoreSent(msgspec.Struct, frozen=True):
    """The shop by the merchant's own number."""

    out_id: str


class SceneSent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where the payer stands; codepay refuses an order without a store."""

    device_id: str | None = None
    device_ip: str | None = None
    store_info: StoreSent  # their name


class ChargeSent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A B2C charge; it has no notify_url, because codepay never notifies."""

    appid: str
    mchid: str
    description: str
    out_trade_no: str
    time_expire: str | None = None
    amount: AmountSent
    payer: AuthCodeSent
    scene_info: SceneSent  # their name


class CloseSent(msgspec.Struct, frozen=True):
    """The body of a close."""

    mchid: str


class ReverseSent(msgspec.Struct, frozen=True):
    """The body of a reverse."""

    appid: str
    mchid: str


class RefundAmountSent(msgspec.Struct, frozen=True):
    """What goes back of which whole, integer fen."""

    refund: int
    total: int
    currency: str


class RefundSent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The body of a refund; `out_refund_no` refunds once, however often it is sent."""

    out_trade_no: str
    out_refund_no: str
    reason: str | None = None
    notify_url: str
    amount: RefundAmountSent


class BillPlace(msgspec.Struct, frozen=True):
    """Where a bill lies for a moment, and the digest of what it is before it was packed."""

    hash_type: str
    hash_value: Annotated[str, msgspec.Meta(pattern="^[0-9A-Fa-f]{40}$")]
    download_url: Annotated[str, msgspec.Meta(max_length=2_048)]


class Placed(msgspec.Struct, frozen=True):
    """The answer to a placement: one of the three."""

    code_url: str = ""
    prepay_id: str = ""
    h5_url: Annotated[str, msgspec.Meta(pattern="^(https?://[!-~]{1,2000})?$")] = ""


class Problem(msgspec.Struct, frozen=True):
    """The body of a refusal."""

    code: str
    message: str = ""


class Amount(msgspec.Struct, frozen=True):
    """Integer fen; `payer_total` is after coupons."""

    total: Fen
    payer_total: Fen | None = None
    # A domestic merchant number knows one currency, and refund notices do not name it.
    currency: Currency = "CNY"


class Payer(msgspec.Struct, frozen=True):
    """Who paid."""

    openid: Reference | None = None


class Transaction(msgspec.Struct, frozen=True, kw_only=True):
    """A trade as a query, a charge or a notice shows it; an unpaid one lacks much."""

    mchid: str
    appid: str
    out_trade_no: Reference
    trade_state: str
    trade_state_desc: str = ""
    transaction_id: Reference | None = None
    success_time: str | None = None
    payer: Payer | None = None
    amount: Amount | None = None


class Reversed(msgspec.Struct, frozen=True):
    """The answer to a reverse."""

    appid: str
    mchid: str
    out_trade_no: str


class RefundAmount(Amount, frozen=True, kw_only=True):
    """`refund` is what goes back, of `total`."""

    refund: Fen


class Refund(msgspec.Struct, frozen=True, kw_only=True):
    """A refund as the answers to its request and to its query show it. It names no merchant: our number must do."""

    out_refund_no: Reference
    out_trade_no: Reference
    status: str
    amount: RefundAmount
    refund_id: Reference | None = None
    success_time: str | None = None


class RefundTold(msgspec.Struct, frozen=True, kw_only=True):
    """The plaintext of a refund notice."""

    mchid: str
    out_trade_no: Reference
    out_refund_no: Reference
    refund_status: str
    amount: RefundAmount
    transaction_id: Reference | None = None
    refund_id: Reference | None = None
    success_time: str | None = None


class Resource(msgspec.Struct, frozen=True, kw_only=True):
    """The sealed part of a notice."""

    algorithm: str
    ciphertext: str
    nonce: str
    associated_data: str = ""


class Envelope(msgspec.Struct, frozen=True):
    """A notice."""

    event_type: str
    resource: Resource


def read(body: bytes, message: type[Message]) -> Message:
    """The body as this message; raises `BadAnswer`."""
    try:
        return msgspec.json.decode(body, type=message)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadAnswer(f"{message.__name__} is not readable: {error}") from error


def render_placement(intent: TradeIntent, *, appid: str, mchid: str) -> bytes:
    """The body of a native, JSAPI or H5 placement; equal intents give equal bytes (I11)."""
    is_h5 = intent.method is Method.WAP
    return msgspec.json.encode(
        PlaceSent(
            appid=appid,
            mchid=mchid,
            description=render_description(intent.subject),
            out_trade_no=intent.trade_no,
            time_expire=_render_expiry(intent.expires_at),
            notify_url=intent.notify_url,
            amount=AmountSent(total=intent.amount_minor, currency=intent.currency),
            payer=OpenidSent(openid=intent.payer_openid) if intent.payer_openid else None,
            scene_info=PayerSceneSent(payer_client_ip=intent.payer_ip or "", h5_info=H5Sent()) if is_h5 else None,
        )
    )


def render_h5_link(h5_url: str, *, return_url: str | None) -> str:
    """Where the payer's browser is sent, and from there back; without `return_url` WeChat goes back to the page before."""
    return h5_url if return_url is None else f"{h5_url}&redirect_url={quote(return_url, safe='')}"


def render_charge(intent: TradeIntent, *, auth_code: str, appid: str, mchid: str) -> bytes:
    """The body of a codepay charge."""
    # Codepay refuses an order without a store; a merchant without shops is its own.
    store = StoreSent(out_id=intent.store_id or mchid)
    return msgspec.json.encode(
        ChargeSent(
            appid=appid,
            mchid=mchid,
            description=render_description(intent.subject),
            out_trade_no=intent.trade_no,
            time_expire=_render_expiry(intent.expires_at),
            amount=AmountSent(total=intent.amount_minor, currency=intent.currency),
            payer=AuthCodeSent(auth_code=auth_code),
            scene_info=SceneSent(device_id=intent.device_id, device_ip=intent.device_ip, store_info=store),
        )
    )


def render_close(*, mchid: str) -> bytes:
    """The body of a close."""
    return msgspec.json.encode(CloseSent(mchid=mchid))


def render_reverse(*, appid: str, mchid: str) -> bytes:
    """The body of a reverse."""
    return msgspec.json.encode(ReverseSent(appid=appid, mchid=mchid))


def render_refund(intent: RefundIntent) -> bytes:
    """The body of a refund; equal intents give equal bytes (I11)."""
    return msgspec.json.encode(
        RefundSent(
            out_trade_no=intent.trade_no,
            out_refund_no=intent.refund_no,
            reason=_cut(intent.reason, bytes_max=_REASON_BYTES_MAX) or None,
            notify_url=intent.notify_url,
            amount=RefundAmountSent(refund=intent.amount_minor, total=intent.total_minor, currency=intent.currency),
        )
    )


def refund_path(refund_no: str) -> str:
    """Path of a refund's query."""
    return f"{REFUND}/{quote(refund_no, safe='')}"


def query_path(trade_no: str, *, mchid: str) -> str:
    """Path and query of a query by our number, percent-encoded as they are signed and sent."""
    return f"{_trade_path(trade_no)}?mchid={quote(mchid, safe='')}"


def close_path(trade_no: str) -> str:
    """Path of a close."""
    return f"{_trade_path(trade_no)}/close"


def reverse_path(trade_no: str) -> str:
    """Path of a reverse."""
    return f"{_trade_path(trade_no)}/reverse"


def bill_path(day: date) -> str:
    """Path and query of the question for a day's bill."""
    return f"/v3/bill/tradebill?bill_date={day.isoformat()}&bill_type=ALL&tar_type=GZIP"


def render_description(subject: str) -> str:
    """The subject cut between characters to what WeChat takes."""
    return _cut(subject, bytes_max=_DESCRIPTION_BYTES_MAX)


def find_moment(text: str | None) -> datetime | None:
    """An RFC 3339 moment, UTC; None when it is absent or unreadable.

    A payment is no less a payment for a clock that we cannot read: what proves it is its amount and number.
    """
    try:
        moment = datetime.fromisoformat(text or "")
        return moment.astimezone(UTC) if moment.tzinfo else None
    except (ValueError, OverflowError):
        return None


def _cut(text: str, *, bytes_max: int) -> str:
    return text.encode()[:bytes_max].decode(errors="ignore")


def _trade_path(trade_no: str) -> str:
    return f"/v3/pay/transactions/out-trade-no/{quote(trade_no, safe='')}"


def _render_expiry(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(BEIJING).isoformat(timespec="seconds")
