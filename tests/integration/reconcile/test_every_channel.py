"""A person loads a bill of any channel, whether or not the channel serves it by call, and it is compared like any other."""

import asyncpg
import pytest

from budan.core.errors import Refused
from budan.core.numbers import AccountId
from integration.reconcile.clerk import Clerk, verdicts
from stage import Stage
from unit.channels.bill_samples import SAMPLES, Sample
from unit.channels.bills import DAY


def by_channel(bill: Sample) -> str:
    return bill.channel


@pytest.mark.parametrize("bill", SAMPLES, ids=by_channel)
async def test_a_bill_by_hand_is_compared_with_the_books(clerk: Clerk, stage: Stage, bill: Sample) -> None:
    """One payment is ours; the others, and a refund of ours that nobody made here, are differences with their lines."""
    settings = dict(bill.settings)
    clerk.merchant = await stage.add_merchant(account_id=await _add_account(stage, bill, "other"))
    clerk.channel, clerk.settings, clerk.day = bill.channel, settings, DAY
    ours = await clerk.paid()
    lines = [line.replace(bill.number, ours.trade_no) for line in bill.lines]
    report = await clerk.compare_file(bill.pack(lines), packing=bill.packing)
    kinds = {kind: verdicts(report, kind) for kind in ("payment", "refund", "reversal")}
    assert kinds["payment"]["matched"] == (1, 1)
    assert kinds["refund"] == {"there_only": (1, 0)}
    other = kinds["reversal" if bill.channel == "wechat_v2" else "payment"]
    assert other["unknown_number"] == (1, 0)
    assert {row.line_no for row in (await clerk.differences()).values()} == {bill.first_row + 1, bill.first_row + 2}


@pytest.mark.parametrize("bill_first", [True, False])
@pytest.mark.parametrize("bill", [one for one in SAMPLES if one.channel in {"wechat_v3", "alipay"}], ids=by_channel)
async def test_a_payment_of_another_amount_than_its_orders_ties_out_whichever_is_known_first(
    clerk: Clerk, stage: Stage, rows: asyncpg.Connection, bill: Sample, *, bill_first: bool
) -> None:
    """It is the channel's word against the order's: both sides have what came, and the order's amount stands beside."""
    clerk.merchant = await stage.add_merchant(account_id=await _add_account(stage, bill, "other"))
    clerk.channel, clerk.settings, clerk.day = bill.channel, dict(bill.settings), DAY
    order = await clerk.order()
    for table in ("orders", "trade"):
        await rows.execute(f"UPDATE {table} SET amount_minor = 1300")  # noqa: S608 - sql: a name of this test
    content = bill.pack([line.replace(bill.number, order.trade_no) for line in bill.lines])
    told = {"paid_at": clerk.noon, "channel_reference": "a number that no bill has"}
    if bill_first:
        report = await clerk.compare_file(content, packing=bill.packing)
        assert verdicts(report, "payment") == {"there_only": (1, 0), "unknown_number": (1, 0)}
        due = "SELECT due_at <= now() FROM query_due WHERE order_id = $1"
        assert await rows.fetchval(due, order.order_id), "the bill's row is asked about"
    await clerk.hear(order, **told)
    held = await rows.fetchrow("SELECT state, hold_reason FROM orders")
    assert tuple(held) == ("paying", "wrong_amount"), "no row and no answer pays it"
    report = await clerk.compare_file(content, packing=bill.packing)
    assert verdicts(report, "payment") == {"in_suspense": (1, 1), "unknown_number": (1, 0)}
    assert report.ties_out
    found = (await clerk.differences())[order.trade_no]
    assert (found.verdict, found.state, found.their_minor, found.our_minor) == ("in_suspense", "open", 1280, 1300)


@pytest.mark.parametrize("has_our_orders", [True, False])
async def test_a_file_that_names_no_account_is_refused_where_its_rows_are_of_another(
    clerk: Clerk, stage: Stage, rows: asyncpg.Connection, *, has_our_orders: bool
) -> None:
    """iPaynow's: all of the day was missed here, and all of the file was strangers' rows that somebody had to end."""
    (bill,) = [one for one in SAMPLES if not one.names_account]
    merchants = [
        await stage.add_merchant(account_id=await _add_account(stage, bill, name)) for name in ("one", "other")
    ]
    clerk.channel, clerk.settings, clerk.day = bill.channel, dict(bill.settings), DAY
    clerk.merchant = merchants[0]
    theirs = await clerk.paid()
    clerk.merchant = merchants[1]
    ours = await clerk.paid()
    foreign = [line.replace(bill.number, theirs.trade_no) for line in bill.lines] if has_our_orders else bill.lines
    with pytest.raises(Refused) as refused:
        await clerk.compare_file(bill.pack(foreign), packing=bill.packing)
    assert refused.value.code == "bill_foreign_account"
    assert (f"account {merchants[0].account_id}" in (refused.value.detail or "")) is has_our_orders
    assert await rows.fetchval("SELECT count(*) FROM reconcile_run") == 0, "nothing of it was kept"
    mixed = [line.replace(bill.number, ours.trade_no) if place < 2 else line for place, line in enumerate(bill.lines)]
    report = await clerk.compare_file(bill.pack(mixed), packing=bill.packing)
    assert verdicts(report, "payment") == {"matched": (1, 1), "unknown_number": (1, 0)}, "a row of it is ours"


async def _add_account(stage: Stage, bill: Sample, name: str) -> AccountId:
    return await stage.administration.add_account(
        channel=bill.channel, name=name, settings=dict(bill.settings), account_secrets={}, by="Ann"
    )
