"""Measures the books on a private database: what settling a day takes."""

import sys

import msgspec
from rich.table import Table

from budan.proof.demo import EXIT_BROKEN, Stage, until_signal
from budan.proof.instance import private_folder, starting_postgres
from budan.proof.settlement import LONG, SHORT, SettleResult, measure_settlement


async def run_books(*, long: bool, as_json: bool) -> int:
    """The exit code: 1 when something does not tie, or a snapshot was held for too long."""
    stage = Stage(as_json=as_json)
    return await until_signal(_books(stage, long=long, as_json=as_json), say=stage.say)


async def _books(stage: Stage, *, long: bool, as_json: bool) -> int:
    with private_folder() as folder:
        async with starting_postgres(folder / "postgres", progress=stage.progress) as starting:
            server = await starting
            result = await measure_settlement(
                dsn=server.dsn, folder=folder, plan=LONG if long else SHORT, progress=stage.progress
            )
    _show(stage, result)
    if as_json:
        sys.stdout.write(msgspec.json.encode(result).decode() + "\n")
        sys.stdout.flush()
    return EXIT_BROKEN if result.problems else 0


def _show(stage: Stage, result: SettleResult) -> None:
    table = Table("settlement", "")
    for name, figure in msgspec.to_builtins(result).items():
        if name != "problems":
            table.add_row(name, str(figure))
    stage.console.print(table)
    for problem in result.problems:
        stage.say(f"NOT TRUE: {problem}", style="bold red")
