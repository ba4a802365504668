"""The use cases of one process, as wiring built them."""

from dataclasses import dataclass

import structlog

from budan.core.errors import StoreUnavailable
from budan.core.numbers import Environment
from budan.flows.asking import Questions
from budan.flows.books_link import BooksLinks
from budan.flows.calling import ChannelCalls
from budan.flows.cashier_link import CashierLinks
from budan.flows.closing import OrderClosing
from budan.flows.day_books import DayBooks
from budan.flows.directory import Directory
from budan.flows.door import Door
from budan.flows.ending import TradeEndings
from budan.flows.file_words import FileWords
from budan.flows.healths import AccountHealths
from budan.flows.holding import Holds
from budan.flows.ids import IdSource
from budan.flows.notices import Notices
from budan.flows.payers import Payers
from budan.flows.paying import Payments
from budan.flows.reading import Reading
from budan.flows.refund_door import RefundDoor
from budan.flows.refunding import Refunding
from budan.flows.remedies import Remedies
from budan.flows.replaying import Replays
from budan.flows.shop_orders import ShopOrders
from budan.flows.testifying import Testimony
from budan.flows.withdrawing import Withdrawals
from budan.ports.channel import ChannelAccounts
from budan.store import directory as stored
from budan.store.database import Database
from budan.store.upgrade import SchemaGap, compare_schema

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Flows:
    """What surfaces and workers are given."""

    environment: Environment
    public_url: str
    database: Database
    directory: Directory
    payments: Payments
    calls: ChannelCalls
    questions: Questions
    reading: Reading
    notices: Notices
    door: Door
    closing: OrderClosing
    endings: TradeEndings
    healths: AccountHealths
    withdrawals: Withdrawals
    refund_door: RefundDoor
    refunding: Refunding
    payers: Payers
    cashier_links: CashierLinks
    shop_orders: ShopOrders
    ids: IdSource
    accounts: ChannelAccounts
    day_books: DayBooks
    books_links: BooksLinks

    async def problems(self) -> list[str]:
        """Why this process must not be given work just now; empty when it is ready."""
        try:
            async with self.database.reading() as transaction:
                installation = await stored.find_installation(transaction)
                gap = await compare_schema(transaction) if installation else SchemaGap(missing=[], unknown=[])
                is_read_only = await stored.is_read_only(transaction)
        except StoreUnavailable as error:
            # Whoever asks may be a stranger; where the database is and what it said stays in the log.
            _log.warning("not_ready", database=str(error))
            return ["database: away"]
        if installation is None or installation.environment != self.environment.value:
            return ["database: of another environment"]
        newer = [f"schema_newer: {name} of a later version has run" for name in gap.unknown]
        waiting = [f"database: {name} has not run" for name in gap.missing] + newer
        return ["database: read-only", *waiting] if is_read_only else waiting


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorFlows:
    """What persons do at the command line."""

    holds: Holds
    testimony: Testimony
    replays: Replays
    remedies: Remedies
    file_words: FileWords
