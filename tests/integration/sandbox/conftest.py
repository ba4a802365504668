"""One sandbox per test process, with an account at each of the first two channels."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from budan.wire.rsa import load_private_key
from integration.sandbox.running import Caller, Receiver, RunningSandbox, calling, http_answer, receiving, start_sandbox
from integration.sandbox.shops import AlipayShop, WechatShop

TESTS = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def merchant_texts() -> dict[str, str]:
    return json.loads((TESTS / "vectors.json").read_text("utf-8"))["keys"]["merchant"]


@pytest.fixture(scope="session")
def merchant_key(merchant_texts: dict[str, str]) -> RSAPrivateKey:
    return load_private_key(merchant_texts["private_pkcs8_b64"])


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSandbox]:
    running = start_sandbox(tmp_path_factory.mktemp("sandbox"))
    yield running
    assert running.end(by=signal.SIGTERM) == 0


@pytest.fixture
async def caller(sandbox: RunningSandbox) -> AsyncIterator[Caller]:
    async with calling(sandbox.url) as caller:
        yield caller


@pytest.fixture(scope="session")
def accounts(sandbox: RunningSandbox, merchant_texts: dict[str, str]) -> dict[str, Any]:
    """Opened once: making an account's keys takes longer than most tests."""

    async def opened() -> dict[str, Any]:
        async with calling(sandbox.url) as caller:
            text = merchant_texts["public_spki_b64"]
            return {
                "wechat_v3": await caller.open_account("wechat_v3", text, reverse_after_s=0),
                "alipay": await caller.open_account("alipay", text),
            }

    return asyncio.run(opened())


@pytest.fixture
def wechat_shop(caller: Caller, accounts: dict[str, Any], merchant_key: RSAPrivateKey) -> WechatShop:
    return WechatShop(caller=caller, account=accounts["wechat_v3"], key=merchant_key)


@pytest.fixture
def alipay_shop(caller: Caller, accounts: dict[str, Any], merchant_key: RSAPrivateKey) -> AlipayShop:
    return AlipayShop(caller=caller, account=accounts["alipay"], key=merchant_key)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving(http_answer("204 No Content")) as receiver:
        yield receiver


@pytest.fixture
async def form_receiver() -> AsyncIterator[Receiver]:
    async with receiving(http_answer("200 OK", b"success")) as receiver:
        yield receiver
