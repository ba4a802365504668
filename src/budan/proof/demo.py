"""Five orders on a private platform, one of which loses its notice and is healed before the reader's eyes."""

import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from time import monotonic
from typing import Final, cast

import msgspec
from rich.console import Console
from rich.table import Table

from budan.host.errors import DatabaseNotStarted
from budan.host.supervisor import ProgramFailed
from budan.proof.client import Unreachable
from budan.proof.instance import Instance, Shape, private_folder, private_instance
from budan.proof.records import Records, open_records
from budan.proof.steps import StepFailed
from budan.proof.story import SCRIPTS, Script, Step, Story, create_open_order, play

EXIT_BROKEN: Final = 1
EXIT_INTERRUPTED: Final = 130


class DemoResult(msgspec.Struct, frozen=True, kw_only=True):
    """What `budan demo --json` prints; `heal_s` is from the payment whose notice was lost to its completed order."""

    orders: int
    paid: int
    healed: int
    heal_s: float
    webhooks_taken: int
    ready_s: float
    problems: list[str]
    ok: bool


class Stage:
    """Where the demo tells what happens; results go to stdout, and with `as_json` everything else to stderr."""

    def __init__(self, *, as_json: bool) -> None:
        self.began_s = monotonic()
        self.console = Console(stderr=as_json, highlight=False, soft_wrap=True)

    @property
    def elapsed_s(self) -> float:
        """Since the start."""
        return monotonic() - self.began_s

    def progress(self, text: str) -> None:
        """A line about the start."""
        self.console.print(f"{self.elapsed_s:6.2f} s  {text}", markup=False, style="dim")

    def say(self, text: str = "", *, style: str | None = None) -> None:
        """A line of the story."""
        self.console.print(text, markup=False, style=style)


async def run_demo(*, once: bool, as_json: bool) -> int:
    """The exit code: 0 when every promise holds. Without `once` the platform stays up until Ctrl-C."""
    stage = Stage(as_json=as_json)
    return await until_signal(_demo(stage, once=once, as_json=as_json), say=stage.say)


async def until_signal(work: Coroutine[None, None, int], *, say: Callable[[str], None]) -> int:
    """The exit code of `work`, which SIGINT and SIGTERM cancel; what went wrong is said in a line."""
    running = asyncio.create_task(work)
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, running.cancel)
    code = EXIT_BROKEN
    try:
        code = await running
    except* (StepFailed, ProgramFailed, DatabaseNotStarted, Unreachable) as failures:
        for line in _messages(failures):
            say(f"failed: {line}")
    except* asyncio.CancelledError:
        code = EXIT_INTERRUPTED
    return code


def _messages(failure: BaseException) -> list[str]:
    if not isinstance(failure, BaseExceptionGroup):
        return [str(failure)]
    group = cast("BaseExceptionGroup[BaseException]", failure)
    return [message for inner in group.exceptions for message in _messages(inner)]


async def _demo(stage: Stage, *, once: bool, as_json: bool) -> int:
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(private_folder())
        instance = await stack.enter_async_context(
            private_instance(folder=folder, dsn=None, shape=Shape(), progress=stage.progress)
        )
        records = await stack.enter_async_context(open_records(instance))
        ready_s = stage.elapsed_s
        stage.progress("everything is ready")
        stories = await _tell_stories(stage, records=records, instance=instance)
        result = _judge(stories, ready_s=ready_s, instance=instance)
        _show(stage, stories, result)
        if as_json:
            sys.stdout.write(msgspec.json.encode(result).decode() + "\n")
            sys.stdout.flush()
        if not once:
            cashier_url = await create_open_order(records, shop=instance.shops[0])
            _invite(stage, instance=instance, cashier_url=cashier_url)
            await _stay(stage)
        stage.progress("stopping")
    stage.progress("stopped: no program and no file is left")
    return 0 if result.ok else EXIT_BROKEN


async def _stay(stage: Stage) -> None:
    try:
        await asyncio.get_running_loop().create_future()
    except asyncio.CancelledError:
        # This is how a demo ends: not by failing, but because somebody has seen enough.
        task = asyncio.current_task()
        assert task is not None
        task.uncancel()
        stage.say()


async def _tell_stories(stage: Stage, *, records: Records, instance: Instance) -> list[Story]:
    """The first orders are paid at the same time and told in turn; the last one happens while it is read."""
    *before, last = SCRIPTS
    shop = instance.shops[0]
    stories: list[Story] = []
    async with asyncio.TaskGroup() as tasks:
        told: list[tuple[Script, list[Step], asyncio.Task[Story]]] = []
        for script in before:
            steps: list[Step] = []
            playing = play(script, records=records, shop=shop, tasks=tasks, tell=steps.append)
            told.append((script, steps, tasks.create_task(playing)))
        for number, (script, steps, playing_task) in enumerate(told, start=1):
            stories.append(await playing_task)
            _announce(stage, number, script)
            teller = _Teller(stage)
            for step in steps:
                teller.tell(step)
        _announce(stage, len(SCRIPTS), last)
        stories.append(await play(last, records=records, shop=shop, tasks=tasks, tell=_Teller(stage).tell))
    return stories


def _announce(stage: Stage, number: int, script: Script) -> None:
    stage.say(f"\n{number}. {script.name}: {script.title}", style="bold")


class _Teller:
    """Prints steps with the time since the first of them, by the records' own times."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._first: Step | None = None

    def tell(self, step: Step) -> None:
        self._first = self._first or step
        since_s = (step.at - self._first.at).total_seconds()
        self._stage.say(f"   {since_s:7.3f} s  {step.who + ':':<10}{step.text}")


def _judge(stories: list[Story], *, ready_s: float, instance: Instance) -> DemoResult:
    problems = [problem for story in stories for problem in story.problems()]
    problems += [f"{exit_.name} ended with {exit_.code}" for exit_ in instance.exits]
    return DemoResult(
        orders=len(stories),
        paid=sum(story.order.state == "paid" for story in stories),
        healed=sum(story.remedy is not None for story in stories),
        heal_s=round(stories[-1].heal_s, 3),
        webhooks_taken=sum(len(story.webhooks) for story in stories),
        ready_s=round(ready_s, 2),
        problems=problems,
        ok=not problems,
    )


def _show(stage: Stage, stories: list[Story], result: DemoResult) -> None:
    table = Table(title="\nThe three records", title_justify="left")
    for column in ("order", "sandbox", "budan", "merchant"):
        table.add_column(column)
    for story in stories:
        order, trade = story.order, story.trade
        booked = "payment" if order.payment_entries == 1 else "payments"
        table.add_row(
            story.script.name,
            f"{trade.state} ¥{trade.amount_minor / 100:.2f}, notices: {trade.notices_sent}",
            f"{order.state} by {order.learned_source}, {order.payment_entries} {booked} booked",
            f"{len(story.webhooks)} webhook, +{(story.webhooks[0].at - story.paid_at).total_seconds():.3f} s",
        )
    stage.console.print(table)
    for problem in result.problems:
        stage.say(f"BROKEN: {problem}", style="bold red")
    if result.ok:
        stage.say(
            f"{result.paid} of {result.orders} orders paid, {result.webhooks_taken} webhooks taken;"
            f" the lost notice was healed in {result.heal_s:.1f} s",
            style="bold green",
        )


def _invite(stage: Stage, *, instance: Instance, cashier_url: str) -> None:
    shop = instance.shops[0]
    places = {
        "cashier of an open order": cashier_url,
        "printed code of the shop": shop.shop_url,
        "cash desk": shop.terminal_url,
        "wallet of the sandbox": f"{instance.sandbox_url}/wallet",
        "documentation of the API": f"{instance.public_url}/docs",
    }
    stage.say()
    for name, url in places.items():
        stage.say(f"  {name:<26}{url}")
    stage.say("\nTry it: open the wallet page, choose the open order, tick *lose this notice*, pay.")
    stage.say("Ctrl-C stops everything and leaves nothing behind.")
