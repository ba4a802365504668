"""Exit codes tell a script whether to call somebody or to look at its own words."""

import os
from pathlib import Path

import click
import pytest

from budan.cli.frame import by_option, database_dsn, exit_codes, listening
from budan.cli.settings import load_settings
from budan.host.supervisor import ProgramFailed
from budan.web.serve import listen_at


@pytest.mark.parametrize(("folder", "code"), [("fresh", 2), ("used", 1)])
def test_a_server_that_is_away_is_no_wrong_use(tmp_path: Path, folder: str, code: int) -> None:
    """Whoever ran `budan up` here has set nothing wrong: their server is down, and that is a broken promise."""
    (tmp_path / "used/postgres/cluster").mkdir(parents=True)
    settings = load_settings({"folder": str(tmp_path / folder), "database": ""}, environ={})
    with pytest.raises(SystemExit) as ended, exit_codes():
        database_dsn(settings)
    assert ended.value.code == code


def test_whoever_has_no_name_on_a_machine_is_named_by_their_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container's user has none, and what they do there is refused without one."""
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    nobody = 4_000_000_000
    monkeypatch.setattr(os, "getuid", lambda: nobody)

    @by_option
    def command(*, by: str) -> None:
        seen.append(by)

    seen: list[str] = []
    click.command()(command).main([], standalone_mode=False)
    assert seen == [f"uid {nobody}"]


def test_a_program_that_does_not_run_ends_us_with_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """`budan up` with a taken port once printed two hundred lines, and none of them said what to do."""
    with pytest.raises(SystemExit) as ended, exit_codes():
        raise ExceptionGroup("beside others", [ProgramFailed("serve-1 ended with 2 after 0.9 s")])
    assert ended.value.code == 1
    assert capsys.readouterr().err == "budan: serve-1 ended with 2 after 0.9 s\n"


def test_an_address_that_is_taken_is_refused_by_its_settings_name(capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever reads it knows which word to change."""
    with listen_at(host="127.0.0.1", port=0, is_shared=False) as taken:
        port: int = taken.getsockname()[1]
        with (
            pytest.raises(SystemExit) as ended,
            exit_codes(),
            listening("metrics_listen", host="127.0.0.1", port=port),
        ):
            listen_at(host="127.0.0.1", port=port, is_shared=True)
    assert ended.value.code == 2
    expected = f"refused: address_unusable (metrics_listen) cannot listen at 127.0.0.1:{port}: Address already in use"
    assert expected in capsys.readouterr().err
