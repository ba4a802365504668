"""A wired instance in this process: real flows, a real database, the sandbox in a process of its own."""

import signal
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from budan.cli.sandbox_account import add_sandbox_account
from budan.cli.settings import Settings, load_settings
from budan.cli.wiring import Opened, open_database, open_flows
from budan.flows.administering import AddedMerchant, Administration, MerchantWish
from budan.flows.views import Caller
from budan.flows.wired import Flows
from integration.flows.standing import PATIENT, Till, open_till
from integration.sandbox.running import RunningSandbox, start_sandbox


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """An instance with one merchant that takes both channels."""

    settings: Settings
    opened: Opened
    flows: Flows
    merchant: AddedMerchant
    account_ids: dict[str, int]
    sandbox: RunningSandbox
    dsn: str

    @property
    def caller(self) -> Caller:
        return Caller(merchant_id=self.merchant.merchant_id, lane=self.merchant.lane)


@pytest.fixture(scope="session")
def flows_sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSandbox]:
    running = start_sandbox(tmp_path_factory.mktemp("sandbox"))
    yield running
    assert running.end(by=signal.SIGTERM) == 0


@pytest.fixture
async def house(database_dsn: str, flows_sandbox: RunningSandbox, tmp_path: Path) -> AsyncIterator[House]:
    settings = load_settings(
        {"folder": str(tmp_path), "database": database_dsn, "sandbox_url": flows_sandbox.url},
        environ={},
    )
    async with open_database(settings, dsn=database_dsn) as opened, open_flows(opened) as flows:
        administration = Administration(
            database=opened.database,
            environment=settings.environment,
            box=opened.keys.box,
            lanes=opened.lanes,
        )
        account_ids = {
            channel: (
                await add_sandbox_account(administration, flows_sandbox.url, channel=channel, name=channel, by="Ann")
            )[0]
            for channel in ("wechat_v3", "alipay")
        }
        wish = MerchantWish(
            name="Corner shop",
            webhook_url="http://127.0.0.1:9/taken",
            account_ids=tuple(account_ids.values()),
            rates_bp={"wechat_v3": 60, "alipay": 55},
            with_key=True,
            with_shop=True,
        )
        (merchant,) = await administration.add_merchants([wish], by="Ann")
        yield House(
            settings=settings,
            opened=opened,
            flows=flows,
            merchant=merchant,
            account_ids=account_ids,
            sandbox=flows_sandbox,
            dsn=database_dsn,
        )


@pytest.fixture
async def till(database_dsn: str) -> AsyncIterator[Till]:
    async with open_till(database_dsn) as opened:
        yield opened


@pytest.fixture
async def patient_till(database_dsn: str) -> AsyncIterator[Till]:
    async with open_till(database_dsn, **PATIENT) as opened:
        yield opened
