"""What became of each row that is not on both sides once and alike: looked up here, judged, and counted."""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

import msgspec

from budan.core.numbers import Number, NumberKind, beijing_day, day_begin, render_number
from budan.core.reconcile import (
    BillRow,
    OurRow,
    PortalRefund,
    RowKind,
    Sum,
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
from budan.flows.judged_rows import (
    KINDS,
    Line,
    copied_row,
    find_doubles,
    find_ours,
    key_of,
    lane_key,
    line_of,
    list_alone,
    number_key,
    our_row,
    portal_key,
    sighting_key,
    suspended_row,
)
from budan.store.matching import UnequalRow
from budan.store.reconcile import HomeRow, MovedRow, OrderKey, RowKey, Sighting, SightingKey
from budan.store.suspense import SuspendedRow

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
        # What a row of this bill is already: each of ours counts once, by whatever number or name it is found.
        self._met: set[SightingKey] = set()

    async def judge(self, rows: Sequence[UnequalRow]) -> Judgement:
        """All verdicts. Reads only."""
        lines = [line_of(row, self._terms) for row in rows if row.line_no is not None]
        suspended = [suspended_row(row, self._terms) for row in await self._lookups.suspense()]
        lines = self._meet_suspended(lines, suspended)
        moved, external = await self._look_up(lines)
        # Our number of what was made past us is not that one's name at the channel, but perhaps another's.
        lines = [
            msgspec.structs.replace(line, key=None)
            if line.bill.kind is RowKind.REFUND and line.key in external
            else line
            for line in lines
        ]
        lines = await self._name_portal_refunds(lines, moved, rows)
        lines = await self._name_taken_back(lines, moved)
        self._had = await self._list_had(lines, moved)
        doubles = find_doubles(lines)
        strangers: list[Line] = []
        # Reversals first: a payment is judged by whether its reversal is there.
        for line in sorted(lines, key=lambda line: line.bill.kind is not RowKind.REVERSAL):
            if line.bill.line_no in doubles:
                self._add(line, Verdict.DOUBLE, ours=line.joined, counted=_NOTHING)
                continue
            ours = find_ours(line, moved)
            if ours is None:
                strangers.append(line)
            else:
                self._judge_known(line, ours)
        await self._judge_strangers(strangers)
        met = [line.instead for line in lines if line.instead is not None]
        alone = [one for one in suspended if one not in met and not self._is_elsewhere(one)]
        await self._judge_alone(list_alone(rows, lines), alone)
        return self._found

    def _meet_suspended(self, lines: Sequence[Line], suspended: Sequence[OurRow]) -> list[Line]:
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
            msgspec.structs.replace(line, instead=one, joined=None, is_twice=False, is_returned=False)
            if (one := met.get(line.bill.line_no)) is not None
            else line
            for line in lines
        ]

    async def _look_up(
        self, lines: Sequence[Line]
    ) -> tuple[dict[tuple[RowKind, RowKey | None], OurRow], set[RowKey | None]]:
        """What is here of the numbers that our copied side does not have, and which refunds of them were made past us."""
        unmet = [line for line in lines if line.key and not line.joined and not line.instead]
        trades = {line.key for line in unmet if line.key and line.bill.kind is not RowKind.REFUND}
        refunds = {line.key for line in unmet if line.key and line.bill.kind is RowKind.REFUND}
        found: dict[tuple[RowKind, RowKey | None], OurRow] = {}
        for key, row in (await self._lookups.trades(sorted(trades))).items():
            found[RowKind.PAYMENT, key] = our_row(row, RowKind.PAYMENT, self._terms)
            found[RowKind.REVERSAL, key] = our_row(row, RowKind.REVERSAL, self._terms)
        external = set[RowKey | None]()
        for key, row in (await self._lookups.refunds(sorted(refunds))).items():
            if row.is_external:
                external.add(key)
            else:
                found[RowKind.REFUND, key] = our_row(row, RowKind.REFUND, self._terms)
        return found, external

    async def _list_had(
        self, lines: Sequence[Line], moved: Mapping[tuple[RowKind, RowKey | None], OurRow]
    ) -> set[SightingKey]:
        """The rows of other days that another bill has had: their own day's, or one beside.

        A charge that was taken back may be there without its row.
        """
        wanted: dict[SightingKey, HomeRow] = {}
        for line in lines:
            ours = line.instead or moved.get((line.bill.kind, line.key))
            if ours is None or ours.moved_at is None or line.bill.status != "succeeded":
                continue
            is_payment = line.bill.kind is RowKind.PAYMENT and line.instead is None
            back = moved.get((RowKind.REVERSAL, line.key)) if is_payment else None
            if self._is_beside(ours) and not (back is not None and back.has_moved):
                key = sighting_key(ours)
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

    def _judge_known(self, line: Line, ours: OurRow) -> None:
        kind = line.bill.kind
        verdict = judge_pair(line.bill, ours, self._terms)
        is_beside = line.joined is None and self._is_beside(ours)
        # Of money in suspense each row has met its own: of one trade there may be several.
        counts_once = verdict is not Verdict.UNKNOWN_NUMBER and ours.suspended is None
        is_met = counts_once and sighting_key(ours) in self._met
        if is_met or (is_beside and sighting_key(ours) in self._had):
            self._add(line, Verdict.DOUBLE, ours=ours, counted=_NOTHING)
            return
        if counts_once:
            self._met.add(sighting_key(ours))
        here = Sum(rows=1, amount_minor=ours.amount_minor)
        is_today = line.joined is not None or (
            ours.has_moved and not self._is_elsewhere(ours) and verdict is not Verdict.UNKNOWN_NUMBER
        )
        if is_today and line.joined is None:
            # Copied out by nobody: it moved while the copy was taken, or is in none.
            self._found.late[kind, ours.currency] += here
        if ours.kind is RowKind.REVERSAL:
            self._returned.add(key_of(ours))
        if line.is_returned and line.joined is not None:
            self._taken_back.append(ours)
        if is_today and line.bill.status == "succeeded" and sighting_key(ours) in self._edges.beside:
            # The bill of the day beside had ours first.
            self._add(line, Verdict.DOUBLE, ours=ours, counted=_NOTHING)
            self._add_alone(replace(ours, kind=kind), Verdict.NEIGHBOUR_DAY)
            return
        # What moved here after this bill was made, or counts on another day, has its row here, whatever that differs by:
        # else the other day would miss it as well.
        if is_beside or (not ours.has_moved and verdict is not Verdict.UNKNOWN_NUMBER):
            seen, is_done = self._found.sightings, line.bill.status == "succeeded"
            seen[sighting_key(ours)] = seen.get(sighting_key(ours), False) or is_done
        state = "asked" if verdict is Verdict.THERE_ONLY else "open"
        self._add(line, verdict, ours=ours, counted=here if is_today else _NOTHING, state=state)

    async def _name_portal_refunds(
        self, lines: Sequence[Line], moved: dict[tuple[RowKind, RowKey | None], OurRow], rows: Sequence[UnequalRow]
    ) -> list[Line]:
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
        of_day = {lane_key(row): row for row in rows if row.line_no is None and KINDS[row.kind] is RowKind.REFUND}
        made = [one if portal_key(one) in of_day else replace(one, by_total=False) for one in made]
        met = meet_portal_refunds(named, made)
        # A second row of a name is the same refund again.
        names = {bill.line_no: (bill.name, payment) for bill, payment in named if bill.name}
        known = {names[line_no]: one for line_no, one in met.items() if line_no in names}
        met = {line_no: known[name] for line_no, name in names.items() if name in known} | met
        elsewhere = {portal_key(one) for one in met.values()} - of_day.keys()
        for key, row in (await self._lookups.refunds(sorted(elsewhere))).items():
            moved[RowKind.REFUND, key] = our_row(row, RowKind.REFUND, self._terms)
        return [self._named(line, met.get(line.bill.line_no), of_day) for line in lines]

    async def _name_taken_back(
        self, lines: Sequence[Line], moved: Mapping[tuple[RowKind, RowKey | None], OurRow]
    ) -> list[Line]:
        """The lines, with our charges that were taken back where the bill calls that a refund.

        Alipay's and iPaynow's bills have no other word for it, and no number of a refund of ours is in such a row.
        """
        payments = {
            line.bill.line_no: number_key(payment)
            for line in lines
            if line.joined is None
            and (line.bill.kind, line.key) not in moved
            and (payment := self._payment(line)) is not None
        }
        trades = await self._lookups.trades(sorted(set(payments.values()))) if payments else {}
        left = {key: our_row(row, RowKind.REVERSAL, self._terms) for key, row in trades.items()}
        named: list[Line] = []
        for line in lines:
            key = payments.get(line.bill.line_no)
            back = None if key is None else left.get(key)
            if key is not None and back is not None and back.has_moved and back.amount_minor == line.bill.amount_minor:
                del left[key]
                named.append(msgspec.structs.replace(line, instead=back))
            else:
                named.append(line)
        return named

    def _named(self, line: Line, made: PortalRefund | None, of_day: Mapping[RowKey, UnequalRow]) -> Line:
        if made is None:
            return line
        payment = self._payment(line)
        assert payment is not None, "it was met by its payment"
        row = of_day.get(portal_key(made))
        number = replace(payment, kind=NumberKind.REFUND, ordinal=made.ordinal)
        joined = None if row is None else copied_row(row, number, RowKind.REFUND, self._terms)
        return msgspec.structs.replace(line, key=portal_key(made), joined=joined)

    async def _judge_strangers(self, strangers: Sequence[Line]) -> None:
        """Numbers that name nothing here."""
        payments = {line.bill.line_no: self._payment(line) for line in strangers}
        trades = await self._lookups.trades(sorted({number_key(one) for one in payments.values() if one is not None}))
        for line in strangers:
            payment = payments[line.bill.line_no]
            self._judge_stranger(line, None if payment is None else trades.get(number_key(payment)))

    def _payment(self, line: Line) -> Number | None:
        """The payment of ours that a refund of the bill names."""
        if line.bill.kind is not RowKind.REFUND:
            return None
        return find_number(replace(line.bill, kind=RowKind.PAYMENT, number=line.trade_no), self._terms)

    def _judge_stranger(self, line: Line, payment: MovedRow | None) -> None:
        if payment is not None and payment.account_id == self._terms.account_id:
            ours = replace(our_row(payment, RowKind.PAYMENT, self._terms), has_moved=False)
            # Nobody can be asked without a number, nor about one of ours that our books have lost.
            state = "open" if line.bill.number is None or line.key is not None else "asked"
            self._add(line, Verdict.THERE_ONLY, ours=ours, counted=_NOTHING, state=state)
        else:
            self._add(line, judge_stranger(line.bill, self._terms), ours=None, counted=_NOTHING)

    async def _judge_alone(self, rows: Sequence[UnequalRow], suspended: Sequence[OurRow]) -> None:
        """Our rows that the bill does not have: looked for in the bills of the days beside before they are missed."""
        keys = {(KINDS[row.kind], lane_key(row)): row for row in rows}
        trades = await self._lookups.trades(sorted(key for kind, key in keys if kind is RowKind.PAYMENT))
        refunds = await self._lookups.refunds(sorted(key for kind, key in keys if kind is RowKind.REFUND))
        wanted = [(key[1], key[2], kind.value) for kind, key in keys]
        returned = {key for (_, key), row in keys.items() if row.is_returned} | {
            key_of(ours) for ours in self._taken_back
        }
        wanted += [(order_id, ordinal, RowKind.REVERSAL.value) for _, order_id, ordinal in sorted(returned)]
        wanted += [sighting_key(ours) for ours in suspended]
        sighted = await self._lookups.sightings(wanted) if wanted else {}
        for (kind, key), row in keys.items():
            moved = (refunds if kind is RowKind.REFUND else trades)[key]
            ours = replace(our_row(moved, kind, self._terms), has_moved=True, amount_minor=row.our_minor or 0)
            is_sighted = sighting_key(ours) in sighted
            if row.is_returned and key not in self._returned:
                self._taken_back.append(ours)
            is_back = key in self._returned or (key[1], key[2], RowKind.REVERSAL.value) in sighted
            if row.is_returned and is_back and not is_sighted:
                self._add_alone(ours, Verdict.RETURNED)
            else:
                self._judge_missing(ours, is_sighted=is_sighted)
        for ours in self._taken_back:
            key = key_of(ours)
            if key not in self._returned:
                back = replace(ours, kind=RowKind.REVERSAL)
                self._found.late[RowKind.REVERSAL, ours.currency] += Sum(rows=1, amount_minor=ours.amount_minor)
                self._judge_missing(back, is_sighted=(key[1], key[2], RowKind.REVERSAL.value) in sighted)
        for ours in suspended:
            self._found.late[RowKind.PAYMENT, ours.currency] += Sum(rows=1, amount_minor=ours.amount_minor)
            self._judge_missing(ours, is_sighted=sighting_key(ours) in sighted)

    def _judge_missing(self, ours: OurRow, *, is_sighted: bool) -> None:
        if is_sighted:
            self._add_alone(ours, Verdict.NEIGHBOUR_DAY)
            return
        moment, begin = ours.moved_at, day_begin(self._terms.day)
        until, is_reversal = self._edges.part_until, ours.kind is RowKind.REVERSAL
        if until is not None and (moment is None or moment > until or is_reversal):
            # A part of a bill ends before it, or may: a reversal comes some time after its payment.
            self._found.late[ours.kind, ours.currency] -= Sum(rows=1, amount_minor=ours.amount_minor)
            return
        is_older = ours.begun_at is not None and ours.begun_at < begin
        is_awaited = moment is not None and (
            ((is_older or moment < begin + MIDNIGHT_NEAR) and not self._edges.before_is_read)
            or (moment >= begin + timedelta(days=1) - MIDNIGHT_NEAR and not self._edges.after_is_read)
        )
        is_awaited = is_awaited or (is_reversal and not self._edges.after_is_read)
        self._add_alone(ours, Verdict.HERE_ONLY, state="awaited" if is_awaited else "open")

    def _add(self, line: Line, verdict: Verdict, *, ours: OurRow | None, counted: Sum, state: str = "open") -> None:
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
