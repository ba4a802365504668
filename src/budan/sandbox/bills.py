"""A day's bill from the sandbox's own truth, with the faults that real bills have."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from enum import Enum
from typing import Final

import msgspec

from budan.sandbox.alipay_bill import alipay_bill
from budan.sandbox.bill_rows import BillRow, Kind
from budan.sandbox.faults import NO_BILL_FAULTS, BillFaults
from budan.sandbox.ipaynow_bill import ipaynow_bill
from budan.sandbox.numbers import BEIJING
from budan.sandbox.records import (
    Account,
    AlipayAccount,
    ChannelName,
    IpaynowAccount,
    RefundState,
    SwiftpassAccount,
    Trade,
    TradeState,
)
from budan.sandbox.swiftpass_bill import swiftpass_bill
from budan.sandbox.truth import Truth
from budan.sandbox.wechat_bill import wechat_bill

# The channels' contracts usually say 0.6 %.
FEE_RATE_BP: Final = 60
FEE_OFF_E5: Final = 1_000
# An address lives half a minute (docs/protocols/alipay.md §6); nobody needs more of them at once.
PLACE_LIFE: Final = timedelta(seconds=30)
PLACES_MAX: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    account_id: str
    content: bytes
    until: datetime


@dataclass(slots=True)
class BillDesk:
    """Where files lie for a moment; it is not kept."""

    _places: dict[str, _Place] = field(default_factory=dict[str, _Place])

    def lay(self, content: bytes, *, account_id: str, token: str, now: datetime) -> None:
        """Lets the file lie under this token for a moment."""
        while len(self._places) >= PLACES_MAX:
            del self._places[next(iter(self._places))]
        self._places[token] = _Place(account_id=account_id, content=content, until=now + PLACE_LIFE)

    def find(self, token: str, *, now: datetime, account_id: str | None = None) -> bytes | None:
        """The file under this token; an account that is named must be the one that asked for it."""
        place = self._places.get(token)
        if place is None or place.until < now or account_id not in {None, place.account_id}:
            return None
        return place.content


class Absent(Enum):
    """Why there is no file."""

    EMPTY = "empty"
    CREATING = "creating"
    TOO_EARLY = "too_early"


def make_bill(truth: Truth, account: Account, day: date, *, now: datetime) -> bytes | Absent:
    """The file of this day in the channel's own form, as it is before it is packed (Alipay's: as it is served).

    A sandbox is in a hurry: today's is served as well, as it stands.
    """
    faults = truth.choices.bill_faults_of(account.account_id)
    if day > now.astimezone(BEIJING).date():
        return Absent.TOO_EARLY
    if faults.creating:
        return Absent.CREATING
    rows = sorted(_rows(truth, account, day), key=lambda row: row.at)
    if not rows:
        return Absent.EMPTY
    return _rendered(account, _spoilt(rows, faults, day=day), day=day, faults=faults, now=now)


def empty_bill(account: Account, day: date, *, now: datetime) -> bytes:
    """A bill without rows, for the channel that has no other word for that."""
    return _rendered(account, [], day=day, faults=NO_BILL_FAULTS, now=now)


def _rendered(account: Account, rows: list[BillRow], *, day: date, faults: BillFaults, now: datetime) -> bytes:
    total_off_minor = 1 if faults.wrong_summary else 0
    if isinstance(account, AlipayAccount):
        return alipay_bill(account, rows, day=day, total_off_minor=total_off_minor, cut_off=faults.cut_off, now=now)
    if isinstance(account, SwiftpassAccount):
        content = swiftpass_bill(account, rows, total_off_minor=total_off_minor)
    elif isinstance(account, IpaynowAccount):
        content = ipaynow_bill(rows, total_off_minor=total_off_minor)
    else:
        content = wechat_bill(account, rows, total_off_minor=total_off_minor)
    return content[: len(content) * 3 // 4] if faults.cut_off else content


def _rows(truth: Truth, account: Account, day: date) -> Iterator[BillRow]:
    for trade in truth.newest_first():
        if trade.account_id != account.account_id or trade.paid_at is None:
            continue
        if trade.state not in {TradeState.PAID, TradeState.RETURNED}:
            continue
        whole = BillRow(kind=Kind.PAYMENT, at=trade.paid_at, trade=trade, amount_minor=trade.amount_minor, fee_e5=0)
        for row in (_with_fee(whole, before_minor=0), *_returned(account, trade)):
            if row.at.astimezone(BEIJING).date() == day:
                yield row


def _returned(account: Account, trade: Trade) -> Iterator[BillRow]:
    if trade.state is TradeState.RETURNED:
        assert trade.ended_at is not None
        number = trade.reverse_no or trade.trade_no
        row = BillRow(
            kind=Kind.REVERSAL,
            at=trade.ended_at,
            trade=trade,
            amount_minor=trade.amount_minor,
            fee_e5=0,
            refund_no=number,
            channel_refund_no=f"5031{trade.channel_no[4:]}",
            refund_state=RefundState.DONE,
        )
        yield _with_fee(row, before_minor=0)
    before_minor = 0
    is_accepted_enough = account.CHANNEL in {ChannelName.WECHAT_V3, ChannelName.WECHAT_V2}
    for nth, refund in enumerate(trade.refunds, start=1):
        # WeChat tells of what it accepted, on the day that it did; the others of what is done.
        at = refund.asked_at if is_accepted_enough else refund.ended_at
        if at is None or (refund.state is not RefundState.DONE and not is_accepted_enough):
            continue
        row = BillRow(
            kind=Kind.REFUND,
            at=at,
            trade=trade,
            amount_minor=refund.amount_minor,
            fee_e5=0,
            refund_no=refund.refund_no,
            # Only WeChat v3 numbers refunds on the wire; in bills all of its kin do.
            channel_refund_no=refund.channel_no
            if refund.channel_no != trade.channel_no
            else f"{trade.channel_no}{nth}",
            refund_state=refund.state,
        )
        yield _with_fee(row, before_minor=before_minor)
        before_minor += refund.amount_minor


def _with_fee(row: BillRow, *, before_minor: int) -> BillRow:
    """A fee that goes back is that of all refunds so far, less what went back before."""
    fee_e5 = _fee_e5(before_minor + row.amount_minor) - _fee_e5(before_minor)
    return replace(row, fee_e5=fee_e5 if row.kind is Kind.PAYMENT else -fee_e5)


def _fee_e5(amount_minor: int) -> int:
    return (amount_minor * FEE_RATE_BP + 5_000) // 10_000 * 1_000


def _spoilt(rows: list[BillRow], faults: BillFaults, *, day: date) -> list[BillRow]:
    paid = [place for place, row in enumerate(rows) if row.kind is Kind.PAYMENT]
    if paid and faults.wrong_fee:
        rows[paid[0]] = replace(rows[paid[0]], fee_e5=rows[paid[0]].fee_e5 + FEE_OFF_E5)
    if paid and faults.next_day_row:
        midnight = datetime(day.year, day.month, day.day, tzinfo=BEIJING) + timedelta(days=1)
        rows[paid[-1]] = replace(rows[paid[-1]], at=midnight + timedelta(seconds=5))
    if paid and faults.extra_row:
        rows.append(_nobodys(rows[paid[-1]]))
    if paid and faults.missing_row:
        del rows[paid[0]]
    if faults.refunds_first:
        rows.sort(key=lambda row: row.kind is Kind.PAYMENT)
    return rows


def _nobodys(row: BillRow) -> BillRow:
    """A payment that nobody made, beside a real one."""
    trade = msgspec.structs.replace(
        row.trade, trade_no=f"X{row.trade.trade_no[1:]}", channel_no=f"{row.trade.channel_no[:-1]}X"
    )
    return replace(row, trade=trade)


def parse_day(text: str) -> date | None:
    """A day as `yyyyMMdd`."""
    try:
        return datetime.strptime(text, "%Y%m%d").date()  # noqa: DTZ007 - a day of Beijing's calendar
    except ValueError:
        return None
