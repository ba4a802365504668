"""Webhook deliveries: what is due, one signed call each, and what it brought."""

import asyncio
from collections.abc import Callable, Hashable, Sequence
from datetime import datetime
from types import TracebackType
from typing import Self, TypeVar

from budan.core.errors import StoreUnavailable
from budan.core.numbers import Lane
from budan.core.pace import DELIVERY_LADDER_S, delay_after
from budan.flows.administering import endpoint_context
from budan.flows.coalesce import Coalescer
from budan.ports.clock import Clock
from budan.store import work as stored
from budan.store.database import Database, RowsFailed
from budan.store.work import Delivered, DueDelivery
from budan.telemetry import metrics
from budan.wire.address import resolve_public
from budan.wire.errors import WireError
from budan.wire.http import HttpClient
from budan.wire.names import NameLookups
from budan.wire.secret_box import CannotOpen, SecretBox
from budan.wire.webhook import parse_secret, sign

DELIVERY_TIMEOUT_S = 10.0
RESOLVE_TIMEOUT_S = 5.0
# A merchant that answers 2xx with a page of its own has taken the event all the same.
ANSWER_BYTES_MAX = 262_144
# A name that changes its address is followed within this time.
ADDRESS_STALE_S = 10.0
ADDRESSES_MAX = 10_000
SECRETS_MAX = 10_000
ERROR_LENGTH_MAX = 200
# Endpoints that failed together do not come back together: each wait is spread by a tenth to either side.
JITTER_SHARE = 0.1
# While an endpoint takes nothing its deliveries are put off, so that they make no listing long; so many stay due for
# probes. Chunks are short transactions, and their number is a bound that only a bug can reach.
PROBES_KEPT = 10
CHUNK_ROWS_MAX = 1_000
CHUNKS_MAX = 1_000
USER_AGENT = "budan-webhooks/1"

Name = TypeVar("Name", bound=Hashable)
Kept = TypeVar("Kept")

_TAKEN = metrics.DELIVERIES.labels("taken")
_REFUSED = metrics.DELIVERIES.labels("refused")
_UNREACHED = metrics.DELIVERIES.labels("unreached")
_UNWRITTEN = metrics.DELIVERIES.labels("unwritten")


class Deliveries:
    """Sends due webhooks and writes the outcomes in batches. Use as an async context manager; leaving drains.

    `allowed` lists the private `host:port` that webhooks may go to. `jitter` gives random numbers from 0 to 1.
    """

    def __init__(
        self,
        *,
        database: Database,
        clock: Clock,
        client: HttpClient,
        lookups: NameLookups,
        box: SecretBox,
        allowed: frozenset[str],
        jitter: Callable[[], float],
        ladder: Sequence[float] = DELIVERY_LADDER_S,
    ) -> None:
        self._database = database
        self._clock = clock
        self._client = client
        self._lookups = lookups
        self._box = box
        self._allowed = allowed
        self._jitter = jitter
        self._ladder = ladder
        self._outcomes: Coalescer[Delivered, bool] = Coalescer(self._write, name="deliveries", key=_row_key)
        self._addresses: dict[str, tuple[tuple[str, int], float]] = {}
        self._keys: dict[bytes, bytes] = {}
        # By lane: the fence under which it was looked, and the endpoints that had something waiting there.
        self._left_behind: dict[Lane, tuple[int, frozenset[int]]] = {}
        self._looking = asyncio.Lock()

    async def __aenter__(self) -> Self:
        await self._outcomes.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._outcomes.__aexit__(kind, error, traceback)

    async def list_due(
        self,
        *,
        lanes: Sequence[Lane],
        endpoints_left_out: Sequence[int],
        rows_max: int,
    ) -> list[DueDelivery]:
        """Deliveries due in held lanes, oldest first; of one order and endpoint the oldest event only."""
        async with self._database.statement() as transaction:
            due = await stored.list_due_webhooks(
                transaction,
                lanes=lanes,
                endpoints_left_out=endpoints_left_out,
                rows_max=rows_max,
            )
        if not due:
            return []
        # A statement of its own, and no common transaction: what an event says never changes.
        async with self._database.statement() as transaction:
            return await stored.list_deliveries(transaction, due)

    async def deliver(self, due: DueDelivery, *, fence: int) -> bool:
        """Send one webhook and write what came of it; True when the merchant took it.

        Safe to repeat: every try of an event has the same `webhook-id`. An outcome whose lane was lost meanwhile is not
        written, and the lane's new holder delivers again. Raises `Overloaded` or `StoreUnavailable` when the outcome
        could not be written; the delivery stays due then.
        """
        started_at, began_s = self._clock.now(), self._clock.monotonic_s()
        status, error = await self._send(due, now=started_at)
        taken = status is not None and 200 <= status < 300  # noqa: PLR2004 - every 2xx is a yes
        (_TAKEN if taken else _UNREACHED if status is None else _REFUSED).inc()
        outcome = Delivered(
            due=due,
            fence=fence,
            started_at=started_at,
            latency_ms=int((self._clock.monotonic_s() - began_s) * 1000),
            status=status,
            error=error,
            taken=taken,
            retry_s=0.0 if taken else self._retry_s(due.attempts),
        )
        try:
            written = await self._outcomes.submit(outcome)
        except RowsFailed as failed:
            raise StoreUnavailable(str(failed)) from failed
        if not written:
            _UNWRITTEN.inc()
        return taken

    async def put_off(self, due: DueDelivery, *, fence: int, delay_s: float) -> None:
        """The endpoint of `due` takes nothing: look at its other deliveries again in `delay_s`. Safe to repeat.

        Raises `StoreUnavailable` or `RowsFailed`.
        """
        for _ in range(CHUNKS_MAX):
            async with self._database.transaction() as transaction:
                moved = await stored.put_deliveries_off(
                    transaction,
                    due,
                    fence=fence,
                    delay_s=delay_s,
                    rows_kept=PROBES_KEPT,
                    rows_max=CHUNK_ROWS_MAX,
                )
            if moved < CHUNK_ROWS_MAX:
                return

    async def bring_forward(self, due: DueDelivery, *, fence: int) -> None:
        """The endpoint of `due` takes deliveries again: all that wait for it are due now. Safe to repeat.

        Raises `StoreUnavailable` or `RowsFailed`; each delivery has its own turn in any case.
        """
        for _ in range(CHUNKS_MAX):
            async with self._database.transaction() as transaction:
                moved = await stored.bring_deliveries_forward(transaction, due, fence=fence, rows_max=CHUNK_ROWS_MAX)
            if moved < CHUNK_ROWS_MAX:
                return

    async def bring_left_behind_forward(self, due: DueDelivery, *, fence: int) -> None:
        """What the lane's last holder left waiting for the endpoint of `due`, which takes deliveries, is due now.

        Raises as `bring_forward`. A lane is looked through once under each fence: after it changed hands each of its
        endpoints asks, and to look for each would read all that waits for a dead one as often. Safe to repeat.
        """
        async with self._looking:
            looked_under, endpoints = self._left_behind.get(due.lane, (None, frozenset[int]()))
            if looked_under != fence:
                async with self._database.reading_statement() as transaction:
                    endpoints = await stored.list_waiting_endpoints(transaction, due.lane)
                self._left_behind[due.lane] = (fence, endpoints)
        if due.endpoint_id in endpoints:
            await self.bring_forward(due, fence=fence)

    async def _send(self, due: DueDelivery, *, now: datetime) -> tuple[int | None, str]:
        """The status of the answer, or None with what stood in the way."""
        try:
            headers = sign(
                due.body,
                event_id=render_event_id(due),
                timestamp=int(now.timestamp()),
                keys=self._keys_of(due),
            )
            headers["content-type"] = "application/json"
            headers["user-agent"] = USER_AGENT
            answer = await self._client.request(
                method="POST",
                url=due.url,
                headers=headers,
                body=due.body,
                timeout_s=DELIVERY_TIMEOUT_S,
                body_bytes_max=ANSWER_BYTES_MAX,
                connect_to=await self._address(due),
            )
        except CannotOpen:
            return None, "the endpoint's secret cannot be used with this instance's keys"
        except WireError as error:
            return None, f"{type(error).__name__}: {error}"[:ERROR_LENGTH_MAX]
        if 300 <= answer.status < 400:  # noqa: PLR2004 - a merchant that moved tells us by the console
            return answer.status, "redirects are not followed"
        return answer.status, ""

    async def _address(self, due: DueDelivery) -> tuple[str, int]:
        """Where to connect; raises `NotSent` for an address that is private or cannot be found."""
        known = self._addresses.get(due.url)
        now_s = self._clock.monotonic_s()
        if known is not None and now_s - known[1] < ADDRESS_STALE_S:
            return known[0]
        address = await resolve_public(
            due.url,
            allowed=self._allowed,
            lookups=self._lookups,
            asker=due.merchant_id,
            timeout_s=RESOLVE_TIMEOUT_S,
        )
        _remember(self._addresses, due.url, (address, now_s), entries_max=ADDRESSES_MAX)
        return address

    def _keys_of(self, due: DueDelivery) -> tuple[bytes, ...]:
        """The keys that sign, the newest first; raises `CannotOpen`."""
        sealed = (due.sealed_secret, due.old_sealed_secret)
        return tuple(self._key(one, endpoint_id=due.endpoint_id) for one in sealed if one is not None)

    def _key(self, sealed: bytes, *, endpoint_id: int) -> bytes:
        """A signing key; raises `CannotOpen`. A changed secret is sealed anew, so it is found under new bytes."""
        key = self._keys.get(sealed)
        if key is None:
            opened = self._box.open(sealed, context=endpoint_context(endpoint_id))
            try:
                key = parse_secret(opened.decode())
            except ValueError as error:
                raise CannotOpen(str(error)) from error
            _remember(self._keys, sealed, key, entries_max=SECRETS_MAX)
        return key

    def _retry_s(self, attempts: int) -> float:
        rung_s = delay_after(self._ladder, attempts=attempts).total_seconds()
        return rung_s * (1 - JITTER_SHARE + 2 * JITTER_SHARE * self._jitter())

    async def _write(self, outcomes: Sequence[Delivered]) -> Sequence[bool]:
        async with self._database.statement() as transaction:
            written = await stored.write_deliveries(transaction, outcomes)
        return [_row_key(outcome) in written for outcome in outcomes]


def render_event_id(due: DueDelivery) -> str:
    """The `webhook-id`: one for each event and endpoint, the same at every try."""
    return f"evt_{due.order_id:x}_{due.version}_{due.endpoint_id}"


def _row_key(outcome: Delivered) -> stored.DeliveryKey:
    return outcome.due.key


def _remember(entries: dict[Name, Kept], name: Name, kept: Kept, *, entries_max: int) -> None:
    """Keep one more; the oldest goes first."""
    if name not in entries and len(entries) >= entries_max:
        del entries[next(iter(entries))]
    entries[name] = kept
