"""A proof that cannot fail proves nothing: each planted bug breaks one invariant, and `budan prove` must see it."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from budan.proof.drawing import Mix
from budan.proof.prove import ProveResult, Wanted, play_scenario
from budan.proof.scenarios.listed import SCENARIOS
from chaos.stall import Stall, tell

ROOT = Path(__file__).resolve().parents[2]
PLANTED = ROOT / "tests" / "planted"
END_S_MAX = 150
PLANTED_SEED = 3
PATIENCE_S = 6.0


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
        orders=24,
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

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(240)]


def plant(name: str, *, tree: Path) -> None:
    """A copy of the program with the bug in it; fails where the patch does not fit the program any more."""
    shutil.copytree(ROOT / "src", tree / "src")
    applying = ["git", "apply", "-p1", str(PLANTED / f"{name}.patch")]
    # Outside of any repository: git would otherwise look for the files from its root.
    environment = {**os.environ, "GIT_CEILING_DIRECTORIES": str(tree.parent)}
    done = subprocess.run(applying, cwd=tree, env=environment, capture_output=True, check=False, timeout=30)
    assert done.returncode == 0, f"{name} does not fit any more: {done.stderr.decode()}"


async def test_every_patch_is_played_and_every_invariant_has_one() -> None:
    assert {path.stem for path in PLANTED.glob("*.patch")} == {one.patch for one in PLANTS}
    invariants = [one.patch.partition("_")[0] for one in PLANTS]
    assert sorted(invariants) == sorted(["I1", "I3", "I4", "I5", "I7", "I8", "I9", "I10", "I11"])


async def play(planted: Plant, *, stall: Stall, tree: Path) -> ProveResult:
    """What `budan prove` says of the program with the bug."""
    scenario = SCENARIOS[planted.scenario]
    wanted = Wanted(
        scenario=planted.scenario,
        seed=PLANTED_SEED,
        orders=planted.orders,
        mix=Mix(),
        kill_every_s=0,
        patience_s=PATIENCE_S,
    )
    await stall.run_from(tree)
    return await play_scenario(stall.instance, scenario, wanted=wanted, shops=stall.shops(scenario.shops), tell=tell)


@pytest.mark.invariant("I1", "I3", "I4", "I5", "I7", "I8", "I9", "I10", "I11")
@pytest.mark.parametrize("planted", PLANTS, ids=lambda one: one.patch)
async def test_prove_sees_a_planted_bug(planted: Plant, stall: Stall, tmp_path: Path) -> None:
    plant(planted.patch, tree=tmp_path)
    result = await play(planted, stall=stall, tree=tmp_path)
    assert not result.ok
    for count in planted.counts:
        assert getattr(result, count) > 0, result.problems


async def test_a_broken_promise_ends_the_command_with_1(tmp_path: Path, folder: Path) -> None:
    """Whoever runs the proof at night reads the exit code first."""
    planted = next(one for one in PLANTS if one.patch.startswith("I10"))
    plant(planted.patch, tree=tmp_path)
    inherited = {name: text for name, text in os.environ.items() if not name.startswith("COVERAGE_")}
    environment = {**inherited, "TMPDIR": str(folder), "PYTHONPATH": str(tmp_path / "src")}
    flags = [
        "--scenario",
        planted.scenario,
        "--orders",
        str(planted.orders),
        "--seed",
        str(PLANTED_SEED),
        "--patience",
        "6",
    ]
    # Run from the tree, so that nothing but its own code is found; its processes inherit the path.
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "budan.cli.main", "prove", *flags, "--json"),
        cwd=tmp_path,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(END_S_MAX):
        written, complaint = await child.communicate()
    said = complaint.decode()
    assert child.returncode == 1, said
    result = json.loads(written)
    assert result["ok"] is False
    assert result["unbalanced"] > 0
