"""One sandbox per test process, one house per test."""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from integration.web.house import WAIT_S, House, SandboxSide, open_house, start_sandbox_side


@pytest.fixture(scope="session")
def sandbox_side(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxSide]:
    side = start_sandbox_side(tmp_path_factory.mktemp("sandbox"))
    yield side
    side.child.send_signal(signal.SIGTERM)
    assert side.child.wait(WAIT_S) == 0
    assert side.child.stdout is not None
    side.child.stdout.close()


@pytest.fixture
async def house(database_dsn: str, tmp_path: Path, sandbox_side: SandboxSide) -> AsyncIterator[House]:
    """The house runs in one task from its first to its last moment, as task groups inside it ask for."""
    opened: asyncio.Queue[House] = asyncio.Queue(maxsize=1)
    closing = asyncio.Event()

    async def keep() -> None:
        async with open_house(dsn=database_dsn, folder=tmp_path, sandbox=sandbox_side) as house:
            opened.put_nowait(house)
            await closing.wait()

    keeping = asyncio.create_task(keep())
    waiting = asyncio.create_task(opened.get())
    await asyncio.wait([keeping, waiting], return_when=asyncio.FIRST_COMPLETED, timeout=WAIT_S)
    if not waiting.done():
        waiting.cancel()
        keeping.cancel()
        await keeping
    yield waiting.result()
    closing.set()
    await keeping
