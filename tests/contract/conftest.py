"""A sandbox for each module, and a desk at each of its channels."""

import signal
from collections.abc import AsyncIterator, Iterator

import pytest

from budan.ports.channel import (
    AccountConfig,
)
from contract.desk import KINDS, Desk, a_desk, an_account
from integration.sandbox.running import (
    Caller,
    Receiver,
    RunningSandbox,
    calling,
    http_answer,
    receiving,
    start_sandbox,
)


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSandbox]:
    running = start_sandbox(tmp_path_factory.mktemp("sandbox"))
    yield running
    assert running.end(by=signal.SIGTERM) == 0


@pytest.fixture
async def caller(sandbox: RunningSandbox) -> AsyncIterator[Caller]:
    async with calling(sandbox.url) as caller:
        yield caller


@pytest.fixture(params=KINDS)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
async def config(name: str, caller: Caller) -> AccountConfig:
    return await an_account(caller, name)


@pytest.fixture
async def desk(config: AccountConfig, caller: Caller) -> AsyncIterator[Desk]:
    async with a_desk(config, caller) as desk:
        yield desk


@pytest.fixture
async def receiver(name: str) -> AsyncIterator[Receiver]:
    answers = {"wechat_v3": http_answer("204 No Content"), "ipaynow": http_answer("200 OK", b"success=Y")}
    async with receiving(answers.get(name, http_answer("200 OK", b"success"))) as receiver:
        yield receiver
