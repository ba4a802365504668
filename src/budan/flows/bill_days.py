"""Which bills are waited for: each account's days, from when on, and why one is not there yet."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

from budan.core.bill_days import (
    FIRST_DAYS,
    NOTHING_MOVED,
    BillState,
    ask_again_in,
    is_late,
    is_wanted,
    list_wanted,
    ready_at,
)
from budan.core.numbers import AccountId, beijing_day
from budan.ports.bill import BillTerms
from budan.store import bill_days as stored
from budan.store import day_closing as closing
from budan.store.bill_days import BillAccount, NewBillDay, OpenBill
from budan.store.database import Database
from budan.store.day_closing import BillOfDay

OPEN_ROWS_MAX = 1_000
# What the table shows of a channel's words, which are foreign text.
MESSAGE_LENGTH_MAX = 200
# Of a bill that is being fetched or compared, or whose process died over it.
UNDER_WAY = "under_way"
# Of a bill that nobody has asked for yet, and of one that its channel has not promised yet.
NOT_ASKED = "not_asked"
NOT_READY = "not_ready"
# Of a file that was compared before we learned of more money of its day: nobody but a person loads it again.
FILE_OUTDATED = "file_outdated"
# News is looked for so far back before the last look: a comparison that was under way then could not know it, and takes
# no day.
NEWS_OVERLAP = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitedBill:
    """A bill that is not compared; late where finance should have had it by now, or nobody will ever have it."""

    bill: OpenBill
    is_late: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class UncomparedBill:
    """An account whose whole bill of a day was not compared, for the reason `code`.

    `is_fetched` is False where its channel serves none: only a file that a person loads can be compared.
    """

    account_id: AccountId
    account: str
    code: str
    is_fetched: bool


class BillDays:
    """Plans days and keeps what became of them. `terms` are each channel's; None where it serves no bills."""

    def __init__(self, *, database: Database, terms: Mapping[str, BillTerms | None]) -> None:
        self._database = database
        self._terms = terms

    def terms_of(self, bill: OpenBill) -> BillTerms:
        """What the bill's channel promises."""
        terms = self._terms.get(bill.channel)
        assert terms is not None, "only days of channels that serve bills are planned"
        return terms

    async def plan(self, *, last_begun_at: datetime | None = None) -> int:
        """Want the bills that have become ready, and those whose day we know more of now; gives how many.

        Safe to repeat and to race: what was compared with all that we know is not wanted again.
        `last_begun_at` is when this was last done before, where somebody knows: refunds of disabled accounts are looked
        for from then on, so that a job that was off for weeks misses none.
        """
        async with self._database.transaction() as transaction:
            now = await transaction.clock()
            refund_days = FIRST_DAYS + (0 if last_begun_at is None else max(0, (now - last_begun_at).days))
            days: list[NewBillDay] = []
            anew: list[NewBillDay] = []
            outdated = await stored.list_outdated(transaction, since=(last_begun_at or now) - NEWS_OVERLAP)
            for account in await stored.list_accounts(transaction, refund_days=refund_days):
                terms = self._terms.get(account.channel)
                if terms is None:
                    continue
                wanted = list_wanted(
                    created_at=account.created_at,
                    planned_to=account.planned_to,
                    moved_on=account.moved_on,
                    used_at=account.used_at,
                    enabled=account.enabled,
                    now=now,
                    ready=_ready_time(account, terms),
                )
                days += [
                    NewBillDay(
                        account_id=account.account_id, day=day, ready_at=ready_at(day, _ready_time(account, terms))
                    )
                    for day in wanted
                ]
                for account_id, day in sorted(outdated):
                    ready = ready_at(day, _ready_time(account, terms))
                    if account_id == account.account_id and now < ready + terms.kept:
                        anew.append(NewBillDay(account_id=account.account_id, day=day, ready_at=ready))
            added = await stored.add_days(transaction, days) if days else 0
            return added + (await stored.want_again(transaction, anew) if anew else 0)

    async def want_again(self, *, since: datetime | None, until: datetime | None) -> int:
        """Want the bills of the days between two moments anew, compared or not; gives how many.

        Only days whose bill is ready, of accounts that were there. Safe to repeat: a bill of the same bytes changes nothing.
        """
        async with self._database.transaction() as transaction:
            now = await transaction.clock()
            days: list[NewBillDay] = []
            for account in await stored.list_accounts(transaction, refund_days=FIRST_DAYS):
                terms = self._terms.get(account.channel)
                if terms is None:
                    continue
                first = beijing_day(max(since or account.created_at, account.created_at, now - terms.kept))
                last = beijing_day(now if until is None else min(until, now))
                for days_on in range((last - first).days + 1):
                    day = first + timedelta(days=days_on)
                    ready = ready_at(day, _ready_time(account, terms))
                    if ready <= now:
                        days.append(NewBillDay(account_id=account.account_id, day=day, ready_at=ready))
            return await stored.want_again(transaction, days) if days else 0

    async def list_due(self) -> Sequence[OpenBill]:
        """The bills to ask for now, of the oldest day first; a later run has what is too much for one."""
        async with self._database.reading() as transaction:
            return await stored.list_open(transaction, due_only=True, rows_max=OPEN_ROWS_MAX)

    async def list_waited(self) -> Sequence[WaitedBill]:
        """The bills that are not compared, of the oldest day first."""
        async with self._database.reading() as transaction:
            bills = await stored.list_open(transaction, due_only=False, rows_max=OPEN_ROWS_MAX)
        return [WaitedBill(bill=bill, is_late=bill_is_late(bill)) for bill in bills]

    async def list_uncompared(self, day: date) -> Sequence[UncomparedBill]:
        """The bills of a day that is over and that are wanted, planned or not, and not compared; by account.

        A whole file that a person loaded is as good, unless we have learned of more money since. That nothing moved, as the channel and our own books say, too.
        """
        async with self._database.reading() as transaction:
            now = await transaction.clock()
            accounts = await stored.list_accounts(transaction, refund_days=FIRST_DAYS)
            bills = {bill.account_id: bill for bill in await closing.list_bills(transaction, day=day)}
        return [
            UncomparedBill(
                account_id=account.account_id,
                account=f"{account.name} ({account.channel})",
                code=code,
                is_fetched=self._terms.get(account.channel) is not None,
            )
            for account in accounts
            if (code := self._why_uncompared(account, bills[account.account_id], day=day, now=now)) is not None
        ]

    def _why_uncompared(self, account: BillAccount, bill: BillOfDay, *, day: date, now: datetime) -> str | None:
        """Why a day's bill is not compared; None where it is, or nobody waits for it."""
        if bill.is_compared:
            return None
        if bill.has_file:
            return FILE_OUTDATED
        if bill.state is not None:
            # One that was compared and is wanted anew brought money since, whatever is said of it last.
            is_quiet = bill.code == NOTHING_MOVED and bill.run_id is None
            return None if is_quiet else bill.code or NOT_ASKED
        terms = self._terms.get(account.channel)
        ready = time() if terms is None else _ready_time(account, terms)
        wanted = is_wanted(
            day,
            created_at=account.created_at,
            planned_to=account.planned_to,
            moved_on=account.moved_on,
            used_at=account.used_at,
            enabled=account.enabled,
            now=now,
            ready=ready,
        )
        if not wanted:
            return None
        return NOT_ASKED if now >= ready_at(day, ready) else NOT_READY

    async def begin(self, bill: OpenBill) -> bool:
        """Put a bill off before it is fetched: one that kills its process is not met again at once, by one after another.

        False where it is waited for no more. What becomes of it replaces this.
        """
        async with self._database.transaction() as transaction:
            wait = ask_again_in(bill.ready_at, now=bill.now)
            return await stored.begin(transaction, bill, wait=wait, code=UNDER_WAY)

    async def put_off(self, bill: OpenBill, *, code: str, message: str = "") -> BillState:
        """Keep why a bill did not come; it is asked for again until its channel keeps it no more. Safe to repeat.

        Gives what became of it: where the whole day was loaded from a file it is compared then, and else missed.
        """
        is_over = bill.now >= bill.ready_at + self.terms_of(bill).kept
        state = BillState.MISSED if is_over else BillState.WAITING
        async with self._database.transaction() as transaction:
            put_off = await stored.put_off(
                transaction,
                bill,
                state=state.value,
                wait=ask_again_in(bill.ready_at, now=bill.now),
                code=code,
                message=message[:MESSAGE_LENGTH_MAX],
            )
        return state if put_off is None else BillState(put_off)


def bill_is_late(bill: OpenBill) -> bool:
    """Whether somebody should wonder where a bill is."""
    return is_late(bill.ready_at, now=bill.now, code=bill.code, has_file=bill.file_run_id is not None)


def _ready_time(account: BillAccount, terms: BillTerms) -> time:
    """The account's own word, which was judged when it was saved, or its channel's."""
    return terms.ready_at if account.bill_ready_at is None else time.fromisoformat(account.bill_ready_at)
