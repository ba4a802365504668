"""What merchants send and get over the API."""

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from budan.core.money import AMOUNT_MINOR_MAX, CURRENCY_EXPONENTS
from budan.core.order import OrderState
from budan.flows.intake import EXPIRES_IN_S_MAX, EXPIRES_IN_S_MIN
from budan.flows.reading import PAGE_ROWS_MAX
from budan.flows.views import OrderView, RefundView

# The terminal waits for its answer with a customer before it: longer than this they look at the order instead.
WAIT_S_DEFAULT = 8.0
WAIT_S_MAX = 15.0
LIMIT_DEFAULT = 50

# The rules of these are the flows', which refuse with codes of their own; here they are told, not checked.
AmountMinor = Annotated[
    int,
    Meta(
        description="Whole minor units, fen for CNY. Never a float.",
        extra_json_schema={"minimum": 1, "maximum": AMOUNT_MINOR_MAX},
    ),
]
Currency = Annotated[
    str,
    Meta(description="ISO 4217, upper case.", extra_json_schema={"enum": sorted(CURRENCY_EXPONENTS)}),
]
Reference = Annotated[
    str,
    Meta(
        description="Your own number of the order; unique for you, for ever.",
        extra_json_schema={"pattern": "^[!-~]{1,64}$"},
    ),
]
Subject = Annotated[
    str,
    Meta(
        description="What the payer reads in the wallet: 1 to 40 characters without / = & or controls.",
        extra_json_schema={"pattern": r"^[^\x00-\x1f\x7f/=&]{1,40}$"},
    ),
]
AuthCode = Annotated[
    str,
    Meta(description="The digits of the payer's code.", extra_json_schema={"pattern": "^[0-9]{16,24}$"}),
]
ExpiresInS = Annotated[
    int,
    Meta(
        description="The order's life in seconds.",
        extra_json_schema={"minimum": EXPIRES_IN_S_MIN, "maximum": EXPIRES_IN_S_MAX},
    ),
]

# Checked here. The end is `(?![\s\S])` because `$` would let a line break through, in Python as in JSON Schema.
ShopCode = Annotated[str, Meta(pattern=r"^[0-9A-Za-z_-]{1,64}(?![\s\S])", description="The code on your shop's sign.")]
ChannelName = Annotated[str, Meta(pattern=r"^[0-9a-z_]{1,32}(?![\s\S])", description="One channel, by name.")]
DeviceId = Annotated[str, Meta(pattern=r"^[0-9A-Za-z_.-]{1,32}(?![\s\S])", description="Your cash desk's name.")]
DeviceIp = Annotated[
    str,
    Meta(
        description="Your cash desk's address; left out, the caller's.",
        # Its form is checked where it is read; a pattern for both families would be no easier to trust.
        extra_json_schema={"anyOf": [{"format": "ipv4"}, {"format": "ipv6"}]},
    ),
]
OpenId = Annotated[
    str,
    Meta(
        pattern=r"^[0-9A-Za-z_-]{1,128}(?![\s\S])",
        description="The payer, for jsapi: WeChat's openid, or at Swiftpass Alipay's user id.",
    ),
]
PayerIp = Annotated[
    str,
    Meta(
        description="The address of the payer's browser, for wap; WeChat Pay compares it, and takes no wap without it.",
        extra_json_schema={"anyOf": [{"format": "ipv4"}, {"format": "ipv6"}]},
    ),
]
PayerId = Annotated[
    str,
    Meta(
        description="The payer as the wallet names it, or as you do where the channel names none.",
        extra_json_schema={"pattern": "^[!-~]{1,128}$"},
    ),
]
ReturnUrl = Annotated[
    str,
    Meta(
        pattern=r"^https?://[\x21-\x7e]{1,500}(?![\s\S])",
        description="Where the wallet sends the payer's browser after wap; that somebody came back proves no payment.",
    ),
]
WaitSeconds = Annotated[
    float,
    Meta(ge=0, le=WAIT_S_MAX, description="How long to wait for a definite answer before `pending` is told."),
]


class PaymentRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the payer shall pay at once: native gives a code to draw, jsapi parameters for the wallet, wap an address."""

    method: Literal["native", "jsapi", "wap"]
    channel: ChannelName | UnsetType = UNSET
    payer_openid: OpenId | UnsetType = UNSET
    return_url: ReturnUrl | UnsetType = UNSET
    payer_ip: PayerIp | UnsetType = UNSET


class CreateOrderRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An order that a customer shall pay."""

    reference: Reference
    amount_minor: AmountMinor
    currency: Currency
    subject: Subject
    expires_in_s: ExpiresInS | UnsetType = UNSET
    shop: ShopCode | UnsetType = UNSET
    payment: PaymentRequest | UnsetType = UNSET


class ChargeRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A new order that is charged to the code in the customer's wallet."""

    reference: Reference
    amount_minor: AmountMinor
    currency: Currency
    subject: Subject
    auth_code: AuthCode
    wait_s: WaitSeconds = WAIT_S_DEFAULT
    shop: ShopCode | UnsetType = UNSET
    device_id: DeviceId | UnsetType = UNSET
    device_ip: DeviceIp | UnsetType = UNSET


class ChargeAgainRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One more code for an order whose charges so far have ended unpaid."""

    auth_code: AuthCode
    wait_s: WaitSeconds = WAIT_S_DEFAULT
    device_id: DeviceId | UnsetType = UNSET
    device_ip: DeviceIp | UnsetType = UNSET


Reason = Annotated[
    str,
    Meta(
        max_length=80,
        description="Shown to the payer by some wallets; at most 80 bytes, which is 26 Chinese characters.",
    ),
]


class RefundRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much of an order's payment shall go back, and why."""

    amount_minor: AmountMinor
    reason: Reason = ""


class RefundListAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The refunds of an order, oldest first."""

    refunds: list[RefundView]


class PayerRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whose payment it was."""

    payer_id: PayerId


class PayerQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which page; `cursor` is the `next_cursor` of the page before."""

    cursor: Annotated[str, Meta(pattern=r"^[0-9A-Za-z_=-]{1,128}(?![\s\S])")] | None = None
    limit: Annotated[int, Meta(extra_json_schema={"minimum": 1, "maximum": PAGE_ROWS_MAX})] = LIMIT_DEFAULT


class OrderListQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which orders; `cursor` is the `next_cursor` of the page before."""

    cursor: Annotated[str, Meta(pattern=r"^[0-9A-Za-z_=-]{1,128}(?![\s\S])")] | None = None
    limit: Annotated[int, Meta(extra_json_schema={"minimum": 1, "maximum": PAGE_ROWS_MAX})] = LIMIT_DEFAULT
    state: Annotated[str, Meta(extra_json_schema={"enum": [state.value for state in OrderState]})] | None = None
    reference: Annotated[str, Meta(pattern=r"^[!-~]{1,64}(?![\s\S])")] | None = None


class OrderAnswer(OrderView, frozen=True, kw_only=True):
    """An order with the address of its cashier page."""

    cashier_url: str


class OrderListAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A page of orders, newest first; `next_cursor` is null on the last.

    A page of one state may hold fewer orders than its limit, or none, before the last: go on until `next_cursor` is null.
    """

    orders: list[OrderAnswer]
    next_cursor: str | None


def order_answer(view: OrderView, *, cashier_url: str) -> OrderAnswer:
    """`view` as merchants get it."""
    return OrderAnswer(**msgspec.structs.asdict(view), cashier_url=cashier_url)
