"""One interface for every upstream that moves money."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Protocol

import msgspec

from budan.core.evidence import Outcome
from budan.core.numbers import AccountId
from budan.core.refund import RefundOutcome
from budan.core.trade import Direction
from budan.ports.bill import BillAnswer, BillTables, BillTerms, FetchedBill, ReadBill


class Method(Enum):
    """How a payer is led to pay."""

    NATIVE = "native"  # C2B: a text to draw as a QR code
    JSAPI = "jsapi"  # C2B: parameters for the wallet's own browser
    WAP = "wap"  # C2B: a page to send the phone's browser to
    CODE = "code"  # B2C: the shop scans the payer's code


def direction_of(method: Method) -> Direction:
    """Who scans in this method."""
    return Direction.B2C if method is Method.CODE else Direction.C2B


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a channel can do; what it cannot it declares, and the flow refuses.

    A charge is reversed no sooner than `reverse_after` and no later than `reverse_within` after it was made.
    """

    methods: frozenset[Method]
    wallets: frozenset[str]  # whose payers can scan its codes and open its pages: wechat, alipay, unionpay
    auth_code_pattern: str  # which B2C codes are this channel's
    close: bool
    reverse: bool
    send_window: timedelta  # how long after the intent the first byte may leave (I11)
    call_timeout: timedelta
    refund: bool
    refund_window: timedelta | None  # how long after the payment; None where only the contract names it
    refund_spacing: timedelta  # what must lie between two refunds of one trade
    bills: BillTerms | None = (
        None  # None where there is no bill to fetch; a file that a person loads is read all the same
    )
    reverse_after: timedelta = timedelta(0)
    reverse_within: timedelta = timedelta(days=7)
    wap_needs_payer_ip: bool = False


# Structs, where a sweep makes ten thousand a second: a dataclass costs four times as much.
class Call(msgspec.Struct, frozen=True, kw_only=True):
    """What an adapter is given for one call: it has no clock, randomness or pace of its own.

    `deadline_s` bounds the whole call. `send_before_s`, on the clock of `Clock.monotonic_s`, is checked right before the first
    byte: past it nothing is sent and the answer is `sent=False` (I11).
    """

    now: datetime
    nonce: str
    deadline_s: float
    send_before_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TradeIntent:
    """Every value of the request, as committed before the call (I11): a repeat is equal in all but its signature."""

    trade_no: str
    method: Method
    amount_minor: int
    currency: str
    subject: str
    notify_url: str
    created_at: datetime
    expires_at: datetime | None = None  # absolute; given to the channel
    payer_openid: str | None = None  # JSAPI
    return_url: str | None = None  # WAP: where the wallet sends the browser; never proof of payment
    payer_ip: str | None = None  # WAP: the address of the payer's browser
    device_id: str | None = None
    device_ip: str | None = None
    store_id: str | None = None


class TradeRef(msgspec.Struct, frozen=True, kw_only=True):
    """What identifies a trade at its channel."""

    trade_no: str
    direction: Direction
    created_at: datetime
    channel_reference: str | None = None
    method: Method | None = None  # for channels whose query repeats it; None where only the direction is known


class PayResult(msgspec.Struct, frozen=True, kw_only=True):
    """What an adapter says of one trade, silence included (protocols/README.md section 3). Amounts in fen.

    `busy` when the channel itself says that it has too much to do: whoever asked slows down.
    """

    outcome: Outcome
    trade_no: str
    order_minor: int | None = None
    payer_minor: int | None = None
    settle_minor: int | None = None
    currency: str | None = None
    channel_reference: str | None = None
    wallet_reference: str | None = None
    paid_at: datetime | None = None
    payer_id: str | None = None
    wallet: str | None = None
    user_paying: bool = False
    not_found: bool = False
    reversed_here: bool = False
    money_returned: bool = False
    refunded_hint: bool = False
    refunded_in_full: bool = False
    sent: bool = True
    busy: bool = False
    answered: bool = False  # with UNKNOWN: the channel is well, its word only settles nothing yet
    code: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PayAction:
    """What the payer's side needs to go on; exactly one of the first three is set.

    `qr_text` is drawn as a code, `jsapi_parameters` go to the wallet's script, `redirect_url` to the browser. It leads
    nowhere from `good_until` on; None where it lives as long as the trade.
    """

    qr_text: str | None = None
    jsapi_parameters: Mapping[str, str] | None = None
    redirect_url: str | None = None
    good_until: datetime | None = None

    def is_good(self, now: datetime) -> bool:
        """Whether a payer who is led by it at `now` can pay."""
        return self.good_until is None or now < self.good_until


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateResult:
    """The answer to a C2B placement; `action` is there when the payer can pay."""

    result: PayResult
    action: PayAction | None = None


class EndState(Enum):
    """How a close or a reverse ended."""

    ENDED = "ended"
    ALREADY_PAID = "already_paid"
    NOT_FOUND = "not_found"
    NOT_SUPPORTED = "not_supported"
    RETRY = "retry"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class EndResult:
    """The answer to a close or a reverse; `money_returned` is None where the channel does not say."""

    state: EndState
    money_returned: bool | None = None
    sent: bool = True
    answered: bool = False  # with UNKNOWN: the channel is well, its word only settles nothing yet
    code: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundIntent:
    """Every value of the request, as committed before the call (I11): a repeat is equal in all but its signature.

    `channel_reference` is the channel's number of the payment; `total_minor` the payment's whole amount.
    """

    refund_no: str
    trade_no: str
    amount_minor: int
    total_minor: int
    currency: str
    reason: str
    notify_url: str
    created_at: datetime
    channel_reference: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundRef:
    """What identifies a refund at its channel; `refund_reference` is the channel's own number, once it gave one."""

    refund_no: str
    trade_no: str
    created_at: datetime
    channel_reference: str | None = None
    refund_reference: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundResult:
    """What an adapter says of one refund, silence included. Amounts in fen, as the channel reports them.

    `refund_no` is "" where a notice does not name the refund. `refunded_total_minor` is all that went back of the trade
    so far, where the channel tells that instead of, or beside, this refund's amount. `to_repeat`, with UNKNOWN, is a
    query's word that the same number may be sent again, which ends nothing.
    """

    outcome: RefundOutcome
    refund_no: str
    trade_no: str
    amount_minor: int | None = None
    refunded_total_minor: int | None = None
    currency: str | None = None
    channel_reference: str | None = None
    refunded_at: datetime | None = None
    sent: bool = True
    to_repeat: bool = False
    code: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RawNotice:
    """A notice as it came: header names in lower case, the body's very bytes."""

    headers: Mapping[str, str]
    body: bytes


class NoticeKind(Enum):
    """What a notice tells of."""

    PAYMENT = "payment"
    REFUND = "refund"


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """A verified notice. One of a refund says of its trade that it was paid, and in `refund` what became of the refund."""

    kind: NoticeKind
    result: PayResult
    refund: RefundResult | None = None


class BadNotice(Exception):  # noqa: N818 - an outcome of parsing, named as the reader meets it
    """The notice is not provably the channel's: unsigned, wrongly signed, stale or unreadable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ack:
    """What a notice is answered with."""

    status: int
    content_type: str
    body: bytes


class Channel(Protocol):
    """An adapter for one account. It never sleeps or retries, and raises for no failure that could have moved money."""

    @property
    def capabilities(self) -> Capabilities:
        """What this channel can do."""
        ...

    async def create(self, intent: TradeIntent, *, call: Call) -> CreateResult:
        """Place a C2B trade. Safe to repeat with the same intent."""
        ...

    async def charge(self, intent: TradeIntent, *, auth_code: str, call: Call) -> PayResult:
        """Charge a payer's code. Never repeated: an auth code is sent once."""
        ...

    async def query(self, ref: TradeRef, *, call: Call) -> PayResult:
        """Ask for a trade. Safe to repeat."""
        ...

    async def close(self, ref: TradeRef, *, call: Call) -> EndResult:
        """End a C2B trade that is not paid. Safe to repeat."""
        ...

    async def reverse(self, ref: TradeRef, *, call: Call) -> EndResult:
        """End a trade and give back what was paid. Safe to repeat; its intent must be committed first."""
        ...

    async def refund(self, intent: RefundIntent, *, call: Call) -> RefundResult:
        """Ask for money to go back. Safe to repeat with the same intent: one number refunds once."""
        ...

    async def query_refund(self, ref: RefundRef, *, call: Call) -> RefundResult:
        """Ask for a refund. Safe to repeat."""
        ...

    async def fetch_bill(self, day: date, *, into: Path, call: Call) -> BillAnswer:
        """Bring the whole bill of a day into a file, which stays only where the answer is a `FetchedBill`. Safe to repeat."""
        ...

    def read_bill(self, tables: BillTables, bill: FetchedBill, *, day: date, folder: Path) -> ReadBill:
        """Read the bill of `day` into the table `bill_line` of `tables`, checked to the last line; raises `BillRefused`.

        Blocks: call it in a thread. `tables` must have no open transaction and no such table. `folder` takes what is
        unpacked, and holds nothing of it afterwards. The columns of `bill_line`:

        line_no BIGINT; kind ENUM, `payment`, `refund` or `reversal`; happened_at TIMESTAMPTZ; trade_no, channel_no,
        refund_no (ours), channel_refund_no VARCHAR; status ENUM, `succeeded`, `pending` or `failed`; currency
        VARCHAR; order_minor (payments only), settle_minor (what the row adds to what the channel pays us before its
        fee: negative when money goes back), coupon_minor (the part that a coupon of the channel bore; negative when
        given back), refund_minor (all but payments; what was asked for) BIGINT; fee_e5 BIGINT, 100,000ths of the
        major unit, negative when given back; method, account_no VARCHAR.
        """
        ...

    def parse_notice(self, notice: RawNotice, *, now: datetime) -> Notice:
        """Verify and read a notice, offline; raises `BadNotice`."""
        ...

    def acknowledge(self, *, accepted: bool) -> Ack:
        """The channel's own form of yes and no."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class OldKeys:
    """The secrets that an account had before its last rotation.

    Until `until` what the channel signed or sealed with them still counts; after it they are refused. Nothing of ours
    is signed with them.
    """

    secrets: Mapping[str, str] = field(repr=False)
    until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountConfig:
    """A channel account as the store keeps it, secrets opened.

    `settings` are public facts (app id, merchant id, gateway address), `secrets` are keys by name.
    """

    account_id: AccountId
    channel: str
    name: str
    enabled: bool
    settings: Mapping[str, str]
    secrets: Mapping[str, str] = field(repr=False)
    old_keys: OldKeys | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyLife:
    """Until when a key or certificate of an account is good; `field_name` says which."""

    field_name: str
    ends_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountFacts:
    """What an account's settings and keys say by themselves, its channel not asked.

    `identity` are the settings that say whose it is at the channel: they never change, for trades in flight are theirs.
    """

    identity: Mapping[str, str]
    key_lives: tuple[KeyLife, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelAccount:
    """An account ready for use: its adapter stands behind deadline, bound and breaker.

    `takes_new()` is False while placements are most likely refused or unanswered: new orders go to another account then.
    """

    account_id: AccountId
    channel: str
    name: str
    enabled: bool
    adapter: Channel
    takes_new: Callable[[], bool]


class ChannelAccounts(Protocol):
    """Finds accounts; fills itself from the store and follows its changes."""

    async def find(self, account_id: AccountId) -> ChannelAccount | None:
        """The account with this id, disabled ones too: they still take notices and queries."""
        ...

    async def close(self) -> None:
        """Give sessions back."""
        ...
