"""What the channels do with a shop's refunds, whichever language asked for them."""

from datetime import timedelta
from typing import Final

import msgspec

from budan.sandbox.faults import Faults
from budan.sandbox.numbers import refund_channel_no
from budan.sandbox.records import ChannelName, Event, EventKind, Refund, RefundState, Trade, TradeState
from budan.sandbox.world import World

# WeChat takes no more for one order (docs/protocols/wechat_v3.md §5); the other channel states no number.
REFUNDS_PER_TRADE_MAX: Final = 50


class RefundWish(msgspec.Struct, frozen=True, kw_only=True):
    """What a shop, or a person at the channel, wants back."""

    refund_no: str
    amount_minor: int
    reason: str = ""
    notify_url: str = ""
    by_portal: bool = False


class RefundRefused(Exception):  # noqa: N818 - a refusal is an answer, not an error
    """No money goes back; `code` is the sandbox's own word, which each face translates."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def refund_faults(world: World, trade: Trade, *, amount_minor: int) -> Faults:
    """The faults that a refund of so much of this trade meets now."""
    return world.faults_for(trade.refund_faults, account_id=trade.account_id, amount_minor=amount_minor)


def take_refund(world: World, trade: Trade, wish: RefundWish, *, faults: Faults) -> Refund:
    """Records the refund, once for each number, and returns it as it stands.

    RefundRefused `not_paid`, `discordant` (this number with another amount), `exceeds`, `too_many`, `poor`.
    """
    if (known := trade.find_refund(wish.refund_no)) is not None:
        if known.amount_minor != wish.amount_minor:
            raise RefundRefused("discordant")
        return known
    _refuse_refund(trade, wish)
    if faults.refund_refused:
        world.truth.record(Event(nth=trade.nth, at=world.clock(), kind=EventKind.REFUND_REFUSED, text=wish.refund_no))
        raise RefundRefused("poor")
    refund = _new_refund(world, trade, wish, faults=faults)
    world.truth.record(Event(nth=trade.nth, at=refund.asked_at, kind=EventKind.REFUND_ASKED, refund=refund))
    world.payer.arm(world.truth.get(trade.nth))
    after = world.payer.settled(world.truth.get(trade.nth)).find_refund(wish.refund_no)
    assert after is not None
    return after


def note_refund(world: World, trade: Trade, refund: Refund, kind: EventKind) -> None:
    """Records that this happened to the refund now."""
    world.truth.record(Event(nth=trade.nth, at=world.clock(), kind=kind, refund_no=refund.refund_no))


def portal_refund_no(trade: Trade) -> str:
    """The number of a refund that a person makes at the channel."""
    return f"PORTAL{trade.nth:010d}{len(trade.refunds) + 1:02d}"


def _refuse_refund(trade: Trade, wish: RefundWish) -> None:
    if trade.state is not TradeState.PAID:
        raise RefundRefused("not_paid")
    promised_minor = sum(refund.amount_minor for refund in trade.refunds if refund.state is not RefundState.CLOSED)
    if wish.amount_minor > trade.amount_minor - promised_minor:
        raise RefundRefused("exceeds")
    if len(trade.refunds) >= REFUNDS_PER_TRADE_MAX:
        raise RefundRefused("too_many")


def _new_refund(world: World, trade: Trade, wish: RefundWish, *, faults: Faults) -> Refund:
    now = world.clock()
    channel = world.truth.account_of(trade).CHANNEL
    return Refund(
        refund_no=wish.refund_no,
        amount_minor=wish.amount_minor,
        channel_no=refund_channel_no(trade, channel=channel, now=now),
        asked_at=now,
        ends_at=now + timedelta(seconds=faults.refund_takes_s),
        reason=wish.reason,
        notify_url=_refund_notify_url(channel, trade, wish, faults=faults),
        by_portal=wish.by_portal,
        faults=faults,
    )


def _refund_notify_url(channel: ChannelName, trade: Trade, wish: RefundWish, *, faults: Faults) -> str:
    """Where the end of the refund is told: WeChat takes the address that the refund named, Alipay the payment's.

    Alipay tells only when it is asked to here; the others never do.
    """
    match channel:
        case ChannelName.WECHAT_V3:
            return wish.notify_url or (trade.notify_url if wish.by_portal else "")
        case ChannelName.ALIPAY:
            return trade.notify_url if faults.tell_refund else ""
        case ChannelName.SWIFTPASS | ChannelName.IPAYNOW | ChannelName.WECHAT_V2:
            return ""
