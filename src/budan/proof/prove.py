"""Chaos against a private platform, and the audit of three independent records after it."""

import asyncio
import shlex
import sys
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

import msgspec

from budan.proof.audit import Books, compare, read_books, tell_webhooks
from budan.proof.client import Client
from budan.proof.demo import EXIT_BROKEN, Stage, until_signal
from budan.proof.drawing import Mix, render_mix, without_shares
from budan.proof.hands import Hands
from budan.proof.house import CONNECTIONS_MAX, House, Options
from budan.proof.instance import Instance, Shape, Shop, private_folder, private_instance
from budan.proof.quiet import Quiet
from budan.proof.ranks import percentile
from budan.proof.records import read_webhooks
from budan.proof.scenarios.listed import SCENARIOS
from budan.proof.scenarios.scenario import Scenario
from budan.proof.steps import StepFailed
from budan.proof.till import Till
from budan.proof.truth import TrueTrade, TruthReader, parse_merchant_id, tell_trades
from budan.proof.violence import Violence

# Whatever is completed sooner than this came by itself.
RECOVERED_AFTER_S: Final = 1.0
SERVES: Final = 2
WORKERS: Final = 2
ALONE: Final = ("swiftpass", "ipaynow", "wechat_v2")
# The channels' documented waits before a repeat of a notice, shortened: 15 s become 0.3 s, 20 min 24 s.
TIME_SCALE: Final = 0.02


class RecoverySeconds(msgspec.Struct, frozen=True, kw_only=True):
    """From the payment to the completed order, of those that took longer than a second."""

    p50: float
    p99: float
    max: float


class ProveResult(msgspec.Struct, frozen=True, kw_only=True):
    """What `budan prove --json` prints; docs/prove.md says what each count means."""

    seed: int
    scenario: str
    orders: int
    paid_at_channel: int
    paid_here: int
    lost: int
    doubled: int
    wrongly_paid: int
    unbalanced: int
    webhooks_missing: int
    unkept: int
    sent_late: int
    refunds_unknown: int
    recover_s: RecoverySeconds
    recovered: int
    queries_per_paid_order: float
    kills: int
    took_s: float
    unsold: int
    problems: list[str]
    ok: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the command line asks for; None leaves a choice to the scenario."""

    scenario: str
    seed: int
    orders: int | None
    mix: Mix
    kill_every_s: float
    patience_s: float


async def run_prove(wanted: Wanted, *, as_json: bool) -> int:
    """The exit code: 0 when every promise holds."""
    stage = Stage(as_json=as_json)
    return await until_signal(_prove(stage, wanted, as_json=as_json), say=stage.say)


async def _prove(stage: Stage, wanted: Wanted, *, as_json: bool) -> int:
    scenario = SCENARIOS[wanted.scenario]
    stage.progress(f"scenario {scenario.name}, seed {wanted.seed}: {scenario.stands_for}")
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(private_folder())
        alone = ALONE if scenario.with_alone else ()
        shape = prove_shape(merchants=scenario.shops, seed=wanted.seed, alone=alone)
        instance = await stack.enter_async_context(
            private_instance(folder=folder, dsn=None, shape=shape, progress=stage.progress)
        )
        await link_up(instance)
        result = await play_scenario(instance, scenario, wanted=wanted, shops=instance.shops, tell=stage.progress)
        _show(stage, result, again=repeat_command(wanted))
        if as_json:
            sys.stdout.write(msgspec.json.encode(result).decode() + "\n")
            sys.stdout.flush()
    stage.progress("stopped: no program and no file is left")
    return 0 if result.ok else EXIT_BROKEN


def prove_shape(*, merchants: int, seed: int, alone: tuple[str, ...] = ALONE) -> Shape:
    """The instance that every scenario is played on."""
    return Shape(
        serves=SERVES,
        workers=WORKERS,
        merchants=merchants,
        time_scale=TIME_SCALE,
        seed=seed,
        linked=True,
        alone=alone,
    )


async def link_up(instance: Instance) -> None:
    """Our calls to the channels go through the line that can be cut."""
    assert instance.links is not None
    await Hands(instance).lead_calls(from_url=instance.sandbox_url, to_url=instance.links.channel_url)


async def play_scenario(
    instance: Instance, scenario: Scenario, *, wanted: Wanted, shops: Sequence[Shop], tell: Callable[[str], None]
) -> ProveResult:
    """One scenario with shops of its own, to its audit; the instance is as before afterwards."""
    options = Options(
        seed=wanted.seed,
        orders=wanted.orders or scenario.orders,
        mix=wanted.mix if scenario.with_alone else without_shares(wanted.mix, ALONE),
        kill_every_s=wanted.kill_every_s,
        patience_s=wanted.patience_s,
    )
    began_at = datetime.now().astimezone()
    house = _open_house(instance, scenario, options=options, shops=shops, tell=tell)
    problems: list[str] = []
    try:
        try:
            await scenario.play(house)
        except* StepFailed as failures:
            problems += [str(failure) for failure in failures.exceptions]
        tell("the failure is over; waiting for rest")
        quiet = Quiet(truth=house.truth, hands=house.hands, merchant_ids=house.merchant_ids)
        async with asyncio.TaskGroup() as tasks:
            hurrying = tasks.create_task(house.hurry_refunds())
            await quiet.wait(patience_s=options.patience_s, tell=tell)
            hurrying.cancel()
        problems += [*house.failures, *house.violence.accidents]
        return await _judge(house, scenario, problems=problems, began_at=began_at)
    finally:
        house.api.close()
        house.sandbox.close()


def _open_house(
    instance: Instance,
    scenario: Scenario,
    *,
    options: Options,
    shops: Sequence[Shop],
    tell: Callable[[str], None],
) -> House:
    api = Client(instance.api_url, connections_max=CONNECTIONS_MAX)
    sandbox = Client(instance.sandbox_url, connections_max=CONNECTIONS_MAX)
    return House(
        instance=instance,
        options=options,
        shops=tuple(shops),
        alone=instance.alone if scenario.with_alone else {},
        till=Till(api=api, sandbox=sandbox, tag=scenario.name[:20].replace(" ", "-")),
        violence=Violence(instance, tell=tell),
        hands=Hands(instance),
        truth=TruthReader(instance.truth_file),
        sandbox=sandbox,
        api=api,
        tell=tell,
        failures=[],
        unsold=[],
        windows={},
    )


async def _judge(house: House, scenario: Scenario, *, problems: list[str], began_at: datetime) -> ProveResult:
    wanted = set(house.merchant_ids)
    books = await read_books(dsn=house.instance.dsn, merchant_ids=house.merchant_ids)
    books = replace(books, send_until={**books.send_until, **house.windows})
    truth = house.ours()
    events = read_webhooks(house.instance.events_file)
    webhooks = [event for event in events if parse_merchant_id(event.order.order_no) in wanted]
    audit = compare(truth=truth, books=books, webhooks=webhooks, answers=house.till.answers)
    for lane, order_id in audit.concerned:
        await _tell_order(house, lane=lane, order_id=order_id)
    recovery = _recovery_s(truth, books)
    paid = sum(trade.paid_at is not None for trade in truth)
    return ProveResult(
        seed=house.options.seed,
        scenario=scenario.name,
        orders=audit.orders,
        paid_at_channel=audit.paid,
        paid_here=audit.completed,
        lost=audit.lost,
        doubled=audit.doubled,
        wrongly_paid=audit.wrongly_completed,
        unbalanced=audit.unbalanced,
        webhooks_missing=audit.webhooks_missing,
        unkept=audit.unkept,
        sent_late=audit.sent_late,
        refunds_unknown=audit.refunds_unknown,
        recover_s=_percentiles(recovery),
        recovered=len(recovery),
        queries_per_paid_order=round(sum(trade.queries for trade in truth) / max(1, paid), 2),
        kills=house.violence.kills,
        took_s=round((datetime.now().astimezone() - began_at).total_seconds(), 1),
        unsold=len(house.unsold),
        problems=[*problems, *audit.examples],
        ok=audit.holds and not problems,
    )


async def _tell_order(house: House, *, lane: int, order_id: int) -> None:
    """What each record says of an order whose promise was broken."""
    house.tell(f"order {lane}/{order_id}, by the sandbox's file:")
    told = tell_trades(house.instance.truth_file, lane=lane, order_id=order_id) or ["nothing"]
    told += ["by the database:", *(await house.hands.tell_order(lane=lane, order_id=order_id) or ["nothing"])]
    told += ["by the merchant's file:"]
    told += tell_webhooks(house.instance.events_file, lane=lane, order_id=order_id) or ["nothing"]
    for line in told:
        house.tell(f"    {line}")


def _recovery_s(truth: Sequence[TrueTrade], books: Books) -> list[float]:
    found: list[float] = []
    for trade in truth:
        order = books.orders.get(trade.key.order)
        if trade.paid_at is None or order is None or order.completed_at is None:
            continue
        took_s = (order.completed_at - trade.paid_at).total_seconds()
        if order.paid_attempt == trade.key.attempt and took_s > RECOVERED_AFTER_S:
            found.append(took_s)
    return sorted(found)


def _percentiles(ordered: Sequence[float]) -> RecoverySeconds:
    p50, p99, longest = (round(percentile(ordered, share), 2) for share in (50, 99, 100))
    return RecoverySeconds(p50=p50, p99=p99, max=longest)


def repeat_command(wanted: Wanted) -> str:
    """What to type for the same faults again, whole and quoted for a shell.

    The shares stand as `--mix`, those of `--notice-faults` too: together they are what was drawn from.
    """
    words = ["budan", "prove", "--scenario", wanted.scenario, "--seed", str(wanted.seed)]
    if wanted.orders is not None:
        words += ["--orders", str(wanted.orders)]
    if mix := render_mix(wanted.mix):
        words += ["--mix", mix]
    words += ["--kill-every", repr(wanted.kill_every_s), "--patience", repr(wanted.patience_s)]
    return shlex.join(words)


def _show(stage: Stage, result: ProveResult, *, again: str) -> None:
    stage.say(
        f"{result.orders} orders, {result.paid_at_channel} payments at the channels, {result.paid_here} orders paid here;"
        f" {result.kills} kills; recovered {result.recovered}: p50 {result.recover_s.p50:g} s,"
        f" p99 {result.recover_s.p99:g} s, longest {result.recover_s.max:g} s;"
        f" {result.queries_per_paid_order:g} queries for each payment"
    )
    counts = ("lost", "doubled", "wrongly_paid", "unbalanced", "webhooks_missing", "unkept", "sent_late")
    counted = ", ".join(f"{name.replace('_', ' ')} {getattr(result, name)}" for name in (*counts, "refunds_unknown"))
    stage.say(counted, style="bold green" if result.ok else "bold red")
    for problem in result.problems:
        stage.say(f"BROKEN: {problem}", style="bold red")
    if not result.ok:
        stage.say(f"the same faults again: {again}", style="bold red")
