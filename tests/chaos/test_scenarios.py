"""Every way of losing an order that has a name, played on a real platform and judged by three records."""

import os
import shutil
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from budan.proof.drawing import Mix
from budan.proof.instance import Instance, Shop, private_instance
from budan.proof.prove import Wanted, link_up, play_scenario, prove_shape
from budan.proof.scenarios.listed import SCENARIOS

SEED = 7
# A fifth of what `budan prove` does by itself; the others are small as they are.
MIXED_ORDERS = 60
# Longer than the 90 s after which one lost notice among many that come is asked about; rest ends the waiting sooner.
PATIENCE_S = 120.0
SHOPS_EACH = 4

# One instance for all of a worker's scenarios: each has shops of its own, and leaves everything as it found it.
pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(240)]


class Stall:
    """The shared instance and the shops that nobody has used yet."""

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self._left: Iterator[Shop] = iter(instance.shops)

    def shops(self, count: int) -> list[Shop]:
        return [next(self._left) for _ in range(count)]


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    made = Path("/tmp") / f"budan-test-chaos-{os.getpid()}"  # noqa: S108 - the unprivileged database must get there
    made.mkdir(mode=0o711)
    yield made
    shutil.rmtree(made)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stall(folder: Path) -> AsyncIterator[Stall]:
    shape = prove_shape(merchants=len(SCENARIOS) * SHOPS_EACH, seed=SEED)
    async with private_instance(folder=folder, dsn=None, shape=shape, progress=_tell) as instance:
        await link_up(instance)
        yield Stall(instance)


def _tell(line: str) -> None:
    # Shown by pytest when a test fails, which is when somebody wants to know.
    sys.stderr.write(f"{line}\n")


@pytest.mark.invariant("I1", "I3", "I4", "I5", "I6", "I8", "I9", "I10", "I11")
@pytest.mark.parametrize("name", SCENARIOS)
async def test_no_promise_is_broken(stall: Stall, name: str) -> None:
    scenario = SCENARIOS[name]
    wanted = Wanted(
        scenario=name,
        seed=SEED,
        orders=MIXED_ORDERS if name == "mixed" else None,
        mix=Mix(),
        kill_every_s=2.0,
        patience_s=PATIENCE_S,
    )
    result = await play_scenario(stall.instance, scenario, wanted=wanted, shops=stall.shops(scenario.shops), tell=_tell)
    assert result.problems == []
    assert result.ok
    assert result.paid_at_channel >= result.paid_here
