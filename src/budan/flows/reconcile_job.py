"""reconcile: fetches each account's bill once it is ready, compares it, and has the channel's word repair what it can."""

import asyncio
import shutil
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryDirectory
from typing import Final, assert_never

import structlog

from budan.core.bill_days import NOTHING_MOVED, is_believed
from budan.core.errors import Overloaded, Refused, StoreUnavailable
from budan.flows.bill_days import BillDays, bill_is_late
from budan.flows.discrepancies import Discrepancies, FollowedUp
from budan.flows.job import JobPlan, RunningJob
from budan.flows.portal_refunds import PortalRefunds
from budan.flows.reconciling import BillReader, BillWish, Reconciliation
from budan.ports.bill import BillNotYet, BillUnfetched, FetchedBill, NoBill
from budan.ports.channel import Call, ChannelAccounts
from budan.ports.clock import Clock
from budan.store.bill_days import OpenBill
from budan.store.database import RowsFailed

RECONCILE: Final = JobPlan(
    name="reconcile",
    purpose="fetches each account's bill of the day when it is ready, compares it with the books, repairs what the channel's word can",
    cron="*/10 * * * *",
    zone="Asia/Shanghai",
    takes=frozenset({"since", "until"}),
    is_repair=True,
    late_after_s=600.0,
    long_after_s=7_200.0,
    # It moves with each bill; ten million lines take minutes, and their download as long as the channel wants.
    stuck_after_s=7_200.0,
)

# Accounts whose bills are fetched at a time; one bill at a time is compared, for it takes the machine's memory and cores.
ACCOUNTS_AT_ONCE: Final = 4
# What a killed process left behind; no comparison takes as long.
LEFT_BEHIND_S: Final = 86_400.0
WANTED: Final = '"wanted"'

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class BillTools:
    """What bills are fetched and kept with; `folder` takes them while they are compared."""

    bills: BillDays
    accounts: ChannelAccounts
    discrepancies: Discrepancies
    portal_refunds: PortalRefunds
    folder: Path
    clock: Clock


class Reconcile:
    """Reconciliation, as a job."""

    def __init__(
        self, *, tools: BillTools, open_reconciliation: Callable[[], AbstractAsyncContextManager[Reconciliation]]
    ) -> None:
        self._tools = tools
        self._open_reconciliation = open_reconciliation

    @property
    def plan(self) -> JobPlan:
        """See Job.plan."""
        return RECONCILE

    async def run(self, running: RunningJob) -> None:
        """See Job.run. What is done is in the rows of the bills: a run that broke off finds there what is left.

        With `since` or `until` the bills of these days are fetched anew. An error of one account keeps no other one
        waiting; it is raised at the end.
        """
        counts, bills = Counter(running.progress), self._tools.bills
        given = running.arguments
        # First, for planning goes on from the last day that is there: days wanted before it would hide those between.
        counts["planned"] += await bills.plan(last_begun_at=running.last_begun_at)
        if (given.since or given.until) and running.cursor is None:
            counts["planned"] += await bills.want_again(since=given.since, until=given.until)
            running.stand(cursor=WANTED, progress=counts)
        due = await bills.list_due()
        errors: list[Exception] = []
        if due:
            await asyncio.to_thread(forget_left_behind, self._tools.folder, older_than_s=LEFT_BEHIND_S)
            async with self._open_reconciliation() as reconciliation:
                errors = await _Turn(self._tools, running, reconciliation, counts).work(due)
        counts["portal_refunds"] += await self._tools.portal_refunds.ask()
        _count_followed(counts, await self._tools.discrepancies.follow_up())
        counts["late"] = sum(waited.is_late for waited in await bills.list_waited())
        running.stand(cursor=running.cursor, progress=counts)
        if errors:
            raise ExceptionGroup("bills that could not be compared", errors)


class _Turn:
    """The bills that are due in one run: accounts beside each other, an account's days one after another."""

    def __init__(
        self, tools: BillTools, running: RunningJob, reconciliation: Reconciliation, counts: Counter[str]
    ) -> None:
        self._tools = tools
        self._running = running
        self._reconciliation = reconciliation
        self._counts = counts
        self._room = asyncio.Semaphore(ACCOUNTS_AT_ONCE)
        self._comparing = asyncio.Lock()

    async def work(self, due: Sequence[OpenBill]) -> list[Exception]:
        by_account: defaultdict[int, list[OpenBill]] = defaultdict(list)
        for bill in due:
            by_account[bill.account_id].append(bill)
        async with asyncio.TaskGroup() as tasks:
            working = [tasks.create_task(self._account(bills)) for bills in by_account.values()]
        return [error for task in working for error in task.result()]

    async def _account(self, bills: Sequence[OpenBill]) -> list[Exception]:
        errors: list[Exception] = []
        async with self._room:
            for bill in bills:
                try:
                    await self._bill(bill)
                except (StoreUnavailable, RowsFailed, Overloaded):
                    # Nothing of this bill: the run is taken up again when there is room.
                    raise
                except Exception as error:  # noqa: BLE001 - top of a turn with one bill: shown there, raised at the run's end
                    errors.append(error)
                    await self._put_off(bill, code="internal_error", message=type(error).__name__)
        return errors

    async def _bill(self, bill: OpenBill) -> None:
        tools = self._tools
        if not await tools.bills.begin(bill):
            return
        account = await tools.accounts.find(bill.account_id)
        if account is None:
            await self._put_off(bill, code="account_unusable")
            return
        tools.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with TemporaryDirectory(prefix="bill-", dir=tools.folder) as name:
            call = Call(
                now=tools.clock.now(),
                nonce=token_hex(16),
                deadline_s=tools.bills.terms_of(bill).fetch_timeout.total_seconds(),
            )
            answer = await account.adapter.fetch_bill(bill.day, into=Path(name) / "bill", call=call)
            match answer:
                case FetchedBill():
                    await self._compare(bill, answer, reader=account.adapter)
                case NoBill():
                    await self._compare(bill, None, reader=account.adapter)
                case BillNotYet():
                    await self._put_off(bill, code=answer.code)
                case BillUnfetched():
                    await self._put_off(bill, code=answer.code, message=answer.message)
                case _:
                    assert_never(answer)

    async def _compare(self, bill: OpenBill, fetched: FetchedBill | None, *, reader: BillReader) -> None:
        wish = BillWish(
            account_id=bill.account_id,
            day=bill.day,
            bill=fetched,
            origin="channel",
            is_believed=is_believed(bill.ready_at, now=bill.now),
        )
        try:
            async with self._comparing:
                run = await self._reconciliation.compare(wish, reader=reader, progress=_hear_nothing)
        except Refused as refused:
            await self._put_off(bill, code=refused.code, message=refused.detail)
            level = "info" if refused.code == NOTHING_MOVED else "warning"
            await self._running.say(level, f"{_named(bill)}: {refused.code} {refused.detail}".rstrip())
            return
        self._counts["compared"] += 1
        _count_followed(self._counts, await self._tools.discrepancies.follow_up(bill.account_id))
        self._running.stand(cursor=self._running.cursor, progress=self._counts)
        report = await self._reconciliation.get_report(run.id)
        await self._running.say(
            "info",
            f"{_named(bill)}: run {run.id}, {run.lines} lines, {report.matched} agree, {report.differences} differ, "
            f"{report.unresolved} unresolved",
        )
        if not report.ties_out:
            _log.error("day_untied", account_id=bill.account_id, day=bill.day, run=run.id, untied=report.tell_untied())
            for line in report.tell_untied():
                await self._running.say("error", f"{_named(bill)} DOES NOT TIE OUT: {line}")
        if report.fees_fit is False:
            _log.error("fees_differ", account_id=bill.account_id, day=bill.day, run=run.id, fee_e5=run.fee_e5)
            await self._running.say("error", f"{_named(bill)}: {report.tell_fees()}")

    async def _put_off(self, bill: OpenBill, *, code: str, message: str = "") -> None:
        self._counts["put_off"] += 1
        self._running.stand(cursor=self._running.cursor, progress=self._counts)
        state = await self._tools.bills.put_off(bill, code=code, message=message)
        # Each try tells again; the longer a bill is late, the longer between them.
        if bill_is_late(replace(bill, code=code)):
            _log.error("bill_late", account_id=bill.account_id, day=bill.day, code=code, state=state.value)


def forget_left_behind(folder: Path, *, older_than_s: float) -> None:
    """Remove what comparisons that were killed left in their folder. Safe to race."""
    now_s = time.time()
    for path in folder.glob("*-*") if folder.is_dir() else ():
        try:
            is_old = path.is_dir() and now_s - path.stat().st_mtime > older_than_s
        except FileNotFoundError:
            continue
        if is_old:
            shutil.rmtree(path, ignore_errors=True)


def _named(bill: OpenBill) -> str:
    return f"{bill.day} of {bill.account_name} ({bill.channel})"


def _count_followed(counts: Counter[str], followed: FollowedUp) -> None:
    counts["repaired"] += followed.repaired
    counts["asked"] += followed.asked


def _hear_nothing(_text: str) -> None:
    """A run's lines are for what became of a bill."""
