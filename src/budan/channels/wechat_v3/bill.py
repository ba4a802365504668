"""Which bills the interface v3 serves."""

from budan.channels.bill_reading import BillForm
from budan.channels.wechat_bills import ALL_HEADER, REFUND_HEADER, SUCCESS_HEADER, WechatBillFacts, wechat_bill_form


def bill_form(facts: WechatBillFacts) -> BillForm:
    """The trade bill in all its kinds."""
    return wechat_bill_form(facts, headers=(ALL_HEADER, SUCCESS_HEADER, REFUND_HEADER))
