"""A channel's counter for bills, as a test fills it, before accounts that are otherwise what they are."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any, cast

from budan.cli.wiring import KINDS
from budan.core.numbers import AccountId
from budan.flows.bill_days import BillDays
from budan.flows.job import RunArguments, RunningJob
from budan.flows.portal_refunds import PortalRefunds
from budan.flows.reconcile_job import BillTools, Reconcile
from budan.ports.bill import BillAnswer, BillTables, FetchedBill, Packing, ReadBill
from budan.ports.channel import Call, Channel, ChannelAccount
from integration.reconcile.bills import write_bill
from integration.reconcile.clerk import Clerk

Answer = bytes | BillAnswer | BaseException


@dataclass
class BillCounter:
    """Gives out the bills of the clerk's channel. A day without an answer of its own has a bill without a row."""

    clerk: Clerk
    answers: dict[date, Answer] = field(default_factory=dict)
    asked: Counter[date] = field(default_factory=Counter)
    said: list[str] = field(default_factory=list)

    async def find(self, account_id: AccountId) -> ChannelAccount | None:
        """See ChannelAccounts.find."""
        found = await self.clerk.stage.flows.accounts.find(account_id)
        account = found or ChannelAccount(
            account_id=account_id,
            channel=self.clerk.channel,
            name="main",
            enabled=True,
            adapter=cast("Channel", None),
            takes_new=lambda: False,
        )
        return replace(account, adapter=cast("Channel", self))

    async def close(self) -> None:
        """See ChannelAccounts.close."""

    async def fetch_bill(self, day: date, *, into: Path, call: Call) -> BillAnswer:
        """See Channel.fetch_bill."""
        assert call.deadline_s > 0
        self.asked[day] += 1
        answer = self.answers.get(day, write_bill([]))
        if isinstance(answer, BaseException):
            raise answer
        if isinstance(answer, bytes):
            await asyncio.to_thread(into.write_bytes, answer)
            return FetchedBill(path=into, packing=Packing.PLAIN)
        return answer

    def read_bill(self, tables: BillTables, bill: FetchedBill, *, day: date, folder: Path) -> ReadBill:
        """See Channel.read_bill."""
        return self.clerk.reader().read_bill(tables, bill, day=day, folder=folder)

    @property
    def bills(self) -> BillDays:
        """Which bills are waited for."""
        return BillDays(database=self.clerk.stage.database, terms={kind.name: kind.bills for kind in KINDS.values()})

    async def run(self, **arguments: Any) -> Counter[str]:
        """One run of the job; gives what it counted."""
        stage = self.clerk.stage
        now = stage.opened.clock.now()
        running = RunningJob(
            run_id=1,
            arguments=RunArguments(**arguments),
            slot=now,
            started_at=now,
            last_begun_at=None,
            cursor=None,
            say=self._hear,
        )
        tools = BillTools(
            bills=self.bills,
            accounts=self,
            discrepancies=self.clerk.discrepancies,
            portal_refunds=PortalRefunds(
                database=stage.database,
                environment=stage.settings.environment,
                accounts=stage.flows.accounts,
                door=stage.flows.refund_door,
                clock=stage.opened.clock,
            ),
            folder=self.clerk.folder / "reconcile",
            clock=stage.opened.clock,
        )
        await Reconcile(tools=tools, open_reconciliation=self.clerk.open_reconciliation).run(running)
        return Counter(running.progress)

    async def _hear(self, level: str, line: str) -> None:
        self.said.append(f"{level}: {line}")
