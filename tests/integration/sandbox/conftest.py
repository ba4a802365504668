"""One sandbox per test process, and accounts of its own for each test."""

import json
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

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


@pytest.fixture
async def wechat_shop(caller: Caller, merchant_key: RSAPrivateKey, merchant_texts: dict[str, str]) -> WechatShop:
    return await a_wechat_shop(caller, merchant_key, merchant_texts, reverse_after_s=0)


@pytest.fixture
async def alipay_shop(caller: Caller, merchant_key: RSAPrivateKey, merchant_texts: dict[str, str]) -> AlipayShop:
    wish = {"channel": "alipay", "name": "一号店", "merchant_public_key": merchant_texts["public_spki_b64"]}
    status, account = await caller.admin("POST", "/sandbox/accounts", wish)
    assert status == 201, account
    return AlipayShop(caller=caller, account=account, key=merchant_key)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving(http_answer("204 No Content")) as receiver:
        yield receiver


@pytest.fixture
async def form_receiver() -> AsyncIterator[Receiver]:
    async with receiving(http_answer("200 OK", b"success")) as receiver:
        yield receiver


async def a_wechat_shop(
    caller: Caller, key: RSAPrivateKey, texts: dict[str, str], *, reverse_after_s: float
) -> WechatShop:
    wish = {
        "channel": "wechat_v3",
        "name": "一号店",
        "merchant_public_key": texts["public_spki_b64"],
        "reverse_after_s": reverse_after_s,
    }
    status, account = await caller.admin("POST", "/sandbox/accounts", wish)
    assert status == 201, account
    return WechatShop(caller=caller, account=account, key=key)
