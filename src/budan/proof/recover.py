"""Loses every notice of a running platform and measures how long payments wait, and what the questions cost."""

import asyncio
import random
import sys
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

import asyncpg
import msgspec
from rich.table import Table

from budan.host.resources import usable_cores
from budan.proof.audit import Audit, audit_run
from budan.proof.client import Client
from budan.proof.demo import EXIT_BROKEN, Stage, until_signal
from budan.proof.instance import Instance, Shape, Shop, private_folder, private_instance
from budan.proof.queries import query
from budan.proof.ranks import percentile
from budan.proof.records import ANSWER_S_MAX, CONNECT_S_MAX
from budan.proof.recovery import (
    Schedule,
    compute,
    count_questions,
    draw_age_s,
    draw_crowd,
    fixed_ladder,
)
from budan.proof.steps import StepFailed
from budan.proof.till import code_of
from budan.proof.truth import TrueTrade, TruthReader

MERCHANTS: Final = 16
WORKERS: Final = 2
ORDERS_COMPUTED: Final = 20_000
SEED: Final = 1
# Whole lives are computed for these; the figure is judged at the first, the last is what orders have by default.
EXPIRIES_S: Final = (360.0, 600.0, 900.0)
HEAL_S_MAX: Final = 90.0
LOOK_AGAIN_S: Final = 0.5
# The closing has its turn after the expiry; a life is whole then.
CLOSING_S: Final = 20.0
RECOVER_P50_S_MAX: Final = 5.0
RECOVER_P99_S_MAX: Final = 30.0
QUERIES_MAX: Final[Mapping[str, float]] = {"outage": 12.0, "health": 1.2}
_COMPLETED_LIST: Final = query("proof_completed_list")
_CREATED: Final = 201
_OK: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Orders arrive at random all the time; notices come for `health_s` and are lost for `outage_s`.

    Payers whose age is not reached at the end did not pay: the run is as long as it is.
    """

    rate_per_s: float
    health_s: float
    outage_s: float
    expires_in_s: int


SHORT: Final = Plan(rate_per_s=6.0, health_s=75.0, outage_s=120.0, expires_in_s=360)
# Long enough for whole lives on both sides of the outage's beginning.
LONG: Final = Plan(rate_per_s=4.0, health_s=500.0, outage_s=560.0, expires_in_s=360)


class RecoverSeconds(msgspec.Struct, frozen=True, kw_only=True):
    """From the channel's payment to our completion."""

    p50: float
    p99: float
    max: float


class ComputedLife(msgspec.Struct, frozen=True, kw_only=True):
    """Whole lives of orders with this expiry, computed: questions ÷ paid orders, and what payments waited.

    `health_with_ended` counts what is asked after an unpaid end too (I6).
    """

    expires_in_s: float
    outage: float
    health: float
    health_with_ended: float
    fixed_ladder: float
    recover_s: RecoverSeconds
    fixed_ladder_recover_s: RecoverSeconds
    worst_share_of_bound: float


class RecoverResult(msgspec.Struct, frozen=True, kw_only=True):
    """What `budan bench --recover --json` prints; docs/bench.md says which figure is measured and which computed."""

    recover_s: RecoverSeconds
    queries_per_paid_order: dict[str, float]
    fixed_ladder_queries_per_paid_order: float
    expires_in_s: float
    computed: list[ComputedLife]
    paid_in_outage: int
    first_completed_by_query_s: float
    queries_in_outage: int
    queries_in_outage_computed: int
    whole_lives: dict[str, int]
    queries_per_whole_life_paid: dict[str, float | None]
    cores: float
    audit: Audit
    problems: list[str]
    ok: bool


@dataclass(slots=True, kw_only=True)
class _Order:
    """An order of the run: when it was placed and is paid; None is never."""

    age_s: float | None
    placed_at: datetime | None = None
    trade_no: str = ""
    paid: bool = False


@dataclass(slots=True, kw_only=True)
class _Run:
    plan: Plan
    shops: Sequence[Shop]
    api: Client
    sandbox: Client
    orders: list[_Order] = field(default_factory=list[_Order])
    outage_at: datetime | None = None
    is_over: bool = False


async def run_recover(schedule: Schedule, *, long: bool, as_json: bool) -> int:
    """The exit code: 1 when a promise was broken or a figure is above its aim."""
    stage = Stage(as_json=as_json)
    return await until_signal(_recover(stage, schedule, plan=LONG if long else SHORT, as_json=as_json), say=stage.say)


async def _recover(stage: Stage, schedule: Schedule, *, plan: Plan, as_json: bool) -> int:
    stage.progress(f"computing {ORDERS_COMPUTED} whole lives for each expiry")
    computed = [_compute(schedule, expires_in_s=expires_in_s) for expires_in_s in EXPIRIES_S]
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(private_folder())
        shape = Shape(workers=WORKERS, merchants=MERCHANTS)
        instance = await stack.enter_async_context(
            private_instance(folder=folder, dsn=None, shape=shape, progress=stage.progress)
        )
        run = await _play(stage, instance, plan=plan)
        stage.progress("audit")
        result = await _conclude(instance, run, schedule, computed)
        _show(stage, result)
        if as_json:
            sys.stdout.write(msgspec.json.encode(result).decode() + "\n")
            sys.stdout.flush()
    stage.progress("stopped: no program and no file is left")
    return 0 if result.ok else EXIT_BROKEN


def _compute(schedule: Schedule, *, expires_in_s: float) -> ComputedLife:
    crowd = draw_crowd(orders=ORDERS_COMPUTED, seed=SEED)
    outage = compute(crowd, schedule, notices_come=False, expires_in_s=expires_in_s)
    health = compute(crowd, schedule, notices_come=True, expires_in_s=expires_in_s)
    fixed = compute(crowd, fixed_ladder, notices_come=False, expires_in_s=expires_in_s)
    return ComputedLife(
        expires_in_s=expires_in_s,
        outage=round(outage.per_paid_order, 2),
        health=round(health.per_paid_order, 2),
        health_with_ended=round(health.per_paid_order_with_ended, 2),
        fixed_ladder=round(fixed.per_paid_order, 2),
        recover_s=_recover_seconds(outage.heal_s),
        fixed_ladder_recover_s=_recover_seconds(fixed.heal_s),
        worst_share_of_bound=round(outage.worst_share, 3),
    )


def _recover_seconds(ordered: Sequence[float]) -> RecoverSeconds:
    return RecoverSeconds(
        p50=round(percentile(ordered, 50), 2),
        p99=round(percentile(ordered, 99), 2),
        max=round(ordered[-1], 2) if ordered else 0.0,
    )


async def _play(stage: Stage, instance: Instance, *, plan: Plan) -> _Run:
    run = _Run(
        plan=plan,
        shops=instance.shops,
        api=Client(instance.public_url, connections_max=64),
        sandbox=Client(instance.sandbox_url, connections_max=64),
    )
    try:
        stage.progress(f"notices come: {plan.health_s:g} s at {plan.rate_per_s:g} orders a second")
        async with asyncio.TaskGroup() as tasks:
            arriving = tasks.create_task(_arrive(run, tasks))
            await asyncio.sleep(plan.health_s)
            run.outage_at = datetime.now(UTC)
            stage.progress(f"every notice is lost from now on: {plan.outage_s:g} s")
            await asyncio.sleep(plan.outage_s)
            run.is_over = True
            arriving.cancel()
        await _wait_healed(stage, instance, run)
    finally:
        run.api.close()
        run.sandbox.close()
    return run


async def _arrive(run: _Run, tasks: asyncio.TaskGroup) -> None:
    # Chaos must be repeatable, and nothing secret depends on it.
    chance = random.Random(SEED)  # noqa: S311 - a seeded run is the purpose
    while not run.is_over:
        await asyncio.sleep(chance.expovariate(run.plan.rate_per_s))
        order = _Order(age_s=draw_age_s(chance))
        run.orders.append(order)
        tasks.create_task(_live(run, order, number=len(run.orders)))


async def _live(run: _Run, order: _Order, *, number: int) -> None:
    """One order: placed, and paid at its age unless the run is over by then."""
    shop = run.shops[number % len(run.shops)]
    reference = f"{shop.merchant_id}-recover{number}"
    wish = {"reference": reference, "amount_minor": 1_000, "currency": "CNY", "subject": "Recover"}
    wish |= {"payment": {"method": "native", "channel": "wechat_v3"}, "expires_in_s": run.plan.expires_in_s}
    headers = f"{shop.headers}Idempotency-Key: {reference}\r\n"
    created = await run.api.post("/v1/orders", wish, headers=headers, timeout_s=ANSWER_S_MAX)
    if created.status != _CREATED:
        raise StepFailed(f"an order was answered {created.status}: {created.body[:200]!r}")
    told = created.json()
    order.trade_no, order.placed_at = told["trades"][0]["trade_no"], datetime.now(UTC)
    code = code_of(told)
    if code is None or order.age_s is None or order.age_s > run.plan.expires_in_s - 1:
        return
    pause = asyncio.create_task(asyncio.sleep(order.age_s))
    while not pause.done() and not run.is_over:
        await asyncio.wait([pause], timeout=LOOK_AGAIN_S)
    pause.cancel()
    if run.is_over:
        return
    faults = {"drop_notice": run.outage_at is not None}
    body = {"code_text": code, "faults": faults}
    paid = await run.sandbox.post("/sandbox/pay", body, timeout_s=ANSWER_S_MAX)
    if paid.status != _OK:
        raise StepFailed(f"a payment was answered {paid.status}: {paid.body[:200]!r}")
    order.paid = True


async def _wait_healed(stage: Stage, instance: Instance, run: _Run) -> None:
    """Until every payment has completed its order; what is missing then, the audit names."""
    wanted = sum(order.paid for order in run.orders)
    until = datetime.now(UTC) + timedelta(seconds=HEAL_S_MAX)
    stage.progress(f"waiting for the last of {wanted} payments to be found")
    while datetime.now(UTC) < until:
        if len(await _list_completed(instance)) >= wanted:
            return
        await asyncio.sleep(LOOK_AGAIN_S)


async def _list_completed(instance: Instance) -> dict[tuple[int, int], tuple[datetime, str]]:
    connection = await asyncpg.connect(
        instance.dsn, timeout=CONNECT_S_MAX, server_settings={"default_transaction_read_only": "on"}
    )
    try:
        rows = await connection.fetch(_COMPLETED_LIST, [shop.merchant_id for shop in instance.shops])
    finally:
        await connection.close()
    return {(row["lane"], row["order_id"]): (row["completed_at"], row["learned_source"]) for row in rows}


async def _conclude(instance: Instance, run: _Run, schedule: Schedule, computed: list[ComputedLife]) -> RecoverResult:
    assert run.outage_at is not None
    ended_at = datetime.now(UTC)
    audit = await audit_run(
        dsn=instance.dsn,
        merchant_ids=[shop.merchant_id for shop in instance.shops],
        truth_file=instance.truth_file,
        events_file=instance.events_file,
    )
    trades = {trade.trade_no: trade for trade in TruthReader(instance.truth_file).read()}
    completed = await _list_completed(instance)
    healed = _list_healed(trades, completed, outage_at=run.outage_at)
    heal_s = sorted(seconds for _, seconds in healed)
    asked, predicted = _compare_questions(run, trades, schedule, ended_at=ended_at)
    whole = {name: _whole_lives(run, trades, name, ended_at=ended_at) for name in QUERIES_MAX}
    judged = computed[0]
    recover_s = _recover_seconds(heal_s)
    problems = [f"{exit_.name} ended with {exit_.code}" for exit_ in instance.exits]
    if not audit.holds:
        problems += ["the three records do not agree", *audit.examples]
    problems += _above_aims(recover_s, judged)
    return RecoverResult(
        recover_s=recover_s,
        queries_per_paid_order={"outage": judged.outage, "health": judged.health},
        fixed_ladder_queries_per_paid_order=judged.fixed_ladder,
        expires_in_s=judged.expires_in_s,
        computed=computed,
        paid_in_outage=len(heal_s),
        first_completed_by_query_s=round(
            min(((moment - run.outage_at).total_seconds() for moment, _ in healed), default=0.0), 2
        ),
        queries_in_outage=asked,
        queries_in_outage_computed=predicted,
        whole_lives={name: len(lives) for name, lives in whole.items()},
        queries_per_whole_life_paid={name: _per_paid(lives) for name, lives in whole.items()},
        cores=usable_cores(),
        audit=audit,
        problems=problems,
        ok=not problems,
    )


def _list_healed(
    trades: Mapping[str, TrueTrade],
    completed: Mapping[tuple[int, int], tuple[datetime, str]],
    *,
    outage_at: datetime,
) -> list[tuple[datetime, float]]:
    """When each payment made in the outage completed its order, and how long after it was made."""
    found: list[tuple[datetime, float]] = []
    for trade in trades.values():
        told = completed.get(trade.key.order)
        if told is not None and trade.paid_at is not None and trade.paid_at >= outage_at:
            found.append((told[0], (told[0] - trade.paid_at).total_seconds()))
    return found


def _compare_questions(
    run: _Run, trades: Mapping[str, TrueTrade], schedule: Schedule, *, ended_at: datetime
) -> tuple[int, int]:
    """Questions that the channel counted about orders placed in the outage, and what the rule says of the same orders."""
    assert run.outage_at is not None
    asked = predicted = 0
    for order in run.orders:
        if order.placed_at is None or order.placed_at < run.outage_at or order.trade_no not in trades:
            continue
        asked += trades[order.trade_no].queries
        predicted += count_questions(
            schedule,
            paid_age_s=order.age_s if order.paid else None,
            until_age_s=(ended_at - order.placed_at).total_seconds(),
            notices_come=False,
            is_sampled=False,
        )
    return asked, predicted


def _whole_lives(run: _Run, trades: Mapping[str, TrueTrade], side: str, *, ended_at: datetime) -> list[TrueTrade]:
    """Orders whose whole life, closing included, lies on one side of the outage's beginning."""
    assert run.outage_at is not None
    life = timedelta(seconds=run.plan.expires_in_s + CLOSING_S)
    since, until = (run.outage_at, ended_at) if side == "outage" else (datetime.min.replace(tzinfo=UTC), run.outage_at)
    return [
        trades[order.trade_no]
        for order in run.orders
        if order.placed_at is not None and since <= order.placed_at <= until - life and order.trade_no in trades
    ]


def _per_paid(lives: Sequence[TrueTrade]) -> float | None:
    paid = sum(trade.paid_at is not None for trade in lives)
    return round(sum(trade.queries for trade in lives) / paid, 2) if paid else None


def _above_aims(recover_s: RecoverSeconds, judged: ComputedLife) -> list[str]:
    aims = [
        ("payments were found too late: p50", max(recover_s.p50, judged.recover_s.p50), RECOVER_P50_S_MAX),
        ("payments were found too late: p99", max(recover_s.p99, judged.recover_s.p99), RECOVER_P99_S_MAX),
        ("questions in the outage", judged.outage, QUERIES_MAX["outage"]),
        ("questions in health", judged.health, QUERIES_MAX["health"]),
        ("a payment beyond its bound", judged.worst_share_of_bound, 1.0),
        ("the fixed ladder costs no more", judged.outage / judged.fixed_ladder, 1.0),
    ]
    return [f"{what}: {measured:g}, at most {aim:g}" for what, measured, aim in aims if measured > aim]


def _show(stage: Stage, result: RecoverResult) -> None:
    table = Table(title=f"\nbudan bench --recover: {result.paid_in_outage} payments whose notice was lost")
    for column in ("figure", "found", "aim"):
        table.add_column(column)
    measured = result.recover_s
    table.add_row("measured: payment to completion, p50", f"{measured.p50:.1f} s", "at most 5 s")
    table.add_row("measured: payment to completion, p99", f"{measured.p99:.1f} s", "at most 30 s")
    table.add_row("measured: the slowest", f"{measured.max:.1f} s", "")
    table.add_row("measured: questions about orders placed in the outage", f"{result.queries_in_outage}", "")
    table.add_row("computed for the very same orders", f"{result.queries_in_outage_computed}", "")
    for name, count in result.whole_lives.items():
        cost = result.queries_per_whole_life_paid[name]
        if cost is not None:
            table.add_row(f"measured: questions per paid order, {count} whole lives in {name}", f"{cost:.2f}", "")
    for life in result.computed:
        table.add_row(
            f"computed, expiry {life.expires_in_s:g} s: questions per paid order in the outage",
            f"{life.outage:.2f}",
            _aim(result, life, "outage"),
        )
        table.add_row("  in health", f"{life.health:.2f}", _aim(result, life, "health"))
        table.add_row("  in health, with the two after each unpaid end", f"{life.health_with_ended:.2f}", "")
        table.add_row("  with a question each 5 s", f"{life.fixed_ladder:.2f}", "more than ours")
        table.add_row(
            "  payment to completion, p50, p99, slowest",
            f"{life.recover_s.p50:.1f}, {life.recover_s.p99:.1f}, {life.recover_s.max:.1f} s",
            "",
        )
    stage.console.print(table)
    for problem in result.problems:
        stage.say(f"BROKEN: {problem}", style="bold red")


def _aim(result: RecoverResult, life: ComputedLife, side: str) -> str:
    return f"at most {QUERIES_MAX[side]:g}" if life.expires_in_s == result.expires_in_s else ""
