"""Commands that look from outside: demo, bench."""

import click

from budan.cli.frame import json_option, run_async
from budan.proof.bench import run_bench
from budan.proof.demo import run_demo


@click.command()
@click.option("--once", is_flag=True, help="Check everything and exit.")
@json_option
def demo(*, once: bool, as_json: bool) -> None:
    """Show five orders on a private instance; one of them loses its notice and is healed."""
    raise SystemExit(run_async(run_demo(once=once, as_json=as_json)))


@click.command()
@click.option("--long", is_flag=True, help="Three interleaved rounds, medians, a million orders preloaded.")
@json_option
def bench(*, long: bool, as_json: bool) -> None:
    """Measure whole order lives on a private instance, beside a fixed reference in the same run."""
    raise SystemExit(run_async(run_bench(long=long, as_json=as_json)))
