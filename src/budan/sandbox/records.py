"""What the sandbox remembers: accounts, trades and the events that make them."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, ClassVar, Final, Literal

import msgspec

from budan.sandbox.alipay_certificates import AlipayCertificates
from budan.sandbox.choices import Choice
from budan.sandbox.faults import NO_FAULTS, Faults

SignType = Literal["MD5", "RSA_1_256"]


class ChannelName(Enum):
    """The channels that the sandbox plays."""

    WECHAT_V3 = "wechat_v3"
    ALIPAY = "alipay"
    SWIFTPASS = "swiftpass"
    IPAYNOW = "ipaynow"
    WECHAT_V2 = "wechat_v2"


# Whose payers pay on a channel: each wallet is named by the channel of its own.
WALLETS_OF: Final[Mapping[ChannelName, tuple[ChannelName, ...]]] = {
    ChannelName.WECHAT_V3: (ChannelName.WECHAT_V3,),
    ChannelName.ALIPAY: (ChannelName.ALIPAY,),
    ChannelName.SWIFTPASS: (ChannelName.WECHAT_V3, ChannelName.ALIPAY),
    ChannelName.IPAYNOW: (ChannelName.WECHAT_V3, ChannelName.ALIPAY),
    ChannelName.WECHAT_V2: (ChannelName.WECHAT_V3,),
}


class Method(Enum):
    """How a trade came to be."""

    NATIVE = "native"
    JSAPI = "jsapi"
    CODEPAY = "codepay"  # WeChat's B2C
    PRECREATE = "precreate"
    WAP = "wap"
    PAY = "pay"  # Alipay's and iPaynow's B2C
    MICROPAY = "micropay"  # Swiftpass's B2C, and WeChat v2's

    @property
    def is_b2c(self) -> bool:
        """Whether the shop scanned the payer."""
        return self in {Method.CODEPAY, Method.PAY, Method.MICROPAY}


class TradeState(Enum):
    """Where a trade's money is. `returned` was paid, and a reverse or cancel gave the money back."""

    WAITING = "waiting"
    TYPING = "typing"
    PAID = "paid"
    FAILED = "failed"
    CLOSED = "closed"
    RETURNED = "returned"


class RefundState(Enum):
    """Where a refund's money is: back with the payer in `done` only."""

    PROCESSING = "processing"
    DONE = "done"
    ABNORMAL = "abnormal"
    CLOSED = "closed"


class NoticeState(Enum):
    """Where the notice of a payment or a refund is."""

    NONE = "none"
    DUE = "due"
    DROPPED = "dropped"
    ACKNOWLEDGED = "acknowledged"
    GIVEN_UP = "given_up"


class _Account(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    opened_at: datetime
    merchant_public_key: str
    # The channel's rule is 15 s; tests that are not about it shorten it.
    reverse_after_s: float = 15.0


class WechatAccount(_Account, frozen=True, kw_only=True, tag="wechat_v3", tag_field="channel"):
    """A merchant at WeChat; `platform_private_keys` maps each Wechatpay-Serial to the PKCS#8 key that signs under it."""

    CHANNEL: ClassVar[ChannelName] = ChannelName.WECHAT_V3
    mchid: str
    appid: str
    merchant_serial: str
    apiv3_key: str
    platform_private_keys: Mapping[str, str]

    @property
    def account_id(self) -> str:
        """What names the account in requests."""
        return self.mchid


class AlipayAccount(_Account, frozen=True, kw_only=True, tag="alipay", tag_field="channel"):
    """An application at Alipay; one without certificates works with public keys."""

    CHANNEL: ClassVar[ChannelName] = ChannelName.ALIPAY
    app_id: str
    seller_id: str
    alipay_private_key: str
    # Signs in turn with the new one while the keys change.
    old_alipay_private_key: str = ""
    certificates: AlipayCertificates | None = None

    @property
    def account_id(self) -> str:
        """What names the account in requests."""
        return self.app_id


class SwiftpassAccount(_Account, frozen=True, kw_only=True, tag="swiftpass", tag_field="channel"):
    """A merchant at Swiftpass; `sign_type` says which of the two kinds of keys sign."""

    CHANNEL: ClassVar[ChannelName] = ChannelName.SWIFTPASS
    mch_id: str
    sign_type: SignType
    api_key: str
    platform_private_key: str
    sub_appid: str

    @property
    def account_id(self) -> str:
        """What names the account in requests."""
        return self.mch_id


class IpaynowAccount(_Account, frozen=True, kw_only=True, tag="ipaynow", tag_field="channel"):
    """An application at iPaynow; `app_key` signs both ways, so there is no merchant's key."""

    CHANNEL: ClassVar[ChannelName] = ChannelName.IPAYNOW
    app_id: str
    app_key: str

    @property
    def account_id(self) -> str:
        """What names the account in requests."""
        return self.app_id


class WechatV2Account(_Account, frozen=True, kw_only=True, tag="wechat_v2", tag_field="channel"):
    """A merchant at WeChat's XML interface; the certificate is what it shows where money goes back."""

    CHANNEL: ClassVar[ChannelName] = ChannelName.WECHAT_V2
    mch_id: str
    appid: str
    api_key: str
    client_certificate: str
    client_key: str

    @property
    def account_id(self) -> str:
        """What names the account in requests."""
        return self.mch_id


Account = WechatAccount | AlipayAccount | SwiftpassAccount | IpaynowAccount | WechatV2Account


class Refund(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One refund of a trade; `by_portal` was made by a person at the channel and not by the shop's request."""

    refund_no: str
    amount_minor: int
    channel_no: str
    asked_at: datetime
    ends_at: datetime
    reason: str = ""
    notify_url: str = ""
    by_portal: bool = False
    faults: Faults = NO_FAULTS
    state: RefundState = RefundState.PROCESSING
    ended_at: datetime | None = None
    notice_state: NoticeState = NoticeState.NONE
    notice_attempts: int = 0
    notice_sends: int = 0
    notice_due_at: datetime | None = None


class Trade(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One order at one account. `nth` counts all trades of the sandbox; `params_digest` covers what a repeat must equal.

    `pay_channel` is the wallet that iPaynow was asked for; `reverse_no` the shop's number of a reverse there.
    `refund_faults` are those that its refunds meet; None leaves them to the odds.
    """

    nth: int
    account_id: str
    trade_no: str
    method: Method
    amount_minor: int
    subject: str
    placed_at: datetime
    params_digest: str
    expires_at: datetime | None = None
    notify_url: str = ""
    return_url: str = ""
    attach: str = ""
    pay_channel: str = ""
    reverse_no: str = ""
    payer_id: str = ""
    faults: Faults = NO_FAULTS
    state: TradeState = TradeState.WAITING
    scanned_at: datetime | None = None
    typing_until: datetime | None = None
    paid_at: datetime | None = None
    ended_at: datetime | None = None
    channel_no: str = ""
    notice_state: NoticeState = NoticeState.NONE
    notice_attempts: int = 0
    notice_sends: int = 0
    notice_due_at: datetime | None = None
    cancels: int = 0
    queries: int = 0
    refunds: tuple[Refund, ...] = ()
    refund_faults: Faults | None = None

    @property
    def refunded_minor(self) -> int:
        """What is back with the payer."""
        return sum(refund.amount_minor for refund in self.refunds if refund.state is RefundState.DONE)

    def find_refund(self, refund_no: str) -> Refund | None:
        """The refund of this number."""
        return next((refund for refund in self.refunds if refund.refund_no == refund_no), None)


class EventKind(Enum):
    """What can happen to a trade after it was placed."""

    PLACED_AGAIN = "placed_again"
    SCANNED = "scanned"
    TYPING = "typing"
    PAID = "paid"
    PAY_FAILED = "pay_failed"
    CLOSED = "closed"
    EXPIRED = "expired"
    REVERSED = "reversed"
    RETURNED = "returned"
    QUERIED = "queried"
    ANSWER_WITHHELD = "answer_withheld"
    ANSWERED_BUSY = "answered_busy"
    CANCEL_PUT_OFF = "cancel_put_off"
    REVERSE_ASKED = "reverse_asked"
    NOTICE_DELAYED = "notice_delayed"
    NOTICE_DROPPED = "notice_dropped"
    NOTICE_OVERTAKEN = "notice_overtaken"
    NOTICE_FORGED = "notice_forged"
    NOTICE_SENT = "notice_sent"
    NOTICE_ACKNOWLEDGED = "notice_acknowledged"
    NOTICE_REFUSED = "notice_refused"
    NOTICE_GIVEN_UP = "notice_given_up"
    FAULTS_CHOSEN = "faults_chosen"
    REFUND_FAULTS_CHOSEN = "refund_faults_chosen"
    REFUND_REFUSED = "refund_refused"
    REFUND_ASKED = "refund_asked"
    REFUND_DONE = "refund_done"
    REFUND_ABNORMAL = "refund_abnormal"
    REFUND_CLOSED = "refund_closed"
    REFUND_NOTICE_DELAYED = "refund_notice_delayed"
    REFUND_NOTICE_DROPPED = "refund_notice_dropped"
    REFUND_NOTICE_SENT = "refund_notice_sent"
    REFUND_NOTICE_ACKNOWLEDGED = "refund_notice_acknowledged"
    REFUND_NOTICE_REFUSED = "refund_notice_refused"
    REFUND_NOTICE_GIVEN_UP = "refund_notice_given_up"


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="event", tag_field="record", gc=False):
    """One thing that happened to trade `nth`; the optional fields are those that its kind needs.

    `refund_no` is set where it happened to one of its refunds.
    """

    nth: int
    at: datetime
    kind: EventKind
    text: str = ""
    until: datetime | None = None
    payer_id: str = ""
    channel_no: str = ""
    faults: Faults | None = None
    refund_no: str = ""
    refund: Refund | None = None


class Opened(msgspec.Struct, frozen=True, kw_only=True, tag="opened", tag_field="record"):
    """An account was opened."""

    account: Account


class Placed(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="placed", tag_field="record"):
    """A trade was placed; a code payment used up `auth_code`."""

    trade: Trade
    auth_code: str = ""


class CodeMade(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="code_made", tag_field="record"):
    """A payer's wallet shows a code; `faults` are those that a charge with it meets, None leaves them to the odds."""

    auth_code: str
    channel: ChannelName
    made_at: datetime
    payer_id: str
    faults: Faults | None = None


class PlacingSet(msgspec.Struct, frozen=True, kw_only=True, tag="placing_set", tag_field="record"):
    """Somebody chose what the order of this subject shall meet when it is placed."""

    at: datetime
    subject: str
    faults: Faults


Record = Event | Opened | Placed | CodeMade | PlacingSet | Choice


def changed(trade: Trade, event: Event) -> Trade:
    """The trade after this event."""
    if event.refund_no or event.refund is not None:
        return _with_refund(trade, event)
    changes: dict[str, Any] = {}
    match event.kind:
        case EventKind.SCANNED:
            changes = {"scanned_at": event.at, "payer_id": event.payer_id, "channel_no": event.channel_no}
        case EventKind.TYPING:
            changes = {"state": TradeState.TYPING, "typing_until": event.until}
        case EventKind.PAID:
            changes = _payment_changes(trade, event)
        case EventKind.PAY_FAILED:
            changes = {"state": TradeState.FAILED, "ended_at": event.at}
        case EventKind.CLOSED | EventKind.EXPIRED | EventKind.REVERSED:
            changes = {"state": TradeState.CLOSED, "ended_at": event.at}
        case EventKind.RETURNED:
            changes = {"state": TradeState.RETURNED, "ended_at": event.at}
        case EventKind.QUERIED:
            changes = {"queries": trade.queries + 1}
        case EventKind.CANCEL_PUT_OFF | EventKind.REVERSE_ASKED:
            changes = _reverse_changes(trade, event)
        case EventKind.FAULTS_CHOSEN | EventKind.REFUND_FAULTS_CHOSEN:
            changes = _faults_changes(trade, event)
        case (
            EventKind.PLACED_AGAIN
            | EventKind.ANSWER_WITHHELD
            | EventKind.ANSWERED_BUSY
            | EventKind.NOTICE_FORGED
            | EventKind.REFUND_REFUSED
        ):
            pass
        case _:
            changes = _notice_changes(trade, event)
    return msgspec.structs.replace(trade, **changes)


def _faults_changes(trade: Trade, event: Event) -> dict[str, Any]:
    changes: dict[str, Any] = {_FAULTS_OF[event.kind]: event.faults}
    if event.kind is EventKind.FAULTS_CHOSEN and trade.state is TradeState.TYPING and event.faults is not None:
        # From now on, as all that is chosen: without seconds the payer confirms at once.
        changes["typing_until"] = event.at + timedelta(seconds=event.faults.user_paying_s)
    return changes


_FAULTS_OF = {EventKind.FAULTS_CHOSEN: "faults", EventKind.REFUND_FAULTS_CHOSEN: "refund_faults"}
_REFUND_ENDS = {
    EventKind.REFUND_DONE: RefundState.DONE,
    EventKind.REFUND_ABNORMAL: RefundState.ABNORMAL,
    EventKind.REFUND_CLOSED: RefundState.CLOSED,
}
_REFUND_NOTICES = {
    EventKind.REFUND_NOTICE_DELAYED: EventKind.NOTICE_DELAYED,
    EventKind.REFUND_NOTICE_DROPPED: EventKind.NOTICE_DROPPED,
    EventKind.REFUND_NOTICE_SENT: EventKind.NOTICE_SENT,
    EventKind.REFUND_NOTICE_ACKNOWLEDGED: EventKind.NOTICE_ACKNOWLEDGED,
    EventKind.REFUND_NOTICE_REFUSED: EventKind.NOTICE_REFUSED,
    EventKind.REFUND_NOTICE_GIVEN_UP: EventKind.NOTICE_GIVEN_UP,
}
# What happens to a refund's notice, by what the same is called of a payment's.
REFUND_NOTICE_KINDS = {payment: refund for refund, payment in _REFUND_NOTICES.items()}


def _with_refund(trade: Trade, event: Event) -> Trade:
    if event.refund is not None:
        return msgspec.structs.replace(trade, refunds=(*trade.refunds, event.refund))
    refunds = tuple(
        _changed_refund(refund, event) if refund.refund_no == event.refund_no else refund for refund in trade.refunds
    )
    return msgspec.structs.replace(trade, refunds=refunds)


def _changed_refund(refund: Refund, event: Event) -> Refund:
    if event.kind in {EventKind.ANSWER_WITHHELD, EventKind.ANSWERED_BUSY}:
        return refund
    if (state := _REFUND_ENDS.get(event.kind)) is None:
        changes = _notice_changes(refund, msgspec.structs.replace(event, kind=_REFUND_NOTICES[event.kind]))
        return msgspec.structs.replace(refund, **changes)
    return msgspec.structs.replace(
        refund,
        state=state,
        ended_at=event.at,
        notice_state=NoticeState.NONE if event.until is None else NoticeState.DUE,
        notice_due_at=event.until,
    )


def _payment_changes(trade: Trade, event: Event) -> dict[str, Any]:
    return {
        "state": TradeState.PAID,
        "paid_at": event.at,
        "channel_no": event.channel_no,
        "faults": trade.faults if event.faults is None else event.faults,
        "notice_state": NoticeState.NONE if event.until is None else NoticeState.DUE,
        "notice_due_at": event.until,
    }


def _reverse_changes(trade: Trade, event: Event) -> dict[str, Any]:
    if event.kind is EventKind.REVERSE_ASKED:
        return {"reverse_no": event.text}
    return {"cancels": trade.cancels + 1}


def _notice_changes(told: Trade | Refund, event: Event) -> dict[str, Any]:
    match event.kind:
        case EventKind.NOTICE_DELAYED | EventKind.NOTICE_OVERTAKEN:
            return {"notice_due_at": event.until}
        case EventKind.NOTICE_DROPPED:
            return {"notice_state": NoticeState.DROPPED, "notice_due_at": None}
        case EventKind.NOTICE_SENT:
            return {"notice_sends": told.notice_sends + 1}
        case EventKind.NOTICE_ACKNOWLEDGED:
            return {"notice_state": NoticeState.ACKNOWLEDGED, "notice_due_at": None}
        case EventKind.NOTICE_REFUSED:
            return {"notice_attempts": told.notice_attempts + 1, "notice_due_at": event.until}
        case _:
            assert event.kind is EventKind.NOTICE_GIVEN_UP
            return {"notice_state": NoticeState.GIVEN_UP, "notice_due_at": None}
