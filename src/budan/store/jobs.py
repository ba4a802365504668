"""Jobs, their runs and what the runs said."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import cast

from budan.store.database import Transaction, columns
from budan.store.queries import query

_JOB_ADD = query("job_add")
_JOB_LIST = query("job_list")
_JOB_LIST_PLANNED = query("job_list_planned")
_JOB_PLAN_RUNS = query("job_plan_runs")
_JOB_SET_ENABLED = query("job_set_enabled")
_JOB_SET_CRON = query("job_set_cron")
_JOB_FIND = query("job_find")
_JOB_RUN_ADD = query("job_run_add")
_JOB_LOCK_FREE = query("job_lock_free")
_JOB_RUN_CLAIM = query("job_run_claim")
_JOB_RUN_KEEP = query("job_run_keep")
_JOB_RUN_END = query("job_run_end")
_JOB_RUN_GIVE_BACK = query("job_run_give_back")
_JOB_RUN_MARK_OVERDUE = query("job_run_mark_overdue")
_JOB_RUN_FIND = query("job_run_find")
_JOB_RUN_LIST = query("job_run_list")
_JOB_RUN_FIND_LAST = query("job_run_find_last")
_JOB_RUN_FORGET = query("job_run_forget")
_JOB_LINE_ADD = query("job_line_add")
_JOB_LINE_LIST = query("job_line_list")
_JOB_COUNT_WORKERS = query("job_count_workers")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRow:
    """When a job runs; `now` is the database's clock."""

    name: str
    cron: str
    zone: str
    enabled: bool
    next_at: datetime
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedJob:
    """A job whose slot has come; this transaction holds it."""

    name: str
    cron: str
    zone: str
    next_at: datetime
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRow:
    """A job with its newest run; `run_progress` is JSON text."""

    name: str
    cron: str
    zone: str
    enabled: bool
    next_at: datetime
    changed_at: datetime
    now: datetime
    run_id: int | None
    run_slot: datetime | None
    run_state: str | None
    run_started_at: datetime | None
    run_finished_at: datetime | None
    run_progress: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedRun:
    """A run that this worker holds by `fence`; arguments, cursor and progress are JSON texts."""

    id: int
    job: str
    slot: datetime
    arguments: str
    fence: int
    failures: int
    started_at: datetime
    cursor: str | None
    progress: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStand:
    """Where a run stands: its cursor and its progress, as JSON texts."""

    cursor: str | None
    progress: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OverdueRun:
    """A run that has not started in time (`due`) or takes long (`running`)."""

    id: int
    job: str
    slot: datetime
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """A run as people see it; `arguments` and `progress` are JSON texts."""

    id: int
    job: str
    slot: datetime
    trigger: str
    arguments: str
    state: str
    holder: str | None
    failures: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    progress: str
    error: str
    was_late: bool
    was_long: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LineRow:
    """One line of a run's log."""

    number: int
    said_at: datetime
    level: str
    line: str


async def add_job(transaction: Transaction, *, name: str, cron: str, zone: str, next_at: datetime) -> None:
    """Add a job that is not there yet; what an operator changed stays."""
    await transaction.none(_JOB_ADD, name, cron, zone, next_at)


async def list_jobs(transaction: Transaction) -> list[JobRow]:
    """Every job with its newest run."""
    return [JobRow(**dict(row)) for row in await transaction.many(_JOB_LIST)]


async def find_job(transaction: Transaction, name: str) -> PlanRow | None:
    """One job's plan."""
    row = await transaction.maybe(_JOB_FIND, name)
    return None if row is None else PlanRow(**dict(row))


async def list_planned(transaction: Transaction) -> list[PlannedJob]:
    """The jobs whose next slot has come, held by this transaction."""
    return [PlannedJob(**dict(row)) for row in await transaction.many(_JOB_LIST_PLANNED)]


async def plan_runs(
    transaction: Transaction, *, job: str, newest: datetime, missed: Sequence[datetime], next_at: datetime
) -> list[datetime]:
    """Make the run of the newest slot due and move the plan on; gives the slots that were missed."""
    return [row["slot"] for row in await transaction.many(_JOB_PLAN_RUNS, job, newest, missed, next_at)]


async def set_enabled(transaction: Transaction, *, name: str, enabled: bool, next_at: datetime) -> None:
    """Pause or resume a job that is there."""
    await transaction.maybe(_JOB_SET_ENABLED, name, enabled, next_at)


async def set_cron(transaction: Transaction, *, name: str, cron: str, zone: str, next_at: datetime) -> None:
    """Change when a job that is there runs."""
    await transaction.maybe(_JOB_SET_CRON, name, cron, zone, next_at)


async def add_run(transaction: Transaction, *, job: str, arguments: str) -> int:
    """A run that a person asked for; gives its number."""
    return cast("int", (await transaction.one(_JOB_RUN_ADD, job, arguments))["id"])


async def claim_run(transaction: Transaction, *, holder: str, lease_s: float, jobs: Sequence[str]) -> ClaimedRun | None:
    """Take the oldest run of these jobs that nobody works on; a job has one holder at a time."""
    free = [row["name"] for row in await transaction.many(_JOB_LOCK_FREE, jobs)]
    if not free:
        return None
    row = await transaction.maybe(_JOB_RUN_CLAIM, holder, lease_s, free)
    return None if row is None else ClaimedRun(**dict(row))


async def keep_run(transaction: Transaction, run: ClaimedRun, stand: RunStand, *, lease_s: float) -> bool:
    """Renew the lease and keep where the run stands; False when another holds it."""
    kept = await transaction.maybe(_JOB_RUN_KEEP, run.id, run.fence, lease_s, stand.cursor, stand.progress)
    return kept is not None


async def end_run(transaction: Transaction, run: ClaimedRun, stand: RunStand, *, state: str, error: str) -> bool:
    """End the run; False when another holds it."""
    ended = await transaction.maybe(_JOB_RUN_END, run.id, run.fence, state, stand.cursor, stand.progress, error)
    return ended is not None


async def give_run_back(
    transaction: Transaction, run: ClaimedRun, stand: RunStand, *, rest_s: float, failed: bool, error: str
) -> None:
    """Let another worker go on with it, after a rest."""
    arguments = (run.id, run.fence, rest_s, stand.cursor, stand.progress, int(failed), error)
    await transaction.none(_JOB_RUN_GIVE_BACK, *arguments)


async def mark_overdue(transaction: Transaction, bounds: Sequence[tuple[str, float, float]]) -> list[OverdueRun]:
    """Mark runs that are later or longer than their job's bounds (job, late_s, long_s); each comes once."""
    rows = await transaction.many(_JOB_RUN_MARK_OVERDUE, *columns(list(bounds), 3))
    return [OverdueRun(**dict(row)) for row in rows]


async def find_run(transaction: Transaction, run_id: int) -> RunRow | None:
    """One run."""
    row = await transaction.maybe(_JOB_RUN_FIND, run_id)
    return None if row is None else RunRow(**dict(row))


async def list_runs(transaction: Transaction, *, job: str | None, rows_max: int) -> list[RunRow]:
    """Runs of one job or of all, newest first."""
    return [RunRow(**dict(row)) for row in await transaction.many(_JOB_RUN_LIST, job, rows_max)]


async def find_last_begun_at(transaction: Transaction, job: str) -> datetime | None:
    """When the newest planned run that ended well was begun."""
    row = await transaction.maybe(_JOB_RUN_FIND_LAST, job)
    return None if row is None else cast("datetime", row["started_at"])


async def forget_runs(transaction: Transaction, *, days: int) -> None:
    """Forget runs that ended longer ago."""
    await transaction.none(_JOB_RUN_FORGET, days)


async def add_line(transaction: Transaction, run: ClaimedRun, *, level: str, line: str, lines_max: int) -> None:
    """Add a line to a run that is held."""
    await transaction.none(_JOB_LINE_ADD, run.id, run.fence, level, line, lines_max)


async def list_lines(transaction: Transaction, run_id: int) -> list[LineRow]:
    """What a run said."""
    return [LineRow(**dict(row)) for row in await transaction.many(_JOB_LINE_LIST, run_id)]


async def count_workers(transaction: Transaction, *, living_s: float) -> int:
    """How many workers live."""
    return cast("int", (await transaction.one(_JOB_COUNT_WORKERS, living_s))["living"])
