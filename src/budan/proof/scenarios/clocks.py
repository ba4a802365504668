"""Machines whose clocks are wrong."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from budan.proof.house import House, happened
from budan.proof.scenarios.scenario import Scenario
from budan.proof.scenarios.wishes import both_ways

# Channels take signatures that are up to five minutes old, and so do we of theirs.
APART_S: Final = 200
_ID_EPOCH: Final = datetime(2025, 1, 1, tzinfo=UTC)
_SKEW_FOLDER: Final = Path(__file__).parents[1] / "skew"


def shifted(shift_s: float) -> dict[str, str]:
    """What a program's environment needs to be wrong by so much."""
    return {"PYTHONPATH": str(_SKEW_FOLDER), "PROOF_CLOCK_SHIFT_S": str(shift_s)}


async def _play_clocks_apart(house: House) -> None:
    """One machine is behind, the other ahead; the database's clock is a third."""
    machines = {-APART_S / 2: ("serve-1", "worker-1"), APART_S / 2: ("serve-2", "worker-2")}
    changed = {name: shifted(shift_s) for shift_s, names in machines.items() for name in names}
    async with house.violence.changed(changed):
        await house.sell_all(both_ways(house), at_once=house.options.orders)
        made_at = [_ID_EPOCH + timedelta(milliseconds=trade.key.order_id >> 22) for trade in house.ours()]
        apart_s = (max(made_at) - min(made_at)).total_seconds()
        happened(f"ids are {apart_s:.0f} s apart", is_so=apart_s > APART_S / 2)


SCENARIOS: Final = (
    Scenario(
        name="clocks apart",
        stands_for="two machines whose clocks are minutes apart take and repair the same orders",
        orders=16,
        play=_play_clocks_apart,
    ),
)
