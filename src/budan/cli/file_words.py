"""Two persons' word on a bill that one of them loaded, as they type it."""

import click

from budan.cli.frame import OUT, print_json, run_async
from budan.cli.orders import open_operator_flows
from budan.cli.settings import Settings
from budan.flows.file_words import FileConfirmed, FileProposed


def stand_for_rows(
    settings: Settings, *, propose: int | None, confirm: int | None, by: str | None, reason: str | None, as_json: bool
) -> None:
    """One person stands for the rows of a run that are paid there and not here, or a second one confirms it."""
    if by is None or (propose is None) == (confirm is None) or (propose is None) != (reason is None):
        raise click.UsageError("--propose RUN --reason WHY --by NAME, then --confirm RUN --by ANOTHER")

    async def say() -> FileProposed | FileConfirmed:
        async with open_operator_flows(settings) as flows:
            if propose is not None:
                return await flows.file_words.propose(propose, by=by, reason=reason or "")
            assert confirm is not None, "one of both"
            return await flows.file_words.confirm(confirm, by=by)

    said = run_async(say())
    if as_json:
        print_json(said)
    elif isinstance(said, FileProposed):
        OUT.print(f"{said.rows} rows; another person may confirm from {said.confirm_from:%Y-%m-%dT%H:%M:%SZ} on")
    else:
        OUT.print(", ".join(f"{decision}: {rows}" for decision, rows in sorted(said.decisions.items())))
