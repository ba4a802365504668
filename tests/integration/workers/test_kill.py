"""Workers as processes of their own: killed at any moment nothing is lost, told to stop they end what they began."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest

from integration.workers.receivers import Received, Receiver, receiving, stay_silent, take
from integration.workers.watching import when
from stage import Stage

Rows = asyncpg.Connection
END_S_MAX = 20.0


@dataclass
class RunningWorker:
    """A started `budan worker`."""

    child: subprocess.Popen[bytes]
    log: Path

    async def has_said(self, words: str) -> None:
        """Until this is in its log."""
        async with asyncio.timeout(END_S_MAX):
            while words not in await asyncio.to_thread(self.log.read_text, "utf-8"):
                pass

    async def end(self, by: signal.Signals) -> int:
        """Ends it by this signal; its exit code."""
        self.child.send_signal(by)
        return await asyncio.to_thread(self.child.wait, END_S_MAX)


@asynccontextmanager
async def worker(stage: Stage, receiver: Receiver, folder: Path) -> AsyncIterator[RunningWorker]:
    """A worker on the stage's database and keys; killed at the end if it still runs."""
    environment = os.environ | {
        "BUDAN_ENVIRONMENT": "local",
        "BUDAN_DATABASE": stage.settings.text("database"),
        "BUDAN_FOLDER": stage.settings.text("folder"),
        "BUDAN_WEBHOOK_ALLOW": receiver.authority,
    }
    path = folder / "worker.log"
    with path.open("ab") as log:
        argv = [sys.executable, "-m", "budan.cli.main", "worker"]
        child = await asyncio.to_thread(subprocess.Popen[bytes], argv, env=environment, stdout=log, stderr=log)
    try:
        yield RunningWorker(child, path)
    finally:
        if child.poll() is None:
            child.kill()
            await asyncio.to_thread(child.wait, END_S_MAX)


@pytest.mark.invariant("I6", "I11")
async def test_a_worker_killed_between_the_call_and_its_record_is_followed_by_one_that_delivers_again(
    stage: Stage, rows: Rows, tmp_path: Path
) -> None:
    """The merchant hears the same event twice under one id, which it can tell; it never hears it not at all."""
    holding = asyncio.Event()

    async def answer(came: Received) -> int | None:
        if not holding.is_set():
            holding.set()
            await asyncio.get_running_loop().create_future()
        return await take(came)

    async with receiving(answer) as receiver:
        merchant = await stage.add_merchant(webhook_url=receiver.url())
        order = await stage.add_paid_order(merchant)
        async with worker(stage, receiver, tmp_path) as killed:
            await asyncio.wait_for(holding.wait(), END_S_MAX)
            assert await killed.end(signal.SIGKILL) == -signal.SIGKILL
        assert await rows.fetchval("SELECT count(*) FROM delivery") == 0
        assert await rows.fetchval("SELECT count(*) FROM webhook_due") == 1
        async with worker(stage, receiver, tmp_path):
            await when(rows, "SELECT count(*) = 0 FROM webhook_due")
    assert [came.order_no for came in receiver.received] == [order.order_no] * 2
    assert len({came.headers["webhook-id"] for came in receiver.received}) == 1
    assert all(came.verify(merchant.webhook_secret or "") for came in receiver.received)


@pytest.mark.invariant("I6")
async def test_workers_killed_again_and_again_lose_no_delivery(stage: Stage, rows: Rows, tmp_path: Path) -> None:
    async with receiving() as receiver:
        merchants = [await stage.add_merchant(webhook_url=receiver.url(str(number))) for number in range(4)]
        orders = [stage.name_order(merchants[number % 4]) for number in range(600)]
        await stage.add_orders(orders)
        await asyncio.gather(*(stage.pay(order) for order in orders))
        for round_number in range(1, 4):
            before = len(receiver.received)
            async with worker(stage, receiver, tmp_path) as killed:
                await receiver.wait_for_count(before + 40 * round_number)
                await killed.end(signal.SIGKILL)
            # What a dead worker held is free when its lease is over; the test does not wait that long.
            await rows.execute("UPDATE lane_lease SET expires_at = '-infinity'")
            await rows.execute("DELETE FROM worker")
        async with worker(stage, receiver, tmp_path):
            await when(rows, "SELECT count(*) = 0 FROM webhook_due")
    assert {came.order_no for came in receiver.received} == {order.order_no for order in orders}
    assert await rows.fetchval("SELECT count(*) FROM webhook WHERE taken_at IS NULL") == 0


async def test_a_worker_told_to_stop_starts_nothing_more_and_writes_what_is_under_way(
    stage: Stage, rows: Rows, tmp_path: Path
) -> None:
    holding, released = asyncio.Event(), asyncio.Event()

    async def answer(came: Received) -> int | None:
        holding.set()
        await released.wait()
        return await take(came)

    async with receiving(answer) as receiver:
        merchant = await stage.add_merchant(webhook_url=receiver.url())
        first = await stage.add_paid_order(merchant)
        async with worker(stage, receiver, tmp_path) as stopped:
            await asyncio.wait_for(holding.wait(), END_S_MAX)
            ending = asyncio.create_task(stopped.end(signal.SIGTERM))
            await stopped.has_said("worker_stopping")
            second = await stage.add_paid_order(merchant)
            released.set()
            assert await ending == 0
        left = await rows.fetch("SELECT order_id FROM webhook_due")
        assert [row["order_id"] for row in left] == [second.order_id]
        assert await rows.fetchval("SELECT count(*) FROM lane_lease WHERE holder IS NOT NULL") == 0
        assert await rows.fetchval("SELECT count(*) FROM worker") == 0
    assert [came.order_no for came in receiver.received] == [first.order_no]


async def test_an_endpoint_that_never_answers_keeps_no_worker_from_stopping(
    stage: Stage, rows: Rows, tmp_path: Path
) -> None:
    async with receiving(stay_silent) as receiver:
        await stage.add_paid_order(await stage.add_merchant(webhook_url=receiver.url()))
        async with worker(stage, receiver, tmp_path) as stopped:
            await receiver.wait_for_count(1)
            assert await stopped.end(signal.SIGTERM) == 0
        # A worker that had waited for the endpoint's time-out would have counted it.
        assert await rows.fetchval("SELECT attempts FROM webhook_due") == 0
        assert await rows.fetchval("SELECT count(*) FROM lane_lease WHERE holder IS NOT NULL") == 0
