"""What the commands of reconciliation stand on: accounts, their bills' readers, and the use cases."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from budan.channels.settings import BadSettings
from budan.cli.settings import Settings
from budan.cli.wiring import KINDS, build_bill_days, open_database, open_reconciliation
from budan.core.errors import Refused
from budan.core.numbers import AccountId
from budan.flows.bill_days import BillDays
from budan.flows.books_link import BooksLinks
from budan.flows.discrepancies import Discrepancies
from budan.flows.door import Door
from budan.flows.healths import AccountHealths
from budan.flows.reconciling import BillReader, Reconciliation
from budan.host.resources import usable_cores
from budan.ports.channel import AccountConfig
from budan.store import directory
from budan.store.database import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class BooksDesk:
    """The use cases of one command. It calls no channel."""

    database: Database
    reconciliation: Reconciliation
    discrepancies: Discrepancies
    bills: BillDays
    links: BooksLinks

    async def find_account(self, name: str, *, channel: str | None) -> AccountConfig:
        """The account of a number or name, without its secrets.

        Raises `Refused` with `account_unknown`, or `channel_mismatch` where it is of another channel.
        """
        async with self.database.reading() as transaction:
            rows = await directory.list_accounts(transaction)
        row = next((row for row in rows if name in {str(row.account_id), row.name}), None)
        if row is None:
            raise Refused("account_unknown", param="account", detail=name)
        if channel not in {None, row.channel}:
            raise Refused("channel_mismatch", param="channel", detail=f"account {row.account_id} is of {row.channel}")
        return AccountConfig(
            account_id=AccountId(row.account_id),
            channel=row.channel,
            name=row.name,
            enabled=row.enabled,
            settings=row.settings,
            secrets={},
        )

    def reader_of(self, config: AccountConfig) -> BillReader:
        """Who reads the account's bills, by the form that its adapter reads; raises `Refused` with `settings_malformed`."""
        try:
            return KINDS[config.channel].bill_reader(config)
        except BadSettings as error:
            raise Refused("settings_malformed", param="account", detail=str(error)) from error


@asynccontextmanager
async def open_books_desk(settings: Settings, *, dsn: str) -> AsyncGenerator[BooksDesk]:
    """The desk on the settings' database."""
    async with (
        open_database(settings, dsn=dsn) as opened,
        open_reconciliation(opened, cores=usable_cores()) as reconciliation,
        Door(
            database=opened.database,
            environment=settings.environment,
            lanes=opened.lanes,
            healths=AccountHealths(database=opened.database, clock=opened.clock),
        ) as door,
    ):
        yield BooksDesk(
            database=opened.database,
            reconciliation=reconciliation,
            discrepancies=Discrepancies(database=opened.database, door=door),
            bills=build_bill_days(opened),
            links=BooksLinks(secret=opened.keys.cashier_key, clock=opened.clock),
        )
