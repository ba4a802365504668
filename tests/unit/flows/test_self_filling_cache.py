import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

from budan.core.errors import StoreUnavailable
from budan.flows.directory import CACHE_DEAD_S, CACHE_STALE_S, SelfFillingCache


class _Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)

    def monotonic_s(self) -> float:
        return self.now_s


async def test_what_is_asked_for_is_read_anew_together_and_what_nobody_asks_for_is_not() -> None:
    """Each reading is several statements: a thousand busy merchants must not be a thousand readings."""
    clock, readings = _Clock(), list[list[int]]()

    async def load(keys: Sequence[int]) -> dict[int, str]:
        readings.append(sorted(keys))
        return {key: f"{key} at {clock.now_s}" for key in keys}

    cache = SelfFillingCache(load, clock=clock)
    for key in (1, 2, 4, 5):
        await cache.get(key)
    clock.now_s += CACHE_STALE_S * 0.75
    await cache.get(6)
    assert [await cache.get(key) for key in (2, 4)] == ["2 at 100.0", "4 at 100.0"]
    clock.now_s += CACHE_STALE_S * 0.5
    assert await cache.get(1) == "1 at 102.5"
    assert readings == [[1], [2], [4], [5], [6], [1, 2, 4]]
    assert await cache.get(2) == "2 at 102.5"
    assert await cache.get(6) == "6 at 101.5"
    assert len(readings) == 6


async def test_one_that_is_gone_is_forgotten_and_one_whose_reading_fails_still_serves() -> None:
    """A merchant's key must not outlive its end because another's was read with it."""
    clock, there, is_away = _Clock(), {1, 2}, False

    async def load(keys: Sequence[int]) -> dict[int, bool]:
        if is_away:
            raise StoreUnavailable
        return {key: True for key in keys if key in there} | ({keys[0]: False} if keys[0] not in there else {})

    cache = SelfFillingCache(load, clock=clock)
    await cache.get(1)
    await cache.get(2)
    await cache.get(2)
    there.remove(2)
    clock.now_s += CACHE_STALE_S
    assert await cache.get(1)
    assert not await cache.get(2)
    is_away = True
    clock.now_s += CACHE_STALE_S
    assert await cache.get(1)


async def test_those_who_ask_while_it_is_read_wait_for_that_reading_even_if_its_reader_goes_away() -> None:
    """What was read together is stale together: else each of a hundred requests would read it anew."""
    clock, readings, go = _Clock(), list[list[int]](), asyncio.Event()

    async def load(keys: Sequence[int]) -> dict[int, float]:
        readings.append(sorted(keys))
        if len(readings) > 2:
            await go.wait()
        return dict.fromkeys(keys, clock.now_s)

    cache = SelfFillingCache(load, clock=clock)
    for key in (1, 2, 1, 2):
        await cache.get(key)
    clock.now_s += CACHE_STALE_S
    asking = [asyncio.create_task(cache.get(key)) for key in (1, 2, 1, 2)]
    await asyncio.sleep(0)
    asking[0].cancel()
    await asyncio.sleep(0)
    go.set()
    assert await asyncio.gather(*asking[1:]) == [clock.now_s] * 3
    assert readings[:3] == [[1], [2], [1, 2]]
    assert sorted(readings[3:]) == [[1], [2]]


async def test_a_failed_reading_is_shared_by_those_who_waited_and_forgotten_for_who_comes_later() -> None:
    """A database that is down must not be asked once for each request, nor be held for down once it is back."""
    clock, readings, go = _Clock(), list[list[int]](), asyncio.Event()

    async def load(keys: Sequence[int]) -> dict[int, str]:
        readings.append(sorted(keys))
        if len(readings) == 2:
            await go.wait()
            raise StoreUnavailable("down")
        return dict.fromkeys(keys, f"reading {len(readings)}")

    cache = SelfFillingCache(load, clock=clock)
    await cache.get(1)
    clock.now_s += CACHE_DEAD_S
    asking = [asyncio.create_task(cache.get(1)) for _ in range(5)]
    await asyncio.sleep(0)
    go.set()
    assert [str(each) for each in await asyncio.gather(*asking, return_exceptions=True)] == ["down"] * 5
    assert await cache.get(1) == "reading 3"


async def test_a_row_that_cannot_be_read_fails_nobody_who_was_only_read_with_it() -> None:
    """One merchant's broken row must not stop another's orders."""
    clock, broken, go = _Clock(), set[int](), asyncio.Event()

    async def load(keys: Sequence[int]) -> dict[int, int]:
        await go.wait()
        if broken.intersection(keys):
            raise ValueError("broken row")
        return dict.fromkeys(keys, len(keys))

    cache = SelfFillingCache(load, clock=clock)
    go.set()
    for key in (1, 2, 1, 2):
        await cache.get(key)
    clock.now_s += CACHE_STALE_S
    broken.add(1)
    go.clear()
    asking = [asyncio.create_task(cache.get(key)) for key in (1, 2, 2)]
    await asyncio.sleep(0)
    go.set()
    error, *others = await asyncio.gather(*asking, return_exceptions=True)
    assert str(error) == "broken row"
    assert others == [1, 1]


async def test_a_slow_reading_is_not_repeated_by_each_who_came_too_late_for_it() -> None:
    """An answer that began to be read too long before a request is too old for it, but one more is enough for all."""
    clock, readings, go = _Clock(), list[list[int]](), asyncio.Event()

    async def load(keys: Sequence[int]) -> dict[int, str]:
        readings.append(sorted(keys))
        name = f"reading {len(readings)}"
        await go.wait()
        await asyncio.sleep(0)
        return dict.fromkeys(keys, name)

    cache = SelfFillingCache(load, clock=clock)
    asking = [asyncio.create_task(cache.get(1)) for _ in range(2)]
    await asyncio.sleep(0)
    clock.now_s += CACHE_STALE_S
    asking += [asyncio.create_task(cache.get(1)) for _ in range(3)]
    await asyncio.sleep(0)
    go.set()
    assert await asyncio.gather(*asking) == ["reading 1"] * 2 + ["reading 2"] * 3
    assert readings == [[1]] * 2
