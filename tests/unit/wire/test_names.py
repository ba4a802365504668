import asyncio
from collections import Counter
from collections.abc import Iterator
from threading import Event

import pytest

from budan.wire import names
from budan.wire.errors import NotSent
from budan.wire.names import LOOKUPS_PER_ASKER_MAX, NameLookups

SOON_S = 0.05
LONG_S = 5.0
PUBLIC = ["8.8.8.8"]


class NameServers:
    """Names that start with `silent` get no answer until the end, `absent` ones have no address."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.is_over = Event()

    def __call__(self, host: str) -> list[str]:
        self.asked[host] += 1
        if host.startswith("silent"):
            self.is_over.wait()
        if host.startswith("absent"):
            raise OSError("no such name")
        return PUBLIC


@pytest.fixture
def servers() -> Iterator[NameServers]:
    servers = NameServers()
    yield servers
    servers.is_over.set()


async def test_a_merchants_silent_name_servers_hold_up_no_other_merchants_names(servers: NameServers) -> None:
    """One merchant with many dead names once stopped every webhook of a worker, and its channel calls, for minutes."""
    lookups = NameLookups(look_up=servers)
    async with asyncio.TaskGroup() as tasks:
        for number in range(3 * LOOKUPS_PER_ASKER_MAX):
            tasks.create_task(_fails(lookups, f"silent-{number}.test", asker=1, timeout_s=SOON_S))
        await asyncio.sleep(0)
        assert await lookups.list_addresses("shop.test", asker=2, timeout_s=LONG_S) == tuple(PUBLIC)
    assert sum(count for host, count in servers.asked.items() if host.startswith("silent")) == LOOKUPS_PER_ASKER_MAX


async def test_all_who_wait_for_a_name_share_one_look_up(servers: NameServers) -> None:
    """Else each delivery to a silent name takes a thread of its own for half a minute."""
    lookups = NameLookups(look_up=servers)
    async with asyncio.TaskGroup() as tasks:
        waiting = [
            tasks.create_task(lookups.list_addresses(name, asker=name, timeout_s=LONG_S))
            for name in ("silent.test", "SILENT.test")
        ]
        await asyncio.sleep(SOON_S)
        servers.is_over.set()
    assert [task.result() for task in waiting] == [tuple(PUBLIC)] * 2
    assert sum(servers.asked.values()) == 1


@pytest.mark.parametrize("host", ["silent.test", "absent.test"])
async def test_a_name_that_failed_is_not_asked_for_again_at_once(servers: NameServers, host: str) -> None:
    """A time-out counts as well: the thread that nobody waits for any more is still taken."""
    lookups = NameLookups(look_up=servers)
    await _fails(lookups, host, asker=1, timeout_s=SOON_S)
    async with asyncio.timeout(SOON_S / 2):
        await _fails(lookups, host, asker=1, timeout_s=LONG_S)
    assert servers.asked[host] == 1


async def test_a_name_that_failed_is_asked_for_again_after_a_while(
    servers: NameServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A merchant who mends its name is found."""
    monkeypatch.setattr(names, "FAILURE_STALE_S", 0.0)
    lookups = NameLookups(look_up=servers)
    await _fails(lookups, "absent.test", asker=1, timeout_s=LONG_S)
    await asyncio.sleep(SOON_S)
    await _fails(lookups, "absent.test", asker=1, timeout_s=LONG_S)
    assert servers.asked["absent.test"] == 2


async def _fails(lookups: NameLookups, host: str, *, asker: int, timeout_s: float) -> None:
    with pytest.raises(NotSent):
        await lookups.list_addresses(host, asker=asker, timeout_s=timeout_s)
