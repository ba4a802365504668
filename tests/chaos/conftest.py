"""One platform for all chaos of a test process: starting one costs more than most scenarios."""

import os
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

import pytest
import pytest_asyncio

from budan.proof.instance import private_instance
from budan.proof.prove import link_up, prove_shape
from chaos.stall import SEED, SHOPS, Stall, tell


@pytest.fixture(scope="session")
def folder() -> Iterator[Path]:
    made = Path("/tmp") / f"budan-test-chaos-{os.getpid()}"  # noqa: S108 - the unprivileged database must get there
    made.mkdir(mode=0o711)
    yield made
    shutil.rmtree(made)


@contextmanager
def uncounted() -> Iterator[None]:
    """What the platform's programs run is counted by other tests; without the counting they are twice as fast."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COVERAGE_PROCESS_CONFIG", "")
        patch.setenv("COVERAGE_PROCESS_START", "")
        yield


@pytest.fixture(autouse=True)
def programs_uncounted() -> Iterator[None]:
    """Those that are started anew; what this process tests afterwards is counted again."""
    with uncounted():
        yield


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def stall(folder: Path) -> AsyncIterator[Stall]:
    shape = prove_shape(merchants=SHOPS, seed=SEED)
    async with AsyncExitStack() as opened:
        with uncounted():
            instance = await opened.enter_async_context(
                private_instance(folder=folder, dsn=None, shape=shape, progress=tell)
            )
            await link_up(instance)
        yield Stall(instance)
