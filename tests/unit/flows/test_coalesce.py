import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from budan.core.errors import Overloaded, StoreUnavailable
from budan.flows import coalesce
from budan.flows.coalesce import BATCHES_IN_FLIGHT_MAX, SINGLE_TRIES_MAX, Coalescer
from budan.store.database import RowsFailed

WAIT_S = 5.0


@dataclass(slots=True)
class Desk:
    """Takes batches of words and answers in capitals; each batch waits until it is let go."""

    refuses: Callable[[Sequence[str]], Exception | None] = lambda _batch: None
    open_for: int = 0
    begun: list[tuple[str, ...]] = field(default_factory=list[tuple[str, ...]])
    running: list[tuple[str, ...]] = field(default_factory=list[tuple[str, ...]])
    arrivals: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))

    async def run(self, batch: Sequence[str]) -> Sequence[str]:
        words = tuple(batch)
        assert not {word[0] for word in words} & {word[0] for other in self.running for word in other}
        self.begun.append(words)
        self.running.append(words)
        self.arrivals.release()
        try:
            await self.turns.acquire()
            error = self.refuses(words)
            if error is not None:
                raise error
            return [word.upper() for word in words]
        finally:
            self.running.remove(words)

    async def began(self) -> None:
        """Wait for one more batch to begin."""
        await asyncio.wait_for(self.arrivals.acquire(), WAIT_S)

    async def let_go(self, batches: int = 1) -> None:
        """Let so many batches end, each after it has begun."""
        for _ in range(batches):
            await self.began()
            self.turns.release()


def let_all_go(desk: Desk) -> Desk:
    for _ in range(1_000):
        desk.turns.release()
    return desk


@asynccontextmanager
async def coalescing(desk: Desk, *, rows_max: int = 200) -> AsyncIterator[Coalescer[str, str]]:
    """Words are of one key when they begin alike."""
    async with Coalescer(desk.run, name="test", key=lambda word: word[0], rows_max=rows_max) as coalescer:
        yield coalescer


def submitted(coalescer: Coalescer[str, str], words: Sequence[str]) -> list["asyncio.Task[str]"]:
    return [asyncio.create_task(coalescer.submit(word)) for word in words]


async def settled(tasks: "Sequence[asyncio.Task[str]]") -> list[str | BaseException]:
    return await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), WAIT_S)


async def test_what_is_ready_at_once_is_one_batch_and_what_arrives_meanwhile_the_next() -> None:
    """A batch of one costs PostgreSQL nearly what one of fifty does."""
    desk = Desk()
    async with coalescing(desk) as coalescer:
        tasks = submitted(coalescer, "abc")
        await desk.began()
        tasks += submitted(coalescer, "def")
        await asyncio.sleep(0)
        assert desk.begun == [("a", "b", "c")]
        let_all_go(desk)
        assert await settled(tasks) == list("ABCDEF")
    assert desk.begun == [("a", "b", "c"), ("d", "e", "f")]


async def test_a_second_batch_runs_beside_the_first_when_enough_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coalesce, "ROWS_ENOUGH", 3)
    desk = Desk()
    async with coalescing(desk) as coalescer:
        tasks = submitted(coalescer, "a")
        await desk.began()
        tasks += submitted(coalescer, "bcd")
        await desk.began()
        assert desk.running == [("a",), ("b", "c", "d")]
        let_all_go(desk)
        await settled(tasks)


async def test_nobody_waits_behind_a_batch_that_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that waits for a lock would hold up all others for its whole time-out."""
    monkeypatch.setattr(coalesce, "PROMPT_S_MAX", 0.0)
    waits, unlocked = asyncio.Event(), asyncio.Event()

    async def run(batch: Sequence[str]) -> Sequence[str]:
        if "locked" in batch:
            waits.set()
            await unlocked.wait()
        return batch

    async with Coalescer(run, name="test", key=lambda word: word) as coalescer:
        (stuck,) = submitted(coalescer, ["locked"])
        await asyncio.wait_for(waits.wait(), WAIT_S)
        for word in ("one", "two", "three"):
            assert await asyncio.wait_for(coalescer.submit(word), WAIT_S) == word
        assert not stuck.done()
        unlocked.set()


async def test_no_more_than_two_are_ever_in_flight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coalesce, "ROWS_ENOUGH", 1)
    desk = Desk()
    most = 0
    async with coalescing(desk, rows_max=1) as coalescer:
        tasks = submitted(coalescer, "abcdefgh")
        for _ in range(8):
            await desk.let_go()
            most = max(most, len(desk.running))
        assert await settled(tasks) == list("ABCDEFGH")
    assert most == BATCHES_IN_FLIGHT_MAX


async def test_a_batch_is_never_longer_than_its_bound() -> None:
    desk = let_all_go(Desk())
    async with coalescing(desk, rows_max=3) as coalescer:
        words = [chr(ord("a") + number) for number in range(20)]
        assert await settled(submitted(coalescer, words)) == [word.upper() for word in words]
    assert max(len(batch) for batch in desk.begun) == 3


async def test_items_of_one_key_go_one_by_one_and_in_the_order_in_which_they_came() -> None:
    """Two of one order in one statement lose one of them; two at a time wait for each other's lock."""
    desk = Desk()
    async with coalescing(desk) as coalescer:
        tasks = submitted(coalescer, ["a1", "b1", "a2", "c1", "a3", "b2", "a4"])
        await desk.let_go(4)
        assert await settled(tasks) == ["A1", "B1", "A2", "C1", "A3", "B2", "A4"]
    assert desk.begun == [("a1", "b1", "c1"), ("a2", "b2"), ("a3",), ("a4",)]


async def test_items_of_one_key_alone_keep_their_order() -> None:
    desk = Desk()
    words = [f"a{number}" for number in range(5)]
    async with coalescing(desk) as coalescer:
        tasks = submitted(coalescer, words)
        await desk.let_go(5)
        await settled(tasks)
    assert desk.begun == [(word,) for word in words]


async def test_an_item_whose_key_is_busy_does_not_hold_up_those_behind_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coalesce, "ROWS_ENOUGH", 1)
    desk = Desk()
    async with coalescing(desk) as coalescer:
        tasks = submitted(coalescer, ["a1"])
        await desk.began()
        tasks += submitted(coalescer, ["a2", "a3", "b1"])
        await desk.began()
        assert desk.running == [("a1",), ("b1",)]
        let_all_go(desk)
        await settled(tasks)


async def test_a_full_queue_refuses_before_anything_is_promised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coalesce, "QUEUE_ITEMS_MAX", 3)
    desk = Desk()
    async with coalescing(desk) as coalescer:
        tasks = submitted(coalescer, ["a1", "b1"])
        await desk.began()
        tasks += submitted(coalescer, ["a2", "a3", "a4"])
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await coalescer.submit("c1")
        let_all_go(desk)
        assert await settled(tasks) == ["A1", "B1", "A2", "A3", "A4"]
    assert not [batch for batch in desk.begun if "c1" in batch]


def broken_by(word: str, error: Exception) -> Callable[[Sequence[str]], Exception | None]:
    return lambda batch: error if word in batch else None


async def test_a_row_that_fails_is_found_by_halving_and_fails_alone() -> None:
    desk = let_all_go(Desk(refuses=broken_by("e", RowsFailed("constraint"))))
    async with coalescing(desk) as coalescer:
        first = await settled(submitted(coalescer, "xy"))
        heard = await settled(submitted(coalescer, "abcdefgh"))
    assert first == ["X", "Y"]
    assert [str(one) for one in heard] == ["A", "B", "C", "D", "constraint", "F", "G", "H"]
    assert isinstance(heard[4], RowsFailed)
    assert desk.begun.count(("e",)) == SINGLE_TRIES_MAX


async def test_a_single_row_that_fails_for_a_moment_is_tried_again() -> None:
    """A deadlock's victim has done nothing wrong."""
    tries: list[None] = []

    def twice(_batch: Sequence[str]) -> Exception | None:
        tries.append(None)
        return RowsFailed("deadlock") if len(tries) < SINGLE_TRIES_MAX else None

    async with coalescing(let_all_go(Desk(refuses=twice))) as coalescer:
        assert await settled(submitted(coalescer, "a")) == ["A"]


@pytest.mark.parametrize("items", [1, 8])
async def test_a_database_that_is_away_is_asked_once_and_everybody_hears_it(items: int) -> None:
    away = StoreUnavailable("away")
    desk = Desk(refuses=lambda _batch: away)
    async with coalescing(desk) as coalescer:
        tasks = submitted(coalescer, "abcdefgh"[:items])
        let_all_go(desk)
        assert await settled(tasks) == [away] * items
    assert len(desk.begun) == 1


async def test_a_bug_in_one_item_is_heard_by_its_caller_alone() -> None:
    desk = Desk(refuses=broken_by("d", ZeroDivisionError("bug")))
    async with coalescing(desk) as coalescer:
        tasks = submitted(coalescer, "abcdef")
        let_all_go(desk)
        heard = await settled(tasks)
    assert [str(one) for one in heard] == ["A", "B", "C", "bug", "E", "F"]
    assert desk.begun.count(("d",)) == 1


@pytest.mark.parametrize("begun", [True, False], ids=["in flight", "waiting"])
async def test_an_item_whose_caller_is_cancelled_runs_to_its_end(begun: bool) -> None:  # noqa: FBT001 - a parameter of pytest
    desk = Desk()
    async with coalescing(desk) as coalescer:
        tasks = submitted(coalescer, "a")
        await desk.began()
        tasks += submitted(coalescer, "bc")
        await asyncio.sleep(0)
        cancelled = tasks[0 if begun else 2]
        cancelled.cancel()
        assert isinstance((await settled([cancelled]))[0], asyncio.CancelledError)
        let_all_go(desk)
        others = [task for task in tasks if task is not cancelled]
        assert await settled(others) == (["B", "C"] if begun else ["A", "B"])
    assert [word for batch in desk.begun for word in batch] == ["a", "b", "c"]


async def test_leaving_waits_for_all_that_was_promised() -> None:
    desk = Desk()
    async with coalescing(desk, rows_max=1) as coalescer:
        tasks = submitted(coalescer, "abcde")
        await desk.began()
        let_all_go(desk)
    assert [task.result() for task in tasks if task.done()] == list("ABCDE")


async def test_leaving_by_an_error_drains_too() -> None:
    desk = Desk()
    tasks: list[asyncio.Task[str]] = []

    async def leave() -> None:
        async with coalescing(desk) as coalescer:
            tasks.extend(submitted(coalescer, "abc"))
            await desk.began()
            let_all_go(desk)
            raise KeyError

    with pytest.raises(KeyError):
        await leave()
    assert await settled(tasks) == list("ABC")


async def test_nobody_waits_for_ever_for_a_drain_that_was_broken_off() -> None:
    desk = Desk()

    async def leave() -> None:
        async with coalescing(desk) as coalescer:
            tasks.extend(submitted(coalescer, ["a1", "b1", "a2"]))
            await desk.began()
            left.set()

    tasks: list[asyncio.Task[str]] = []
    left = asyncio.Event()
    leaving = asyncio.create_task(leave())
    await asyncio.wait_for(left.wait(), WAIT_S)
    leaving.cancel()
    assert isinstance((await settled([leaving]))[0], asyncio.CancelledError)
    heard = await settled(tasks)
    assert all(isinstance(one, asyncio.CancelledError) for one in heard), heard
