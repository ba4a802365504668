"""A person loads a bill of any channel, whether or not the channel serves it by call, and it is compared like any other."""

import pytest

from integration.reconcile.clerk import Clerk, verdicts
from stage import Stage
from unit.channels.bill_samples import SAMPLES, Sample
from unit.channels.bills import DAY


@pytest.mark.parametrize("bill", SAMPLES, ids=lambda bill: bill.channel)
async def test_a_bill_by_hand_is_compared_with_the_books(clerk: Clerk, stage: Stage, bill: Sample) -> None:
    """One payment is ours; the others, and a refund of ours that nobody made here, are differences with their lines."""
    settings = dict(bill.settings)
    account_id = await stage.administration.add_account(
        channel=bill.channel, name="other", settings=settings, account_secrets={}, by="Ann"
    )
    clerk.merchant = await stage.add_merchant(account_id=account_id)
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
