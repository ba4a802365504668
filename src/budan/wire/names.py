"""Addresses of hosts that merchants name, looked up in threads that nothing else waits for."""

import asyncio
import socket
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from threading import Thread
from typing import Final

from budan.wire.errors import NotSent

# A look-up of a name whose server is silent takes its thread for half a minute, whoever gives up waiting before. One
# merchant's names get so many threads at once, all together so many; the channels' names are looked up elsewhere.
LOOKUPS_PER_ASKER_MAX: Final = 4
LOOKUPS_MAX: Final = 64
# Most failures last longer than this, and nobody waits longer for a name that is there again.
FAILURE_STALE_S: Final = 10.0

LookUp = Callable[[str], Sequence[str]]


def look_up_by_system(host: str) -> list[str]:
    """The addresses that this machine's resolver has for a name or an address; raises OSError or ValueError."""
    return [str(entry[4][0]) for entry in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    addresses: tuple[str, ...] = ()
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _UnderWay:
    asker: Hashable
    answer: asyncio.Future[_Found]


class NameLookups:
    """Looks names up, each once however many ask for it; belongs to one event loop.

    A silent name server holds up its own names, and at worst the other names of the same asker.
    """

    def __init__(self, *, look_up: LookUp = look_up_by_system) -> None:
        self._look_up = look_up
        self._under_way: dict[str, _UnderWay] = {}
        self._failed: dict[str, str] = {}

    async def list_addresses(self, host: str, *, asker: Hashable, timeout_s: float) -> tuple[str, ...]:
        """The addresses of `host`, at least one; `asker` is whose name it is.

        Raises `NotSent` when there is none or no answer within the time; that is then said at once for a while.
        """
        host = host.lower()
        if host in self._failed:
            raise NotSent(self._failed[host])
        try:
            async with asyncio.timeout(timeout_s):
                found = await asyncio.shield((await self._begin(host, asker)).answer)
        except TimeoutError as error:
            if host in self._under_way:
                self._remember_failure(host, "no answer in time from the host's name server")
            raise NotSent("TimeoutError while asking for the address") from error
        if found.problem:
            raise NotSent(found.problem)
        return found.addresses

    async def _begin(self, host: str, asker: Hashable) -> _UnderWay:
        """The look-up of `host` that is under way, or a new one as soon as there is a thread for it."""
        while host not in self._under_way:
            same = [one.answer for one in self._under_way.values() if one.asker == asker]
            if len(same) < LOOKUPS_PER_ASKER_MAX and len(self._under_way) < LOOKUPS_MAX:
                return self._start(host, asker)
            full = same if len(same) >= LOOKUPS_PER_ASKER_MAX else [one.answer for one in self._under_way.values()]
            await asyncio.wait(full, return_when=asyncio.FIRST_COMPLETED)
        return self._under_way[host]

    def _start(self, host: str, asker: Hashable) -> _UnderWay:
        loop = asyncio.get_running_loop()
        begun = self._under_way[host] = _UnderWay(asker=asker, answer=loop.create_future())

        def run() -> None:
            found = self._find(host)
            # Whoever is answered after the end has no loop any more.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(self._end, host, found)

        # No pool's thread: the interpreter would wait for a silent name server before it ends.
        Thread(target=run, name="name-lookup", daemon=True).start()
        return begun

    def _find(self, host: str) -> _Found:
        try:
            addresses = tuple(self._look_up(host))
        except Exception as error:  # noqa: BLE001 - the top of a thread: what is not answered would hold its place for ever
            return _Found(problem=f"{type(error).__name__} while asking for the address")
        return _Found(addresses=addresses, problem="" if addresses else "host has no address")

    def _end(self, host: str, found: _Found) -> None:
        self._under_way.pop(host).answer.set_result(found)
        if found.problem:
            self._remember_failure(host, found.problem)
        else:
            self._failed.pop(host, None)

    def _remember_failure(self, host: str, problem: str) -> None:
        if host not in self._failed:
            asyncio.get_running_loop().call_later(FAILURE_STALE_S, self._failed.pop, host, None)
        self._failed[host] = problem
