import asyncio

from budan.core.errors import StoreUnavailable
from budan.telemetry import metrics
from budan.workers.in_flight import InFlight


def failures(work: str) -> float:
    return metrics.REGISTRY.get_sample_value("budan_turn_failures_total", {"work": work}) or 0.0


async def test_rows_in_flight_are_known_until_they_end() -> None:
    release = asyncio.Event()

    async def row() -> None:
        await release.wait()

    async with InFlight(work="known", rows_max=2, stop=asyncio.Event()) as flying:
        flying.start("a", row)
        flying.start("b", row)
        assert (flying.keys(), len(flying), flying.free) == ({"a", "b"}, 2, 0)
        release.set()
        assert await flying.drain(timeout_s=5) == 0
        assert len(flying) == 0


async def test_a_row_that_failed_is_counted_and_keeps_its_place_for_a_while() -> None:
    """Else a row that always fails would be listed and started again a hundred times a second."""
    stop = asyncio.Event()
    before = failures("failing")

    reached = asyncio.Event()

    async def row() -> None:
        reached.set()
        raise StoreUnavailable("away")

    async with InFlight(work="failing", rows_max=2, stop=stop) as flying:
        flying.start("a", row)
        await reached.wait()
        assert flying.keys() == {"a"}
        stop.set()
        assert await flying.drain(timeout_s=5) == 0
    assert failures("failing") == before + 1


async def test_what_does_not_end_in_time_is_cut_off() -> None:
    async def row() -> None:
        await asyncio.get_running_loop().create_future()

    async with InFlight(work="endless", rows_max=2, stop=asyncio.Event()) as flying:
        flying.start("a", row)
        assert await flying.drain(timeout_s=0.01) == 1
    assert len(flying) == 0
