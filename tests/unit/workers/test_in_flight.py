import asyncio

import pytest
from structlog.testing import capture_logs

from budan.core.errors import StoreUnavailable
from budan.flows import failures as module
from budan.flows.failures import Failures
from budan.telemetry import metrics
from budan.workers.in_flight import InFlight


def failures(work: str) -> float:
    return metrics.REGISTRY.get_sample_value("budan_turn_failures_total", {"work": work}) or 0.0


async def test_rows_in_flight_are_known_until_they_end() -> None:
    release = asyncio.Event()

    async def row() -> None:
        await release.wait()

    async with InFlight(work="known", rows_max=2, stop=asyncio.Event()) as flying:
        flying.start("a", row, order_no=lambda: "T1")
        flying.start("b", row, order_no=lambda: "T1")
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
        flying.start("a", row, order_no=lambda: "T1")
        await reached.wait()
        assert flying.keys() == {"a"}
        stop.set()
        assert await flying.drain(timeout_s=5) == 0
    assert failures("failing") == before + 1


async def test_what_does_not_end_in_time_is_cut_off() -> None:
    async def row() -> None:
        await asyncio.get_running_loop().create_future()

    async with InFlight(work="endless", rows_max=2, stop=asyncio.Event()) as flying:
        flying.start("a", row, order_no=lambda: "T1")
        assert await flying.drain(timeout_s=0.01) == 1
    assert len(flying) == 0


async def test_a_line_about_failures_names_the_orders_of_all_that_failed_since_the_one_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever is woken by it begins with these orders; a thousand numbers would hide the error itself."""
    monkeypatch.setattr(module, "ORDERS_TOLD_MAX", 3)
    failing = Failures(work="failing")
    with capture_logs() as logged:
        for number in (1, 2, 2, 3, 4):
            failing.count(StoreUnavailable("away"), order_no=f"T{number}")
        monkeypatch.setattr(module, "FAILURE_LINES_EVERY_S", 0.0)
        failing._log_at_s = 0.0
        failing.count(StoreUnavailable("away"), order_no="T5")
        failing.count(StoreUnavailable("away"))
    assert [(line["orders"], line["unlogged_before"]) for line in logged] == [
        (["T1"], 0),
        (["T2", "T3", "T4"], 4),
        ([], 0),
    ]
