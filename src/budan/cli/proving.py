"""Commands that look from outside: demo, bench, prove."""

from datetime import timedelta
from secrets import randbelow
from typing import Final

import click

from budan.cli.channel_bench import run_channel_bench
from budan.cli.frame import OUT, json_option, run_async
from budan.cli.posting_cost import measure_posting
from budan.core.errors import Refused
from budan.core.health import NoticeHealth
from budan.core.pace import question_wait
from budan.core.trade import Direction
from budan.proof.bench import run_bench
from budan.proof.books import run_books
from budan.proof.demo import run_demo
from budan.proof.drawing import Mix, MixUnreadable, parse_mix, with_notice_faults
from budan.proof.prove import Wanted, run_prove
from budan.proof.recover import run_recover
from budan.proof.scenarios.listed import SCENARIOS
from budan.proof.sweep import run_sweep

_SEEDS: Final = 1 << 31


@click.command()
@click.option("--once", is_flag=True, help="Check everything and exit.")
@json_option
def demo(*, once: bool, as_json: bool) -> None:
    """Show five orders on a private instance; one of them loses its notice and is healed."""
    raise SystemExit(run_async(run_demo(once=once, as_json=as_json)))


@click.command()
@click.option("--long", is_flag=True, help="Three interleaved rounds, medians, a million orders preloaded.")
@click.option("--recover", is_flag=True, help="Lose every notice: how long payments wait, what the questions cost.")
@click.option(
    "--books",
    is_flag=True,
    help="Compare a day with its bill, and settle one; with --long ten million lines, and a million orders.",
)
@click.option(
    "--sweep", is_flag=True, help="A whole autobudan beside a loop that only asks; 120,000 suspects with --long."
)
@click.option("--channels", is_flag=True, help="CPU per message beside bare cryptography; how fast bills are read.")
@json_option
def bench(*, long: bool, recover: bool, books: bool, sweep: bool, channels: bool, as_json: bool) -> None:
    """Measure whole order lives on a private instance, beside a fixed reference in the same run."""
    if recover + books + sweep + channels > 1:
        detail = "--recover, --books, --sweep and --channels are runs of their own"
        raise Refused("options_exclude", param="sweep", detail=detail)
    if channels:
        raise SystemExit(run_channel_bench(long=long, as_json=as_json))
    if books:
        raise SystemExit(run_async(run_books(measure_posting, long=long, as_json=as_json)))
    if sweep:
        raise SystemExit(run_async(run_sweep(long=long, as_json=as_json)))
    if recover:
        raise SystemExit(run_async(run_recover(_question_wait_s, long=long, as_json=as_json)))
    raise SystemExit(run_async(run_bench(long=long, as_json=as_json)))


def _question_wait_s(*, age_s: float, attempts: int, notices_come: bool, is_sampled: bool) -> float:
    """Budan's own rule for a C2B trade, as the proof wants to have it."""
    wait = question_wait(
        direction=Direction.C2B,
        age=timedelta(seconds=age_s),
        attempts=attempts,
        notices=NoticeHealth.COMING if notices_come else NoticeHealth.MISSING,
        is_sampled=is_sampled,
    )
    return wait.total_seconds()


@click.command()
@click.option("--scenario", default="mixed", show_default=True, metavar="NAME", help="One failure by its name.")
@click.option("--list", "lists", is_flag=True, help="Tell the scenarios and what each stands for.")
@click.option("--seed", type=click.IntRange(0, _SEEDS), default=None, help="The same faults again; drawn if left out.")
@click.option("--orders", type=click.IntRange(1), default=None, help="How many; the scenario's own number if left out.")
@click.option("--mix", default="", metavar="NAME=SHARE,…", help="How likely each fault is, in `mixed`.")
@click.option(
    "--notice-faults", type=click.FloatRange(0, 1), default=None, help="Share of lost, doubled and late notices."
)
@click.option(
    "--kill-every", type=click.FloatRange(0), default=3.0, show_default=True, help="Seconds between two kills; 0: none."
)
@click.option(
    "--patience", type=click.FloatRange(1), default=60.0, show_default=True, help="Seconds to wait for rest at the end."
)
@json_option
def prove(
    *,
    scenario: str,
    lists: bool,
    seed: int | None,
    orders: int | None,
    mix: str,
    notice_faults: float | None,
    kill_every: float,
    patience: float,
    as_json: bool,
) -> None:
    """Break a private instance on purpose, then compare what channel, budan and merchant wrote down."""
    if lists:
        for name, known in SCENARIOS.items():
            OUT.print(f"{name:<34}{known.stands_for}")
        return
    wanted = read_wanted(
        scenario=scenario,
        seed=seed,
        orders=orders,
        mix=mix,
        notice_faults=notice_faults,
        kill_every=kill_every,
        patience=patience,
    )
    raise SystemExit(run_async(run_prove(wanted, as_json=as_json)))


def read_wanted(
    *,
    scenario: str,
    seed: int | None,
    orders: int | None,
    mix: str,
    notice_faults: float | None,
    kill_every: float,
    patience: float,
) -> Wanted:
    """What the flags of `prove` ask for; raises `Refused` with `scenario_unknown` or `mix_unreadable`, in this order."""
    if scenario not in SCENARIOS:
        raise Refused("scenario_unknown", param="scenario", detail="see: budan prove --list")
    chosen = Mix() if notice_faults is None else with_notice_faults(Mix(), notice_faults)
    try:
        chosen = parse_mix(mix, mix=chosen)
    except MixUnreadable as error:
        raise Refused("mix_unreadable", param="mix", detail=str(error)) from error
    return Wanted(
        scenario=scenario,
        seed=randbelow(_SEEDS) if seed is None else seed,
        orders=orders,
        mix=chosen,
        kill_every_s=kill_every,
        patience_s=patience,
    )
