"""Measures the books on a private database: comparing a day with its bill, settling it, and what posting costs."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

import msgspec
from rich.table import Table

from budan.proof.demo import EXIT_BROKEN, Stage, until_signal
from budan.proof.instance import private_folder, starting_postgres
from budan.proof.reconciliation import LONG as RECONCILE_LONG
from budan.proof.reconciliation import RATIO_MAX, measure_reconciliation
from budan.proof.reconciliation import SHORT as RECONCILE_SHORT
from budan.proof.settlement import LONG, SHORT, measure_settlement

# Posting adds at most so much to the transaction that completes an order.
POSTING_SHARE_MAX: Final = 0.25
ROUNDS: Final = 10
ROUNDS_LONG: Final = 60


class PostingMeasure(Protocol):
    """Budan's own door, as the proof is handed it: seconds of completions with their postings, and without."""

    async def __call__(self, *, dsn: str, folder: Path, rounds: int) -> tuple[float, float]:
        """Medians of interleaved rounds."""
        ...


async def run_books(measure_posting: PostingMeasure, *, long: bool, as_json: bool) -> int:
    """The exit code: 1 when something does not tie, or a snapshot was held for too long."""
    stage = Stage(as_json=as_json)
    return await until_signal(_books(stage, measure_posting, long=long, as_json=as_json), say=stage.say)


async def _books(stage: Stage, measure_posting: PostingMeasure, *, long: bool, as_json: bool) -> int:
    with private_folder() as folder:
        async with starting_postgres(folder / "postgres", progress=stage.progress) as starting:
            server = await starting
            compared = await measure_reconciliation(
                dsn=server.dsn,
                folder=folder,
                plan=RECONCILE_LONG if long else RECONCILE_SHORT,
                progress=stage.progress,
            )
            settled = await measure_settlement(
                dsn=server.dsn, folder=folder, plan=LONG if long else SHORT, progress=stage.progress
            )
            stage.progress("posting: completing orders with their postings and without")
            rounds = ROUNDS_LONG if long else ROUNDS
            with_s, without_s = await measure_posting(dsn=server.dsn, folder=folder, rounds=rounds)
    share = round(with_s / without_s - 1, 3)
    figures: dict[str, object] = msgspec.to_builtins(compared) | msgspec.to_builtins(settled)
    figures["posting_share"] = share
    problems = [*compared.problems, *settled.problems]
    _show(stage, figures, problems)
    if compared.ratio > RATIO_MAX:
        stage.say(f"comparing takes more than {RATIO_MAX} times the bare reading of both sides", style="yellow")
    if share > POSTING_SHARE_MAX:
        stage.say(f"posting adds more than {POSTING_SHARE_MAX:.0%} to a completion", style="yellow")
    if as_json:
        sys.stdout.write(msgspec.json.encode(figures | {"problems": problems}).decode() + "\n")
        sys.stdout.flush()
    return EXIT_BROKEN if problems else 0


def _show(stage: Stage, figures: Mapping[str, object], problems: Sequence[str]) -> None:
    table = Table("the books", "")
    for name, figure in figures.items():
        if name != "problems":
            table.add_row(name, str(figure))
    stage.console.print(table)
    for problem in problems:
        stage.say(f"NOT TRUE: {problem}", style="bold red")
