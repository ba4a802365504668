"""Somebody who types commands."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.cli.commands import CommandLine, Typist
from stage import Stage


@pytest.fixture(scope="session")
def command_line() -> Iterator[CommandLine]:
    """Where commands are typed; started by the first test that types one."""
    line = CommandLine()
    yield line
    line.close()


@pytest.fixture
def typist(stage: Stage, database_dsn: str, tmp_path: Path, command_line: CommandLine) -> Typist:
    """At the keys of the stage's instance."""
    assert stage.settings.text("database") == database_dsn
    return Typist(dsn=database_dsn, folder=tmp_path, line=command_line)
