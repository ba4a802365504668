"""The books: proved as a whole, and read as balances, statements and a journal."""

from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time, timedelta

from budan.core.errors import Refused
from budan.core.journal import JournalEntry, JournalLine
from budan.core.ledger import held_back_account, merchant_account, payable_account
from budan.core.numbers import (
    BEIJING,
    Environment,
    Lane,
    MerchantId,
    Number,
    NumberKind,
    beijing_day,
    id_floor,
    render_number,
)
from budan.flows.statement import CLOSING, OPENING, Standing, StatementLine, group_lines, merge_lines
from budan.store import directory, settlement
from budan.store import ledger as stored
from budan.store.database import Database, Transaction
from budan.store.ledger import (
    Balance,
    ClosedDay,
    Line,
    Moved,
    NextDay,
    Stray,
    Stretch,
    Unbalanced,
    Unbooked,
    WrongAdjustment,
    WrongBudget,
    WrongCashback,
    WrongFee,
    WrongMove,
)
from budan.store.settlement import AstrayEntry, UntiedBatch

# A transaction stamps its postings and commits within its time limits; by then a day has all of its own.
CLOSE_AFTER = timedelta(minutes=10)
# Each statement reads so much at most, so that none holds a snapshot for long.
LANES_AT_ONCE = 8
SUM_SLICE = timedelta(hours=1)
JOURNAL_SLICE = timedelta(minutes=10)
STATEMENT_ROWS = 5_000
EXAMPLES_MAX = 20
# PostgreSQL's bigint ends here: no id is above.
ID_MAX = (1 << 63) - 1

Progress = Callable[[str], None]
BalanceKey = tuple[Lane, str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class WrongBalance:
    """A closed day whose sums are not those of its postings (`booked_minor`): rows were changed, removed or added since.

    Of a carry it is a day's balance beside that of the day before with the day's movements.
    """

    day: date
    lane: Lane
    account: str
    currency: str
    closed_minor: int
    booked_minor: int


@dataclass(slots=True, kw_only=True)
class LedgerCheck:
    """What `Books.check` found; each list has the first few only, the counts and `closed_days` all."""

    postings: int = 0
    entries: int = 0
    unbalanced: int = 0
    days_compared: int = 0
    closed_days: list[ClosedDay] = field(default_factory=list[ClosedDay])
    unbalanced_entries: list[Unbalanced] = field(default_factory=list[Unbalanced])
    unbooked_payments: list[Unbooked] = field(default_factory=list[Unbooked])
    wrong_moves: list[WrongMove] = field(default_factory=list[WrongMove])
    wrong_balances: list[WrongBalance] = field(default_factory=list[WrongBalance])
    untied_batches: list[UntiedBatch] = field(default_factory=list[UntiedBatch])
    astray_entries: list[AstrayEntry] = field(default_factory=list[AstrayEntry])
    wrong_cashbacks: list[WrongCashback] = field(default_factory=list[WrongCashback])
    wrong_budgets: list[WrongBudget] = field(default_factory=list[WrongBudget])
    wrong_fees: list[WrongFee] = field(default_factory=list[WrongFee])
    strays: list[Stray] = field(default_factory=list[Stray])
    wrong_adjustments: list[WrongAdjustment] = field(default_factory=list[WrongAdjustment])
    wrong_carries: list[WrongBalance] = field(default_factory=list[WrongBalance])

    @property
    def holds(self) -> bool:
        """Whether the books are what they promise to be."""
        return not (
            self.unbalanced
            or self.unbooked_payments
            or self.wrong_moves
            or self.wrong_balances
            or self.untied_batches
            or self.astray_entries
            or self.wrong_cashbacks
            or self.wrong_budgets
            or self.wrong_fees
            or self.strays
            or self.wrong_adjustments
            or self.wrong_carries
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialLine:
    """One account of the trial balance, over all lanes."""

    account: str
    currency: str
    debit_minor: int
    credit_minor: int
    balance_minor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialBalance:
    """Every account at one moment; `is_closed` says that it can never change again."""

    at: datetime
    is_closed: bool
    lines: tuple[TrialLine, ...]


class Books:
    """Reads the ledger. Its database is one whose sessions read in bulk."""

    def __init__(self, *, database: Database, environment: Environment, lanes: int) -> None:
        self._database = database
        self._environment = environment
        self._lanes = lanes

    async def check(self, *, progress: Progress) -> LedgerCheck:
        """Look at every entry, payment, refund, settlement batch and closed day (I3, I10). Changes nothing.

        Each carried balance is worked out anew from the one before, and no entry may belong to nothing.
        """
        found = LedgerCheck()
        async with self._database.reading() as transaction:
            first = await stored.next_day(transaction)
            days = await stored.list_days(transaction)
        begins = days[0].day if days else first.day
        # Entries that belong to no order of ours have ids below any that a clock could give.
        await self._check_stretch(found, first_id=0, past_id=id_floor(_begin(begins)))
        for day in _days(begins, beijing_day(first.now)):
            progress(f"entries of orders of {day}")
            await self._check_stretch(found, first_id=id_floor(_begin(day)), past_id=id_floor(_end(day)))
        progress("entries of orders to come")
        await self._check_stretch(found, first_id=id_floor(_end(beijing_day(first.now))), past_id=ID_MAX)
        await self._check_budgets(found)
        found.closed_days += days
        carried: dict[BalanceKey, int] = {}
        for closed in days:
            progress(f"closed day {closed.day}")
            await self._compare_day(found, closed.day, carried)
        return found

    def _lane_groups(self) -> list[list[Lane]]:
        return [
            [Lane(lane) for lane in range(first, min(first + LANES_AT_ONCE, self._lanes))]
            for first in range(0, self._lanes, LANES_AT_ONCE)
        ]

    async def _check_budgets(self, found: LedgerCheck) -> None:
        for lanes in self._lane_groups():
            async with self._database.reading() as transaction:
                found.wrong_budgets += await stored.list_wrong_budgets(transaction, lanes, rows_max=EXAMPLES_MAX)
        del found.wrong_budgets[EXAMPLES_MAX:]

    async def _check_stretch(self, found: LedgerCheck, *, first_id: int, past_id: int) -> None:
        for lanes in self._lane_groups():
            stretch = Stretch(lanes=lanes, first_id=first_id, past_id=past_id)
            async with self._database.reading() as transaction:
                count = await stored.count_entries(transaction, stretch)
                if count.unbalanced:
                    found.unbalanced_entries += await stored.list_unbalanced(
                        transaction, stretch, rows_max=EXAMPLES_MAX
                    )
                found.unbooked_payments += await stored.list_unbooked(transaction, stretch, rows_max=EXAMPLES_MAX)
                found.wrong_moves += await stored.list_wrong_moves(transaction, stretch, rows_max=EXAMPLES_MAX)
                found.wrong_cashbacks += await stored.list_wrong_cashback(transaction, stretch, rows_max=EXAMPLES_MAX)
            async with self._database.reading() as transaction:
                found.wrong_fees += await stored.list_wrong_fees(transaction, stretch, rows_max=EXAMPLES_MAX)
                found.strays += await stored.list_strays(transaction, stretch, rows_max=EXAMPLES_MAX)
                found.wrong_adjustments += await stored.list_wrong_adjustments(
                    transaction, stretch, rows_max=EXAMPLES_MAX
                )
            async with self._database.reading() as transaction:
                found.untied_batches += await settlement.list_untied(transaction, stretch, rows_max=EXAMPLES_MAX)
                found.astray_entries += await settlement.list_astray(transaction, stretch, rows_max=EXAMPLES_MAX)
            found.postings += count.postings
            found.entries += count.entries
            found.unbalanced += count.unbalanced
        del found.unbalanced_entries[EXAMPLES_MAX:]
        for examples in (
            found.unbooked_payments,
            found.wrong_moves,
            found.untied_batches,
            found.astray_entries,
            found.wrong_cashbacks,
            found.wrong_fees,
            found.strays,
            found.wrong_adjustments,
        ):
            del examples[EXAMPLES_MAX:]

    async def _compare_day(self, found: LedgerCheck, day: date, carried: dict[BalanceKey, int]) -> None:
        """A day's sums against its postings, and its balances against those of the days before, which `carried` keeps."""
        moved = {(one.lane, one.account, one.currency): one for one in await self.sum_day(day)}
        async with self._database.reading() as transaction:
            balances = await stored.list_moved_balances(transaction, day=day)
        closed = {(one.lane, one.account, one.currency): one for one in balances}
        for key in sorted(moved.keys() | closed.keys()):
            kept, booked = _movement(closed.get(key)), _movement(moved.get(key))
            if kept != booked and len(found.wrong_balances) < EXAMPLES_MAX:
                found.wrong_balances.append(_wrong_balance(day, key, kept[0] - kept[1], booked[0] - booked[1]))
        for key, balance in sorted(closed.items()):
            expected = carried.get(key, 0) + balance.debit_minor - balance.credit_minor
            carried[key] = balance.balance_minor
            if balance.balance_minor != expected and len(found.wrong_carries) < EXAMPLES_MAX:
                found.wrong_carries.append(_wrong_balance(day, key, balance.balance_minor, expected))
        found.days_compared += 1

    async def sum_day(self, day: date) -> list[Moved]:
        """What moved on each account in a day."""
        return await self._sum(since=_begin(day), until=_end(day))

    async def _sum(self, *, since: datetime, until: datetime) -> list[Moved]:
        """Movements of a time, read an hour at a time."""
        sums: dict[tuple[Lane, str, str], Moved] = {}
        for begin, end in _slices(since, until, SUM_SLICE):
            async with self._database.reading() as transaction:
                for one in await stored.list_moved(transaction, since=begin, until=end):
                    key = (one.lane, one.account, one.currency)
                    sums[key] = _added(sums.get(key), one)
        return list(sums.values())

    async def trial_balance(self, *, day: date | None) -> TrialBalance:
        """Every account at the end of a closed day, or now: the last closed day and the postings since (I10).

        Raises `Refused` with `day_not_closed`.
        """
        async with self._database.reading() as transaction:
            first = await stored.next_day(transaction)
            if day is not None and day >= first.day:
                raise Refused("day_not_closed", param="day", detail=f"the first day that is not closed is {first.day}")
            last = first.day - timedelta(days=1) if day is None else day
            balances = await stored.list_balances(transaction, day=last)
        since = await self._sum(since=_begin(first.day), until=first.now) if day is None else []
        at = first.now if day is None else _end(day)
        return TrialBalance(at=at, is_closed=day is not None, lines=_trial_lines(balances, since))

    async def statement(
        self,
        merchant_id: MerchantId,
        *,
        first_day: date,
        last_day: date,
    ) -> AsyncGenerator[StatementLine]:
        """A merchant's entries of some days, oldest first, with what we owed it after each; it opens and closes.

        Raises `Refused` with `period_reversed` or `merchant_unknown`.
        """
        if last_day < first_day:
            raise Refused("period_reversed", param="to", detail="the last day comes before the first")
        accounts = (payable_account(merchant_id), held_back_account(merchant_id), merchant_account(merchant_id))
        async with self._database.reading() as transaction:
            merchant = await directory.find_merchant(transaction, merchant_id)
            if merchant is None:
                raise Refused("merchant_unknown", param="merchant")
            first = await stored.next_day(transaction)
            closed_before, until = min(first_day, first.day), min(_end(last_day), first.now)
            since = _begin(closed_before)
            balances = await stored.find_balances(
                transaction, lane=merchant.lane, accounts=accounts, before=closed_before
            )
            # They are few beside a merchant's payments, which are read in parts.
            of_batches = await stored.list_batch_lines(
                transaction,
                lane=merchant.lane,
                merchant_id=merchant_id,
                accounts=accounts[:2],
                since=since,
                until=until,
            )
        own = self._lines_of(merchant.lane, accounts[2], since=since, until=until)
        standing, shown_from, is_opened = Standing(accounts, balances), _begin(first_day), False
        async for entry in group_lines(merge_lines(own, of_batches)):
            if not is_opened and entry[0].booked_at >= shown_from:
                for currency in standing.currencies():
                    yield standing.line(currency, OPENING, at=shown_from)
                is_opened = True
            amount_minor = standing.add(entry)
            if is_opened:
                of = entry[0]
                line = standing.line(of.currency, of.entry_key, at=of.booked_at)
                yield replace(
                    line,
                    order_no=self._order_no(of),
                    reference=of.reference,
                    amount_minor=amount_minor,
                    reason=of.reason,
                )
        if not is_opened:
            for currency in standing.currencies():
                yield standing.line(currency, OPENING, at=shown_from)
        for currency in standing.currencies():
            yield standing.line(currency, CLOSING, at=max(until, shown_from))

    async def _lines_of(self, lane: Lane, account: str, *, since: datetime, until: datetime) -> AsyncGenerator[Line]:
        after = (since, 0, "", 0)
        while True:
            async with self._database.reading() as transaction:
                lines = await stored.list_statement(
                    transaction,
                    lane=lane,
                    account=account,
                    since=since,
                    until=until,
                    after=after,
                    rows_max=STATEMENT_ROWS,
                )
            for line in lines:
                yield line
            if len(lines) < STATEMENT_ROWS:
                return
            after = lines[-1].place

    async def journal(self, *, first_day: date, last_day: date) -> AsyncGenerator[JournalEntry]:
        """The entries of some days in the order of booking, after one that opens with what stood before.

        Raises `Refused` with `period_reversed`, or `day_not_closed` where the day before the first is not closed.
        """
        async with self._database.reading() as transaction:
            first = await _journal_begin(transaction, first_day=first_day, last_day=last_day)
            balances = await stored.list_balances(transaction, day=first_day - timedelta(days=1))
        opening = _opening(balances, day=first_day)
        if opening is not None:
            yield opening
        for since, until in _slices(_begin(first_day), min(_end(last_day), first.now), JOURNAL_SLICE):
            async with self._database.reading() as transaction:
                lines = await stored.list_lines(transaction, since=since, until=until)
            for entry in self._entries(lines):
                yield entry

    def _entries(self, lines: Sequence[Line]) -> list[JournalEntry]:
        grouped: dict[tuple[Lane, int, str], list[Line]] = {}
        for line in lines:
            grouped.setdefault((line.lane, line.order_id, line.entry_key), []).append(line)
        return [
            JournalEntry(
                day=beijing_day(entry[0].booked_at),
                title=f"{entry[0].entry_key} {entry[0].reason}".rstrip(),
                order_no=self._order_no(entry[0]),
                lines=tuple(
                    JournalLine(account=line.account, amount_minor=line.amount_minor, currency=line.currency)
                    for line in entry
                ),
            )
            for entry in grouped.values()
        ]

    def _order_no(self, line: Line) -> str:
        """The number of what an entry belongs to; none of an adjustment without an order."""
        if line.merchant_id is None:
            return ""
        return render_number(
            Number(
                environment=self._environment,
                kind=NumberKind.SETTLEMENT if line.is_batch else NumberKind.ORDER,
                lane=line.lane,
                merchant_id=line.merchant_id,
                order_id=line.order_id,
                ordinal=0,
            )
        )


def last_day_over(now: datetime) -> date:
    """The last day to which nothing is booked any more: a transaction may commit minutes after its own moment."""
    return beijing_day(now - CLOSE_AFTER) - timedelta(days=1)


async def _journal_begin(transaction: Transaction, *, first_day: date, last_day: date) -> NextDay:
    """The first day that is not closed, for a journal that may begin there but not later."""
    if last_day < first_day:
        raise Refused("period_reversed", param="to", detail="the last day comes before the first")
    first = await stored.next_day(transaction)
    if first_day > first.day:
        raise Refused("day_not_closed", param="from", detail=f"the first day that is not closed is {first.day}")
    return first


def _begin(day: date) -> datetime:
    return datetime.combine(day, time(), tzinfo=BEIJING)


def _end(day: date) -> datetime:
    return _begin(day + timedelta(days=1))


def _days(first: date, last: date) -> list[date]:
    return [first + timedelta(days=number) for number in range((last - first).days + 1)]


def _slices(since: datetime, until: datetime, length: timedelta) -> list[tuple[datetime, datetime]]:
    count = max(0, -((since - until) // length))
    return [(since + length * number, min(since + length * (number + 1), until)) for number in range(count)]


def _wrong_balance(day: date, key: BalanceKey, closed_minor: int, booked_minor: int) -> WrongBalance:
    lane, account, currency = key
    return WrongBalance(
        day=day, lane=lane, account=account, currency=currency, closed_minor=closed_minor, booked_minor=booked_minor
    )


def _movement(row: Balance | Moved | None) -> tuple[int, int]:
    return (0, 0) if row is None else (row.debit_minor, row.credit_minor)


def _added(before: Moved | None, more: Moved) -> Moved:
    if before is None:
        return more
    return Moved(
        lane=more.lane,
        account=more.account,
        currency=more.currency,
        debit_minor=before.debit_minor + more.debit_minor,
        credit_minor=before.credit_minor + more.credit_minor,
        postings=before.postings + more.postings,
    )


def _trial_lines(balances: Sequence[Balance], since: Sequence[Moved]) -> tuple[TrialLine, ...]:
    """A platform figure is the sum over lanes; a balance stands on the side of its sign."""
    sums: dict[tuple[str, str], int] = {}
    for balance in balances:
        key = (balance.account, balance.currency)
        sums[key] = sums.get(key, 0) + balance.balance_minor
    for moved in since:
        key = (moved.account, moved.currency)
        sums[key] = sums.get(key, 0) + moved.debit_minor - moved.credit_minor
    return tuple(
        TrialLine(
            account=account,
            currency=currency,
            debit_minor=max(0, total),
            credit_minor=max(0, -total),
            balance_minor=total,
        )
        for (account, currency), total in sorted(sums.items())
    )


def _opening(balances: Sequence[Balance], *, day: date) -> JournalEntry | None:
    lines = tuple(
        JournalLine(account=line.account, amount_minor=line.balance_minor, currency=line.currency)
        for line in _trial_lines(balances, ())
        if line.balance_minor
    )
    return JournalEntry(day=day, title="opening balances", order_no="", lines=lines) if lines else None
