"""A file of iPaynow's that a person loads; the channel serves none, and the form is ours (docs/protocols/ipaynow.md section 6)."""

import re
from collections.abc import Mapping
from typing import Final

from budan.channels.bill_reading import BillFields, BillForm, ExpectedBill, Total
from budan.channels.bill_unpacking import Layout, Unpacked
from budan.ports.bill import BillRefused

HEADER: Final = "mhtOrderNo,nowPayOrderNo,channelOrderNo,type,payChannelType,amount,fee,time,status,mhtRefundNo"
_FEN_PATTERN: Final = r"-?[0-9]{1,14}"
_NUMBER_PATTERN: Final = r"[!-+\--~]{1,64}"
_PATTERNS: Final = {
    "mhtOrderNo": _NUMBER_PATTERN,
    "nowPayOrderNo": _NUMBER_PATTERN,
    "channelOrderNo": r"[!-+\--~]{0,64}",
    "type": "PAY|REFUND",
    "payChannelType": r"[0-9]{2}",
    "amount": _FEN_PATTERN,
    "fee": r"-?[0-9]{1,10}",
    "time": r"[0-9]{14}",
    # The file holds what happened and nothing else.
    "status": "A001",
    "mhtRefundNo": r"[!-+\--~]{0,64}",
}
_FIELDS: Final = BillFields(
    happened_at=("time",),
    kind=("type",),
    trade_no=("mhtOrderNo",),
    channel_no=("nowPayOrderNo",),
    order_minor=("amount",),
    settle_minor=("amount",),
    coupon_minor=(),
    refund_no=("mhtRefundNo",),
    channel_refund_no=(),
    refund_minor=("amount",),
    refund_settle_minor=("amount",),
    refund_coupon_minor=(),
    status=("status",),
    fee=("fee",),
    method=("payChannelType",),
)
_TOTAL: Final = re.compile(r"TOTAL,([0-9]+),,,,(-?[0-9]+),(-?[0-9]+),,,")


def bill_form() -> BillForm:
    """The file of a day."""
    return BillForm(
        layout=Layout(head_lines=1, foot_lines=1),
        separator=",",
        mark="",
        number_bar=",",
        headers=(tuple(HEADER.split(",")),),
        patterns=_PATTERNS,
        texts=frozenset(),
        fields=_FIELDS,
        kinds={"PAY": "payment", "REFUND": "refund"},
        statuses={"A001": "succeeded"},
        moment="%Y%m%d%H%M%S",
        in_minor=True,
        fee_unit_e5=1_000,
        fee_factor=1,
        refund_fee_factor=1,
        check_head=_check_head,
        read_foot=_read_foot,
        names_account=False,
    )


def _check_head(_head: tuple[str, ...], _expected: ExpectedBill) -> None:
    """Nothing in the file names the application: whoever loads it says whose it is, and its numbers are held against that."""


def _read_foot(unpacked: Unpacked) -> Mapping[Total, int]:
    match = _TOTAL.fullmatch(unpacked.foot[0])
    if match is None:
        raise BillRefused("summary", line_no=unpacked.foot_from, detail="is no total: the file may have been cut off")
    return {Total.ROWS: int(match[1]), Total.NET_SETTLE: int(match[2]), Total.FEE: int(match[3]) * 1_000}
