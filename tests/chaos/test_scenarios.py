"""Every way of losing an order that has a name, played on a real platform and judged by three records."""

from dataclasses import replace

import pytest

from budan.proof.drawing import Mix
from budan.proof.prove import Wanted, play_scenario
from budan.proof.scenarios.listed import SCENARIOS
from chaos.stall import SEED, Stall, tell

# A fifth of what `budan prove` does by itself; the others are small as they are.
MIXED_ORDERS = 60
# Longer than the 90 s after which one lost notice among many that come is asked about; rest ends the waiting sooner.
PATIENCE_S = 120.0

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(240)]


@pytest.mark.invariant("I1", "I3", "I4", "I5", "I6", "I8", "I9", "I10", "I11")
@pytest.mark.parametrize("name", SCENARIOS)
async def test_no_promise_is_broken(stall: Stall, name: str) -> None:
    # Merchants of one channel alone are shared by all that is played here, and `the day ends` moves what they sold.
    scenario = replace(SCENARIOS[name], with_alone=SCENARIOS[name].with_alone and name != "mixed")
    wanted = Wanted(
        scenario=name,
        seed=SEED,
        orders=MIXED_ORDERS if name == "mixed" else None,
        mix=Mix(),
        kill_every_s=2.0,
        patience_s=PATIENCE_S,
    )
    await stall.run_from(None)
    result = await play_scenario(stall.instance, scenario, wanted=wanted, shops=stall.shops(scenario.shops), tell=tell)
    assert result.problems == []
    assert result.ok
    assert result.paid_at_channel >= result.paid_here
