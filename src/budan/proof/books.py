"""Measures the books on a private database: comparing a day with its bill, and settling it."""

import sys
from collections.abc import Mapping, Sequence

import msgspec
from rich.table import Table

from budan.proof.demo import EXIT_BROKEN, Stage, until_signal
from budan.proof.instance import private_folder, starting_postgres
from budan.proof.reconciliation import LONG as RECONCILE_LONG
from budan.proof.reconciliation import SHORT as RECONCILE_SHORT
from budan.proof.reconciliation import measure_reconciliation
from budan.proof.settlement import LONG, SHORT, measure_settlement


async def run_books(*, long: bool, as_json: bool) -> int:
    """The exit code: 1 when something does not tie, or a snapshot was held for too long."""
    stage = Stage(as_json=as_json)
    return await until_signal(_books(stage, long=long, as_json=as_json), say=stage.say)


async def _books(stage: Stage, *, long: bool, as_json: bool) -> int:
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
    figures: dict[str, object] = msgspec.to_builtins(compared) | msgspec.to_builtins(settled)
    problems = [*compared.problems, *settled.problems]
    _show(stage, figures, problems)
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
