"""Runs of jobs: one for each slot whatever number of machines, missed ones told, broken ones taken up or ended."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import pytest

from budan.core.errors import StaleState
from budan.flows.autobudan import AUTOBUDAN
from budan.flows.job import Job, JobPlan, RunArguments, RunningJob
from budan.flows.job_desk import JobDesk
from budan.flows.job_runs import JobRuns
from budan.telemetry import metrics
from budan.workers.jobs import FAILURES_MAX, HEARTBEAT_EVERY_S, JobTurns
from integration.jobs.centre import desk_of, runs_of
from integration.workers.watching import when
from stage import Stage

Rows = asyncpg.Connection
Act = Callable[[RunningJob], Awaitable[None]]


class ActingJob:
    """A job that does what the test says."""

    def __init__(self, act: Act, *, plan: JobPlan) -> None:
        self.run = act
        self.plan = plan


def turns_of(
    stage: Stage,
    act: Act,
    *,
    holder: str,
    plan: JobPlan = AUTOBUDAN,
    heartbeat_every_s: float = HEARTBEAT_EVERY_S,
) -> JobTurns:
    job: Job = ActingJob(act, plan=plan)
    plans = {AUTOBUDAN.name: plan}
    desk = JobDesk(database=stage.database, environment=stage.settings.environment, lanes=64, plans=plans, mails=False)
    runs = JobRuns(database=stage.database, plans=plans)
    return JobTurns(
        runs=runs, desk=desk, jobs={AUTOBUDAN.name: job}, holder=holder, heartbeat_every_s=heartbeat_every_s
    )


async def due_since(rows: Rows, since: timedelta) -> datetime:
    """As if nobody had planned a run of autobudan for so long; the database's clock."""
    return await rows.fetchval(
        "UPDATE job SET next_at = now() - $1::interval WHERE name = 'autobudan' RETURNING now()", since
    )


def alerts(outcome: str) -> float:
    value = metrics.REGISTRY.get_sample_value("budan_job_runs_total", {"job": "autobudan", "outcome": outcome})
    return value or 0.0


async def test_each_slot_has_one_run_whatever_number_of_machines_plans(stage: Stage, rows: Rows) -> None:
    planners = [runs_of(stage) for _ in range(8)]
    await asyncio.gather(*(planner.register() for planner in planners))
    assert await rows.fetchval("SELECT count(*) FROM job") >= 1
    for _ in range(5):
        await due_since(rows, timedelta(minutes=31))
        await asyncio.gather(*(planner.plan_due() for planner in planners))
    slots = [row["slot"] for row in await rows.fetch("SELECT slot FROM job_run WHERE job = 'autobudan'")]
    assert len(slots) == len(set(slots)) >= 1
    assert all(slot.minute in {0, 30} and slot.second == 0 for slot in slots)


@pytest.mark.invariant("I6")
async def test_after_a_day_without_workers_the_newest_slot_is_run_and_the_others_are_told(
    stage: Stage, rows: Rows
) -> None:
    runs = runs_of(stage)
    await runs.register()
    await due_since(rows, timedelta(hours=5))
    missed = await runs.plan_due()
    found = await rows.fetch("SELECT slot, state FROM job_run WHERE job = 'autobudan' ORDER BY slot")
    assert [row["state"] for row in found] == ["missed"] * (len(found) - 1) + ["due"]
    assert missed["autobudan"] == [row["slot"] for row in found[:-1]]
    assert len(found) in {10, 11}
    assert await rows.fetchval("SELECT next_at > now() FROM job WHERE name = 'autobudan'")
    assert await runs.plan_due() == {}


async def test_a_run_that_nobody_began_gives_way_to_the_next_slot(stage: Stage, rows: Rows) -> None:
    runs = runs_of(stage)
    await runs.register()
    await rows.execute(
        "INSERT INTO job_run (job, slot, trigger, state) VALUES ('autobudan', now() - interval '45 min', 'schedule', 'due')"
    )
    await due_since(rows, timedelta(minutes=31))
    if not (await runs.plan_due()).get("autobudan"):
        pytest.fail("nobody was told of the run that gave way")
    assert await rows.fetchval("SELECT count(*) FROM job_run WHERE job = 'autobudan' AND state = 'due'") == 1


async def test_a_run_goes_to_one_worker_and_a_job_has_one_at_a_time(stage: Stage, rows: Rows) -> None:
    runs = runs_of(stage)
    await runs.register()
    desk = desk_of(stage)
    arguments = RunArguments()
    first, second = [await desk.order_run("autobudan", arguments) for _ in range(2)]
    claimed = [run for run in await asyncio.gather(*(runs.claim(holder=f"w{n}") for n in range(6))) if run]
    assert [run.id for run in claimed] == [first]
    await runs.end(claimed[0], await runs.begin(claimed[0]))
    again = await runs.claim(holder="w1")
    assert again
    assert again.id == second


@pytest.mark.invariant("I6")
async def test_a_run_whose_worker_died_goes_on_where_it_stood_and_the_dead_one_writes_nothing(
    stage: Stage, rows: Rows
) -> None:
    runs = runs_of(stage)
    await runs.register()
    await due_since(rows, timedelta(minutes=1))
    await rows.execute("INSERT INTO job_run (job, slot, trigger, state) VALUES ('autobudan', now(), 'manual', 'due')")
    dead = await runs.claim(holder="dead")
    assert dead
    its_run = await runs.begin(dead)
    its_run.stand(cursor='{"lane":3}', progress={"asked": 7})
    await runs.keep(dead, its_run)
    assert await runs.claim(holder="other") is None
    await rows.execute("UPDATE job_run SET lease_until = now() - interval '1 s'")
    taken = await runs.claim(holder="other")
    assert taken
    going_on = await runs.begin(taken)
    assert (taken.id, going_on.progress) == (dead.id, {"asked": 7})
    assert going_on.cursor == '{"lane": 3}'
    for late in (runs.keep(dead, its_run), runs.end(dead, its_run)):
        with pytest.raises(StaleState):
            await late
    await its_run.say("info", "from the grave")
    assert await rows.fetchval("SELECT count(*) FROM job_line") == 0
    await runs.end(taken, going_on)
    assert await rows.fetchval("SELECT state FROM job_run") == "succeeded"


async def test_a_worker_told_to_stop_gives_its_run_back_at_once(stage: Stage, rows: Rows) -> None:
    begun, resumed = asyncio.Event(), asyncio.Event()

    async def wait(running: RunningJob) -> None:
        if running.cursor is None:
            running.stand(cursor='"half"', progress={})
            begun.set()
            await asyncio.get_running_loop().create_future()
        resumed.set()

    await runs_of(stage).register()
    await rows.execute("INSERT INTO job_run (job, slot, trigger, state) VALUES ('autobudan', now(), 'manual', 'due')")
    stop = asyncio.Event()
    first = asyncio.create_task(turns_of(stage, wait, holder="first").run(stop))
    await asyncio.wait_for(begun.wait(), 10)
    stop.set()
    await first
    assert await rows.fetchval("SELECT holder FROM job_run") is None
    stop = asyncio.Event()
    second = asyncio.create_task(turns_of(stage, wait, holder="second").run(stop))
    await asyncio.wait_for(resumed.wait(), 10)
    await when(rows, "SELECT state = 'succeeded' FROM job_run")
    stop.set()
    await second


async def test_a_run_that_goes_on_failing_ends_and_is_told_of(stage: Stage, rows: Rows) -> None:
    tries: list[int] = []

    async def fail(_running: RunningJob) -> None:
        tries.append(1)
        raise ValueError("nonsense")

    before = alerts("failed")
    await runs_of(stage).register()
    await rows.execute("INSERT INTO job_run (job, slot, trigger, state) VALUES ('autobudan', now(), 'manual', 'due')")
    stop = asyncio.Event()
    worker = asyncio.create_task(turns_of(stage, fail, holder="w").run(stop))
    for number in range(1, FAILURES_MAX):
        await when(rows, "SELECT failures = $1 AND holder IS NULL FROM job_run", number)
        # It rests longer after each failure; the test does not wait for that.
        await rows.execute("UPDATE job_run SET lease_until = '-infinity'")
    await when(rows, "SELECT state = 'failed' AND error = 'ValueError: nonsense' FROM job_run")
    stop.set()
    await worker
    assert len(tries) == FAILURES_MAX
    assert alerts("failed") == before + 1


@pytest.mark.parametrize(("arguments", "progress"), [('{"merchant_id": "three"}', "{}"), ("{}", '{"asked": "many"}')])
async def test_a_run_that_cannot_be_read_ends_failed_and_the_next_one_is_run(
    stage: Stage, rows: Rows, arguments: str, progress: str
) -> None:
    """As another version may have written it. Left open it would be taken up again for ever, before all later slots."""
    done: list[int] = []

    async def note(running: RunningJob) -> None:
        done.append(running.run_id)

    before = alerts("failed")
    await runs_of(stage).register()
    add = (
        "INSERT INTO job_run (job, slot, trigger, state, arguments, progress)"
        " VALUES ('autobudan', now() + $1::interval, 'manual', 'due', $2::jsonb, $3::jsonb) RETURNING id"
    )
    unreadable = await rows.fetchval(add, timedelta(minutes=-2), arguments, progress)
    next_one = await rows.fetchval(add, timedelta(minutes=-1), "{}", "{}")
    stop = asyncio.Event()
    worker = asyncio.create_task(turns_of(stage, note, holder="w").run(stop))
    await when(rows, "SELECT state = 'succeeded' FROM job_run WHERE id = $1", next_one)
    stop.set()
    await worker
    assert done == [next_one]
    ended = await rows.fetchrow(
        "SELECT state, error, progress::text AS progress FROM job_run WHERE id = $1", unreadable
    )
    assert ended is not None
    assert (ended["state"], ended["error"].split(":")[0], ended["progress"]) == ("failed", "ValidationError", progress)
    assert alerts("failed") == before + 1


async def test_a_run_that_stands_still_is_given_up_and_tried_again(stage: Stage, rows: Rows) -> None:
    """It would hold its job for ever: its worker lives, so nobody else takes the run, and no later slot begins."""
    tries: list[str | None] = []

    async def hang_once(running: RunningJob) -> None:
        tries.append(running.cursor)
        if len(tries) == 1:
            running.stand(cursor="7", progress={"asked": 7})
            await asyncio.Event().wait()

    turns = turns_of(stage, hang_once, holder="w", plan=replace(AUTOBUDAN, stuck_after_s=0.1), heartbeat_every_s=0.05)
    await runs_of(stage).register()
    await rows.execute("INSERT INTO job_run (job, slot, trigger, state) VALUES ('autobudan', now(), 'manual', 'due')")
    stop = asyncio.Event()
    worker = asyncio.create_task(turns.run(stop))
    await when(rows, "SELECT failures = 1 AND holder IS NULL AND error LIKE 'RunStuckError%' FROM job_run")
    await rows.execute("UPDATE job_run SET lease_until = '-infinity'")
    await when(rows, "SELECT state = 'succeeded' FROM job_run")
    stop.set()
    await worker
    assert tries == [None, "7"]


async def test_late_and_long_runs_are_told_of_once(stage: Stage, rows: Rows) -> None:
    runs = runs_of(stage)
    await runs.register()
    add = "INSERT INTO job_run (job, slot, trigger, state, started_at) VALUES ('autobudan', $1, 'schedule', $2, $1)"
    now = await rows.fetchval("SELECT now()")
    await rows.execute(add, now - timedelta(minutes=20), "due")
    await rows.execute(add, now - timedelta(minutes=40), "running")
    await rows.execute(add, now - timedelta(minutes=2), "due")
    told = await asyncio.gather(*(runs.mark_overdue() for _ in range(4)))
    assert sorted(run.state for one in told for run in one) == ["due", "running"]
    assert await runs.mark_overdue() == []


async def test_a_paused_job_is_not_planned_and_a_resumed_one_has_missed_nothing(stage: Stage, rows: Rows) -> None:
    runs, desk = runs_of(stage), desk_of(stage)
    await runs.register()
    await desk.set_enabled("autobudan", enabled=False)
    await due_since(rows, timedelta(hours=3))
    await rows.execute("UPDATE job SET enabled = false")
    assert await runs.plan_due() == {}
    (view,) = [job for job in (await desk.show()).jobs if job.plan.name == "autobudan"]
    assert view.is_recovery_off
    assert view.overdue_s == 0
    await desk.set_enabled("autobudan", enabled=True)
    assert await runs.plan_due() == {}
    assert await rows.fetchval("SELECT count(*) FROM job_run") == 0


async def test_an_overdue_plan_is_seen_even_when_no_worker_lives(stage: Stage, rows: Rows) -> None:
    desk = desk_of(stage)
    await runs_of(stage).register()
    await due_since(rows, timedelta(hours=1))
    shown = await desk.show()
    overdue: dict[str, Any] = {job.plan.name: job.overdue_s for job in shown.jobs}
    assert overdue["autobudan"] > 3_000
    assert shown.workers == 0
