"""What operators see of jobs and do with them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec

from budan.core.errors import Refused
from budan.core.numbers import Environment, Lane, MerchantId
from budan.flows.cron import parse_cron
from budan.flows.job import JobPlan, RunArguments, check_arguments, parse_order_no
from budan.flows.keeping import DUE_COUNTED_MAX, KINDS
from budan.flows.lanes import LEASE_S
from budan.store import audit, directory, work
from budan.store import jobs as stored
from budan.store import reading as stored_orders
from budan.store.audit import Report, WaitingMail
from budan.store.database import Database, Transaction
from budan.store.jobs import JobRow, LineRow, RunRow
from budan.store.work import DueCount

HISTORY_ROWS_MAX = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class JobView:
    """A job as people see it. `overdue_s`: for how long its slot has gone by without any worker planning it."""

    plan: JobPlan
    row: JobRow
    overdue_s: float
    is_recovery_off: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CentreView:
    """All jobs, the continuous loops with what is due there, and the mail; `mails` is False where none is set up."""

    jobs: tuple[JobView, ...]
    loops: tuple[DueCount, ...]
    workers: int
    mails: bool
    waiting_mail: WaitingMail


class JobDesk:
    """Shows jobs, orders runs, pauses and resumes."""

    def __init__(
        self,
        *,
        database: Database,
        environment: Environment,
        lanes: int,
        plans: Mapping[str, JobPlan],
        mails: bool,
    ) -> None:
        self._database = database
        self._environment = environment
        self._lanes = lanes
        self._plans = plans
        self._mails = mails

    async def show(self) -> CentreView:
        """All jobs and loops as they stand."""
        lanes = [Lane(lane) for lane in range(self._lanes)]
        async with self._database.reading() as transaction:
            rows = await stored.list_jobs(transaction)
            due = {
                count.work: count for count in await work.count_due(transaction, lanes=lanes, rows_max=DUE_COUNTED_MAX)
            }
            workers = await stored.count_workers(transaction, living_s=LEASE_S)
            waiting_mail = await audit.count_waiting(transaction)
        views = tuple(self._view(self._plans[row.name], row) for row in rows if row.name in self._plans)
        loops = tuple(due.get(kind) or DueCount(work=kind, rows_due=0, oldest_s=0.0) for kind in KINDS)
        return CentreView(jobs=views, loops=loops, workers=workers, mails=self._mails, waiting_mail=waiting_mail)

    async def order_run(self, name: str, arguments: RunArguments) -> int:
        """Make a run due at once, paused jobs too; gives its number.

        Raises `Refused` with `job_unknown`, as `check_arguments` does, then with `order_no_malformed`,
        `wrong_environment`, `order_not_found` or `merchant_not_found`.
        """
        plan = self._plan(name)
        async with self._database.transaction() as transaction:
            check_arguments(plan, arguments, now=await transaction.clock())
            await self._refuse_unknown(transaction, arguments)
            return await stored.add_run(transaction, job=name, arguments=msgspec.json.encode(arguments).decode())

    async def set_enabled(self, name: str, *, enabled: bool) -> JobPlan:
        """Pause or resume; gives the plan. A resumed job starts at its next slot. Raises `Refused` with `job_unknown`."""
        plan = self._plan(name)
        async with self._database.transaction() as transaction:
            row = await stored.find_job(transaction, name)
            assert row is not None, "registered"
            # Slots that passed while it was paused are not missed: somebody wanted them so.
            next_at = parse_cron(row.cron, row.zone).slot_after(row.now)
            await stored.set_enabled(transaction, name=name, enabled=enabled, next_at=next_at)
        return plan

    async def set_cron(self, name: str, *, cron: str | None, zone: str | None) -> datetime:
        """Change when a job runs; gives its next slot.

        Raises `Refused` with `job_unknown`, `nothing_to_change`, or as `parse_cron` does.
        """
        self._plan(name)
        if cron is None and zone is None:
            raise Refused("nothing_to_change", param="cron", detail="--cron, --zone or both")
        async with self._database.transaction() as transaction:
            row = await stored.find_job(transaction, name)
            assert row is not None, "registered"
            parsed = parse_cron(row.cron if cron is None else cron, row.zone if zone is None else zone)
            next_at = parsed.slot_after(row.now)
            await stored.set_cron(transaction, name=name, cron=parsed.text, zone=parsed.zone.key, next_at=next_at)
        return next_at

    async def list_runs(self, name: str | None, *, rows_max: int) -> list[RunRow]:
        """Runs, newest first. Raises `Refused` with `job_unknown` or `limit_out_of_range`."""
        if name is not None:
            self._plan(name)
        if not 1 <= rows_max <= HISTORY_ROWS_MAX:
            raise Refused("limit_out_of_range", param="limit", detail=f"1 to {HISTORY_ROWS_MAX}")
        async with self._database.reading() as transaction:
            return await stored.list_runs(transaction, job=name, rows_max=rows_max)

    async def get_run(self, run_id: int) -> tuple[RunRow, list[LineRow]]:
        """One run with what it said. Raises `Refused` with `run_not_found`."""
        async with self._database.reading() as transaction:
            row = await stored.find_run(transaction, run_id)
            if row is None:
                raise Refused("run_not_found", param="run")
            return row, await stored.list_lines(transaction, run_id)

    async def get_report(self, run_id: int | None) -> Report:
        """The report of a run, or the newest. Raises `Refused` with `report_not_found`."""
        async with self._database.reading() as transaction:
            report = await audit.find_report(transaction, run_id)
        if report is None:
            raise Refused("report_not_found", param="run")
        return report

    def _plan(self, name: str) -> JobPlan:
        plan = self._plans.get(name)
        if plan is None:
            raise Refused("job_unknown", param="job", detail=f"{name}: one of {', '.join(sorted(self._plans))}")
        return plan

    def _view(self, plan: JobPlan, row: JobRow) -> JobView:
        late = row.now - row.next_at - timedelta(seconds=plan.late_after_s)
        return JobView(
            plan=plan,
            row=row,
            overdue_s=max(0.0, late.total_seconds()) if row.enabled else 0.0,
            is_recovery_off=plan.is_repair and not row.enabled,
        )

    async def _refuse_unknown(self, transaction: Transaction, arguments: RunArguments) -> None:
        if arguments.order_no is not None:
            number = parse_order_no(arguments.order_no, environment=self._environment)
            found = await stored_orders.find_orders(transaction, [(number.lane, number.order_id)])
            row = found.get((number.lane, number.order_id))
            if row is None or row.merchant_id != number.merchant_id:
                raise Refused("order_not_found", param="order")
        if arguments.merchant_id is not None and not await directory.find_merchant(
            transaction, MerchantId(arguments.merchant_id)
        ):
            raise Refused("merchant_not_found", param="merchant")
