"""Somebody who keeps orders of yesterday and compares them with bills that a test writes."""

from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import asyncpg

from budan.cli.wiring import KINDS
from budan.core.evidence import Source
from budan.core.numbers import (
    BEIJING,
    AccountId,
    Environment,
    Number,
    NumberKind,
    OrderId,
    id_floor,
    render_number,
    trade_number,
)
from budan.core.refund import RefundEvidence, RefundOutcome
from budan.flows.day_report import DayReport
from budan.flows.discrepancies import Discrepancies
from budan.flows.door import DoorItem
from budan.flows.reconciling import BillReader, BillWish, Reconciliation
from budan.flows.refund_door import RefundItem
from budan.ports.bill import FetchedBill, Packing
from budan.ports.channel import AccountConfig
from budan.store.reconcile import DiscrepancyFilter, DiscrepancyRow, RunRow
from integration.reconcile.bills import MCHID, Line, write_bill
from stage import AMOUNT_MINOR, Stage, StagedMerchant, StagedOrder


@dataclass
class Clerk:
    """One account with one merchant; `day` is over."""

    stage: Stage
    merchant: StagedMerchant
    reconciliation: Reconciliation
    discrepancies: Discrepancies
    folder: Path
    rows: asyncpg.Connection
    day: date
    channel: str = "wechat_v3"
    settings: dict[str, str] = field(default_factory=lambda: {"mchid": MCHID})
    _ids: Any = field(default_factory=lambda: count(1))

    @property
    def account_id(self) -> AccountId:
        """The account whose bills are compared."""
        return self.merchant.account_id

    @property
    def noon(self) -> datetime:
        """The middle of the day."""
        return datetime(self.day.year, self.day.month, self.day.day, 12, tzinfo=BEIJING)

    async def order(self, *, at: datetime | None = None) -> StagedOrder:
        """An order of the day that is not paid as far as we know."""
        order = self.name(at or self.noon)
        await self.stage.add_orders([order])
        return order

    async def paid(self, *, at: datetime | None = None) -> StagedOrder:
        """An order that was paid at a time of the day, of which we learned at once."""
        at = at or self.noon
        order = await self.order(at=at)
        await self.hear(order, paid_at=at)
        await self.rows.execute("DELETE FROM late_money WHERE order_id = $1", order.order_id)
        return order

    async def hear(self, order: StagedOrder, **said: Any) -> None:
        """The channel's word on an order, paid unless it says otherwise, is heard now."""
        await self.stage.flows.door.record(DoorItem(evidence=self.stage.payment(order, **said)))

    async def hear_of_portal_refund(self, order: StagedOrder, *, refund_no: str, at: datetime) -> None:
        """The channel's word on a refund of 300 that was made past us is heard now."""
        said = RefundEvidence(
            refund_no=refund_no,
            trade_no=order.trade_no,
            account_id=self.account_id,
            outcome=RefundOutcome.SUCCEEDED,
            source=Source.NOTICE,
            learned_at=self.stage.opened.clock.now(),
            amount_minor=300,
            currency="CNY",
            channel_reference=refund_no,
            refunded_at=at,
        )
        await self.stage.flows.refund_door.record(RefundItem(evidence=said))

    async def attempt_again(self, order: StagedOrder) -> StagedOrder:
        """The order with a second trade, under whose number it goes on."""
        await self.rows.execute(
            """
            INSERT INTO trade (lane, order_id, attempt, account_id, channel, method, state, amount_minor, currency,
                               fee_rate_bp, created_at, send_until, expires_at, intent)
            SELECT lane, order_id, 2, account_id, channel, method, 'submitted', amount_minor, currency,
                   fee_rate_bp, created_at, send_until, expires_at, intent
            FROM trade WHERE lane = $1 AND order_id = $2
            """,
            order.lane,
            order.order_id,
        )
        number = trade_number(
            environment=self.stage.settings.environment,
            lane=order.lane,
            merchant_id=self.merchant.merchant_id,
            order_id=order.order_id,
            attempt=2,
        )
        return replace(order, trade_no=number)

    def name(self, at: datetime, *, environment: Environment | None = None) -> StagedOrder:
        """The numbers of an order of then, whether or not it is written."""
        order_id = OrderId(id_floor(at) + next(self._ids))
        numbers = [
            trade_number(
                environment=environment or self.stage.settings.environment,
                lane=self.merchant.lane,
                merchant_id=self.merchant.merchant_id,
                order_id=order_id,
                attempt=attempt,
            )
            for attempt in (0, 1)
        ]
        return StagedOrder(
            lane=self.merchant.lane,
            order_id=order_id,
            order_no=numbers[0],
            trade_no=numbers[1],
            merchant=self.merchant,
        )

    def refund_no(self, order: StagedOrder, ordinal: int = 1) -> str:
        """The number of an order's refund."""
        number = Number(
            environment=self.stage.settings.environment,
            kind=NumberKind.REFUND,
            lane=order.lane,
            merchant_id=self.merchant.merchant_id,
            order_id=order.order_id,
            ordinal=ordinal,
        )
        return render_number(number)

    def line(self, order: StagedOrder, **changes: Any) -> Line:
        """The row that the channel's bill has of an order's payment."""
        parts: dict[str, Any] = {
            "trade_no": order.trade_no,
            "at": self.noon,
            "amount_minor": AMOUNT_MINOR,
            "channel_no": f"4200{order.order_id}",
        }
        return Line(**(parts | changes))

    async def compare(
        self, lines: Sequence[Line], *, day: date | None = None, is_partial: bool = False, origin: str = "file"
    ) -> DayReport:
        """Compare a bill of these rows, and look after what differs."""
        return await self.compare_file(write_bill(lines), day=day, is_partial=is_partial, origin=origin)

    async def compare_file(
        self,
        content: bytes,
        *,
        day: date | None = None,
        is_partial: bool = False,
        packing: Packing = Packing.PLAIN,
        origin: str = "file",
    ) -> DayReport:
        """The same with a file as it is."""
        run = await self.keep(content, day=day, is_partial=is_partial, packing=packing, origin=origin)
        await self.discrepancies.follow_up(self.account_id)
        return await self.reconciliation.get_report(run.id)

    async def keep(
        self,
        content: bytes,
        *,
        day: date | None = None,
        is_partial: bool = False,
        packing: Packing = Packing.PLAIN,
        origin: str = "file",
    ) -> RunRow:
        """Compare a bill, and look after nothing."""
        path = self.folder / "bill.csv"
        path.write_bytes(content)
        wish = BillWish(
            account_id=self.account_id,
            day=day or self.day,
            bill=FetchedBill(path=path, packing=packing),
            origin=origin,
            loaded_by="ann" if origin == "file" else "",
            is_partial=is_partial,
        )
        return await self.reconciliation.compare(wish, reader=self.reader(), progress=lambda _: None)

    @asynccontextmanager
    async def open_reconciliation(self) -> AsyncIterator[Reconciliation]:
        """The same for a job, which opens and leaves it."""
        yield self.reconciliation

    async def differences(self, **wanted: Any) -> dict[str, DiscrepancyRow]:
        """What differs, by subject; a test that has two rows of a subject looks at the last one."""
        return {row.subject: row for row in await self.list_differences(**wanted)}

    async def list_differences(self, **wanted: Any) -> list[DiscrepancyRow]:
        """What differs."""
        wish = DiscrepancyFilter(**({"with_resolved": True} | wanted))
        return await self.discrepancies.list_page(wish, rows_max=100)

    def reader(self) -> BillReader:
        """Who reads the account's bills."""
        config = AccountConfig(
            account_id=self.account_id,
            channel=self.channel,
            name="main",
            enabled=True,
            settings=self.settings,
            secrets={},
        )
        return KINDS[self.channel].bill_reader(config)


async def add_refund(
    rows: asyncpg.Connection,
    order: StagedOrder,
    *,
    at: datetime,
    amount_minor: int = 300,
    learned_at: datetime | None = None,
    **changes: Any,
) -> None:
    """A refund that went back at a time, as the refund's door leaves it; with `learned_at` its channel tells no moment."""
    values = {"ordinal": 1, "origin": "merchant", "state": "succeeded"} | changes
    await rows.execute(
        """
        INSERT INTO refund (lane, order_id, ordinal, attempt, state, amount_minor, currency, reason, created_at,
                            origin, refunded_at, ended_at, channel_reference)
        VALUES ($1, $2, $3, 1, $4, $5, 'CNY', '', $6, $7, $8, $9, $10)
        """,
        *(order.lane, order.order_id, values["ordinal"], values["state"], amount_minor, at, values["origin"]),
        at if values["state"] == "succeeded" and learned_at is None else None,
        None if values["state"] == "submitted" else learned_at or at,
        values.get("channel_reference"),
    )
    if values["state"] not in {"succeeded", "failed"}:
        await rows.execute(
            "INSERT INTO refund_due (lane, order_id, ordinal, due_at) VALUES ($1, $2, $3, 'infinity')",
            *(order.lane, order.order_id, values["ordinal"]),
        )


def verdicts(report: DayReport, kind: str) -> dict[str, tuple[int, int]]:
    """Rows there and here by verdict, in all currencies."""
    found = defaultdict[str, Counter[str]](Counter)
    for tally in report.tallies:
        if tally.kind == kind:
            found[tally.verdict].update(there=tally.their_rows, here=tally.our_rows)
    return {verdict: (rows["there"], rows["here"]) for verdict, rows in found.items()}


def days_after(day: date, days: int) -> date:
    """So many days later."""
    return day + timedelta(days=days)
