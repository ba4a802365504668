"""Due questions, asked of their channels on the ladder."""

from collections.abc import Hashable, Sequence
from typing import Final

import structlog

from budan.core.decide import Effect
from budan.core.numbers import AccountId, Environment, Lane
from budan.flows.asking import Questions
from budan.store.work import DueQuestion
from budan.workers.gates import GateLimits
from budan.workers.sweep import number_order

QUESTIONS_MAX: Final = 256
# The guard of each account has its own breaker; here one account only must not take every place. One that answers slowly
# has fewer: its questions wait in the table and not in a worker.
QUERY_LIMITS: Final = GateLimits(
    rows_max=64,
    slow_rows_max=16,
    slow_after_s=1.0,
    pauses=None,
)

_log = structlog.get_logger(__name__)


class QueryWork:
    """Asks channels about trades whose question is due."""

    name = "query"

    def __init__(self, *, questions: Questions) -> None:
        self._questions = questions

    async def list_due(self, *, lanes: Sequence[Lane], left_out: Sequence[int], rows_max: int) -> list[DueQuestion]:
        """See Work.list_due."""
        accounts = [AccountId(group) for group in left_out]
        return await self._questions.list_due(lanes=lanes, accounts_left_out=accounts, rows_max=rows_max)

    def key(self, row: DueQuestion) -> tuple[Lane, Hashable]:
        """See Work.key."""
        return row.lane, (row.order_id, row.attempt)

    def group(self, row: DueQuestion) -> int:
        """See Work.group."""
        return row.account_id

    def order_no(self, row: DueQuestion, *, environment: Environment) -> str:
        """See Work.order_no."""
        return number_order(row, environment=environment)

    async def do(
        self,
        row: DueQuestion,
        *,
        fence: int,  # noqa: ARG002 - the door makes a second answer harmless, so it needs no fence
    ) -> bool | None:
        """See Work.do."""
        planned = await self._questions.ask_due(row)
        if planned.decision == Effect.COMPLETE.value:
            # A notice that did not come: rare while all is well, and somebody will ask about this very order.
            _log.info("order_completed_by_query", lane=row.lane, order_id=row.order_id, attempts=row.attempts)
        return None
