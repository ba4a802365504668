"""Runs of jobs: one for each slot across all machines, held by a lease with a fence, taken up again where it stood."""

from collections.abc import Mapping
from datetime import datetime

import msgspec

from budan.core.errors import StaleState
from budan.flows.cron import parse_cron
from budan.flows.job import JobPlan, Level, RunArguments, RunningJob
from budan.store import jobs as stored
from budan.store.database import Database
from budan.store.jobs import ClaimedRun, OverdueRun, RunStand

# A run whose worker died is taken up by another so much later.
RUN_LEASE_S = 15.0
RUN_LINES_MAX = 1_000
LINE_LENGTH_MAX = 1_000
HISTORY_DAYS = 400


class JobRuns:
    """Plans runs, hands them out, and keeps where they stand."""

    def __init__(self, *, database: Database, plans: Mapping[str, JobPlan]) -> None:
        self._database = database
        self._plans = plans

    async def register(self) -> None:
        """The shipped jobs are rows; what an operator changed stays. Safe to repeat and to race."""
        async with self._database.transaction() as transaction:
            now = await transaction.clock()
            for plan in self._plans.values():
                next_at = parse_cron(plan.cron, plan.zone).slot_after(now)
                await stored.add_job(transaction, name=plan.name, cron=plan.cron, zone=plan.zone, next_at=next_at)

    async def plan_due(self) -> dict[str, list[datetime]]:
        """Make due what has come; gives the slots that were missed, by job. Any number of workers may do this."""
        missed: dict[str, list[datetime]] = {}
        async with self._database.transaction() as transaction:
            for job in await stored.list_planned(transaction):
                cron = parse_cron(job.cron, job.zone)
                newest, *earlier = cron.slots_since(job.next_at, now=job.now) or [job.next_at]
                slots = await stored.plan_runs(
                    transaction,
                    job=job.name,
                    newest=newest,
                    missed=sorted(earlier),
                    next_at=cron.slot_after(job.now),
                )
                if slots:
                    missed[job.name] = slots
            if missed:
                await stored.forget_runs(transaction, days=HISTORY_DAYS)
        return missed

    async def mark_overdue(self) -> list[OverdueRun]:
        """Runs that are late to start or take long, each of them once."""
        bounds = [(plan.name, plan.late_after_s, plan.long_after_s) for plan in self._plans.values()]
        async with self._database.statement() as transaction:
            return await stored.mark_overdue(transaction, bounds)

    async def claim(self, *, holder: str) -> ClaimedRun | None:
        """A run for this worker, if one waits or lost its worker."""
        async with self._database.transaction() as transaction:
            return await stored.claim_run(transaction, holder=holder, lease_s=RUN_LEASE_S, jobs=sorted(self._plans))

    async def begin(self, claimed: ClaimedRun) -> RunningJob:
        """The run as its job sees it, from where the last holder left it."""
        async with self._database.reading() as transaction:
            last_begun_at = await stored.find_last_begun_at(transaction, claimed.job)

        async def say(level: Level, line: str) -> None:
            await self._say(claimed, level, line)

        return RunningJob(
            run_id=claimed.id,
            arguments=msgspec.json.decode(claimed.arguments, type=RunArguments),
            slot=claimed.slot,
            started_at=claimed.started_at,
            last_begun_at=last_begun_at,
            cursor=claimed.cursor,
            progress=msgspec.json.decode(claimed.progress, type=dict[str, int]),
            say=say,
        )

    async def keep(self, claimed: ClaimedRun, running: RunningJob) -> None:
        """Keep where the run stands and go on holding it; raises `StaleState` when another holds it."""
        async with self._database.transaction() as transaction:
            if not await stored.keep_run(transaction, claimed, _stand(running), lease_s=RUN_LEASE_S):
                raise StaleState

    async def end(self, claimed: ClaimedRun, running: RunningJob, *, error: str = "") -> None:
        """End the run, failed where `error` says why; raises `StaleState` when another holds it."""
        state = "failed" if error else "succeeded"
        async with self._database.transaction() as transaction:
            if not await stored.end_run(transaction, claimed, _stand(running), state=state, error=error):
                raise StaleState

    async def end_unbegun(self, claimed: ClaimedRun, *, error: str) -> None:
        """End as failed what could not be begun, as it stands; raises `StaleState` when another holds it."""
        stand = RunStand(cursor=claimed.cursor, progress=claimed.progress)
        async with self._database.transaction() as transaction:
            if not await stored.end_run(transaction, claimed, stand, state="failed", error=error):
                raise StaleState

    async def give_back(self, claimed: ClaimedRun, running: RunningJob, *, error: str = "", rest_s: float) -> None:
        """Let another go on with it; with `error` it counts as a failure."""
        async with self._database.transaction() as transaction:
            await stored.give_run_back(
                transaction, claimed, _stand(running), rest_s=rest_s, failed=bool(error), error=error
            )

    async def _say(self, claimed: ClaimedRun, level: Level, line: str) -> None:
        async with self._database.transaction() as transaction:
            await stored.add_line(
                transaction, claimed, level=level, line=line[:LINE_LENGTH_MAX], lines_max=RUN_LINES_MAX
            )


def _stand(running: RunningJob) -> RunStand:
    return RunStand(cursor=running.cursor, progress=msgspec.json.encode(running.progress).decode())
