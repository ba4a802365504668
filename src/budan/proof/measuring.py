"""One stretch of load on a running platform: what was done, what it cost, and how long each stage took."""

import asyncio
import os
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from typing import Final

import msgspec

from budan.host.resources import Snapshot, cpu_s_between, foreign_cores, take_snapshot
from budan.proof.instance import Instance
from budan.proof.load import Kind, LoadResult, LoadShop, LoadWish
from budan.proof.records import read_webhooks, wait_for
from budan.proof.steps import StepFailed, run_step

LIVES_MAX: Final = 10_000_000
REST_S_MAX: Final = 30.0
_LOAD: Final = (sys.executable, "-m", "budan.proof.load")
_tags: Final = count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """What to do: `rate_per_s` None goes as fast as it can with `open_max` lives under way."""

    kind: Kind
    warm_s: float
    measured_s: float
    connections: int
    open_max: int
    rate_per_s: float | None = None
    lives_max: int = LIVES_MAX


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A stretch that was done. Rates and costs are of the measured part, after the warm-up; `tag` finds its orders."""

    tag: str
    done_per_s: float
    done: int
    cpu_s: Mapping[str, float]
    foreign_cores: float
    memory_bytes: Mapping[str, int]
    load: LoadResult
    began_at: datetime
    ended_at: datetime

    def cpu_us_per_order(self) -> dict[str, float]:
        """By kind of program: several of a kind are added up."""
        costs: dict[str, float] = {}
        for name, used_s in self.cpu_s.items():
            kind = name.partition("-")[0]
            costs[kind] = costs.get(kind, 0.0) + used_s * 1e6 / max(1, self.done)
        return costs


@dataclass(frozen=True, slots=True, kw_only=True)
class _Mark:
    at: datetime
    ours: Snapshot
    everything: Snapshot
    lives_ended: int


async def measure(instance: Instance, stretch: Stretch) -> Measured:
    """Runs the load and measures; afterwards everything that was begun has come to rest. Raises StepFailed."""
    tag = f"r{next(_tags):03d}n"
    async with _loading(instance, stretch, tag=tag) as (pid, running):
        await asyncio.sleep(stretch.warm_s)
        before = _mark(instance, load_pid=pid)
        await asyncio.sleep(stretch.measured_s)
        after = _mark(instance, load_pid=pid)
        load = await running
    if stretch.kind == "lives":
        await _come_to_rest(instance, tag=tag, done=load.done)
    elapsed_s = after.ours.taken_s - before.ours.taken_s
    # What the load counts is known at its end only; a life's end is known from the merchant's file at any moment.
    done = (
        after.lives_ended - before.lives_ended
        if stretch.kind == "lives"
        else round(load.done * elapsed_s / (load.ended_at_s - load.began_at_s))
    )
    return Measured(
        tag=tag,
        done_per_s=done / elapsed_s,
        done=done,
        cpu_s=cpu_s_between(before.ours, after.ours),
        foreign_cores=foreign_cores(before.everything, after.everything),
        memory_bytes={name: usage.memory_bytes for name, usage in after.ours.by_name.items()},
        load=load,
        began_at=before.at,
        ended_at=after.at,
    )


@asynccontextmanager
async def _loading(
    instance: Instance, stretch: Stretch, *, tag: str
) -> AsyncGenerator["tuple[int, asyncio.Task[LoadResult]]"]:
    """The load while it runs, with its pid."""
    seconds = stretch.warm_s + stretch.measured_s
    wish = LoadWish(
        kind=stretch.kind,
        public_url=instance.public_url,
        sandbox_url=instance.sandbox_url,
        events_file=str(instance.events_file),
        shops=[LoadShop(merchant_id=shop.merchant_id, api_key=shop.api_key) for shop in instance.shops],
        tag=tag,
        duration_s=seconds,
        connections=stretch.connections,
        open_max=stretch.open_max,
        lives_max=stretch.lives_max,
        rate_per_s=stretch.rate_per_s,
    )
    started: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def run() -> LoadResult:
        written = await run_step(
            _LOAD,
            environment=os.environ,
            timeout_s=seconds + REST_S_MAX,
            given=msgspec.json.encode(wish),
            on_start=started.set_result,
        )
        return msgspec.json.decode(written, type=LoadResult)

    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(run())
        yield await started, running


def _mark(instance: Instance, *, load_pid: int) -> _Mark:
    return _Mark(
        at=datetime.now().astimezone(),
        ours=take_snapshot(instance.pids() | {"load": load_pid}),
        # All that we started is our family: the rest of the machine is somebody else.
        everything=take_snapshot({"everything": os.getpid()}),
        lives_ended=_lines(instance),
    )


def _lines(instance: Instance) -> int:
    with instance.events_file.open("rb") as lines:
        return sum(chunk.count(b"\n") for chunk in iter(lambda: lines.read(1 << 20), b""))


async def _come_to_rest(instance: Instance, *, tag: str, done: int) -> None:
    """Every life of this stretch is in the merchant's file, or will not get there soon: the audit names those."""
    mark = f"-{tag}".encode()

    async def look() -> bool | None:
        return True if _ended(instance, mark) >= done else None

    with suppress(StepFailed):
        await wait_for(look, what="the last webhooks", timeout_s=REST_S_MAX)


def _ended(instance: Instance, mark: bytes) -> int:
    with instance.events_file.open("rb") as lines:
        return sum(mark in line for line in lines)


def webhook_times(instance: Instance, measured: Sequence[Measured]) -> dict[str, datetime]:
    """When the merchant first took the event of each order of these stretches, by trade number."""
    marks = {one.tag for one in measured}
    found: dict[str, datetime] = {}
    for webhook in read_webhooks(instance.events_file):
        tag = webhook.order.reference.partition("-")[2][: len("r000n")]
        if tag in marks and webhook.order.trade_no is not None:
            found.setdefault(webhook.order.trade_no, webhook.at)
    return found
