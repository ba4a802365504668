"""Which bills the interface v3 serves, and whose."""

from typing import Final

from budan.channels.bill_reading import BillForm, Total
from budan.channels.wechat_bills import ALL_HEADER, REFUND_HEADER, SUCCESS_HEADER, wechat_bill_form

HEADERS: Final = (ALL_HEADER, SUCCESS_HEADER, REFUND_HEADER)


def bill_form(*, counts: Total, refund_fee_factor: int) -> BillForm:
    """The trade bill in all its kinds; see `wechat_bill_form`."""
    return wechat_bill_form(headers=HEADERS, counts=counts, refund_fee_factor=refund_fee_factor)
