"""What `budan demo` promises to whoever types it: five orders, one healed, and nothing left."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

DEMO = [sys.executable, "-m", "budan.cli.main", "demo"]
END_S_MAX = 60
# Ctrl-C stops everything within 5 s, and the machine may be busy.
STOP_S_MAX = 10


def _environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "TMPDIR": str(folder)}


def _left_running(folder: Path) -> list[str]:
    found: list[str] = []
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
        except OSError:
            continue
        if str(folder).encode() in words and entry.name != str(os.getpid()):
            found.append(words.decode(errors="replace")[:200])
    return found


@pytest.fixture
def passable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A place for the demo's own folder that an unprivileged database can get through to."""
    folder = Path("/tmp") / f"budan-test-demo-{os.getpid()}-{tmp_path_factory.mktemp('x').name}"  # noqa: S108 - our own
    folder.mkdir(mode=0o711)
    return folder


@pytest.mark.invariant("I3", "I6", "I12")
def test_five_orders_are_paid_told_once_and_the_lost_notice_is_healed(passable: Path) -> None:
    done = subprocess.run(
        [*DEMO, "--once", "--json"],
        env=_environment(passable),
        capture_output=True,
        timeout=END_S_MAX,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    result = json.loads(done.stdout)
    assert result["problems"] == []
    assert (result["orders"], result["paid"], result["webhooks_taken"], result["healed"]) == (5, 5, 5, 2)
    assert 0 < result["heal_s"] < 5
    assert _left_running(passable) == []
    passable.rmdir()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_demo_that_is_interrupted_while_it_starts_leaves_nothing(passable: Path, number: signal.Signals) -> None:
    demo = subprocess.Popen(
        DEMO, env=_environment(passable), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert demo.stdout is not None
    with demo.stdout:
        # The database is being made, the sandbox and the merchant are starting.
        assert "making a new database" in demo.stdout.readline()
        demo.send_signal(number)
        demo.stdout.read()
    assert demo.wait(STOP_S_MAX) == 130
    assert _left_running(passable) == []
    passable.rmdir()
