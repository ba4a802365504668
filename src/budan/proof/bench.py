"""Measures whole order lives on a private platform, beside a fixed reference in the same run."""

import asyncio
import sys
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from statistics import median
from typing import Final

import msgspec
from rich.table import Table

from budan.host.resources import usable_cores
from budan.proof.audit import Audit, audit_run
from budan.proof.crypto_cost import RsaCost, measure_rsa
from budan.proof.demo import EXIT_BROKEN, Stage, until_signal
from budan.proof.healing import measure_heal_page
from budan.proof.instance import Instance, Shape, private_folder, private_instance
from budan.proof.measuring import Measured, Stretch, measure
from budan.proof.preload import preload, settle
from budan.proof.records import open_records
from budan.proof.reference import make_reference, measure_reference
from budan.proof.stages import StageTimes, read_stages

MERCHANTS: Final = 32
CONNECTIONS: Final = 64
# Enough under way that no program waits for another; more only makes queues.
OPEN_MAX: Final = 192
PAGES_OPEN: Final = 4
# The programs whose work grows with what is stored; the others stand outside.
BUDAN: Final = ("serve", "worker", "postgres")
# The figures of docs/ are judged where everybody has a core of its own.
CORES_TO_JUDGE: Final = 4
# Above this, figures of time say more about others than about us.
FOREIGN_CORES_MAX: Final = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How long each part of a run takes."""

    rounds: int
    reference_s: int
    warm_s: float
    full_s: float
    half_s: float
    intake_s: float
    preload_orders: int
    # Memory is judged after so many lives.
    lives_wanted: int


SHORT: Final = Plan(
    rounds=1,
    reference_s=4,
    warm_s=1.0,
    full_s=5.0,
    half_s=5.0,
    intake_s=2.0,
    preload_orders=30_000,
    lives_wanted=0,
)
LONG: Final = Plan(
    rounds=3,
    reference_s=20,
    warm_s=3.0,
    full_s=30.0,
    half_s=20.0,
    intake_s=10.0,
    preload_orders=1_000_000,
    lives_wanted=100_000,
)


class Percentiles(msgspec.Struct, frozen=True, kw_only=True):
    """Median and 99th percentile."""

    p50: float
    p99: float


class BenchResult(msgspec.Struct, frozen=True, kw_only=True):
    """What `budan bench --json` prints; docs/bench.md says how each figure is made."""

    lives_per_s: float
    reference_lives_per_s: float
    ratio: float
    ratio_unsigned: float
    intake_per_s: float
    intake_without_database_per_s: float
    intake_ratio: float
    growth_ratio: float
    growth_orders: tuple[int, int]
    notice_to_ack_ms: Percentiles
    stages_ms: dict[str, Percentiles]
    heal_page_s: float
    cpu_us_per_order: dict[str, float]
    rsa_us: dict[str, float]
    rss_mb: dict[str, float]
    lives: int
    cores: float
    rounds: int
    foreign_cores: float
    wrong_answers: int
    wrong_examples: list[str]
    missing: int
    audit: Audit
    problems: list[str]
    ok: bool


@dataclass(slots=True, kw_only=True)
class _Findings:
    """What the parts of a run have found so far."""

    rsa: RsaCost
    reference: list[float] = field(default_factory=list[float])
    full: list[Measured] = field(default_factory=list[Measured])
    half: list[Measured] = field(default_factory=list[Measured])
    grown: list[Measured] = field(default_factory=list[Measured])
    creates: list[Measured] = field(default_factory=list[Measured])
    refusals: list[Measured] = field(default_factory=list[Measured])
    heal_s: list[float] = field(default_factory=list[float])
    lives: int = 0
    lives_when_small: int = 0

    def all(self) -> list[Measured]:
        """Every stretch of the run."""
        return [*self.full, *self.half, *self.grown, *self.creates, *self.refusals]


async def run_bench(*, long: bool, as_json: bool) -> int:
    """The exit code: 1 when a promise to merchants was broken; a figure below its aim is shown, not failed."""
    stage = Stage(as_json=as_json)
    return await until_signal(_bench(stage, plan=LONG if long else SHORT, as_json=as_json), say=stage.say)


async def _bench(stage: Stage, *, plan: Plan, as_json: bool) -> int:
    cores = usable_cores()
    shape = Shape(serves=max(1, int(cores) // 2), workers=max(1, int(cores) // 4), merchants=MERCHANTS)
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(private_folder())
        instance = await stack.enter_async_context(
            private_instance(folder=folder, dsn=None, shape=shape, progress=stage.progress)
        )
        findings = await _measure_all(stage, instance, plan=plan)
        stage.progress("audit")
        result = await _conclude(instance, findings, plan=plan)
        _show(stage, result)
        if as_json:
            sys.stdout.write(msgspec.json.encode(result).decode() + "\n")
            sys.stdout.flush()
    stage.progress("stopped: no program and no file is left")
    return 0 if result.ok else EXIT_BROKEN


async def _measure_all(stage: Stage, instance: Instance, *, plan: Plan) -> _Findings:
    findings = _Findings(rsa=measure_rsa())
    reference_dsn = await make_reference(instance.dsn)
    for number in range(1, plan.rounds + 1):
        stage.progress(f"round {number} of {plan.rounds}: reference")
        findings.reference.append(await measure_reference(reference_dsn, seconds=plan.reference_s))
        stage.progress(f"  {findings.reference[-1]:.0f} plain lives/s; whole lives, as many as it takes")
        full = await _lives(instance, findings, findings.full, plan=plan, rate_per_s=None)
        stage.progress(f"  {full.done_per_s:.0f} lives/s; half of it")
        await settle(instance)
        findings.lives_when_small = findings.lives
        await _half(instance, findings, plan=plan)
    await _reach(stage, instance, findings, plan=plan)
    stage.progress(f"storing {plan.preload_orders} finished orders")
    await preload(instance, orders=plan.preload_orders)
    await settle(instance)
    stage.progress("half of it again, with these")
    for _ in range(plan.rounds):
        await _lives(instance, findings, findings.grown, plan=plan, rate_per_s=_half_rate(findings))
    await _intake(stage, instance, findings, plan=plan)
    return findings


async def _half(instance: Instance, findings: _Findings, *, plan: Plan) -> None:
    """Half load, and a few payers with open pages whose notices are lost."""
    async with open_records(instance) as records, asyncio.TaskGroup() as tasks:
        loading = tasks.create_task(
            _lives(instance, findings, findings.half, plan=plan, rate_per_s=_half_rate(findings))
        )
        shop = instance.shops[0]
        pages = [
            tasks.create_task(
                measure_heal_page(
                    records, shop=shop, reference=f"{shop.merchant_id}-heal{len(findings.heal_s)}p{number}"
                )
            )
            for number in range(PAGES_OPEN)
        ]
        await loading
        findings.heal_s += [await page for page in pages]


def _half_rate(findings: _Findings) -> float:
    return median(one.done_per_s for one in findings.full) / 2


async def _lives(
    instance: Instance, findings: _Findings, found: list[Measured], *, plan: Plan, rate_per_s: float | None
) -> Measured:
    stretch = Stretch(
        kind="lives",
        warm_s=plan.warm_s,
        measured_s=plan.full_s if rate_per_s is None else plan.half_s,
        connections=CONNECTIONS,
        open_max=OPEN_MAX,
        rate_per_s=rate_per_s,
    )
    measured = await measure(instance, stretch)
    findings.lives += measured.load.done
    found.append(measured)
    return measured


async def _reach(stage: Stage, instance: Instance, findings: _Findings, *, plan: Plan) -> None:
    """As many lives as memory is judged after."""
    while findings.lives < plan.lives_wanted:
        stage.progress(f"  {findings.lives} of {plan.lives_wanted} lives")
        await _lives(instance, findings, [], plan=plan, rate_per_s=None)


async def _intake(stage: Stage, instance: Instance, findings: _Findings, *, plan: Plan) -> None:
    """One serve process: orders for the cashier page, and the same request refused before the database is asked."""
    for name in [name for name in instance.pids() if name.startswith("serve-") and name != "serve-1"]:
        await instance.supervisor.stop(name)
    for _ in range(plan.rounds):
        stage.progress("intake by one serve process: without the database, then with it")
        for kind, found in (("refusals", findings.refusals), ("creates", findings.creates)):
            stretch = Stretch(
                kind="refusals" if kind == "refusals" else "creates",
                warm_s=0.5,
                measured_s=plan.intake_s,
                connections=CONNECTIONS,
                open_max=OPEN_MAX,
            )
            found.append(await measure(instance, stretch))


async def _conclude(instance: Instance, findings: _Findings, *, plan: Plan) -> BenchResult:
    audit = await audit_run(
        dsn=instance.dsn,
        merchant_ids=[shop.merchant_id for shop in instance.shops],
        truth_file=instance.truth_file,
        events_file=instance.events_file,
    )
    stages = await read_stages(instance, findings.half)
    ratio = median(one.done_per_s for one in findings.full) / median(findings.reference)
    costs = _median_costs(findings.full)
    total_us = sum(costs.values())
    wrong = [example for one in findings.all() for example in one.load.wrong_examples]
    problems = [f"{name} ended with {code}" for name, code in ((exit_.name, exit_.code) for exit_ in instance.exits)]
    if not audit.holds:
        problems += ["the three records do not agree", *audit.examples]
    return BenchResult(
        lives_per_s=round(median(one.done_per_s for one in findings.full), 1),
        reference_lives_per_s=round(median(findings.reference), 1),
        ratio=round(ratio, 3),
        ratio_unsigned=round(ratio * total_us / max(1.0, total_us - findings.rsa.life_us), 3),
        intake_per_s=round(median(one.done_per_s for one in findings.creates), 1),
        intake_without_database_per_s=round(median(one.done_per_s for one in findings.refusals), 1),
        intake_ratio=round(
            median(one.done_per_s for one in findings.creates) / median(one.done_per_s for one in findings.refusals), 3
        ),
        growth_ratio=round(_budan_us(findings.grown) / _budan_us(findings.half), 3),
        growth_orders=(findings.lives_when_small, plan.preload_orders + findings.lives),
        notice_to_ack_ms=_percentiles(stages["notice_to_ack"]),
        stages_ms={name: _percentiles(times) for name, times in stages.items()},
        heal_page_s=round(max(findings.heal_s), 2),
        cpu_us_per_order={name: round(cost) for name, cost in sorted(costs.items())},
        rsa_us={"sign": round(findings.rsa.sign_us), "verify": round(findings.rsa.verify_us)},
        rss_mb={name: round(size / 1e6, 1) for name, size in findings.grown[-1].memory_bytes.items()},
        lives=findings.lives,
        cores=usable_cores(),
        rounds=plan.rounds,
        foreign_cores=round(median(one.foreign_cores for one in findings.all()), 2),
        wrong_answers=sum(one.load.wrong for one in findings.all()),
        wrong_examples=wrong[:3],
        missing=audit.lost + audit.webhooks_missing,
        audit=audit,
        problems=problems,
        ok=not problems,
    )


def _median_costs(stretches: list[Measured]) -> dict[str, float]:
    costs = [one.cpu_us_per_order() for one in stretches]
    return {name: median(cost[name] for cost in costs) for name in costs[0]}


def _budan_us(stretches: list[Measured]) -> float:
    costs = _median_costs(stretches)
    return sum(costs[name] for name in BUDAN)


def _percentiles(times: StageTimes) -> Percentiles:
    return Percentiles(p50=round(times.p50_ms, 1), p99=round(times.p99_ms, 1))


def _show(stage: Stage, result: BenchResult) -> None:
    table = Table(title=f"\nbudan bench: {result.cores:g} cores, {result.rounds} round(s), {result.lives} lives")
    for column in ("figure", "measured", "aim"):
        table.add_column(column)
    ack = result.notice_to_ack_ms
    table.add_row("whole lives per second", f"{result.lives_per_s:.0f}", "")
    table.add_row("reference: plain lives per second", f"{result.reference_lives_per_s:.0f}", "")
    table.add_row("ratio", f"{result.ratio:.2f}", "at least 0.6")
    table.add_row("ratio without signatures", f"{result.ratio_unsigned:.2f}", "at least 1.5")
    table.add_row("intake ratio", f"{result.intake_ratio:.2f}", "at least 0.4")
    table.add_row(f"growth ratio at {result.growth_orders[1]} orders", f"{result.growth_ratio:.2f}", "at most 1.2")
    table.add_row("notice to merchant's acknowledgement", f"p50 {ack.p50} ms, p99 {ack.p99} ms", "p99 at most 50 ms")
    table.add_row("lost notice, page open", f"{result.heal_page_s:.1f} s", "below 5 s")
    for name, size_mb in sorted(result.rss_mb.items()):
        if name.partition("-")[0] in {"serve", "worker"}:
            table.add_row(f"memory of {name}", f"{size_mb:.0f} MB", "below 200 MB")
    for name, cost_us in result.cpu_us_per_order.items():
        table.add_row(f"CPU per life: {name}", f"{cost_us} us", "")
    table.add_row("cores kept busy by others", f"{result.foreign_cores:.2f}", "")
    table.add_row("lost, doubled, wrong, unbalanced, untold", _verdict(result.audit), "none")
    stage.console.print(table)
    if result.cores < CORES_TO_JUDGE:
        stage.say(f"Aims are judged with {CORES_TO_JUDGE} cores or more; all programs share {result.cores:g} here.")
    if result.foreign_cores > FOREIGN_CORES_MAX:
        stage.say(f"Others kept {result.foreign_cores:.2f} cores busy meanwhile: run it again on a quiet machine.")
    for problem in result.problems:
        stage.say(f"BROKEN: {problem}", style="bold red")


def _verdict(audit: Audit) -> str:
    counts = (audit.lost, audit.doubled, audit.wrongly_completed, audit.unbalanced, audit.webhooks_missing)
    return ", ".join(map(str, counts))
