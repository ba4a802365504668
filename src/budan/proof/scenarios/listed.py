"""Every scenario by name, in the order in which they are listed."""

from collections.abc import Mapping
from typing import Final

from budan.proof.scenarios import clocks, closers, endings, lies, mixed, notices, outages, payers, refunds, senders
from budan.proof.scenarios.scenario import Scenario

_ALL: Final = (
    *mixed.SCENARIOS,
    *senders.SCENARIOS,
    *notices.SCENARIOS,
    *outages.SCENARIOS,
    *payers.SCENARIOS,
    *endings.SCENARIOS,
    *closers.SCENARIOS,
    *refunds.SCENARIOS,
    *lies.SCENARIOS,
    *clocks.SCENARIOS,
)
SCENARIOS: Final[Mapping[str, Scenario]] = {scenario.name: scenario for scenario in _ALL}
assert len(SCENARIOS) == len(_ALL), "each has a name of its own"
