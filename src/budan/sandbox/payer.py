"""What payers do in their wallets, and what time does to a trade."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from budan.sandbox.alarms import Alarms
from budan.sandbox.faults import Dice, Faults, with_notice_faults
from budan.sandbox.numbers import CODE_TEXT_LIFE, channel_no, parse_code_text
from budan.sandbox.records import (
    ChannelName,
    Event,
    EventKind,
    Method,
    Placed,
    Refund,
    RefundState,
    Trade,
    TradeState,
)
from budan.sandbox.truth import Truth

_REFUND_ENDS: Final = {
    "done": EventKind.REFUND_DONE,
    "abnormal": EventKind.REFUND_ABNORMAL,
    "closed": EventKind.REFUND_CLOSED,
}

# WeChat closes an unpaid order by itself then (docs/protocols/wechat_v3.md §5), and so, here, do Swiftpass and v2.
WECHAT_LIFE: Final = timedelta(days=7)


class PayRefused(Exception):  # noqa: N818 - a refusal is an answer, not an error
    """The wallet refuses; `code` is stable, nothing was changed."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Payer:
    """Every payer there is."""

    def __init__(
        self,
        *,
        truth: Truth,
        alarms: Alarms,
        dice: Dice,
        clock: Callable[[], datetime],
        payer_id: Callable[[ChannelName], str],
    ) -> None:
        self._truth = truth
        self._alarms = alarms
        self._dice = dice
        self._clock = clock
        self._payer_id = payer_id

    def find_scanned(self, text: str, *, life: timedelta = CODE_TEXT_LIFE) -> Trade:
        """The trade of a code text or prepay_id; PayRefused when it is none of ours or older than `life`."""
        code = parse_code_text(text.strip())
        trade = None if code is None else self._truth.find_nth(code.nth)
        if code is None or trade is None:
            raise PayRefused("code_unknown")
        if code.made_at + life < self._clock():
            raise PayRefused("code_expired")
        return trade

    def scan(self, trade: Trade) -> Trade:
        """The payer looks at the order; at Alipay only this makes the trade."""
        trade = self.settled(trade)
        if trade.state is not TradeState.WAITING:
            return trade
        now = self._clock()
        self._refuse_expired(trade, now)
        if trade.scanned_at is None:
            self._truth.record(self._scanned(trade, now))
        return self._truth.get(trade.nth)

    def pay(self, trade: Trade, *, faults: Faults | None) -> Trade:
        """The payer pays; `faults` None leaves the notice's fate to the odds."""
        trade = self.settled(trade)
        now = self._clock()
        self._refuse(trade, now)
        drawn = self._by_choice(trade) if faults is None else faults
        events = [self._scanned(trade, now)] if trade.scanned_at is None else []
        self._truth.record(*events, *self._payment(trade, now=now, faults=with_notice_faults(trade.faults, of=drawn)))
        return self._armed(trade.nth)

    def charge(self, trade: Trade, *, auth_code: str) -> Trade:
        """Records a code payment by its `faults`: the money is taken at once, or the payer types first."""
        now = trade.placed_at
        placed = Placed(trade=trade, auth_code=auth_code)
        if trade.faults.user_paying_s > 0:
            until = now + timedelta(seconds=trade.faults.user_paying_s)
            typing = Event(nth=trade.nth, at=now, kind=EventKind.TYPING, until=until)
            self._truth.record(placed, typing)
        else:
            self._truth.record(placed, *self._payment(trade, now=now, faults=trade.faults))
        return self._armed(trade.nth)

    def settled(self, trade: Trade) -> Trade:
        """The trade after what time alone has done to it."""
        now = self._clock()
        events = self._due_events(trade, now)
        if not events:
            return trade
        self._truth.record(*events)
        return self._armed(trade.nth)

    def refuse_if_full(self) -> None:
        """PayRefused while no more may be promised."""
        if self._alarms.is_full:
            raise PayRefused("sandbox_busy")

    def arm(self, trade: Trade) -> None:
        """Sets the trade's alarm anew, after a start or where its notice's time has changed."""
        self._armed(trade.nth)

    def _by_choice(self, trade: Trade) -> Faults:
        return self._truth.choices.faults_of(
            account_id=trade.account_id, amount_minor=trade.amount_minor, dice=self._dice
        )

    def _refuse(self, trade: Trade, now: datetime) -> None:
        self.refuse_if_full()
        if trade.state in {TradeState.PAID, TradeState.RETURNED}:
            raise PayRefused("already_paid")
        if trade.state is not TradeState.WAITING:
            raise PayRefused("closed" if trade.state is not TradeState.TYPING else "not_by_scanning")
        self._refuse_expired(trade, now)

    def _refuse_expired(self, trade: Trade, now: datetime) -> None:
        if is_expired(trade, now):
            raise PayRefused("expired")

    def _scanned(self, trade: Trade, now: datetime) -> Event:
        channel = self._truth.account_of(trade).CHANNEL
        payer_id = trade.payer_id or self._payer_id(channel)
        # Alipay makes the trade, and so its number, when the payer scans; WeChat numbers the payment.
        number = channel_no(trade, channel=channel, now=now) if channel is ChannelName.ALIPAY else ""
        return Event(nth=trade.nth, at=now, kind=EventKind.SCANNED, payer_id=payer_id, channel_no=number)

    def _payment(self, trade: Trade, *, now: datetime, faults: Faults) -> list[Event]:
        channel = self._truth.account_of(trade).CHANNEL
        # Only Alipay's code payments have a notice, and a trade without an address has nowhere to send one.
        is_announced = bool(trade.notify_url) and trade.method not in {Method.CODEPAY, Method.MICROPAY}
        due_at = now + timedelta(seconds=faults.notice_wait_s)
        paid = Event(
            nth=trade.nth,
            at=now,
            kind=EventKind.PAID,
            until=due_at if is_announced else None,
            channel_no=trade.channel_no or channel_no(trade, channel=channel, now=now),
            faults=None if faults == trade.faults else faults,
        )
        if not is_announced:
            return [paid]
        if faults.drop_notice:
            return [paid, Event(nth=trade.nth, at=now, kind=EventKind.NOTICE_DROPPED)]
        if faults.notice_wait_s:
            return [paid, Event(nth=trade.nth, at=now, kind=EventKind.NOTICE_DELAYED, until=due_at)]
        return [paid]

    def _due_events(self, trade: Trade, now: datetime) -> list[Event]:
        if trade.state is TradeState.TYPING and trade.typing_until is not None and trade.typing_until <= now:
            # The payer was done at that moment, however late we look.
            if trade.faults.user_paying_ends == "failed":
                return [Event(nth=trade.nth, at=trade.typing_until, kind=EventKind.PAY_FAILED)]
            return self._payment(trade, now=trade.typing_until, faults=trade.faults)
        if trade.state is TradeState.WAITING:
            return self._expiry_events(trade, now)
        return [
            event
            for refund in trade.refunds
            if refund.state is RefundState.PROCESSING and refund.ends_at <= now
            for event in _refund_end(trade, refund)
        ]

    def _expiry_events(self, trade: Trade, now: datetime) -> list[Event]:
        if self._truth.account_of(trade).CHANNEL in {ChannelName.ALIPAY, ChannelName.IPAYNOW}:
            is_over = is_expired(trade, now)
        else:
            is_over = trade.placed_at + WECHAT_LIFE <= now
        return [Event(nth=trade.nth, at=now, kind=EventKind.EXPIRED)] if is_over else []

    def _armed(self, nth: int) -> Trade:
        trade = self._truth.get(nth)
        typing_until = trade.typing_until if trade.state is TradeState.TYPING else None
        ends = [refund.ends_at for refund in trade.refunds if refund.state is RefundState.PROCESSING]
        told = [refund.notice_due_at for refund in trade.refunds]
        for at in (typing_until, trade.notice_due_at, *ends, *told):
            if at is not None:
                self._alarms.set(nth, at=at)
        return trade


def _refund_end(trade: Trade, refund: Refund) -> list[Event]:
    """The end of a refund at its own moment, however late we look, and the fate of its notice."""
    faults, at = refund.faults, refund.ends_at

    def happened(kind: EventKind, *, until: datetime | None = None) -> Event:
        return Event(nth=trade.nth, at=at, kind=kind, until=until, refund_no=refund.refund_no)

    due_at = at + timedelta(seconds=faults.delay_notice_s) if refund.notify_url else None
    ended = happened(_REFUND_ENDS[faults.refund_ends], until=due_at)
    if due_at is None:
        return [ended]
    if faults.drop_notice:
        return [ended, happened(EventKind.REFUND_NOTICE_DROPPED)]
    if faults.delay_notice_s:
        return [ended, happened(EventKind.REFUND_NOTICE_DELAYED, until=due_at)]
    return [ended]


def is_expired(trade: Trade, now: datetime) -> bool:
    """Whether the last moment to pay is over; only Alipay closes such an order by itself."""
    return trade.expires_at is not None and trade.expires_at <= now
