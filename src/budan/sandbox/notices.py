"""Sends the notices of payments and refunds, again and again on the channel's own schedule until the shop's side takes them."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final, NamedTuple, Protocol
from urllib.parse import urlsplit

import msgspec

from budan.sandbox.records import REFUND_NOTICE_KINDS, ChannelName, Event, EventKind, NoticeState, Refund, Trade
from budan.sandbox.world import World
from budan.wire.errors import WireError
from budan.wire.http import HttpAnswer, HttpClient

# WeChat waits 5 s for the answer (docs/protocols/wechat_v3.md §4); Alipay states nothing, so it gets the same.
NOTICE_TIMEOUT_S: Final = 5.0
NOTICES_PER_HOST_MAX: Final = 32
_ANSWER_BYTES_MAX: Final = 4_096
_LOG: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderedNotice:
    """One sending; each repeat is signed anew."""

    headers: Mapping[str, str]
    body: bytes


class Announcer(Protocol):
    """How one channel writes its notices and reads what they are answered."""

    @property
    def repeat_after_s(self) -> tuple[float, ...]:
        """The channel's documented waits before each repeat."""
        ...

    async def render(self, trade: Trade, refund: Refund | None) -> RenderedNotice:
        """The notice of this trade's payment, or of its refund."""
        ...

    def is_acknowledged(self, answer: HttpAnswer) -> bool:
        """Whether this answer takes the notice."""
        ...


class _News(NamedTuple):
    """What is to be told: a trade's payment, or its refund of this number."""

    nth: int
    refund_no: str


@dataclass(slots=True)
class _Host:
    """One receiver: a slow one delays no other."""

    in_flight: int = 0
    waiting: deque[_News] = field(default_factory=deque[_News])


class Notices:
    """`time_scale` shortens the schedule's waits; the truth knows what is due, so this holds counts only.

    The queues are bounded by the alarms, which refuse payments before they are full.
    """

    def __init__(
        self, *, world: World, client: HttpClient, announcers: Mapping[ChannelName, Announcer], time_scale: float
    ) -> None:
        assert time_scale > 0
        self._world = world
        self._client = client
        self._announcers = announcers
        self._time_scale = time_scale
        self._hosts: dict[str, _Host] = {}
        self._started: set[_News] = set()
        self._tasks: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Rings the alarms and sends until it is cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            await self._world.alarms.run(self._ring)

    def _ring(self, nth: int) -> None:
        trade = self._world.payer.settled(self._world.truth.get(nth))
        self._start(_News(nth, ""), trade)
        for refund in trade.refunds:
            self._start(_News(nth, refund.refund_no), refund)

    def _start(self, news: _News, told: Trade | Refund) -> None:
        due_at = told.notice_due_at
        if told.notice_state is not NoticeState.DUE or due_at is None or news in self._started:
            return
        if due_at > self._world.clock():
            return
        self._started.add(news)
        host = self._hosts.setdefault(urlsplit(told.notify_url).netloc, _Host())
        host.waiting.append(news)
        if host.in_flight < NOTICES_PER_HOST_MAX:
            assert self._tasks is not None
            host.in_flight += 1
            self._tasks.create_task(self._drain(host))

    async def _drain(self, host: _Host) -> None:
        try:
            while host.waiting:
                await self._turn(host.waiting.popleft())
        finally:
            host.in_flight -= 1

    async def _turn(self, news: _News) -> None:
        try:
            await self._announce(self._world.truth.get(news.nth), news.refund_no)
        except Exception:  # noqa: BLE001 - top of a turn: the other notices go on
            _LOG.exception("notice of trade %d failed in the sandbox itself", news.nth)
        finally:
            self._started.discard(news)
        # The next time was recorded while this trade still counted as started.
        self._world.payer.arm(self._world.truth.get(news.nth))

    async def _announce(self, trade: Trade, refund_no: str) -> None:
        announcer = self._announcers[self._world.truth.account_of(trade).CHANNEL]
        refund = trade.find_refund(refund_no)
        told = refund or trade
        if trade.faults.forge_notice and refund is None and trade.notice_attempts == 0:
            self._world.truth.record(await self._forge(trade, announcer))
        copies = 2 if told.faults.double_notice and told.notice_attempts == 0 else 1
        if copies == 1:
            results = [await self._send(trade, refund, announcer)]
        else:
            results = await asyncio.gather(*(self._send(trade, refund, announcer) for _ in range(copies)))
        is_taken = any(taken for taken, _ in results)
        events = [*(event for _, event in results), self._outcome(trade.nth, told, announcer, is_taken=is_taken)]
        if refund is not None:
            events = [_of_refund(event, refund) for event in events]
        self._world.truth.record(*events)
        self._overtake(trade.account_id)

    def _overtake(self, account_id: str) -> None:
        """A notice of this account has left: those leave now that waited for one."""
        for held in self._world.truth.list_held(account_id):
            now = self._world.clock()
            self._world.truth.record(Event(nth=held.nth, at=now, kind=EventKind.NOTICE_OVERTAKEN, until=now))
            self._world.payer.arm(held)

    async def _forge(self, trade: Trade, announcer: Announcer) -> Event:
        """Somebody changes a copy of the notice and is faster: its signature holds no more."""
        notice = await announcer.render(trade, None)
        try:
            answer = await self._client.request(
                method="POST",
                url=trade.notify_url,
                headers=notice.headers,
                body=_tampered(notice.body),
                timeout_s=NOTICE_TIMEOUT_S,
                body_bytes_max=_ANSWER_BYTES_MAX,
            )
            said = str(answer.status)
        except WireError as error:
            said = type(error).__name__
        return Event(nth=trade.nth, at=self._world.clock(), kind=EventKind.NOTICE_FORGED, text=said)

    async def _send(self, trade: Trade, refund: Refund | None, announcer: Announcer) -> tuple[bool, Event]:
        notice = await announcer.render(trade, refund)
        started_at = self._world.clock()
        started_s = time.monotonic()
        try:
            answer = await self._client.request(
                method="POST",
                url=(refund or trade).notify_url,
                headers=notice.headers,
                body=notice.body,
                timeout_s=NOTICE_TIMEOUT_S,
                body_bytes_max=_ANSWER_BYTES_MAX,
            )
        except WireError as error:
            is_taken, text = False, type(error).__name__
        else:
            is_taken, text = announcer.is_acknowledged(answer), str(answer.status)
        took_ms = round((time.monotonic() - started_s) * 1_000)
        text = f"{text} after {took_ms} ms"
        return is_taken, Event(nth=trade.nth, at=started_at, kind=EventKind.NOTICE_SENT, text=text)

    def _outcome(self, nth: int, told: Trade | Refund, announcer: Announcer, *, is_taken: bool) -> Event:
        now = self._world.clock()
        if is_taken:
            return Event(nth=nth, at=now, kind=EventKind.NOTICE_ACKNOWLEDGED)
        if told.notice_attempts >= len(announcer.repeat_after_s):
            return Event(nth=nth, at=now, kind=EventKind.NOTICE_GIVEN_UP)
        wait_s = announcer.repeat_after_s[told.notice_attempts] * self._time_scale
        return Event(nth=nth, at=now, kind=EventKind.NOTICE_REFUSED, until=now + timedelta(seconds=wait_s))


def _of_refund(event: Event, refund: Refund) -> Event:
    return msgspec.structs.replace(event, kind=REFUND_NOTICE_KINDS[event.kind], refund_no=refund.refund_no)


def _tampered(body: bytes) -> bytes:
    """The body with one of its last digits or letters changed."""
    at = max(index for index, byte in enumerate(body) if bytes((byte,)).isalnum())
    return body[:at] + (b"a" if body[at : at + 1] != b"a" else b"b") + body[at + 1 :]
