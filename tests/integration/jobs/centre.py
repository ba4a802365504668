"""The job centre of a stage: a worker's job loop beside a test, runs by hand, and what became of them."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

from budan.cli.wiring import build_job_desk, build_job_turns
from budan.flows.job import RunArguments
from budan.flows.job_desk import JobDesk
from budan.flows.job_runs import JobRuns
from budan.store.jobs import RunRow
from stage import Stage

RUN_S_MAX = 60.0


def desk_of(stage: Stage) -> JobDesk:
    return build_job_desk(stage.opened)


def runs_of(stage: Stage) -> JobRuns:
    return build_job_turns(stage.opened, stage.flows)._runs


@contextlib.asynccontextmanager
async def job_worker(stage: Stage, **changes: Any) -> AsyncIterator[None]:
    """The job loop of one worker beside the block; what runs at its end is given back."""
    stop = asyncio.Event()
    turns = build_job_turns(stage.opened, stage.flows, **changes)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(turns.run(stop))
        try:
            yield
        finally:
            stop.set()


async def order_run(
    stage: Stage,
    *,
    order_no: str | None = None,
    merchant_id: int | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> int:
    """A run of autobudan by hand."""
    await runs_of(stage).register()
    arguments = RunArguments(order_no=order_no, merchant_id=merchant_id, since=since, until=until)
    return await desk_of(stage).order_run("autobudan", arguments)


async def ended(stage: Stage, run_id: int) -> RunRow:
    """The run as soon as it has ended."""
    async with asyncio.timeout(RUN_S_MAX):
        while True:
            row, _ = await desk_of(stage).get_run(run_id)
            if row.finished_at is not None:
                return row


def counted(row: RunRow) -> dict[str, int]:
    """What the run counted, zeros left out."""
    return {name: count for name, count in json.loads(row.progress).items() if count}
