"""One bill against our books: read, compared, judged, kept in one transaction, and what can be repaired made due."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import partial
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NoReturn, Protocol, TypeVar

from budan.core.bill_days import NOTHING_MOVED
from budan.core.errors import Refused
from budan.core.numbers import AccountId, Environment, Lane, NumberKind, day_begin, day_span, id_floor, number_lead
from budan.core.reconcile import NEIGHBOUR_MAX, ORDER_AGE_MAX, FeesBack, OurRow, PortalRefund, Terms
from budan.flows.blocking import run_to_end, until_done
from budan.flows.day_report import DayReport, read_report
from budan.flows.findings import FEE_CURRENCY, DayFees, Findings, bound_day_fees, list_findings, tie_sides
from budan.flows.judged_rows import KINDS
from budan.flows.judging import Edges, Judge, Judgement, Lookups
from budan.ports.bill import BILL_FAULTS, BillRefused, BillTables, FetchedBill, ReadBill
from budan.store import bill_days
from budan.store import reconcile as stored
from budan.store.contracts import find_rate_e6
from budan.store.database import Database, Transaction
from budan.store.matching import Matching, SideSum, UnequalRow
from budan.store.reconcile import (
    CopyRange,
    HomeRow,
    KnownRun,
    MovedRow,
    NewRun,
    OrderKey,
    RowKey,
    RunRow,
    Sighting,
    SightingKey,
)
from budan.store.suspense import SUSPENSE, SuspendedRow, list_came
from budan.store.tie_out import NewTieOut, add_tie_out, forget_tie_out

Progress = Callable[[str], None]
# The clocks of our processes may be behind the channel's.
CLOCK_SKEW_MAX: Final = timedelta(minutes=10)
# One statement copies so much, and so many run beside each other.
SLICE: Final = timedelta(hours=1)
READERS: Final = 2
KEYS_PER_STATEMENT: Final = 2_000
# More than that is no bill of this account and day, or our books are not there: nobody could work through it.
DIFFERENCES_MAX: Final = 300_000
LIST_ROWS_MAX: Final = 1_000
NO_BILL_DIGEST: Final = sha256(b"").digest()

_KIND_PLACES: Final = {kind.value: place for place, kind in enumerate(KINDS)}

_T = TypeVar("_T")


class BillReader(Protocol):
    """Reads the bills of one account."""

    def read_bill(self, tables: BillTables, bill: FetchedBill, *, day: date, folder: Path) -> ReadBill:
        """Read a bill into the table `bill_line`, checked to the last line, or raise `BillRefused` and leave nothing."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class BillWish:
    """A bill to compare. `bill` is None where the channel says that nothing moved; `loaded_by` where a person brought it.

    `is_believed` is False where the channel may have said so of a bill that it has not made yet.
    """

    account_id: AccountId
    day: date
    bill: FetchedBill | None
    origin: str
    loaded_by: str = ""
    is_partial: bool = False
    is_believed: bool = True


class Reconciliation:
    """Compares bills. The sessions of `bulk` read in bulk; `folder` takes what one comparison needs."""

    def __init__(
        self,
        *,
        database: Database,
        bulk: Database,
        environment: Environment,
        lanes: int,
        folder: Path,
        threads: int,
    ) -> None:
        self._database = database
        self._bulk = bulk
        self._environment = environment
        self._lanes = [Lane(lane) for lane in range(lanes)]
        self._folder = folder
        self._threads = threads

    async def compare(self, wish: BillWish, *, reader: BillReader, progress: Progress) -> RunRow:
        """Compare a bill with our books and keep what was found; the same bytes again give the same run.

        They change nothing more unless another whole bill of the day was compared since: then their differences count
        again. A person's file neither ends what the channel's own bill has found nor the waiting for that bill.

        Nothing is kept of a bill that is refused, of one that is another account's by its rows, too. Raises `Refused` with `day_not_over`, one of `BILL_FAULTS`,
        `bill_does_not_fit`, `bill_not_made` or `nothing_moved`.
        """
        async with self._database.reading() as transaction:
            begun_at = await transaction.clock()
            rate_e6 = await find_rate_e6(transaction, wish.account_id, wish.day)
        if not wish.is_partial and begun_at < day_begin(wish.day + timedelta(days=1)):
            raise Refused("day_not_over", param="day", detail="until then a bill is a part: --partial")
        terms = Terms(environment=self._environment, account_id=wish.account_id, day=wish.day, rate_e6=rate_e6)
        async with self._matching() as (matching, folder):
            read = await self._read_both(wish, reader, matching, folder, rate_e6=rate_e6, progress=progress)
            digest = read.digest
            if wish.bill is None and not wish.is_believed:
                _refuse_unbelieved(await asyncio.to_thread(matching.sum_ours))
            known = await self._find_run(wish, digest)
            if known is not None and (wish.is_partial or not known.is_outdated):
                progress(f"run {known.id} has compared this bill already")
                async with self._database.transaction() as transaction:
                    await stored.take_run(transaction, known.id, origin=wish.origin)
                    await _mark_compared(transaction, wish, known.id)
                return await self._get_run(known.id)
            compared = await self._compare(matching, terms, wish, names_account=read.names_account, progress=progress)
            return await self._keep(wish, terms, compared, known=known, digest=digest, begun_at=begun_at)

    async def list_runs(self, *, account_id: int | None, day: date | None, rows_max: int) -> list[RunRow]:
        """The newest runs that fit. Raises `Refused` with `limit_out_of_range`."""
        if not 0 < rows_max <= LIST_ROWS_MAX:
            raise Refused("limit_out_of_range", param="limit", detail=f"1 to {LIST_ROWS_MAX}")
        async with self._database.reading() as transaction:
            return await stored.list_runs(transaction, account_id=account_id, day=day, rows_max=rows_max)

    async def get_report(self, run_id: int) -> DayReport:
        """The report of a run as its differences stand now; raises `Refused` with `run_not_found`."""
        async with self._database.reading() as transaction:
            runs = await stored.list_runs(transaction, run_id=run_id, rows_max=1)
            if not runs:
                raise Refused("run_not_found", param="run")
            (run,) = runs
            return await read_report(transaction, run)

    @asynccontextmanager
    async def _matching(self) -> AsyncGenerator[tuple[Matching, Path]]:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with TemporaryDirectory(prefix="reconcile-", dir=self._folder) as name:
            matching = await run_to_end(partial(Matching, folder=Path(name), threads=self._threads))
            try:
                yield matching, Path(name)
            finally:
                await run_to_end(matching.close)

    async def _read_both(
        self,
        wish: BillWish,
        reader: BillReader,
        matching: Matching,
        folder: Path,
        *,
        rate_e6: int | None,
        progress: Progress,
    ) -> "_Read":
        """The bill and our side of its day are in tables. They are read beside each other."""
        copied = asyncio.create_task(self._copy(wish, folder, rate_e6=rate_e6, progress=progress))
        try:
            progress("reading the bill")
            reading = partial(self._read_bill, wish, reader, matching, folder)
            read = await run_to_end(reading, interrupt=matching.interrupt)
            paths = await copied
        finally:
            # Nothing writes into the folder any more when it is removed.
            copied.cancel()
            await until_done(copied)
        await run_to_end(partial(matching.keep_ours, paths), interrupt=matching.interrupt)
        return read

    def _read_bill(self, wish: BillWish, reader: BillReader, matching: Matching, folder: Path) -> "_Read":
        found = _Read(digest=NO_BILL_DIGEST, names_account=True)
        if wish.bill is None:
            matching.make_no_bill()
        else:
            unpacked = folder / "unpacked"
            unpacked.mkdir(mode=0o700)
            bill = replace(wish.bill, is_given_up=matching.is_given_up)
            try:
                read = reader.read_bill(matching.tables, bill, day=wish.day, folder=unpacked)
            except BillRefused as refused:
                raise Refused(BILL_FAULTS[refused.code], param="bill", detail=_where(refused)) from refused
            found = _Read(digest=bytes.fromhex(read.sha256), names_account=read.names_account)
        matching.keep_bill(
            order_lead=number_lead(self._environment, NumberKind.ORDER),
            refund_lead=number_lead(self._environment, NumberKind.REFUND),
        )
        return found

    async def _copy(self, wish: BillWish, folder: Path, *, rate_e6: int | None, progress: Progress) -> list[Path]:
        """Our side of the day as files, in ranges of ids, so that no snapshot lives for long.

        Payments of orders that none of these ranges holds are written down by the door (`late_day`).
        """
        since, until = day_span(wish.day)
        begins = since - ORDER_AGE_MAX
        count = (until + CLOCK_SKEW_MAX - begins) // SLICE + 1
        whole = CopyRange(
            lanes=self._lanes,
            first_id=id_floor(begins),
            past_id=id_floor(begins + count * SLICE),
            account_id=wish.account_id,
            since=since,
            until=until,
        )
        slices = iter(range(count))
        paths: list[Path] = []

        async def copy_slices() -> None:
            for number in slices:
                first = begins + number * SLICE
                wanted = replace(whole, first_id=id_floor(first), past_id=id_floor(first + SLICE))
                path = folder / f"payments-{number}.csv"
                async with self._bulk.reading() as transaction:
                    await stored.copy_payments(transaction, wanted, path=path)
                paths.append(path)
                progress(f"our orders of {first:%F %R} UTC")

        async with asyncio.TaskGroup() as readers:
            for _ in range(READERS):
                readers.create_task(copy_slices())
        late, refunds = folder / "late.csv", folder / "refunds.csv"
        async with self._bulk.reading() as transaction:
            await stored.copy_late(transaction, whole, day=wish.day, path=late)
            await stored.copy_refunds(
                transaction, wish.account_id, since=since, until=until, rate_e6=rate_e6, path=refunds
            )
        return [*paths, late, refunds]

    async def _find_run(self, wish: BillWish, digest: bytes) -> KnownRun | None:
        async with self._database.reading() as transaction:
            return await stored.find_run(
                transaction,
                wish.account_id,
                day=wish.day,
                digest=digest,
                is_partial=wish.is_partial,
                origin=wish.origin,
            )

    async def _get_run(self, run_id: int) -> RunRow:
        async with self._database.reading() as transaction:
            (run,) = await stored.list_runs(transaction, run_id=run_id, rows_max=1)
        return run

    async def _compare(
        self, matching: Matching, terms: Terms, wish: BillWish, *, names_account: bool, progress: Progress
    ) -> "_Compared":
        progress("comparing")
        days, by_channel, beside = await self._look_beside(wish)
        finding = partial(_find_unequal, matching, terms, beside)
        unequal = await run_to_end(finding, interrupt=matching.interrupt)
        theirs = await run_to_end(matching.sum_theirs, interrupt=matching.interrupt)
        ours = await run_to_end(matching.sum_ours, interrupt=matching.interrupt)
        beyond = FeesBack()
        if terms.rate_e6 is not None:
            summing = partial(matching.sum_other_rates, rate_e6=terms.rate_e6, currency=FEE_CURRENCY)
            beyond = await run_to_end(summing, interrupt=matching.interrupt)
        # All that differs is rows of Python now, and needs the memory that the tables had.
        await run_to_end(matching.close)
        last_at = max((side.last_at for side in theirs if side.last_at is not None), default=None)
        progress(f"judging {len(unequal)} rows")
        edges = Edges(
            before_is_read=terms.day - NEIGHBOUR_MAX in days,
            after_is_read=terms.day + NEIGHBOUR_MAX in days,
            part_until=(last_at or day_begin(wish.day)) if wish.is_partial else None,
            beside=frozenset(beside),
        )
        judge = Judge(terms=terms, lookups=self._lookups(terms, by_channel=by_channel), edges=edges)
        judgement = await judge.judge(unequal)
        lines = sum(side.rows for side in theirs)
        if not names_account:
            _refuse_foreign(judgement, terms, lines=lines, has_ours=any(side.rows for side in ours))
        tallies, sides = tie_sides(theirs, ours, judgement)
        fees = bound_day_fees(theirs, rate_e6=terms.rate_e6, beyond=beyond)
        found = list_findings(judgement.rows, fees)
        return _Compared(
            lines=lines,
            fees=fees,
            found=found,
            tie_out=NewTieOut(tallies=tallies, sides=sides, findings=found.counted),
            sightings=judgement.sightings,
        )

    async def _look_beside(self, wish: BillWish) -> tuple[Collection[date], bool, set[SightingKey]]:
        """The days around whose whole bills were read, whose words count, and what the bills beside had of other days.

        By the channel's own bills alone is judged what the channel's bill says, and a file once that bill is there.
        """
        async with self._database.reading() as transaction:
            days = await stored.list_days(
                transaction, wish.account_id, first=wish.day - NEIGHBOUR_MAX, last=wish.day + NEIGHBOUR_MAX
            )
            by_channel = wish.origin == "channel" or days.get(wish.day, False)
            beside = await stored.list_beside(transaction, wish.account_id, day=wish.day, by_channel=by_channel)
        return days.keys(), by_channel, beside

    def _lookups(self, terms: Terms, *, by_channel: bool) -> Lookups:
        async def trades(keys: Sequence[RowKey]) -> dict[RowKey, MovedRow]:
            return await self._look_up(stored.list_trades, keys)

        async def refunds(keys: Sequence[RowKey]) -> dict[RowKey, MovedRow]:
            return await self._look_up(stored.list_refunds, keys)

        async def portal_refunds(orders: Sequence[OrderKey]) -> list[PortalRefund]:
            made: list[PortalRefund] = []
            for part in _parts(orders):
                async with self._database.reading() as transaction:
                    made += await stored.list_portal_refunds(transaction, part)
            return made

        async def suspense() -> list[SuspendedRow]:
            async with self._database.reading() as transaction:
                return await list_came(
                    transaction,
                    AccountId(terms.account_id),
                    first=terms.day - NEIGHBOUR_MAX,
                    last=terms.day + timedelta(days=stored.UNTOLD_DAYS_MAX),
                )

        async def sightings(wanted: Sequence[SightingKey]) -> dict[SightingKey, Sighting]:
            found: dict[SightingKey, Sighting] = {}
            for part in _parts(wanted):
                async with self._database.reading() as transaction:
                    seen = await stored.list_sightings(
                        transaction, AccountId(terms.account_id), part, but_of=terms.day, by_channel=by_channel
                    )
                found |= {key: one for key, one in seen.items() if one.by_channel or not by_channel}
            return found

        async def had(wanted: Sequence[HomeRow]) -> set[SightingKey]:
            found = set[SightingKey]()
            for part in _parts(wanted):
                async with self._database.reading() as transaction:
                    found |= await stored.list_had(
                        transaction, AccountId(terms.account_id), day=terms.day, by_channel=by_channel, wanted=part
                    )
            return found

        return Lookups(
            trades=trades,
            refunds=refunds,
            portal_refunds=portal_refunds,
            suspense=suspense,
            sightings=sightings,
            had=had,
        )

    async def _look_up(
        self,
        read: Callable[..., Awaitable[dict[RowKey, MovedRow]]],
        keys: Sequence[RowKey],
    ) -> dict[RowKey, MovedRow]:
        found: dict[RowKey, MovedRow] = {}
        for part in _parts(keys):
            async with self._database.reading() as transaction:
                found |= await read(transaction, part)
        return found

    async def _keep(
        self,
        wish: BillWish,
        terms: Terms,
        compared: "_Compared",
        *,
        known: KnownRun | None,
        digest: bytes,
        begun_at: datetime,
    ) -> RunRow:
        """The run, its tie-out and its differences are one transaction: there is no half of them."""
        fees, bounds = compared.fees, compared.fees.bounds
        run = NewRun(
            account_id=wish.account_id,
            day=wish.day,
            digest=digest,
            origin=wish.origin,
            is_partial=wish.is_partial,
            loaded_by=wish.loaded_by,
            lines=compared.lines,
            rate_e6=terms.rate_e6,
            fee_e5=fees.fee_e5,
            fee_wanted_e5=None if bounds is None else bounds.wanted_e5,
            fee_least_e5=None if bounds is None else bounds.least_e5,
            fee_most_e5=None if bounds is None else bounds.most_e5,
            begun_at=begun_at,
        )
        async with self._bulk.transaction() as transaction:
            await stored.lock_account(transaction, wish.account_id)
            if known is None:
                run_id = await stored.add_run(transaction, run)
            else:
                run_id = known.id
                await stored.take_run(transaction, run_id, origin=wish.origin)
                await stored.renew_run(transaction, run_id, run)
                await forget_tie_out(transaction, run_id)
            if run_id is not None:
                await stored.write_discrepancies(
                    transaction,
                    wish.account_id,
                    day=wish.day,
                    run_id=run_id,
                    says_anew=_says_anew(wish, known),
                    rows=compared.found.rows,
                )
                await add_tie_out(transaction, wish.account_id, day=wish.day, run_id=run_id, tie_out=compared.tie_out)
                await _keep_sightings(transaction, wish, run_id, compared.sightings)
                if not wish.is_partial:
                    await stored.resolve_gone(transaction, wish.account_id, day=wish.day, run_id=run_id)
                await _mark_compared(transaction, wish, run_id)
        found = await self._find_run(wish, digest)
        assert found is not None
        return await self._get_run(found.id)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Read:
    digest: bytes
    names_account: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Compared:
    lines: int
    fees: DayFees
    found: Findings
    tie_out: NewTieOut
    sightings: Mapping[SightingKey, bool]


async def _keep_sightings(
    transaction: Transaction, wish: BillWish, run_id: int, sightings: Mapping[SightingKey, bool]
) -> None:
    """What the bill has of other days; a whole bill takes the place of what was read of its day before."""
    if not wish.is_partial:
        await stored.forget_sightings(transaction, wish.account_id, bill_day=wish.day, origin=wish.origin)
    if sightings:
        await stored.add_sightings(
            transaction, wish.account_id, bill_day=wish.day, run_id=run_id, origin=wish.origin, sightings=sightings
        )
    if not wish.is_partial:
        await stored.reopen_beside(transaction, wish.account_id, bill_day=wish.day)


async def _mark_compared(transaction: Transaction, wish: BillWish, run_id: int) -> None:
    """A part of a day is not the bill that is waited for."""
    if not wish.is_partial:
        await bill_days.mark_compared(transaction, wish.account_id, day=wish.day, run_id=run_id, origin=wish.origin)


def _says_anew(wish: BillWish, known: KnownRun | None) -> bool:
    """Whether a bill may undo what persons have decided: the channel's own whole one, unless its last one was the same."""
    return wish.origin == "channel" and not wish.is_partial and (known is None or known.is_news)


def _refuse_unbelieved(ours: Sequence[SideSum]) -> NoReturn:
    """A bill that may not be made yet is no bill, and a run that believed one like it once says nothing of this time."""
    if any(side.rows for side in ours):
        raise Refused("bill_not_made", param="bill", detail="it says that nothing moved, and our books have rows")
    raise Refused(NOTHING_MOVED, param="bill", detail="our books say the same; it is believed a day after it was due")


def _refuse_foreign(judgement: Judgement, terms: Terms, *, lines: int, has_ours: bool) -> None:
    """A file that does not say whose it is, and of whose rows none is of this account, is another one's.

    Told by a row that names an order of ours at another account, or by that our books have rows of the day and it has
    none of them. One row of this account's is enough to believe it: a portal may give one file of two accounts.
    """
    strangers = [one for one in judgement.rows if one.row is not None and not _is_of(one.ours, terms)]
    if not strangers or len(strangers) < lines:
        return
    elsewhere = next((one for one in strangers if one.ours is not None), None)
    if elsewhere is not None and elsewhere.row is not None and elsewhere.ours is not None:
        detail = f"line {elsewhere.row.line_no}: is of account {elsewhere.ours.account_id}, and no row is of this one"
        raise Refused(BILL_FAULTS["foreign_account"], param="bill", detail=detail)
    if has_ours:
        detail = "our books have rows of the day, and no row is one of them or names an order of this account"
        raise Refused(BILL_FAULTS["foreign_account"], param="bill", detail=detail)


def _is_of(ours: OurRow | None, terms: Terms) -> bool:
    return ours is not None and ours.account_id == terms.account_id


def _find_unequal(matching: Matching, terms: Terms, beside: Collection[SightingKey]) -> list[UnequalRow]:
    found = matching.compare(
        rate_e6=terms.rate_e6,
        # Money in suspense is in no copy.
        beside=[
            (_KIND_PLACES[kind], order_id, ordinal) for order_id, ordinal, kind in sorted(beside) if kind != SUSPENSE
        ],
    )
    if found > DIFFERENCES_MAX:
        raise Refused(
            "bill_does_not_fit",
            param="bill",
            detail=f"{found} rows are not alike on both sides: is it this account's, and are our books whole?",
        )
    return list(matching.list_unequal())


def _where(refused: BillRefused) -> str:
    where = "" if refused.line_no is None else f"line {refused.line_no}"
    return ": ".join(part for part in (where, refused.detail) if part)


def _parts(keys: Sequence[_T]) -> list[Sequence[_T]]:
    return [keys[first : first + KEYS_PER_STATEMENT] for first in range(0, len(keys), KEYS_PER_STATEMENT)]
