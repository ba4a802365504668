"""A house for one test: real flows on a database of its own, served over a real socket, beside a sandbox."""

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from secrets import token_hex
from typing import Any
from urllib.parse import urlencode

import asyncpg
import uvloop

from budan.cli.sandbox_account import SandboxAccount, open_sandbox_account
from budan.cli.settings import Settings, load_settings
from budan.cli.wiring import Opened, open_database, open_flows
from budan.flows.administering import AddedMerchant, Administration, MerchantWish
from budan.flows.wired import Flows
from budan.web.asgi import Application, build_app
from budan.web.serve import listen_at, serve_on
from budan.wire.http import HttpAnswer
from budan.wire.http_fast import FastHttpClient

WAIT_S = 20.0
_SANDBOX = """
from pathlib import Path
from budan.sandbox.serve import run
run(host="127.0.0.1", port=0, folder=Path({folder!r}), time_scale=0.001, seed=7)
"""
_READY = "sandbox ready "
TEST_SERIAL = "7" * 40
RATES_BP = {"wechat_v3": 60, "alipay": 55}


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxSide:
    """A running sandbox and the accounts that a merchant holds there."""

    child: "subprocess.Popen[str]"
    url: str
    accounts: Mapping[str, SandboxAccount]


def start_sandbox_side(folder: Path) -> SandboxSide:
    """Start a sandbox and open an account at each channel; its keys take longer than most tests."""
    child = subprocess.Popen(
        [sys.executable, "-c", _SANDBOX.format(folder=str(folder))], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    line = child.stdout.readline().strip()
    assert line.startswith(_READY), line
    url = line.removeprefix(_READY)

    async def accounts() -> dict[str, SandboxAccount]:
        return {
            channel: await open_sandbox_account(sandbox_url=url, channel=channel, name="shop") for channel in RATES_BP
        }

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return SandboxSide(child=child, url=url, accounts=runner.run(accounts()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What came back, with its JSON where it is JSON."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode()

    @property
    def code(self) -> str:
        """A problem's code."""
        assert self.headers["content-type"] == "application/problem+json", (self.status, self.body)
        return self.json["code"]


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """The running house, its first merchant and a client."""

    url: str
    dsn: str
    app: Application
    flows: Flows
    opened: Opened
    administration: Administration
    merchant: AddedMerchant
    account_ids: Mapping[str, int]
    sandbox: SandboxSide
    client: FastHttpClient

    async def send(
        self,
        method: str,
        path: str,
        *,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """One request as it is."""
        return _reply(
            await self.client.request(
                method=method,
                url=self.url + path,
                headers=headers or {},
                body=body,
                timeout_s=WAIT_S,
                body_bytes_max=5_000_000,
            )
        )

    async def call(
        self,
        method: str,
        path: str,
        wish: object = None,
        *,
        key: str | None = None,
        idempotency_key: str | None = None,
        raw: bytes | None = None,
    ) -> Reply:
        """One API call as the first merchant, or with another key; `raw` is a body that is no JSON of ours."""
        headers = {"authorization": f"Bearer {key or self.merchant.api_key}"}
        body = b"" if wish is None else json.dumps(wish).encode()
        body = body if raw is None else raw
        if body:
            headers["content-type"] = "application/json"
        if idempotency_key is not None:
            headers["idempotency-key"] = idempotency_key
        return await self.send(method, path, body=body, headers=headers)

    async def submit(self, path: str, fields: Mapping[str, str], *, headers: Mapping[str, str] | None = None) -> Reply:
        """A form, as a browser sends it."""
        return await self.send(
            "POST",
            path,
            body=urlencode(fields).encode(),
            headers={"content-type": "application/x-www-form-urlencoded", **(headers or {})},
        )

    @contextlib.asynccontextmanager
    async def line(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """A bare connection, for what no client would send."""
        host, _, port = self.url.removeprefix("http://").partition(":")
        async with asyncio.timeout(WAIT_S):
            reader, writer = await asyncio.open_connection(host, int(port))
            try:
                yield reader, writer
            finally:
                writer.close()
                with contextlib.suppress(ConnectionError):
                    await writer.wait_closed()

    async def create_order(self, **fields: object) -> dict[str, Any]:
        """A new order."""
        reply = await self.call("POST", "/v1/orders", an_order(**fields))
        assert reply.status == 201, reply.body
        return reply.json

    async def sandbox_call(self, path: str, wish: object) -> dict[str, Any]:
        """One act in the sandbox: a payer pays, or shows a code."""
        answer = await self.client.request(
            method="POST",
            url=self.sandbox.url + path,
            headers={"content-type": "application/json"},
            body=json.dumps(wish).encode(),
            timeout_s=WAIT_S,
            body_bytes_max=1_000_000,
        )
        assert answer.status in {200, 201}, answer.body
        return json.loads(answer.body)

    async def execute(self, statement: str, *values: object) -> None:
        """One statement on the house's database, for what only time or a worker would do."""
        connection = await asyncpg.connect(self.dsn, timeout=WAIT_S)
        try:
            await connection.execute(statement, *values)
        finally:
            await connection.close()

    async def add_merchant(self, name: str) -> AddedMerchant:
        """One more merchant, with a key of its own."""
        (added,) = await self.administration.add_merchants([_wish(name, tuple(self.account_ids.values()))], by="Ann")
        return added


def an_order(**fields: object) -> dict[str, Any]:
    """A body for POST /v1/orders; each call has a reference of its own."""
    return {"reference": token_hex(8), "amount_minor": 1999, "currency": "CNY", "subject": "两杯茶", **fields}


def _reply(answer: HttpAnswer) -> Reply:
    headers = {name.lower(): value for name, value in answer.headers.items()}
    return Reply(status=answer.status, headers=headers, body=answer.body)


def _wish(name: str, account_ids: tuple[int, ...]) -> MerchantWish:
    return MerchantWish(
        name=name,
        webhook_url=None,
        account_ids=account_ids,
        rates_bp=RATES_BP,
        with_key=True,
        with_shop=True,
    )


@asynccontextmanager
async def open_house(*, dsn: str, folder: Path, sandbox: SandboxSide) -> AsyncIterator[House]:
    """The house, up and answering; leaving drains it."""
    listener = listen_at(host="127.0.0.1", port=0, is_shared=False)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    settings = _settings(folder, url, sandbox.url)
    async with (
        contextlib.AsyncExitStack() as stack,
        open_database(settings, dsn=dsn) as opened,
        open_flows(opened) as flows,
    ):
        stack.callback(listener.close)
        administration = Administration(
            database=opened.database, environment=settings.environment, box=opened.keys.box, lanes=opened.lanes
        )
        account_ids = {
            channel: await administration.add_account(
                channel=channel,
                name=channel,
                settings=account.settings,
                account_secrets=_with_test_key(account),
                by="Ann",
            )
            for channel, account in sandbox.accounts.items()
        }
        (merchant,) = await administration.add_merchants([_wish("一号店", tuple(account_ids.values()))], by="Ann")
        app = build_app(flows, wallet_url=sandbox.url)
        ready = asyncio.Event()
        serving = asyncio.create_task(serve_on(app, listener=listener, on_ready=ready.set))
        client = FastHttpClient(connections_per_host_max=16)
        try:
            async with asyncio.timeout(WAIT_S):
                await ready.wait()
            yield House(
                url=url,
                dsn=dsn,
                app=app,
                flows=flows,
                opened=opened,
                administration=administration,
                merchant=merchant,
                account_ids=account_ids,
                sandbox=sandbox,
                client=client,
            )
        finally:
            await client.close()
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)


def _with_test_key(account: SandboxAccount) -> Mapping[str, str]:
    """The account also knows a platform key of the tests, which sign what the sandbox would never say."""
    if "platform_keys" not in account.secrets:
        return account.secrets
    keys = json.loads(account.secrets["platform_keys"])
    keys[TEST_SERIAL] = vectors()["keys"]["platform"]["public_spki_b64"]
    return {**account.secrets, "platform_keys": json.dumps(keys)}


@cache
def vectors() -> dict[str, Any]:
    """The throw-away keys of the documented vectors."""
    return json.loads((Path(__file__).parents[2] / "vectors.json").read_text("utf-8"))


def _settings(folder: Path, url: str, sandbox_url: str) -> Settings:
    flags = {"environment": "local", "folder": str(folder), "public_url": url, "sandbox_url": sandbox_url}
    return load_settings(flags, environ={})
