"""WeChat bills written by hand, as the channel would: rows, then a summary that agrees with them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from budan.channels.wechat_bills import ALL_HEADER
from budan.core.numbers import BEIJING

MCHID = "1900000109"
SUMMARY = "总交易单数,应结订单总金额,退款总金额,充值券退款总金额,手续费总金额,订单总金额,申请退款总金额"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A row of a bill; with `refund_no` it is one of a refund."""

    trade_no: str
    at: datetime
    amount_minor: int
    channel_no: str
    fee: str = "0.00000"
    refund_no: str | None = None
    status: str = "SUCCESS"
    currency: str = "CNY"
    kind: str | None = None
    settle_minor: int | None = None


def write_bill(lines: Sequence[Line]) -> bytes:
    """The file of these rows."""
    rows = [ALL_HEADER, *(_row(line) for line in lines), SUMMARY, _summary(lines)]
    return ("\r\n".join(rows) + "\r\n").encode()


def _row(line: Line) -> str:
    kind = line.kind or ("SUCCESS" if line.refund_no is None else "REFUND")
    amount = _yuan(line.amount_minor)
    paid, back = (amount, "0.00") if kind == "SUCCESS" else ("0.00", amount)
    settled = _yuan(_settled(line)) if kind == "SUCCESS" else "0.00"
    refund = ("0", "0", "0.00", "0.00", "", "")
    if kind != "SUCCESS":
        refund_no = line.trade_no if line.refund_no is None else line.refund_no
        refund = (f"5030{line.channel_no}", refund_no, _yuan(_settled(line)), "0.00", "ORIGINAL", line.status)
    values = [
        f"{line.at.astimezone(BEIJING):%Y-%m-%d %H:%M:%S}",
        *("wx0000000000000001", MCHID, "0", "", line.channel_no, line.trade_no),
        *("oTestOpenid000000000000001", "NATIVE", kind, "OTHERS", line.currency, settled, "0.00"),
        *refund,
        *("奶茶,大杯", "store=7", line.fee, "0.60%", paid, back, ""),
    ]
    return ",".join(f"`{value}" for value in values)


def _summary(lines: Sequence[Line]) -> str:
    paid = [line for line in lines if line.refund_no is None and line.kind in {None, "SUCCESS"}]
    back = [line for line in lines if line not in paid]
    fees = sum((Decimal(line.fee) for line in lines), Decimal(0))
    sums = [_yuan(sum(line.amount_minor for line in part)) for part in (paid, back)]
    settled = [_yuan(sum(_settled(line) for line in part)) for part in (paid, back)]
    return ",".join(f"`{value}" for value in (str(len(lines)), *settled, "0.00", f"{fees:.5f}", *sums))


def _settled(line: Line) -> int:
    return line.amount_minor if line.settle_minor is None else line.settle_minor


def _yuan(amount_minor: int) -> str:
    return f"{amount_minor // 100}.{amount_minor % 100:02d}"
