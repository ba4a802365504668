"""What became of each row that is not on both sides once and alike: looked up here, judged, and counted."""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

import msgspec

from budan.core.numbers import Lane, MerchantId, Number, NumberKind, OrderId, beijing_day, day_begin, render_number
from budan.core.reconcile import (
    BillRow,
    OurRow,
    PortalRefund,
    RowKind,
    Sum,
    Suspended,
    Tally,
    Terms,
    Verdict,
    find_number,
    is_neighbour,
    judge_pair,
    judge_stranger,
    meet_portal_refunds,
    meet_suspended,
)
from budan.core.refund import RefundState
from budan.store.matching import UnequalRow
from budan.store.reconcile import HomeRow, MovedRow, OrderKey, RowKey, Sighting, SightingKey
from budan.store.suspense import SUSPENSE, SuspendedRow

KINDS: Final = (RowKind.PAYMENT, RowKind.REFUND, RowKind.REVERSAL)
# What is so near to midnight may stand in the bill of the day beside it: two clocks and a slow channel lie between.
MIDNIGHT_NEAR: Final = timedelta(hours=1)

# Rows of one kind in one currency: sums are of no more than that.
KindCurrency = tuple[RowKind, str]

_NOTHING: Final = Sum()


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """One row with its verdict. `ours` is what it is about here, whether or not that moved; `state` is a difference's.

    `theirs` and `counted_here` are what it counts as on each side, in the currency of `row` and of `ours`.
    """

    kind: RowKind
    verdict: Verdict
    row: BillRow | None
    ours: OurRow | None
    subject: str
    theirs: Sum
    counted_here: Sum
    state: str = "open"


@dataclass(slots=True, kw_only=True)
class Judgement:
    """All rows of one comparison. `late` are rows of ours that were copied out by nobody and found afterwards."""

    rows: list[Judged] = field(default_factory=list[Judged])
    late: dict[KindCurrency, Sum] = field(default_factory=lambda: defaultdict[KindCurrency, Sum](Sum))
    # Of other days, and whether each was done.
    sightings: dict[SightingKey, bool] = field(default_factory=dict[SightingKey, bool])

    def tallies(self) -> dict[KindCurrency, list[Tally]]:
        """The differences, and what agrees in another way than row by row, summed by verdict in each kind and currency."""
        theirs = defaultdict[tuple[RowKind, str, Verdict], Sum](Sum)
        ours = defaultdict[tuple[RowKind, str, Verdict], Sum](Sum)
        for judged in self.rows:
            if judged.verdict is Verdict.MATCHED:
                continue
            if judged.row is not None:
                theirs[judged.kind, judged.row.currency, judged.verdict] += judged.theirs
            if judged.ours is not None and judged.counted_here.rows:
                ours[judged.kind, judged.ours.currency, judged.verdict] += judged.counted_here
        found = defaultdict[KindCurrency, list[Tally]](list)
        for kind, currency, verdict in sorted(theirs.keys() | ours.keys(), key=lambda key: key[2].value):
            key = (kind, currency, verdict)
            line = Tally(kind=kind, currency=currency, verdict=verdict, theirs=theirs[key], ours=ours[key])
            found[kind, currency].append(line)
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookups:
    """Where the judge asks: trades and refunds by key, orders' refunds made past us, sightings, what other bills have had.

    And the account's money in suspense of the day and of those beside; what names no moment may be of any later one.
    """

    trades: Callable[[Sequence[RowKey]], Awaitable[dict[RowKey, MovedRow]]]
    refunds: Callable[[Sequence[RowKey]], Awaitable[dict[RowKey, MovedRow]]]
    portal_refunds: Callable[[Sequence[OrderKey]], Awaitable[list[PortalRefund]]]
    suspense: Callable[[], Awaitable[list[SuspendedRow]]]
    sightings: Callable[[Sequence[SightingKey]], Awaitable[dict[SightingKey, Sighting]]]
    had: Callable[[Sequence[HomeRow]], Awaitable[set[SightingKey]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Edges:
    """What is known of the days beside: whether their bills were read, and how far a part of a bill goes.

    `part_until` is the last row's moment of a part, which ends before all of a day where it has no row; None of a whole
    bill. `beside` is what their bills had of other days, this one too.
    """

    before_is_read: bool
    after_is_read: bool
    part_until: datetime | None
    beside: frozenset[SightingKey]


class Judge:
    """Judges the rows of one comparison; use it once."""

    def __init__(self, *, terms: Terms, lookups: Lookups, edges: Edges) -> None:
        self._terms = terms
        self._lookups = lookups
        self._edges = edges
        self._found = Judgement()
        # Trades whose reversal the bill has, and those of ours that were taken back: the latter want one of the former.
        self._returned: set[RowKey] = set()
        self._taken_back: list[OurRow] = []
        # Rows of another day whose own bill has had them.
        self._had: set[SightingKey] = set()

    async def judge(self, rows: Sequence[UnequalRow]) -> Judgement:
        """All verdicts. Reads only."""
        lines = [_line(row, self._terms) for row in rows if row.line_no is not None]
        suspended = [_suspended_row(row, self._terms) for row in await self._lookups.suspense()]
        lines = self._meet_suspended(lines, suspended)
        moved = await self._look_up(lines)
        lines = await self._name_portal_refunds(lines, moved, rows)
        self._had = await self._list_had(lines, moved)
        doubles = _doubles(lines)
        strangers: list[_Line] = []
        # Reversals first: a payment is judged by whether its reversal is there.
        for line in sorted(lines, key=lambda line: line.bill.kind is not RowKind.REVERSAL):
            if line.bill.line_no in doubles:
                self._add(line, Verdict.DOUBLE, ours=line.joined, counted=_NOTHING)
                continue
            ours = _find_ours(line, moved)
            if ours is None:
                strangers.append(line)
            else:
                self._judge_known(line, ours)
        await self._judge_strangers(strangers)
        met = [line.suspended for line in lines if line.suspended is not None]
        alone = [one for one in suspended if one not in met and not self._is_elsewhere(one)]
        await self._judge_alone(_alone(rows, lines), alone)
        return self._found

    def _meet_suspended(self, lines: "Sequence[_Line]", suspended: Sequence[OurRow]) -> "list[_Line]":
        """The lines, with our money in suspense: no copy of a day's payments has it, and its trade's own is another payment.

        What a trade's own payment fits is that, whatever lies in suspense beside it.
        """
        near = [one for one in suspended if not self._is_elsewhere(one) or is_neighbour(one, self._terms.day)]
        named = [
            (line.bill, number)
            for line in lines
            if line.bill.kind is RowKind.PAYMENT
            and line.bill.status == "succeeded"
            and not (line.joined is not None and line.joined.amount_minor == line.bill.amount_minor)
            and (number := find_number(line.bill, self._terms)) is not None
        ]
        met = meet_suspended(named, near)
        return [
            msgspec.structs.replace(line, suspended=one, joined=None, is_twice=False, is_returned=False)
            if (one := met.get(line.bill.line_no)) is not None
            else line
            for line in lines
        ]

    async def _look_up(self, lines: "Sequence[_Line]") -> dict[tuple[RowKind, RowKey | None], OurRow]:
        """What is here of the numbers that our copied side does not have."""
        unmet = [line for line in lines if line.key and not line.joined and not line.suspended]
        trades = {line.key for line in unmet if line.key and line.bill.kind is not RowKind.REFUND}
        refunds = {line.key for line in unmet if line.key and line.bill.kind is RowKind.REFUND}
        found: dict[tuple[RowKind, RowKey | None], OurRow] = {}
        for key, row in (await self._lookups.trades(sorted(trades))).items():
            found[RowKind.PAYMENT, key] = our_row(row, RowKind.PAYMENT, self._terms)
            found[RowKind.REVERSAL, key] = our_row(row, RowKind.REVERSAL, self._terms)
        for key, row in (await self._lookups.refunds(sorted(refunds))).items():
            found[RowKind.REFUND, key] = our_row(row, RowKind.REFUND, self._terms)
        return found

    async def _list_had(
        self, lines: "Sequence[_Line]", moved: Mapping[tuple[RowKind, RowKey | None], OurRow]
    ) -> set[SightingKey]:
        """The rows of other days that another bill has had: their own day's, or one beside.

        A charge that was taken back may be there without its row.
        """
        wanted: dict[SightingKey, HomeRow] = {}
        for line in lines:
            ours = line.suspended or moved.get((line.bill.kind, line.key))
            if ours is None or ours.moved_at is None or line.bill.status != "succeeded":
                continue
            is_payment = line.bill.kind is RowKind.PAYMENT and line.suspended is None
            back = moved.get((RowKind.REVERSAL, line.key)) if is_payment else None
            if self._is_beside(ours) and not (back is not None and back.has_moved):
                key = _sighting_key(ours)
                wanted[key] = HomeRow(key=key, day=beijing_day(ours.moved_at), known_at=ours.known_at)
        if not wanted:
            return set()
        sighted = await self._lookups.sightings(list(wanted))
        return await self._lookups.had(list(wanted.values())) | {key for key, seen in sighted.items() if seen.is_done}

    def _is_elsewhere(self, ours: OurRow) -> bool:
        """Whether a row of ours counts on another day than this, and so on none of this one's sums."""
        return ours.moved_at is not None and beijing_day(ours.moved_at) != self._terms.day

    def _is_beside(self, ours: OurRow) -> bool:
        """Whether a row of ours that was looked up counts on another day than this, whose bill may have it all the same."""
        return ours.has_moved and ours.account_id == self._terms.account_id and is_neighbour(ours, self._terms.day)

    def _judge_known(self, line: "_Line", ours: OurRow) -> None:
        kind = line.bill.kind
        verdict = judge_pair(line.bill, ours, self._terms)
        is_beside = line.joined is None and self._is_beside(ours)
        if is_beside and _sighting_key(ours) in self._had:
            self._add(line, Verdict.DOUBLE, ours=ours, counted=_NOTHING)
            return
        here = Sum(rows=1, amount_minor=ours.amount_minor)
        is_today = line.joined is not None or (
            ours.has_moved and not self._is_elsewhere(ours) and verdict is not Verdict.UNKNOWN_NUMBER
        )
        if is_today and line.joined is None:
            # Copied out by nobody: it moved while the copy was taken, or is in none.
            self._found.late[kind, ours.currency] += here
        if kind is RowKind.REVERSAL and line.key is not None:
            self._returned.add(line.key)
        if line.is_returned and line.joined is not None:
            self._taken_back.append(ours)
        if is_today and line.bill.status == "succeeded" and _sighting_key(ours) in self._edges.beside:
            # The bill of the day beside had ours first.
            self._add(line, Verdict.DOUBLE, ours=ours, counted=_NOTHING)
            self._add_alone(ours, Verdict.NEIGHBOUR_DAY)
            return
        # What moved here after this bill was made, or counts on another day, has its row here, whatever that differs by:
        # else the other day would miss it as well.
        if is_beside or (not ours.has_moved and verdict is not Verdict.UNKNOWN_NUMBER):
            seen, is_done = self._found.sightings, line.bill.status == "succeeded"
            seen[_sighting_key(ours)] = seen.get(_sighting_key(ours), False) or is_done
        state = "asked" if verdict is Verdict.THERE_ONLY else "open"
        self._add(line, verdict, ours=ours, counted=here if is_today else _NOTHING, state=state)

    async def _name_portal_refunds(
        self, lines: "Sequence[_Line]", moved: dict[tuple[RowKind, RowKey | None], OurRow], rows: Sequence[UnequalRow]
    ) -> "list[_Line]":
        """The lines, with our keys of refunds that were made past us: these have a number of ours on neither side.

        They are met by their payment and their name there. What is of another day is looked up into `moved`: it may
        stand here all the same, but by its name alone.
        """
        strange = [line for line in lines if line.joined is None and (line.bill.kind, line.key) not in moved]
        named = [(line.bill, payment) for line in strange if (payment := self._payment(line)) is not None]
        orders = {(payment.lane, payment.order_id) for _, payment in named}
        if not orders:
            return list(lines)
        made = await self._lookups.portal_refunds(sorted(orders))
        of_day = {_lane_key(row): row for row in rows if row.line_no is None and KINDS[row.kind] is RowKind.REFUND}
        made = [one if _portal_key(one) in of_day else replace(one, by_total=False) for one in made]
        met = meet_portal_refunds(named, made)
        elsewhere = {_portal_key(one) for one in met.values()} - of_day.keys()
        for key, row in (await self._lookups.refunds(sorted(elsewhere))).items():
            moved[RowKind.REFUND, key] = our_row(row, RowKind.REFUND, self._terms)
        return [self._named(line, met.get(line.bill.line_no), of_day) for line in lines]

    def _named(self, line: "_Line", made: PortalRefund | None, of_day: Mapping[RowKey, UnequalRow]) -> "_Line":
        if made is None:
            return line
        payment = self._payment(line)
        assert payment is not None, "it was met by its payment"
        row = of_day.get(_portal_key(made))
        number = replace(payment, kind=NumberKind.REFUND, ordinal=made.ordinal)
        joined = None if row is None else _copied(row, number, RowKind.REFUND, self._terms)
        return msgspec.structs.replace(line, key=_portal_key(made), joined=joined)

    async def _judge_strangers(self, strangers: "Sequence[_Line]") -> None:
        """Numbers that name nothing here."""
        payments = {line.bill.line_no: self._payment(line) for line in strangers}
        trades = await self._lookups.trades(sorted({_number_key(one) for one in payments.values() if one is not None}))
        for line in strangers:
            payment = payments[line.bill.line_no]
            self._judge_stranger(line, None if payment is None else trades.get(_number_key(payment)))

    def _payment(self, line: "_Line") -> Number | None:
        """The payment of ours that a refund of the bill names."""
        if line.bill.kind is not RowKind.REFUND:
            return None
        return find_number(replace(line.bill, kind=RowKind.PAYMENT, number=line.trade_no), self._terms)

    def _judge_stranger(self, line: "_Line", payment: MovedRow | None) -> None:
        if payment is not None and payment.account_id == self._terms.account_id:
            ours = replace(our_row(payment, RowKind.PAYMENT, self._terms), has_moved=False)
            # Nobody can be asked without a number, nor about one of ours that our books have lost.
            state = "open" if line.bill.number is None or line.key is not None else "asked"
            self._add(line, Verdict.THERE_ONLY, ours=ours, counted=_NOTHING, state=state)
        else:
            self._add(line, judge_stranger(line.bill, self._terms), ours=None, counted=_NOTHING)

    async def _judge_alone(self, rows: Sequence[UnequalRow], suspended: Sequence[OurRow]) -> None:
        """Our rows that the bill does not have: looked for in the bills of the days beside before they are missed."""
        keys = {(KINDS[row.kind], _lane_key(row)): row for row in rows}
        trades = await self._lookups.trades(sorted(key for kind, key in keys if kind is RowKind.PAYMENT))
        refunds = await self._lookups.refunds(sorted(key for kind, key in keys if kind is RowKind.REFUND))
        wanted = [(key[1], key[2], kind.value) for kind, key in keys]
        wanted += [(ours.number.order_id, ours.number.ordinal, RowKind.REVERSAL.value) for ours in self._taken_back]
        wanted += [_sighting_key(ours) for ours in suspended]
        sighted = await self._lookups.sightings(wanted) if wanted else {}
        for (kind, key), row in keys.items():
            moved = (refunds if kind is RowKind.REFUND else trades)[key]
            ours = replace(our_row(moved, kind, self._terms), has_moved=True, amount_minor=row.our_minor or 0)
            if row.is_returned and key in self._returned:
                self._add_alone(ours, Verdict.RETURNED)
            else:
                if row.is_returned:
                    self._taken_back.append(ours)
                self._judge_missing(ours, is_sighted=(key[1], key[2], kind.value) in sighted)
        for ours in self._taken_back:
            key = _key(ours)
            if key not in self._returned:
                back = replace(ours, kind=RowKind.REVERSAL)
                self._found.late[RowKind.REVERSAL, ours.currency] += Sum(rows=1, amount_minor=ours.amount_minor)
                self._judge_missing(back, is_sighted=(key[1], key[2], RowKind.REVERSAL.value) in sighted)
        for ours in suspended:
            self._found.late[RowKind.PAYMENT, ours.currency] += Sum(rows=1, amount_minor=ours.amount_minor)
            self._judge_missing(ours, is_sighted=_sighting_key(ours) in sighted)

    def _judge_missing(self, ours: OurRow, *, is_sighted: bool) -> None:
        if is_sighted:
            self._add_alone(ours, Verdict.NEIGHBOUR_DAY)
            return
        moment, begin = ours.moved_at, day_begin(self._terms.day)
        until = self._edges.part_until
        if until is not None and (moment is None or moment > until):
            # A part of a bill ends before it.
            self._found.late[ours.kind, ours.currency] -= Sum(rows=1, amount_minor=ours.amount_minor)
            return
        is_older = ours.begun_at is not None and ours.begun_at < begin
        is_awaited = moment is not None and (
            ((is_older or moment < begin + MIDNIGHT_NEAR) and not self._edges.before_is_read)
            or (moment >= begin + timedelta(days=1) - MIDNIGHT_NEAR and not self._edges.after_is_read)
        )
        self._add_alone(ours, Verdict.HERE_ONLY, state="awaited" if is_awaited else "open")

    def _add(self, line: "_Line", verdict: Verdict, *, ours: OurRow | None, counted: Sum, state: str = "open") -> None:
        bill = line.bill
        self._found.rows.append(
            Judged(
                kind=bill.kind,
                verdict=verdict,
                row=bill,
                ours=ours,
                subject=bill.name or f"line {bill.line_no}",
                theirs=Sum(rows=1, amount_minor=bill.amount_minor),
                counted_here=counted,
                state=state,
            )
        )

    def _add_alone(self, ours: OurRow, verdict: Verdict, *, state: str = "open") -> None:
        self._found.rows.append(
            Judged(
                kind=ours.kind,
                verdict=verdict,
                row=None,
                ours=ours,
                subject=render_number(ours.number),
                theirs=_NOTHING,
                counted_here=Sum(rows=1, amount_minor=ours.amount_minor),
                state=state,
            )
        )


class _Line(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the bill; `joined` is our copied row that has its number, `trade_no` the number of its payment.

    `suspended` is our money in suspense that it is instead.
    """

    bill: BillRow
    trade_no: str | None
    is_twice: bool
    key: RowKey | None
    joined: OurRow | None
    is_returned: bool
    suspended: OurRow | None = None


def our_row(row: MovedRow, kind: RowKind, terms: Terms) -> OurRow:
    """A trade or refund as judged; of a reversal the channel tells no moment."""
    is_reversal = kind is RowKind.REVERSAL
    return OurRow(
        kind=kind,
        number=Number(
            environment=terms.environment,
            kind=NumberKind.REFUND if kind is RowKind.REFUND else NumberKind.ORDER,
            lane=Lane(row.lane),
            merchant_id=MerchantId(row.merchant_id),
            order_id=OrderId(row.order_id),
            ordinal=row.ordinal,
        ),
        account_id=row.account_id,
        has_moved=row.has_moved and (not is_reversal or row.state == "reversed"),
        has_failed=kind is RowKind.REFUND and row.state == RefundState.FAILED.value,
        moved_at=None if is_reversal else row.moved_at,
        currency=row.currency,
        amount_minor=row.amount_minor,
        known_at=row.known_at,
        begun_at=None if is_reversal else row.begun_at,
        settle_minor=row.settle_minor,
        rate_e6=row.rate_e6,
    )


def _suspended_row(row: SuspendedRow, terms: Terms) -> OurRow:
    """Money in suspense as judged: a payment that came, with what its trade is about."""
    return OurRow(
        kind=RowKind.PAYMENT,
        number=Number(
            environment=terms.environment,
            kind=NumberKind.ORDER,
            lane=Lane(row.lane),
            merchant_id=MerchantId(row.merchant_id),
            order_id=OrderId(row.order_id),
            ordinal=row.ordinal,
        ),
        account_id=terms.account_id,
        has_moved=True,
        moved_at=row.moved_at,
        currency=row.currency,
        amount_minor=row.amount_minor,
        known_at=row.known_at,
        begun_at=row.begun_at,
        suspended=Suspended(payment=row.payment, wanted_minor=row.wanted_minor, wanted_currency=row.wanted_currency),
    )


def _find_ours(line: _Line, moved: Mapping[tuple[RowKind, RowKey | None], OurRow]) -> OurRow | None:
    """What a row of the bill is here; None of a number that names nothing."""
    if line.suspended is not None or line.joined is not None:
        return line.suspended or line.joined
    return moved.get((line.bill.kind, line.key)) if line.key else None


def _sighting_key(ours: OurRow) -> SightingKey:
    kind = ours.kind.value if ours.suspended is None else SUSPENSE
    return ours.number.order_id, ours.number.ordinal, kind


def _key(ours: OurRow) -> RowKey:
    return _number_key(ours.number)


def _portal_key(ours: PortalRefund) -> RowKey:
    return ours.lane, ours.order_id, ours.ordinal


def _number_key(number: Number) -> RowKey:
    return number.lane, number.order_id, number.ordinal


def _lane_key(row: UnequalRow) -> RowKey:
    return row.lane or 0, row.order_id or 0, row.ordinal or 0


def _doubles(lines: Sequence[_Line]) -> set[int]:
    """The rows more than one of a number: all but the first that has our amount, or else the first."""
    groups = defaultdict[tuple[RowKind, RowKey], list[_Line]](list)
    for line in lines:
        if line.is_twice and line.key is not None:
            groups[line.bill.kind, line.key].append(line)
    doubles = set[int]()
    for group in groups.values():
        fits = [line for line in group if line.joined and line.joined.amount_minor == line.bill.amount_minor]
        kept = (fits or group)[0]
        doubles.update(line.bill.line_no for line in group if line is not kept)
    return doubles


def _alone(rows: Sequence[UnequalRow], lines: Sequence[_Line]) -> list[UnequalRow]:
    """Our rows without a row of the bill: also those whose id and ordinal stand there in a number that is wrong."""
    joined = [line.joined for line in lines if line.joined is not None]
    met = {(KINDS.index(ours.kind), ours.number.order_id, ours.number.ordinal) for ours in joined}
    alone = {_row_key(row): row for row in rows if row.order_id is not None and _row_key(row) not in met}
    return list(alone.values())


def _row_key(row: UnequalRow) -> tuple[int, int, int]:
    """Of our side of a row."""
    return row.kind, row.order_id or 0, row.ordinal or 0


def _line(row: UnequalRow, terms: Terms) -> _Line:
    bill = _bill_row(row)
    number = find_number(bill, terms)
    return _Line(
        bill=bill,
        trade_no=row.trade_no,
        is_twice=row.is_twice,
        key=None if number is None else _number_key(number),
        joined=_joined(row, number, bill.kind, terms),
        is_returned=bool(row.is_returned),
    )


def _bill_row(row: UnequalRow) -> BillRow:
    assert row.line_no is not None
    assert row.happened_at is not None
    assert row.status is not None
    assert row.currency is not None
    assert row.amount_minor is not None
    return BillRow(
        line_no=row.line_no,
        kind=KINDS[row.kind],
        happened_at=row.happened_at,
        number=row.number or None,
        channel_no=row.channel_no,
        status=row.status,
        currency=row.currency,
        amount_minor=row.amount_minor,
        fee_e5=row.fee_e5,
        settle_minor=row.settle_minor,
    )


def _joined(row: UnequalRow, number: Number | None, kind: RowKind, terms: Terms) -> OurRow | None:
    """Our copied row of the same id and ordinal, if the number's other parts are right as well."""
    if row.order_id is None or number is None or row.lane != number.lane:
        return None
    return _copied(row, number, kind, terms)


def _copied(row: UnequalRow, number: Number, kind: RowKind, terms: Terms) -> OurRow:
    """Our side of a row as it was copied out."""
    assert row.our_minor is not None
    assert row.our_currency is not None
    return OurRow(
        kind=kind,
        number=number,
        account_id=terms.account_id,
        has_moved=True,
        moved_at=None,
        currency=row.our_currency,
        amount_minor=row.our_minor,
        settle_minor=row.our_settle_minor,
        rate_e6=row.our_rate_e6,
    )
