"""Runs of jobs: planned, taken up, kept alive by heartbeats and told of when something is wrong with them."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final, cast

import structlog

from budan.core.errors import Overloaded, StaleState, StoreUnavailable
from budan.flows.failures import Failures
from budan.flows.job import Job, RunningJob
from budan.flows.job_desk import JobDesk
from budan.flows.job_runs import RUN_LEASE_S, JobRuns
from budan.store.database import RowsFailed
from budan.store.jobs import ClaimedRun
from budan.telemetry import metrics
from budan.workers.loop import attempt, stopped_within

LOOK_EVERY_S: Final = 1.0
# Five in one lease: four may fail before another worker takes the run.
HEARTBEAT_EVERY_S: Final = 3.0
RUNS_AT_ONCE_MAX: Final = 4
SHOW_EVERY_S: Final = 5.0
# A run that goes on failing is told of and ends; the next slot is a new chance.
FAILURES_MAX: Final = 5
FAILED_REST_S: Final = 10.0
# The store or the door had no room; the run itself did nothing wrong.
AWAY_REST_S: Final = 2.0
ERROR_LENGTH_MAX: Final = 2_000

_log = structlog.get_logger(__name__)


class RunStuckError(Exception):
    """A run whose cursor and progress stood still for too long."""


class JobTurns:
    """One worker's share of the runs. It needs no lanes: a run is held by a lease of its own."""

    def __init__(
        self,
        *,
        runs: JobRuns,
        desk: JobDesk,
        jobs: Mapping[str, Job],
        holder: str,
        heartbeat_every_s: float = HEARTBEAT_EVERY_S,
    ) -> None:
        self._runs = runs
        self._desk = desk
        self._jobs = jobs
        self._holder = holder
        self._heartbeat_every_s = heartbeat_every_s
        self._running: set[asyncio.Task[None]] = set()
        self._failures = Failures(work="jobs")

    async def run(self, stop: asyncio.Event) -> None:
        """Take turns until `stop`, then give back what runs: another worker goes on from its cursor."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._show(stop))
            registered = False
            while not stop.is_set():
                registered = registered or await attempt(self._register, self._failures) is not None
                if registered:
                    await attempt(lambda: self._turn(tasks), self._failures)
                await stopped_within(LOOK_EVERY_S, stop)
            for run in self._running:
                run.cancel()

    async def _register(self) -> bool:
        await self._runs.register()
        return True

    async def _turn(self, tasks: asyncio.TaskGroup) -> None:
        for job, slots in (await self._runs.plan_due()).items():
            metrics.JOB_RUNS.labels(job, "missed").inc(len(slots))
            _log.error("job_runs_missed", job=job, runs=len(slots), first=slots[0], last=slots[-1])
        for run in await self._runs.mark_overdue():
            outcome = "late" if run.state == "due" else "long"
            metrics.JOB_RUNS.labels(run.job, outcome).inc()
            _log.error("job_run_overdue", job=run.job, run=run.id, slot=run.slot, outcome=outcome)
        while len(self._running) < RUNS_AT_ONCE_MAX:
            claimed = await self._runs.claim(holder=self._holder)
            if claimed is None:
                return
            task = tasks.create_task(self._work(claimed))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _show(self, stop: asyncio.Event) -> None:
        """The gauges of paused and overdue jobs, and a line for each time somebody pauses one that repairs."""
        failures, told = Failures(work="jobs"), set[str]()

        async def look() -> None:
            shown = await self._desk.show()
            metrics.MAIL_OLDEST_SECONDS.set(shown.waiting_mail.oldest_s)
            for job in shown.jobs:
                name = job.plan.name
                metrics.JOB_ENABLED.labels(name).set(int(job.row.enabled))
                metrics.JOB_RECOVERY_OFF.labels(name).set(int(job.is_recovery_off))
                metrics.JOB_OVERDUE_SECONDS.labels(name).set(job.overdue_s)
                if job.is_recovery_off and name not in told:
                    _log.error("recovery_off", job=name, since=job.row.changed_at)
                (told.add if job.is_recovery_off else told.discard)(name)

        while not stop.is_set():
            await attempt(look, failures)
            await stopped_within(SHOW_EVERY_S, stop)

    async def _work(self, claimed: ClaimedRun) -> None:
        """One run as far as this worker gets with it; however it ends, it is in the row or free for another."""
        try:
            running = await self._runs.begin(claimed)
        except (StoreUnavailable, RowsFailed) as error:
            self._failures.count(error)
            return
        except Exception as error:  # noqa: BLE001 - top of a job: logged and counted, or it comes back for ever
            await self._end_unbegun(claimed, error)
            return
        _log.info("job_run_begun", job=claimed.job, run=claimed.id, resumed=claimed.cursor is not None)
        try:
            await self._run_with_heartbeat(claimed, running)
            await self._runs.end(claimed, running)
        except asyncio.CancelledError:
            await self._give_back(claimed, running, rest_s=0.0)
            raise
        except Exception as error:  # noqa: BLE001 - top of a job: logged, counted, bounded by its failures
            await self._settle_error(claimed, running, _leaves(error))
            return
        metrics.JOB_RUNS.labels(claimed.job, "succeeded").inc()
        _log.info("job_run_succeeded", job=claimed.job, run=claimed.id, **running.progress)

    async def _run_with_heartbeat(self, claimed: ClaimedRun, running: RunningJob) -> None:
        """The job beside its heartbeat; either one's error ends both."""
        done = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._beat(claimed, running, done))
            try:
                await self._jobs[claimed.job].run(running)
            finally:
                done.set()

    async def _beat(self, claimed: ClaimedRun, running: RunningJob, done: asyncio.Event) -> None:
        """Keeps the lease and where the run stands; gives up when the lease may be over, or the run stands still."""
        loop = asyncio.get_running_loop()
        stuck_after_s = self._jobs[claimed.job].plan.stuck_after_s
        kept_at_s = moved_at_s = loop.time()
        stand = (running.cursor, running.progress)
        while not await stopped_within(self._heartbeat_every_s, done):
            began_s = loop.time()
            if (running.cursor, running.progress) != stand:
                stand, moved_at_s = (running.cursor, running.progress), began_s
            elif began_s - moved_at_s > stuck_after_s:
                raise RunStuckError(f"neither cursor nor progress moved for {stuck_after_s:.0f} s")
            try:
                await self._runs.keep(claimed, running)
            except (StoreUnavailable, RowsFailed):
                if loop.time() - kept_at_s > RUN_LEASE_S - self._heartbeat_every_s:
                    raise
            else:
                kept_at_s = began_s

    async def _settle_error(self, claimed: ClaimedRun, running: RunningJob, errors: Sequence[Exception]) -> None:
        """Another holds it, something was away, or the job itself failed: told apart, because only that counts."""
        text = "; ".join(f"{type(error).__name__}: {error}" for error in errors)[:ERROR_LENGTH_MAX]
        if any(isinstance(error, StaleState) for error in errors):
            _log.warning("job_run_lost", job=claimed.job, run=claimed.id)
        elif all(isinstance(error, StoreUnavailable | Overloaded | RowsFailed) for error in errors):
            _log.warning("job_run_interrupted", job=claimed.job, run=claimed.id, error=text)
            await self._give_back(claimed, running, rest_s=AWAY_REST_S)
        elif claimed.failures + 1 < FAILURES_MAX:
            _log.error("job_run_failed_try", job=claimed.job, run=claimed.id, error=text, exc_info=errors[0])
            await self._give_back(claimed, running, rest_s=FAILED_REST_S * 2**claimed.failures, error=text)
        else:
            metrics.JOB_RUNS.labels(claimed.job, "failed").inc()
            _log.error("job_run_failed", job=claimed.job, run=claimed.id, error=text, exc_info=errors[0])
            await attempt(lambda: self._runs.end(claimed, running, error=text), self._failures)

    async def _end_unbegun(self, claimed: ClaimedRun, error: Exception) -> None:
        """What this program cannot read it cannot read at the next try either, and the job's later slots wait for it."""
        text = f"{type(error).__name__}: {error}"[:ERROR_LENGTH_MAX]
        metrics.JOB_RUNS.labels(claimed.job, "failed").inc()
        _log.error("job_run_failed", job=claimed.job, run=claimed.id, error=text, exc_info=error)
        await attempt(lambda: self._runs.end_unbegun(claimed, error=text), self._failures)

    async def _give_back(self, claimed: ClaimedRun, running: RunningJob, *, rest_s: float, error: str = "") -> None:
        """Where this fails, another takes the run up when its lease is over."""
        await attempt(lambda: self._runs.give_back(claimed, running, rest_s=rest_s, error=error), self._failures)


def _leaves(error: Exception) -> list[Exception]:
    if isinstance(error, ExceptionGroup):
        return [leaf for inner in cast("ExceptionGroup[Exception]", error).exceptions for leaf in _leaves(inner)]
    return [error]
