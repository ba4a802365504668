"""The file of a day that a person downloads from iPaynow's portal; its form is invented (docs/protocols/ipaynow.md §6)."""

from collections.abc import Sequence
from typing import Final

from budan.sandbox.bill_rows import BillRow
from budan.sandbox.numbers import BEIJING, wallet_no

_HEADER: Final = "mhtOrderNo,nowPayOrderNo,channelOrderNo,type,payChannelType,amount,fee,time,status,mhtRefundNo"


def ipaynow_bill(rows: Sequence[BillRow], *, total_off_minor: int) -> bytes:
    """The file, in fen."""
    total_minor = sum(_signed_minor(row) for row in rows) + total_off_minor
    fee_minor = sum(row.fee_e5 // 1_000 for row in rows)
    lines = [_HEADER, *(_row(row) for row in rows), f"TOTAL,{len(rows)},,,,{total_minor},{fee_minor},,,"]
    return "".join(f"{line}\n" for line in lines).encode()


def _signed_minor(row: BillRow) -> int:
    return row.amount_minor if row.is_payment else -row.amount_minor


def _row(row: BillRow) -> str:
    trade = row.trade
    at = f"{row.at.astimezone(BEIJING):%Y%m%d%H%M%S}"
    wallet = wallet_no(trade, paid_at=trade.paid_at or row.at)
    kind, refund_no = ("PAY", "") if row.is_payment else ("REFUND", row.refund_no)
    values = (trade.trade_no, trade.channel_no, wallet, kind, trade.pay_channel or "13", str(_signed_minor(row)))
    return ",".join((*values, str(row.fee_e5 // 1_000), at, "A001", refund_no))
