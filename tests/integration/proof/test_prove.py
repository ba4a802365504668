"""What `budan prove` promises to whoever types it; its scenarios are played one by one in tests/chaos."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from budan.cli.many import Told
from budan.proof.scenarios.listed import SCENARIOS
from integration.cli.commands import CommandLine

PROVE = [sys.executable, "-m", "budan.cli.main", "prove"]
END_S_MAX = 110
KEYS = {
    "seed",
    "scenario",
    "orders",
    "paid_at_channel",
    "paid_here",
    "lost",
    "doubled",
    "wrongly_paid",
    "unbalanced",
    "webhooks_missing",
    "refunds_unknown",
    "recover_s",
    "queries_per_paid_order",
    "kills",
    "ok",
}


@pytest.fixture
def passable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A place for the run's own folder that an unprivileged database can get through to."""
    folder = Path("/tmp") / f"budan-test-prove-{os.getpid()}-{tmp_path_factory.mktemp('x').name}"  # noqa: S108 - our own
    folder.mkdir(mode=0o711)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def prove(*flags: str, folder: Path) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "TMPDIR": str(folder)}
    return subprocess.run([*PROVE, *flags], env=environment, capture_output=True, timeout=END_S_MAX, check=False)


def test_a_run_that_keeps_every_promise_ends_with_0_and_leaves_nothing(passable: Path) -> None:
    # A lost notice among many that come is asked about after 90 s: tests/chaos waits for those.
    done = prove(
        *("--seed", "5", "--orders", "24", "--kill-every", "1", "--mix", "drop_notice=0", "--json"), folder=passable
    )
    assert done.returncode == 0, done.stderr.decode()
    result = json.loads(done.stdout)
    assert result.keys() >= KEYS
    assert (result["seed"], result["scenario"], result["orders"], result["ok"]) == (5, "mixed", 24, True)
    assert result["paid_here"] == result["paid_at_channel"] > 0
    assert result["recover_s"].keys() == {"p50", "p99", "max"}
    assert list(passable.iterdir()) == []


def test_every_scenario_is_listed_with_what_it_stands_for(command_line: CommandLine) -> None:
    listed = command_line.run(Told(words=["prove", "--list"], environment={}))
    assert listed.code == 0
    for name, scenario in SCENARIOS.items():
        assert name in listed.out
        assert scenario.stands_for in listed.out


@pytest.mark.parametrize(
    ("flags", "code"),
    [(("--scenario", "flood"), "scenario_unknown"), (("--mix", "drop_notice=2"), "mix_unreadable")],
)
def test_nonsense_is_refused_before_anything_is_started(
    command_line: CommandLine, flags: tuple[str, ...], code: str
) -> None:
    refused = command_line.run(Told(words=["prove", *flags], environment={}))
    assert (refused.code, refused.out) == (2, "")
    assert refused.err.startswith(f"budan: refused: {code}")
