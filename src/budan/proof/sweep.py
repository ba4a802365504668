"""Measures a whole autobudan sweep against a bare loop that asks the same questions and drops the answers."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from statistics import fmean, median
from typing import Any, Final

import asyncpg
import msgspec
from rich.table import Table

from budan.host.resources import cpu_s_between, foreign_cores, take_snapshot, usable_cores
from budan.host.tethered import tethered
from budan.proof.demo import EXIT_BROKEN, Stage, until_signal
from budan.proof.instance import STEP_S_MAX, Instance, Shape, private_folder, private_instance
from budan.proof.preload import settle
from budan.proof.queries import query
from budan.proof.records import CONNECT_S_MAX
from budan.proof.steps import StepFailed, run_cli, run_step

MERCHANTS: Final = 32
AMOUNT_MINOR: Final = 1_000
# The channel of the issue: answers after 20 ms, 200 questions at a time, so 10,000 a second at most.
ANSWER_AFTER_S: Final = 0.02
ASKED_AT_ONCE: Final = 200
# Of two hundred suspects one was paid, and its notice lost.
PAID_EVERY: Final = 200
CHANNELS: Final = ("swiftpass", "wechat_v3")
# Signed by a shared key: the one channel where the signature does not outweigh all else.
LIMITED: Final = "swiftpass"
RATIO_MAX: Final = 1.25
LIMIT_RATIO_MAX: Final = 1.5
ROWS_PER_STATEMENT: Final = 20_000
STATEMENT_S_MAX: Final = 300.0
READY_S_MAX: Final = 20.0
QUESTION_S_MAX: Final = 0.01
# Another's sweep must not fall into a measurement.
JOBS: Final = ("autobudan", "budan")
_READY: Final = "quick channel at "
_QUICK: Final = (sys.executable, "-m", "budan.sandbox.quick")
_BARE: Final = (sys.executable, "-m", "budan.cli.bare_loop")
_ADD: Final = query("sweep_suspects_add")
_FORGET: Final = query("sweep_suspects_forget")
_FOUND: Final = query("sweep_found_count")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How many suspects each channel has, and how often the sweep and the bare loop take turns over them."""

    suspects: int
    rounds: int


SHORT: Final = Plan(suspects=12_000, rounds=3)
LONG: Final = Plan(suspects=120_000, rounds=1)


class SweepFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One channel. `ratio`: sweep ÷ bare loop; `limit_ratio`: sweep ÷ what the channel's own pace takes at least."""

    suspects: int
    sweep_s: float
    bare_s: float
    ratio: float
    limit_s: float
    limit_ratio: float
    ratios: list[float]
    paid_there: int
    paid_here: int
    entries: int
    unbalanced_minor: int
    unasked: int
    cpu_us_per_question: dict[str, float]
    foreign_cores: float


class SweepResult(msgspec.Struct, frozen=True, kw_only=True):
    """What `budan bench --sweep --json` prints."""

    channels: dict[str, SweepFigures]
    ratio_max: float
    limit_ratio_max: float
    cores: float
    problems: list[str]
    ok: bool


class _Bare(msgspec.Struct, frozen=True, kw_only=True):
    suspects: int
    seconds: float
    cpu_s: float
    said: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Swept:
    """One run of the job."""

    seconds: float
    counted: Mapping[str, int]
    cpu_s: Mapping[str, float]
    foreign_cores: float


async def run_sweep(*, long: bool, as_json: bool) -> int:
    """The exit code: 1 when a figure is above its aim or what was paid at the channel is not paid here."""
    stage = Stage(as_json=as_json)
    return await until_signal(_sweep(stage, plan=LONG if long else SHORT, as_json=as_json), say=stage.say)


async def _sweep(stage: Stage, *, plan: Plan, as_json: bool) -> int:
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(private_folder())
        instance = await stack.enter_async_context(
            private_instance(folder=folder, dsn=None, shape=Shape(merchants=MERCHANTS), progress=stage.progress)
        )
        for job in JOBS:
            await _cli(instance, "jobs", "pause", job)
        url = await stack.enter_async_context(_quick_channel())
        figures = {channel: await _measure(stage, instance, channel, url=url, plan=plan) for channel in CHANNELS}
        result = _conclude(instance, figures)
        _show(stage, result)
        if as_json:
            sys.stdout.write(msgspec.json.encode(result).decode() + "\n")
            sys.stdout.flush()
    stage.progress("stopped: no program and no file is left")
    return 0 if result.ok else EXIT_BROKEN


async def _measure(stage: Stage, instance: Instance, channel: str, *, url: str, plan: Plan) -> SweepFigures:
    """Bare loop and sweep in turns, a bare loop first and last."""
    added = await _cli(
        instance, "channel", "add", channel, "--sandbox", "--name", f"quick {channel}", more={"BUDAN_SANDBOX_URL": url}
    )
    account_id = int(added["account_id"])
    await _add_suspects(instance, account_id, channel, suspects=plan.suspects)
    bares = [await _bare(stage, instance, account_id, prepare_url=f"{url}/prepare/{channel}")]
    sweeps: list[_Swept] = []
    for _ in range(plan.rounds):
        sweeps.append(await _run_job(stage, instance, plan=plan))
        bares.append(await _bare(stage, instance, account_id, prepare_url=f"{url}/prepare/{channel}"))
    found = await _close_books(instance, account_id)
    return _figures(bares, sweeps, found)


async def _bare(stage: Stage, instance: Instance, account_id: int, *, prepare_url: str) -> _Bare:
    wish = {"account_id": account_id, "asked_at_once": ASKED_AT_ONCE, "prepare_url": prepare_url}
    written = await run_step(
        _BARE, environment=_environment(instance), timeout_s=STATEMENT_S_MAX, given=msgspec.json.encode(wish)
    )
    bare = msgspec.json.decode(written, type=_Bare)
    stage.progress(f"bare loop: {bare.suspects} questions in {bare.seconds:.2f} s")
    return bare


async def _run_job(stage: Stage, instance: Instance, *, plan: Plan) -> _Swept:
    before, all_before = take_snapshot(instance.pids()), take_snapshot(_everything())
    patience_s = STEP_S_MAX + plan.suspects * QUESTION_S_MAX
    run = await _cli(instance, "jobs", "run", "autobudan", "--wait", timeout_s=patience_s)
    after, all_after = take_snapshot(instance.pids()), take_snapshot(_everything())
    if run["state"] != "succeeded":
        raise StepFailed(f"the sweep ended {run['state']}: {run['error']}")
    seconds = (_moment(run["finished_at"]) - _moment(run["started_at"])).total_seconds()
    stage.progress(f"sweep: {run['progress'].get('asked', 0)} questions in {seconds:.2f} s")
    return _Swept(
        seconds=seconds,
        counted=run["progress"],
        cpu_s=cpu_s_between(before, after),
        foreign_cores=foreign_cores(all_before, all_after),
    )


def _figures(bares: Sequence[_Bare], sweeps: Sequence[_Swept], found: Mapping[str, int]) -> SweepFigures:
    beside_s = [fmean((bares[number].seconds, bares[number + 1].seconds)) for number in range(len(sweeps))]
    # The first sweep completes what was paid, and those after it have so many fewer to ask about.
    asked = [swept.counted["asked"] for swept in sweeps]
    ratios = [swept.seconds / bare_s for swept, bare_s in zip(sweeps, beside_s, strict=True)]
    limits_s = [count * ANSWER_AFTER_S / ASKED_AT_ONCE for count in asked]
    costs = {name: sum(swept.cpu_s.get(name, 0.0) for swept in sweeps) for name in ("worker-1", "postgres")}
    costs = {name.partition("-")[0]: used_s * 1e6 / max(1, sum(asked)) for name, used_s in costs.items()}
    costs["bare"] = sum(bare.cpu_s for bare in bares) * 1e6 / max(1, sum(bare.suspects for bare in bares))
    return SweepFigures(
        suspects=bares[0].suspects,
        sweep_s=round(median(swept.seconds for swept in sweeps), 3),
        bare_s=round(median(beside_s), 3),
        ratio=round(median(ratios), 3),
        limit_s=round(median(limits_s), 3),
        limit_ratio=round(median(s.seconds / limit_s for s, limit_s in zip(sweeps, limits_s, strict=True)), 3),
        ratios=[round(ratio, 3) for ratio in ratios],
        paid_there=bares[0].said.get("paid", 0),
        paid_here=found["paid"],
        entries=found["entries"],
        unbalanced_minor=found["unbalanced_minor"],
        unasked=sum(swept.counted["unasked"] + swept.counted["unclear"] for swept in sweeps),
        cpu_us_per_question={name: round(cost, 1) for name, cost in costs.items()},
        foreign_cores=round(max(swept.foreign_cores for swept in sweeps), 2),
    )


def _conclude(instance: Instance, figures: dict[str, SweepFigures]) -> SweepResult:
    problems = [f"{exit_.name} ended with {exit_.code}" for exit_ in instance.exits]
    for channel, found in figures.items():
        problems += [f"{channel}: {problem}" for problem in _broken(channel, found)]
    return SweepResult(
        channels=figures,
        ratio_max=RATIO_MAX,
        limit_ratio_max=LIMIT_RATIO_MAX,
        cores=usable_cores(),
        problems=problems,
        ok=not problems,
    )


def _broken(channel: str, found: SweepFigures) -> list[str]:
    problems: list[str] = []
    if found.ratio > RATIO_MAX:
        problems.append(f"the sweep took {found.ratio:g} of the bare loop's time, at most {RATIO_MAX:g}")
    if channel == LIMITED and found.limit_ratio > LIMIT_RATIO_MAX:
        problems.append(f"the sweep took {found.limit_ratio:g} of the channel's own time, at most {LIMIT_RATIO_MAX:g}")
    if found.paid_here != found.paid_there:
        problems.append(f"{found.paid_there} were paid at the channel, {found.paid_here} are paid here")
    if found.entries != found.paid_here or found.unbalanced_minor:
        problems.append(f"{found.entries} entries for {found.paid_here} payments, off by {found.unbalanced_minor}")
    if found.unasked:
        problems.append(f"{found.unasked} questions had no answer")
    return problems


async def _add_suspects(instance: Instance, account_id: int, channel: str, *, suspects: int) -> None:
    merchants, lanes = [shop.merchant_id for shop in instance.shops], [shop.lane for shop in instance.shops]
    async with _connected(instance) as connection:
        for first in range(1, suspects + 1, ROWS_PER_STATEMENT):
            last = min(suspects, first + ROWS_PER_STATEMENT - 1)
            await connection.execute(_ADD, first, last, suspects, account_id, channel, merchants, lanes)
    await settle(instance)


async def _close_books(instance: Instance, account_id: int) -> dict[str, int]:
    """What became of the account's suspects; those that nobody paid are gone afterwards."""
    async with _connected(instance) as connection:
        found = dict(await connection.fetchrow(_FOUND, account_id) or {})
        await connection.execute(_FORGET, account_id)
    return found


@asynccontextmanager
async def _connected(instance: Instance) -> AsyncGenerator["asyncpg.Connection[asyncpg.Record]"]:
    connection = await asyncpg.connect(instance.dsn, timeout=CONNECT_S_MAX, command_timeout=STATEMENT_S_MAX)
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def _quick_channel() -> AsyncGenerator[str]:
    """The address of a channel that answers and does nothing else."""
    wish = {
        "amount_minor": AMOUNT_MINOR,
        "paid_every": PAID_EVERY,
        "answer_after_s": ANSWER_AFTER_S,
        "at_once_max": ASKED_AT_ONCE,
    }
    child = await asyncio.create_subprocess_exec(
        *tethered(_QUICK, death_signal=signal.SIGKILL), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        child.stdin.write(msgspec.json.encode(wish) + b"\n")
        async with asyncio.timeout(READY_S_MAX):
            line = (await child.stdout.readline()).decode().strip()
        if not line.startswith(_READY):
            raise StepFailed(f"the quick channel did not start: {line!r}")
        yield line.removeprefix(_READY)
    finally:
        child.kill()
        await child.wait()


async def _cli(
    instance: Instance, *arguments: str, more: Mapping[str, str] | None = None, timeout_s: float = STEP_S_MAX
) -> Any:
    environment = _environment(instance) | dict(more or {})
    return await run_cli(*arguments, environment=environment, timeout_s=timeout_s)


def _environment(instance: Instance) -> dict[str, str]:
    return dict(instance.programs["worker-1"].environment)


def _everything() -> dict[str, int]:
    """All that we started is our family: the rest of the machine is somebody else."""
    return {"everything": os.getpid()}


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _show(stage: Stage, result: SweepResult) -> None:
    table = Table(title="\nbudan bench --sweep: autobudan beside a loop that only asks")
    for column in ("figure", *result.channels, "aim"):
        table.add_column(column)
    found = list(result.channels.values())
    table.add_row("suspects", *(f"{one.suspects}" for one in found), "")
    table.add_row("whole sweep", *(f"{one.sweep_s:.2f} s" for one in found), "")
    table.add_row("bare loop", *(f"{one.bare_s:.2f} s" for one in found), "")
    table.add_row("sweep ÷ bare loop", *(f"{one.ratio:.2f}" for one in found), f"at most {RATIO_MAX:g}")
    limit_aim = f"{LIMITED}: at most {LIMIT_RATIO_MAX:g}"
    table.add_row("sweep ÷ the channel's own limit", *(f"{one.limit_ratio:.2f}" for one in found), limit_aim)
    table.add_row(
        "paid at the channel, paid here", *(f"{one.paid_there}, {one.paid_here}" for one in found), "the same"
    )
    for name in ("worker", "postgres", "bare"):
        costs = (f"{one.cpu_us_per_question[name]:.0f} us" for one in found)
        table.add_row(f"CPU per question: {name}", *costs, "")
    table.add_row("cores kept busy by others", *(f"{one.foreign_cores:.2f}" for one in found), "")
    stage.console.print(table)
    for problem in result.problems:
        stage.say(f"BROKEN: {problem}", style="bold red")
