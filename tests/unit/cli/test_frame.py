"""Exit codes tell a script whether to call somebody or to look at its own words."""

from pathlib import Path

import pytest

from budan.cli.frame import database_dsn, exit_codes
from budan.cli.settings import load_settings


@pytest.mark.parametrize(("folder", "code"), [("fresh", 2), ("used", 1)])
def test_a_server_that_is_away_is_no_wrong_use(tmp_path: Path, folder: str, code: int) -> None:
    """Whoever ran `budan up` here has set nothing wrong: their server is down, and that is a broken promise."""
    (tmp_path / "used/postgres/cluster").mkdir(parents=True)
    settings = load_settings({"folder": str(tmp_path / folder), "database": ""}, environ={})
    with pytest.raises(SystemExit) as ended, exit_codes():
        database_dsn(settings)
    assert ended.value.code == code
