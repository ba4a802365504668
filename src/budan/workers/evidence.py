"""Left-over evidence, taken to the door again."""

from collections.abc import Hashable, Sequence
from typing import Final

import structlog

from budan.core.numbers import Environment, Lane
from budan.flows.leftovers import UNREADABLE, Leftovers
from budan.store.work import DueEvidence
from budan.workers.gates import GateLimits

EVIDENCE_MAX: Final = 100
# All of it goes to our own door, so there is one group, and nothing outside that could be slow.
EVIDENCE_LIMITS: Final = GateLimits(
    rows_max=EVIDENCE_MAX,
    slow_rows_max=EVIDENCE_MAX,
    slow_after_s=60.0,
    pauses=None,
)
_ONE_GROUP: Final = 0

_log = structlog.get_logger(__name__)


class EvidenceWork:
    """Tries evidence again that had no effect when it came."""

    name = "evidence"

    def __init__(self, *, leftovers: Leftovers) -> None:
        self._leftovers = leftovers

    async def list_due(
        self,
        *,
        lanes: Sequence[Lane],
        left_out: Sequence[int],
        rows_max: int,
    ) -> list[DueEvidence]:
        """See Work.list_due."""
        return [] if left_out else await self._leftovers.list_due(lanes=lanes, rows_max=rows_max)

    def key(self, row: DueEvidence) -> tuple[Lane, Hashable]:
        """See Work.key."""
        return row.lane, (row.trade_no, row.digest)

    def group(self, row: DueEvidence) -> int:  # noqa: ARG002 - one group for all
        """See Work.group."""
        return _ONE_GROUP

    def order_no(self, row: DueEvidence, *, environment: Environment) -> str:  # noqa: ARG002 - it says what it was told
        """See Work.order_no."""
        return row.trade_no

    async def do(
        self,
        row: DueEvidence,
        *,
        fence: int,  # noqa: ARG002 - the door makes a repeat harmless, so it needs no fence
    ) -> bool | None:
        """See Work.do."""
        planned = await self._leftovers.retry(row)
        if planned.order_state:
            _log.info("leftover_evidence_settled", trade_no=row.trade_no, decision=planned.decision, reason=row.reason)
        elif planned.decision == UNREADABLE:
            _log.error("leftover_evidence_unreadable", trade_no=row.trade_no, attempts=row.attempts)
        return None
