"""What commands print is a channel's, a merchant's or a stranger's text too."""

import pytest
from rich.table import Table

from budan.cli.frame import OUT


def test_brackets_and_colons_of_others_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    """A bill's row named `[/x]` ended the list of differences with a traceback, and nobody saw the rest."""
    table = Table("merchant")
    table.add_row("[/x] [bold]shop :smile:")
    OUT.print(table)
    OUT.print("[/y] :smile:")
    printed = capsys.readouterr().out
    assert "[/x] [bold]shop :smile:" in printed
    assert "[/y] :smile:" in printed
