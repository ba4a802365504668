"""Comparing one day of a channel's bill with ours: what each difference is called, and whether the day ties out."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from enum import Enum
from typing import Final, TypeVar

from budan.core.errors import Refused
from budan.core.numbers import (
    BadNumber,
    Environment,
    Number,
    NumberKind,
    beijing_day,
    day_span,
    id_floor,
    parse_number,
)


class RowKind(Enum):
    """What a row of a bill tells of."""

    PAYMENT = "payment"
    REFUND = "refund"
    REVERSAL = "reversal"  # a charge that the channel took back on our word


class Verdict(Enum):
    """What comparing found of one row; all but the first three are differences.

    `NEIGHBOUR_DAY` stands on the other side on the day before or after: the two clocks straddle midnight. `RETURNED` is a
    charge of which the bill has only the reversal. `IN_SUSPENSE` is money that both sides have alike and that does not fit
    its order: it is a person's until persons have said whose it is. A double is a row more than one for the same payment or refund, in one
    bill or in those of two days. `SETTLE_DIFFERS` is a payment of which the channel settles another amount than the order's:
    coupons that the merchant pays for. `FEE_SUM_DIFFERS` is no row's: the day's fees together are not what the contract says.
    """

    MATCHED = "matched"
    NEIGHBOUR_DAY = "neighbour_day"
    RETURNED = "returned"
    IN_SUSPENSE = "in_suspense"
    THERE_ONLY = "there_only"
    HERE_ONLY = "here_only"
    CURRENCY_DIFFERS = "currency_differs"
    AMOUNT_DIFFERS = "amount_differs"
    STATUS_DIFFERS = "status_differs"
    SETTLE_DIFFERS = "settle_differs"
    FEE_DIFFERS = "fee_differs"
    DOUBLE = "double"
    UNKNOWN_NUMBER = "unknown_number"
    OTHER_ENVIRONMENT = "other_environment"
    FEE_SUM_DIFFERS = "fee_sum_differs"


# What the difference of a day's sum of fees is of, as rows are of payments or refunds; and what it is about.
DAY_FEES: Final = "fees"
# What needs nobody: both sides have it and agree.
AGREED: Final = frozenset({Verdict.MATCHED, Verdict.NEIGHBOUR_DAY, Verdict.RETURNED})
NEIGHBOUR_MAX: Final = timedelta(days=1)
# Orders live for two hours at most by default, and rarely for a day: a day's payments are looked for among the orders of
# that day and of the one before; what is paid later is written down (`late_day`).
ORDER_AGE_MAX: Final = timedelta(days=1)
# Channels round a payment's fee to a minor unit, or to its thousandth, by cutting off or half up: none that we know of
# rounds up what is less than a half. What goes back of a fee is what is left of it, so both of its ends are rounded.
MINOR_E5: Final = 1_000
# A rate in millionths: 6,000 is 0.6 %.
RATE_E6_MAX: Final = 1_000_000
# Of a refund's payment that was made before there was a contract: no fee of it is judged.
NO_RATE_E6: Final = -1

_Ours = TypeVar("_Ours")


@dataclass(frozen=True, slots=True, kw_only=True)
class BillRow:
    """A row of a bill that needs a judgement. `number` is ours at the channel: a refund's where it is a refund.

    `settle_minor` is what the channel settles of a payment before its fee, or takes back of that where money goes back;
    None where its bill tells none.
    """

    line_no: int
    kind: RowKind
    happened_at: datetime
    number: str | None
    channel_no: str | None
    status: str
    currency: str
    amount_minor: int
    fee_e5: int | None
    settle_minor: int | None = None

    @property
    def name(self) -> str | None:
        """What the channel knows it by: the number that was given to it, else the channel's own."""
        return self.number or self.channel_no


@dataclass(frozen=True, slots=True, kw_only=True)
class PortalRefund:
    """A refund of ours that somebody made past us, as its channel told of it.

    `reference` is the channel's number of it. One that is `by_total` was told by its payment's sum alone: it may be
    several, and its reference is the last one's or none at all.
    """

    lane: int
    order_id: int
    ordinal: int
    attempt: int
    reference: str | None
    by_total: bool
    amount_minor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspended:
    """What is known of money in suspense: its channel's number of that payment, and what its trade is about.

    Where its channel told no number `payment` is what the books call it by.
    """

    payment: str
    wanted_minor: int
    wanted_currency: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OurRow:
    """Money that moved here: a payment that was seen, a refund that went back, or a charge taken back.

    `has_moved` is false where the trade or refund is here but, as far as we know, moved nothing, and `has_failed` true
    where it moves nothing any more; `known_at` is since when we know that it did. Where the channel told no moment
    `moved_at` is when we learned of it. `begun_at` is since when it may have stood in a bill, of all refunds and where the
    channel told no moment; else None. `settle_minor` is what the channel's answer said that it settles, None where it said
    nothing of its own. `rate_e6` is of a refund the contract's rate on its payment's day, `NO_RATE_E6` where there was
    none; None where it is the day's. `suspended` is of money that lies in suspense.
    """

    kind: RowKind
    number: Number
    account_id: int
    has_moved: bool
    moved_at: datetime | None
    currency: str
    amount_minor: int
    has_failed: bool = False
    known_at: datetime | None = None
    begun_at: datetime | None = None
    settle_minor: int | None = None
    rate_e6: int | None = None
    suspended: Suspended | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a bill is compared under; without a contract's rate fees are summed and not judged."""

    environment: Environment
    account_id: int
    day: date
    rate_e6: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sum:
    """How many rows, and what they come to."""

    rows: int = 0
    amount_minor: int = 0

    def __add__(self, other: "Sum") -> "Sum":
        return Sum(rows=self.rows + other.rows, amount_minor=self.amount_minor + other.amount_minor)

    def __sub__(self, other: "Sum") -> "Sum":
        return Sum(rows=self.rows - other.rows, amount_minor=self.amount_minor - other.amount_minor)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """One line of the tie-out: rows of one kind with one verdict in one currency, on both sides."""

    kind: RowKind
    currency: str
    verdict: Verdict
    theirs: Sum
    ours: Sum


def tie_out(kind: RowKind, currency: str, *, theirs: Sum, ours: Sum, found: Iterable[Tally]) -> tuple[Tally, ...]:
    """All lines of one kind in one currency; what is left of both sides without the found ones must be the same.

    The two sides were counted apart, so a row that was lost or judged twice on the way shows here. Raises
    AssertionError: it is our mistake, and nothing of the run may be kept.
    """
    lines = tuple(found)
    left_there, left_here = theirs, ours
    for line in lines:
        assert (line.kind, line.currency) == (kind, currency)
        assert line.verdict is not Verdict.MATCHED
        left_there, left_here = left_there - line.theirs, left_here - line.ours
    assert left_there == left_here, (
        f"{kind.value} rows in {currency} do not tie out: {left_there} there, {left_here} here"
    )
    matched = Tally(kind=kind, currency=currency, verdict=Verdict.MATCHED, theirs=left_there, ours=left_here)
    return (matched, *lines)


def judge_pair(row: BillRow, ours: OurRow, terms: Terms) -> Verdict:
    """A row of the bill whose number is ours; the first difference that applies is its name."""
    if ours.account_id != terms.account_id:
        return Verdict.UNKNOWN_NUMBER
    if not ours.has_moved and row.status == "succeeded":
        # Of whatever amount: the channel is asked, and what it answers goes through the door.
        return Verdict.THERE_ONLY
    if row.currency != ours.currency:
        return Verdict.CURRENCY_DIFFERS
    if row.amount_minor != ours.amount_minor:
        return Verdict.AMOUNT_DIFFERS
    if not ours.has_moved:
        # Not done there and not done here: both sides wait for the same thing, unless we have given it up.
        is_given_up = ours.has_failed and row.status == "pending"
        return Verdict.THERE_ONLY if is_given_up else Verdict.NEIGHBOUR_DAY
    return _judge_equal(row, ours, terms)


def _judge_equal(row: BillRow, ours: OurRow, terms: Terms) -> Verdict:
    is_elsewhere = ours.moved_at is not None and beijing_day(ours.moved_at) != terms.day
    if is_elsewhere and not is_neighbour(ours, terms.day):
        return Verdict.STATUS_DIFFERS
    # A refund that the channel had taken on one day and done on another one since agrees as well.
    if row.status != "succeeded" and not (is_elsewhere and row.status == "pending"):
        return Verdict.STATUS_DIFFERS
    if ours.suspended is not None:
        # What the channel settles of it, or takes, is of no account before anybody knows whose it is.
        return Verdict.NEIGHBOUR_DAY if is_elsewhere else Verdict.IN_SUSPENSE
    if settled_otherwise(row, ours) is not None:
        return Verdict.SETTLE_DIFFERS
    if not is_fee_right(row, _terms_of(ours, terms)):
        return Verdict.FEE_DIFFERS
    return Verdict.NEIGHBOUR_DAY if is_elsewhere else Verdict.MATCHED


def _terms_of(ours: OurRow, terms: Terms) -> Terms:
    """What a row's fee is judged by: what a channel gives back is of the fee that it took of the payment."""
    if ours.rate_e6 is None:
        return terms
    return replace(terms, rate_e6=None if ours.rate_e6 == NO_RATE_E6 else ours.rate_e6)


def settled_otherwise(row: BillRow, ours: OurRow) -> int | None:
    """What the channel settles of a payment, in minor units, where that is not the order's amount; None where it is.

    By its bill, else by its answer.
    """
    said = [minor for minor in (row.settle_minor, ours.settle_minor) if minor not in {None, ours.amount_minor}]
    return said[0] if said and row.kind is RowKind.PAYMENT else None


def judge_stranger(row: BillRow, terms: Terms) -> Verdict:
    """A row of the bill whose number names nothing here, or no number at all."""
    try:
        number = parse_number(row.number or "")
    except BadNumber:
        return Verdict.UNKNOWN_NUMBER
    return Verdict.OTHER_ENVIRONMENT if number.environment is not terms.environment else Verdict.UNKNOWN_NUMBER


def find_number(row: BillRow, terms: Terms) -> Number | None:
    """The parts of a row's number where it may be one of ours: of this environment (I13) and of the row's kind."""
    try:
        number = parse_number(row.number or "")
    except BadNumber:
        return None
    wanted = NumberKind.REFUND if row.kind is RowKind.REFUND else NumberKind.ORDER
    is_ours = number.environment is terms.environment and number.kind is wanted and number.ordinal > 0
    return number if is_ours else None


def meet_portal_refunds(
    rows: Sequence[tuple[BillRow, Number]], ours: Sequence[PortalRefund]
) -> dict[int, PortalRefund]:
    """Which of our refunds that were made past us a bill's rows are, by line; each row is given with its payment.

    A row is the refund of that payment that has its name, whatever else they differ by. Only one that a total told is
    met by its amount, for then nobody knows its name: two refunds of the same amount are no reason to take one for the
    other.
    """
    of_payment = defaultdict[tuple[int, int, int], list[PortalRefund]](list)
    for one in ours:
        of_payment[one.lane, one.order_id, one.attempt].append(one)
    return _meet(rows, of_payment, (_has_name, _has_amount))


def meet_suspended(rows: Sequence[tuple[BillRow, Number]], ours: Sequence[OurRow]) -> dict[int, OurRow]:
    """Which of our money in suspense a bill's payments are, by line; each row is given with its trade.

    A row is what has its name at the channel, whatever else they differ by; else what is of the same amount, for a
    channel may tell another of its numbers in its bill, or none.
    """
    of_trade = defaultdict[tuple[int, int, int], list[OurRow]](list)
    for one in ours:
        of_trade[one.number.lane, one.number.order_id, one.number.ordinal].append(one)
    return _meet(rows, of_trade, (_is_named_payment, _is_alike))


def _meet(
    rows: Sequence[tuple[BillRow, Number]],
    ours: Mapping[tuple[int, int, int], list[_Ours]],
    ways: Sequence[Callable[[_Ours, BillRow], bool]],
) -> dict[int, _Ours]:
    """Our rows by line: all that the first way tells are met before the second one is tried. Each is met once."""
    left = {key: list(of_payment) for key, of_payment in ours.items()}
    met: dict[int, _Ours] = {}
    for is_same in ways:
        for row, payment in rows:
            of_payment = left.get((payment.lane, payment.order_id, payment.ordinal), [])
            found = None if row.line_no in met else next((one for one in of_payment if is_same(one, row)), None)
            if found is not None:
                of_payment.remove(found)
                met[row.line_no] = found
    return met


def _has_name(ours: PortalRefund, row: BillRow) -> bool:
    return row.name is not None and row.name == ours.reference


def _has_amount(ours: PortalRefund, row: BillRow) -> bool:
    return ours.by_total and ours.amount_minor == row.amount_minor


def _is_named_payment(ours: OurRow, row: BillRow) -> bool:
    return ours.suspended is not None and ours.suspended.payment == row.channel_no


def _is_alike(ours: OurRow, row: BillRow) -> bool:
    return (ours.currency, ours.amount_minor) == (row.currency, row.amount_minor)


def is_fee_right(row: BillRow, terms: Terms) -> bool:
    """Whether a fee is what the contract says, as channels round; what is given back may be off by a minor unit.

    It is of the amount, or of what is settled of it where a coupon of the merchant's lies between. The same rule as
    `fee_is_right` of store/bill_sql/matching.sql, which all rows go through by their amount.
    """
    if terms.rate_e6 is None or row.fee_e5 is None:
        return True
    minors = {row.amount_minor, row.amount_minor if row.settle_minor is None else row.settle_minor}
    return any(_is_fee_of(row.kind, row.fee_e5, amount_e8=minor * terms.rate_e6) for minor in minors)


def _is_fee_of(kind: RowKind, fee_e5: int, *, amount_e8: int) -> bool:
    """Whether rounding brings a fee there. Thousandths of `fee_e5`, an amount times a rate, are rounded nowhere."""
    over = abs(fee_e5) * 1_000 - amount_e8
    step, whole = 1_000, MINOR_E5 * 1_000
    if kind is not RowKind.PAYMENT:
        return abs(over) <= whole
    is_exact = -step < over <= step // 2
    return is_exact or (fee_e5 % MINOR_E5 == 0 and -whole < over <= whole // 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class FeeBounds:
    """What a day's fees come to by the contract, less those given back, and between what they may be.

    Each may be rounded, and of what is settled, as `wanted_e5` is, or of the whole amount. In 100,000ths of the major unit.
    """

    wanted_e5: int
    least_e5: int
    most_e5: int

    def has(self, fee_e5: int) -> bool:
        """Whether a bill's sum of fees is what rounding may make of the contract's."""
        return self.least_e5 <= fee_e5 <= self.most_e5


@dataclass(frozen=True, slots=True, kw_only=True)
class FeeBase:
    """What fees are taken of: so many rows, and the least and the most that they may be of.

    That is what is settled and the whole amount: where the merchant pays for coupons they differ.
    """

    rows: int = 0
    least_minor: int = 0
    most_minor: int = 0

    def __add__(self, other: "FeeBase") -> "FeeBase":
        return FeeBase(
            rows=self.rows + other.rows,
            least_minor=self.least_minor + other.least_minor,
            most_minor=self.most_minor + other.most_minor,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FeesBack:
    """What comes back beyond the day's rate, of payments under another one: of the least and of the most it may be of."""

    least_e5: int = 0
    most_e5: int = 0


def bound_fees(paid: FeeBase, back: FeeBase, *, rate_e6: int, beyond: FeesBack) -> FeeBounds:
    """The bounds of the fees of these payments and of these rows of money that went back, each rounded by itself."""
    back_least_e5 = fee_e5(back.least_minor, rate_e6=rate_e6) + beyond.least_e5
    back_most_e5 = fee_e5(back.most_minor, rate_e6=rate_e6) + beyond.most_e5
    paid_least_e5 = fee_e5(paid.least_minor, rate_e6=rate_e6)
    paid_most_e5 = fee_e5(paid.most_minor, rate_e6=rate_e6)
    return FeeBounds(
        wanted_e5=paid_least_e5 - back_least_e5,
        least_e5=paid_least_e5 - back_most_e5 - MINOR_E5 * (paid.rows + back.rows),
        most_e5=paid_most_e5 - back_least_e5 + MINOR_E5 // 2 * paid.rows + MINOR_E5 * back.rows,
    )


def fee_e5(amount_minor: int, *, rate_e6: int) -> int:
    """A channel's fee in 100,000ths of the major unit, cut off below."""
    assert 0 <= rate_e6 <= RATE_E6_MAX
    return amount_minor * rate_e6 // 1_000


def parse_rate(text: str) -> int:
    """A rate as people write it, `0.6%` or `0.006`, in millionths; raises `Refused` with `rate_malformed`."""
    number, scale = (text[:-1], 10_000) if text.endswith("%") else (text, 1_000_000)
    try:
        rate = Decimal(number.strip()) * scale
    except InvalidOperation as error:
        raise Refused("rate_malformed", param="rate", detail=text) from error
    if not rate.is_finite() or rate != rate.to_integral_value() or not 0 <= rate <= RATE_E6_MAX:
        raise Refused(
            "rate_malformed", param="rate", detail=f"{text}: from 0% to 100%, to a ten-thousandth of a percent"
        )
    return int(rate)


def render_rate(rate_e6: int) -> str:
    """A rate of so many millionths as people write it and `parse_rate` reads it: `0.6%`."""
    return f"{Decimal(rate_e6) / 10_000}%"


def is_neighbour(ours: OurRow, day: date) -> bool:
    """Whether a row of ours may stand in the bill of a day that is not its own: the one before or after.

    Of a refund, and where the moment is ours alone, that is each from the day of its request to the day after it was done
    or we learned of it. No channel tells when it took a charge back: a reversal is of its payment's day, and may stand in
    each to the day after we learned of it.
    """
    if ours.moved_at is None or beijing_day(ours.moved_at) == day:
        return False
    home = beijing_day(ours.moved_at)
    first = home - NEIGHBOUR_MAX if ours.begun_at is None else min(home - NEIGHBOUR_MAX, beijing_day(ours.begun_at))
    last = home
    if ours.kind is RowKind.REVERSAL and ours.known_at is not None:
        last = max(home, beijing_day(ours.known_at))
    return first <= day <= last + NEIGHBOUR_MAX


def late_day(moved_at: datetime, *, now: datetime, order_id: int | None) -> date | None:
    """The Beijing day on which money moved, where its comparison with the bill might not hear of it; else None.

    We learn of it `now`, on another day, so that day may be compared already; or `order_id` is none of those among which
    that day's payments are looked for. None of what is found by its moment, whatever its order.
    """
    day = beijing_day(moved_at)
    since, until = day_span(day)
    is_met = order_id is None or id_floor(since - ORDER_AGE_MAX) <= order_id < id_floor(until)
    return None if is_met and day == beijing_day(now) else day
