"""A proof that cannot fail proves nothing: each planted bug breaks one invariant, and `budan prove` must see it."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PLANTED = ROOT / "tests" / "planted"
END_S_MAX = 150
SEED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Plant:
    """A patch, the scenario that must see it, and the counts in which it must be seen."""

    patch: str
    scenario: str
    orders: int
    counts: frozenset[str]


PLANTS = (
    Plant(
        patch="I1_notice_answered_before_the_commit",
        scenario="database down",
        orders=8,
        counts=frozenset({"unkept"}),
    ),
    Plant(
        patch="I3_completion_without_its_webhook",
        scenario="every notice lost",
        orders=4,
        counts=frozenset({"webhooks_missing"}),
    ),
    Plant(
        patch="I4_signature_not_checked",
        scenario="doubled, late and forged notices",
        orders=4,
        counts=frozenset({"wrongly_paid"}),
    ),
    Plant(
        patch="I5_system_error_taken_for_a_refusal",
        scenario="time-out after the charge",
        orders=8,
        counts=frozenset({"lost"}),
    ),
    Plant(
        patch="I7_success_refused_after_the_end",
        scenario="success after the end",
        orders=2,
        counts=frozenset({"lost"}),
    ),
    Plant(
        patch="I8_copy_taken_for_another_payment",
        scenario="doubled, late and forged notices",
        orders=4,
        counts=frozenset({"doubled"}),
    ),
    Plant(
        patch="I9_second_payment_kept",
        scenario="two wallets",
        orders=2,
        counts=frozenset({"lost"}),
    ),
    Plant(
        patch="I10_fee_booked_on_one_side",
        scenario="two wallets",
        orders=2,
        counts=frozenset({"unbalanced"}),
    ),
    Plant(
        patch="I11_repeated_after_the_window",
        scenario="paused sender",
        orders=2,
        counts=frozenset({"sent_late"}),
    ),
)

pytestmark = pytest.mark.timeout(END_S_MAX + 60)


@pytest.fixture
def passable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A place for the run's own folder that an unprivileged database can get through to."""
    folder = Path("/tmp") / f"budan-test-planted-{os.getpid()}-{tmp_path_factory.mktemp('x').name}"  # noqa: S108 - our own
    folder.mkdir(mode=0o711)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def plant(name: str, *, tree: Path) -> None:
    """A copy of the program with the bug in it; fails where the patch does not fit the program any more."""
    shutil.copytree(ROOT / "src", tree / "src", ignore=shutil.ignore_patterns("__pycache__"))
    applying = ["git", "apply", "-p1", str(PLANTED / f"{name}.patch")]
    # Outside of any repository: git would otherwise look for the files from its root.
    environment = {**os.environ, "GIT_CEILING_DIRECTORIES": str(tree.parent)}
    done = subprocess.run(applying, cwd=tree, env=environment, capture_output=True, check=False, timeout=30)
    assert done.returncode == 0, f"{name} does not fit any more: {done.stderr.decode()}"


def test_every_patch_is_played_and_every_invariant_has_one() -> None:
    assert {path.stem for path in PLANTED.glob("*.patch")} == {one.patch for one in PLANTS}
    invariants = [one.patch.partition("_")[0] for one in PLANTS]
    assert sorted(invariants) == sorted(["I1", "I3", "I4", "I5", "I7", "I8", "I9", "I10", "I11"])


@pytest.mark.invariant("I1", "I3", "I4", "I5", "I7", "I8", "I9", "I10", "I11")
@pytest.mark.parametrize("planted", PLANTS, ids=lambda one: one.patch)
def test_prove_sees_a_planted_bug(planted: Plant, tmp_path: Path, passable: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    plant(planted.patch, tree=tree)
    # Without coverage: what a copy ran says nothing of the program, and would be counted as files that nobody tests.
    inherited = {name: text for name, text in os.environ.items() if not name.startswith("COVERAGE_")}
    environment = {**inherited, "TMPDIR": str(passable), "PYTHONPATH": str(tree / "src")}
    flags = ["--scenario", planted.scenario, "--orders", str(planted.orders), "--seed", str(SEED), "--patience", "6"]
    # Run from the tree, so that nothing but its own code is found; its processes inherit the path.
    done = subprocess.run(
        [sys.executable, "-m", "budan.cli.main", "prove", *flags, "--json"],
        cwd=tree,
        env=environment,
        capture_output=True,
        timeout=END_S_MAX,
        check=False,
    )
    said = done.stderr.decode()
    assert done.returncode == 1, said
    result = json.loads(done.stdout)
    assert result["ok"] is False
    for count in planted.counts:
        assert result[count] > 0, said
