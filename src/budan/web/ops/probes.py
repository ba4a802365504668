"""What a supervisor, a load balancer and a scraper ask: alive, ready, counted."""

import msgspec

from budan.flows.wired import Flows
from budan.telemetry import metrics
from budan.web.exchange import Answer, Exchange, json_answer

_TEXT = ((b"content-type", b"text/plain; charset=utf-8"), (b"cache-control", b"no-store"))


class Readiness(msgspec.Struct, frozen=True, kw_only=True):
    """Whether requests should come here, and what stands against it."""

    is_ready: bool
    problems: list[str]


class Probes:
    """Answers for this one instance."""

    def __init__(self, *, flows: Flows) -> None:
        self._flows = flows
        self._is_draining = False

    def begin_drain(self) -> None:
        """From here on the instance is not ready: it takes what still comes, and is about to go."""
        self._is_draining = True

    async def live(self, _exchange: Exchange) -> Answer:
        """GET /livez: says nothing of what we stand on, else a database's fall would restart us too."""
        return Answer(status=200, body=b"alive\n", headers=_TEXT)

    async def ready(self, _exchange: Exchange) -> Answer:
        """GET /readyz."""
        problems = ["draining"] if self._is_draining else await self._flows.problems()
        readiness = Readiness(is_ready=not problems, problems=problems)
        return json_answer(503 if problems else 200, readiness)

    async def count(self, _exchange: Exchange) -> Answer:
        """GET /metrics."""
        headers = ((b"content-type", metrics.CONTENT_TYPE.encode()), (b"cache-control", b"no-store"))
        return Answer(status=200, body=metrics.render(), headers=headers)
