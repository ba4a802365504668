"""The document that merchants build on, held against the program that runs."""

import asyncio
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from secrets import token_hex
from urllib.parse import urlsplit

import asyncpg
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from budan.cli.settings import load_settings
from budan.cli.wiring import open_database
from budan.flows.administering import Administration, MerchantWish
from budan.host.ports import held_ports
from budan.web.api.openapi import build_openapi
from conftest import TestServer
from integration.web.house import RATES_BP, WAIT_S, SandboxSide, start_sandbox_side

EXAMPLES_MAX = 30
BAD_REQUEST = 400

SCHEMA = schemathesis.openapi.from_dict(build_openapi(public_url="http://127.0.0.1"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A serve process and a merchant's key for it."""

    url: str
    api_key: str


@pytest.fixture(scope="session")
def served(postgres_server: TestServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    sandbox = start_sandbox_side(tmp_path_factory.mktemp("sandbox"))
    dsn = asyncio.run(_make_database(postgres_server))
    try:
        with held_ports(1) as (port,):
            listen = f"127.0.0.1:{port.number}"
            environment = {
                "BUDAN_DATABASE": dsn,
                "BUDAN_FOLDER": str(tmp_path_factory.mktemp("house")),
                "BUDAN_LISTEN": listen,
                "BUDAN_SANDBOX_URL": sandbox.url,
            }
            api_key = asyncio.run(_make_merchant(environment, sandbox))
            with _serving(environment):
                yield Served(url=f"http://{listen}", api_key=api_key)
    finally:
        sandbox.child.send_signal(signal.SIGTERM)
        assert sandbox.child.wait(WAIT_S) == 0
        assert sandbox.child.stdout is not None
        sandbox.child.stdout.close()


async def _make_database(server: TestServer) -> str:
    """A database for the whole file; it goes with the run's server."""
    name = f"{server.prefix}_{token_hex(6)}"
    connection = await asyncpg.connect(server.dsn, timeout=10)
    try:
        await connection.execute(f"CREATE DATABASE {name} TEMPLATE {server.template} STRATEGY file_copy")
    finally:
        await connection.close()
    return urlsplit(server.dsn)._replace(path=f"/{name}").geturl()


async def _make_merchant(environment: dict[str, str], sandbox: SandboxSide) -> str:
    loaded = load_settings({}, environ=environment)
    async with open_database(loaded, dsn=environment["BUDAN_DATABASE"]) as opened:
        administration = Administration(
            database=opened.database, environment=loaded.environment, box=opened.keys.box, lanes=opened.lanes
        )
        account_ids = [
            await administration.add_account(
                channel=channel, name=channel, settings=account.settings, account_secrets=account.secrets, by="Ann"
            )
            for channel, account in sandbox.accounts.items()
        ]
        wish = MerchantWish(
            name="shop",
            webhook_url=None,
            account_ids=tuple(account_ids),
            rates_bp=RATES_BP,
            with_key=True,
            with_shop=True,
        )
        (merchant,) = await administration.add_merchants([wish], by="Ann")
    assert merchant.api_key is not None
    return merchant.api_key


@contextmanager
def _serving(environment: dict[str, str]) -> Iterator[None]:
    ready, told = os.pipe()
    child = subprocess.Popen(
        [sys.executable, "-m", "budan.cli.main", "serve"],
        env={**os.environ, **environment, "BUDAN_READY_FD": str(told)},
        pass_fds=[told],
    )
    os.close(told)
    try:
        readable, _, _ = select.select([ready], [], [], WAIT_S)
        assert readable
        assert os.read(ready, 1) == b"r"
        yield
    finally:
        os.close(ready)
        child.send_signal(signal.SIGTERM)
        assert child.wait(WAIT_S) == 0


@SCHEMA.parametrize()
@settings(
    max_examples=EXAMPLES_MAX,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
def test_every_answer_is_one_that_the_document_tells_of(case: schemathesis.Case, served: Served) -> None:
    """What fits is not refused for its form, what does not fit is, never with a 5xx, always in the documented form."""
    response = case.call_and_validate(
        base_url=served.url,
        headers={"Authorization": f"Bearer {served.api_key}"},
        timeout=WAIT_S,
        # A schema cannot say which orders, shops and cursors exist; the next lines say what it can.
        excluded_checks=[positive_data_acceptance],
    )
    assert case.meta is not None
    if case.meta.generation.mode is GenerationMode.POSITIVE and response.status_code == BAD_REQUEST:
        problem = response.json()
        # JSON Schema calls 1.0 an integer; we do not take money as a float, whole or not.
        is_whole_float = problem["code"] == "field_malformed" and "got `float`" in problem["detail"]
        assert is_whole_float or problem["code"] in {"order_no_malformed", "cursor_malformed"}
