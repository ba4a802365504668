"""Every adapter fetches the day's bill from the sandbox over HTTP and reads it; what is spoilt is reported or refused."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from budan.channels.guard import GuardedChannel
from budan.core.numbers import BEIJING, AccountId
from budan.ports.bill import (
    BillAnswer,
    BillNotYet,
    BillRefused,
    BillUnfetched,
    FetchedBill,
    NoBill,
    Packing,
    ReadBill,
    table_settings,
)
from budan.ports.channel import AccountConfig, TradeIntent
from contract.desk import AMOUNT_MINOR, Desk, a_call, a_desk, a_refund_of, an_account
from integration.sandbox.running import Caller
from unit.channels.builders import HandClock

REFUNDED_MINOR = 280


@dataclass(frozen=True, kw_only=True)
class Till:
    """A desk whose day has two payments and, of the first, a refund."""

    desk: Desk
    account_id: str
    day: date
    folder: Path
    paid: list[TradeIntent]
    refund_no: str

    async def fetch(self, day: date | None = None) -> BillAnswer:
        """The day's bill; iPaynow's is downloaded by a person in the portal."""
        into = self.folder / "fetched"
        if self.desk.channel.capabilities.bills is not None:
            answer = await self.desk.channel.fetch_bill(day or self.day, into=into, call=a_call())
            assert into.exists() is isinstance(answer, FetchedBill)
            return answer
        answer = await self.desk.caller.send("GET", f"/sandbox/bill?account_id={self.account_id}&day={self.day}")
        if answer.status != 200:
            return BillNotYet(code="portal")
        into.write_bytes(answer.body)
        return FetchedBill(path=into, packing=Packing.PLAIN)

    async def read(self) -> tuple[ReadBill, list[dict[str, Any]]]:
        """The day's bill and its rows."""
        bill = await self.fetch()
        assert isinstance(bill, FetchedBill), bill
        return await asyncio.to_thread(self._read, bill)

    def _read(self, bill: FetchedBill) -> tuple[ReadBill, list[dict[str, Any]]]:
        settings = dict(table_settings(folder=self.folder, memory_mb=128, threads=1))
        with duckdb.connect(":memory:", config=settings) as tables:
            read = self.desk.channel.read_bill(tables, bill, day=self.day, folder=self.folder)
            cursor = tables.execute("SELECT * FROM bill_line ORDER BY line_no")
            names = [column[0] for column in cursor.description]
            return read, [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    async def spoil(self, **faults: bool) -> None:
        """Chooses what is wrong with the bills of this account from now on."""
        status, _ = await self.desk.caller.admin(
            "PUT", "/sandbox/bill-faults", {"account_id": self.account_id, "faults": faults}
        )
        assert status == 200


def account_id_of(config: AccountConfig) -> str:
    names = ("mchid", "mch_id", "app_id")
    return next(config.settings[name] for name in names if name in config.settings)


# How a request is signed changes nothing in a bill: one account of each channel.
@pytest.fixture(params=["wechat_v3", "alipay", "swiftpass", "ipaynow", "wechat_v2"])
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
async def till(config: AccountConfig, desk: Desk, tmp_path: Path) -> Till:
    paid = [await desk.paid(), await desk.paid()]
    refund = a_refund_of(paid[0], REFUNDED_MINOR)
    assert (await desk.refund(refund)).sent
    await desk.caller.trade_when(paid[0].trade_no, lambda trade: trade["refunded_minor"] == REFUNDED_MINOR)
    return Till(
        desk=desk,
        account_id=account_id_of(config),
        day=datetime.now(UTC).astimezone(BEIJING).date(),
        folder=tmp_path,
        paid=paid,
        refund_no=refund.refund_no,
    )


async def test_the_bill_tells_what_was_paid_and_what_went_back(till: Till) -> None:
    read, rows = await till.read()
    assert (read.totals.rows, read.totals.payments, read.totals.refunds, read.remarks) == (3, 2, 1, ())
    payments = {row["trade_no"]: row for row in rows if row["kind"] == "payment"}
    assert payments.keys() == {intent.trade_no for intent in till.paid}
    for row in payments.values():
        assert (row["order_minor"], row["settle_minor"], row["fee_e5"]) == (AMOUNT_MINOR, AMOUNT_MINOR, 8_000)
        assert (row["currency"], row["status"], row["account_no"] != "") == ("CNY", "succeeded", True)
        assert row["channel_no"]
        assert abs(row["happened_at"] - datetime.now(UTC)) < timedelta(minutes=5)
    (refund,) = [row for row in rows if row["kind"] == "refund"]
    assert (refund["trade_no"], refund["refund_no"]) == (till.paid[0].trade_no, till.refund_no)
    assert (refund["refund_minor"], refund["settle_minor"], refund["fee_e5"], refund["status"]) == (
        REFUNDED_MINOR,
        -REFUNDED_MINOR,
        -2_000,
        "succeeded",
    )


async def test_what_real_bills_have_is_read_and_what_contradicts_itself_is_refused(till: Till) -> None:
    await till.spoil(refunds_first=True)
    _, rows = await till.read()
    assert [row["kind"] for row in rows] == ["refund", "payment", "payment"]
    await till.spoil(next_day_row=True)
    read, _ = await till.read()
    assert [(remark.code, remark.count) for remark in read.remarks] == [("other_day", 1)]
    await till.spoil(extra_row=True, wrong_fee=True)
    read, rows = await till.read()
    assert (read.totals.payments, read.totals.fee_e5) == (3, 8_000 * 3 + 1_000 - 2_000)
    assert sum(row["trade_no"].startswith("X") for row in rows) == 1
    await till.spoil(missing_row=True)
    assert (await till.read())[0].totals.payments == 1
    await till.spoil(wrong_summary=True)
    with pytest.raises(BillRefused, match="summary_mismatch in line"):
        await till.read()
    await till.spoil(cut_off=True)
    with pytest.raises(BillRefused):
        await till.read()
    await till.spoil(creating=True)
    assert isinstance(await till.fetch(), BillNotYet | NoBill | BillUnfetched)
    await till.spoil()
    assert (await till.read())[0].totals.rows == 3


async def test_a_day_without_movement_has_no_bill_or_an_empty_one(till: Till) -> None:
    answer = await till.fetch(till.day - timedelta(days=1)) if till.desk.name != "ipaynow" else NoBill(code="portal")
    if till.desk.name == "swiftpass":
        assert isinstance(answer, FetchedBill)
        assert answer.path.read_text("utf-8-sig").splitlines()[-1].startswith("`0,")
    else:
        assert isinstance(answer, NoBill)
    tomorrow = await till.fetch(till.day + timedelta(days=1)) if till.desk.name != "ipaynow" else None
    assert tomorrow is None or isinstance(tomorrow, BillUnfetched)


@pytest.mark.parametrize("name", ["wechat_v3", "alipay", "wechat_v2", "swiftpass"])
async def test_another_accounts_bill_is_refused(till: Till, caller: Caller, name: str) -> None:
    bill = await till.fetch()
    assert isinstance(bill, FetchedBill)
    async with a_desk(await an_account(caller, name), caller) as other:
        settings = dict(table_settings(folder=till.folder, memory_mb=128, threads=1))
        with duckdb.connect(":memory:", config=settings) as tables, pytest.raises(BillRefused, match="foreign_account"):
            other.channel.read_bill(tables, bill, day=till.day, folder=till.folder)


@pytest.mark.parametrize("name", ["wechat_v3"])
async def test_a_guarded_download_is_bounded_and_leaves_nothing_where_it_failed(till: Till, tmp_path: Path) -> None:
    guarded = GuardedChannel(till.desk.channel, account_id=AccountId(1), clock=HandClock())
    into = tmp_path / "bill"
    answer = await guarded.fetch_bill(till.day, into=into, call=a_call())
    assert isinstance(answer, FetchedBill)
    assert answer.sha1 is not None
    await till.desk.channel.end_session()
    unsent = await guarded.fetch_bill(till.day, into=into, call=a_call())
    assert isinstance(unsent, BillUnfetched)
    assert (unsent.sent, into.exists()) == (False, False)
