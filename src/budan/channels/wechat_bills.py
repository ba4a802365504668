"""The trade bills of WeChat, whose two interfaces serve the same file (docs/protocols/wechat_v3.md section 6)."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

from budan.channels import backtick_bills as backtick
from budan.channels.bill_reading import BillFields, BillForm, Total, read_bill_counts
from budan.channels.bill_unpacking import Layout
from budan.channels.bill_values import FEE_PATTERN, MOMENT_PATTERN, YUAN_PATTERN
from budan.channels.settings import read_optional_text

_HOW_PAID: Final = "交易时间,公众账号ID,商户号,特约商户号,设备号,微信订单号,商户订单号,用户标识,交易类型,交易状态"
_PAID: Final = f"{_HOW_PAID},付款银行,货币种类,应结订单金额,代金券金额"
_REFUNDED: Final = "微信退款单号,商户退款单号,退款金额,充值券退款金额,退款类型,退款状态"
_SOLD: Final = "商品名称,商户数据包,手续费,费率,订单金额"

# Of the older interface alone, and of its older days.
OLD_HEADER: Final = f"{_HOW_PAID.replace('特约商户号', '子商户号')},付款银行,货币种类,总金额,企业红包金额,微信退款单号,商户退款单号,退款金额,企业红包退款金额,退款类型,退款状态,商品名称,商户数据包,手续费,费率"

ALL_HEADER: Final = f"{_PAID},{_REFUNDED},{_SOLD},申请退款金额,费率备注"
SUCCESS_HEADER: Final = f"{_PAID},{_SOLD},费率备注"
REFUND_HEADER: Final = f"{_PAID},退款申请时间,退款成功时间,{_REFUNDED},{_SOLD},申请退款金额,费率备注"

_KINDS: Final = {"SUCCESS": "payment", "REFUND": "refund", "REVOKED": "reversal"}
# CHANGE: the payer's account could not take it, and the money waits at WeChat.
_STATUSES: Final = {
    "SUCCESS": "succeeded",
    "PROCESSING": "pending",
    "CHANGE": "pending",
    "": "pending",
    "FAIL": "failed",
}

_PATTERNS: Final = {
    "交易时间": MOMENT_PATTERN,
    "公众账号ID": backtick.WORD_OR_NONE_PATTERN,
    "商户号": r"[0-9]{1,32}",
    "特约商户号": r"[0-9]{0,32}",
    "子商户号": r"[0-9]{0,32}",
    "微信订单号": backtick.NUMBER_PATTERN,
    "商户订单号": backtick.NUMBER_PATTERN,
    "交易类型": backtick.WORD_PATTERN,
    "交易状态": "|".join(_KINDS),
    "货币种类": backtick.CURRENCY_PATTERN,
    "应结订单金额": YUAN_PATTERN,
    "代金券金额": YUAN_PATTERN,
    "退款申请时间": MOMENT_PATTERN,
    "退款成功时间": f"(?:{MOMENT_PATTERN})?",
    "微信退款单号": backtick.NUMBER_OR_NONE_PATTERN,
    "商户退款单号": backtick.NUMBER_OR_NONE_PATTERN,
    "退款金额": YUAN_PATTERN,
    "充值券退款金额": YUAN_PATTERN,
    "退款类型": backtick.WORD_OR_NONE_PATTERN,
    "退款状态": "|".join(_STATUSES),
    "手续费": FEE_PATTERN,
    "费率": backtick.RATE_PATTERN,
    "订单金额": YUAN_PATTERN,
    "申请退款金额": YUAN_PATTERN,
    # Of the older form, which wechat_v2 may still serve.
    "总金额": YUAN_PATTERN,
    "企业红包金额": YUAN_PATTERN,
    "企业红包退款金额": YUAN_PATTERN,
}

_FIELDS: Final = BillFields(
    # The bill of refunds tells when the payment was made, too; its day is the refund's.
    happened_at=("退款申请时间", "交易时间"),
    kind=("交易状态",),
    trade_no=("商户订单号",),
    channel_no=("微信订单号",),
    order_minor=("订单金额", "总金额"),
    settle_minor=("应结订单金额", "总金额"),
    coupon_minor=("代金券金额", "企业红包金额"),
    refund_no=("商户退款单号",),
    channel_refund_no=("微信退款单号",),
    refund_minor=("申请退款金额", "退款金额"),
    refund_settle_minor=("退款金额",),
    refund_coupon_minor=("充值券退款金额", "企业红包退款金额"),
    status=("退款状态",),
    fee=("手续费",),
    method=("交易类型",),
    currency=("货币种类",),
    account_no=("商户号",),
)

_SUMS: Final = (Total.PAID_SETTLE, Total.REFUND_SETTLE, Total.REFUND_COUPON, Total.FEE, Total.ORDER, Total.REFUND)


@dataclass(frozen=True, slots=True, kw_only=True)
class WechatBillFacts:
    """What no public document confirms of these bills.

    `counts` is what the summary's number counts. A fee that was given back is written as a negative number (factor 1)
    or as a positive one (factor -1).
    """

    counts: Total
    refund_fee_factor: int


def read_bill_facts(settings: Mapping[str, str]) -> WechatBillFacts:
    """`bill_counts` is `rows` (default) or `payments`, `bill_refund_fee` `negative` (default) or `positive`."""
    fee = read_optional_text(settings, "bill_refund_fee", pattern="negative|positive") or "negative"
    return WechatBillFacts(counts=read_bill_counts(settings), refund_fee_factor=1 if fee == "negative" else -1)


def wechat_bill_form(facts: WechatBillFacts, *, headers: tuple[str, ...]) -> BillForm:
    """The form with these headers."""
    counts = facts.counts
    summaries = {
        "总交易单数,应结订单总金额,退款总金额,充值券退款总金额,手续费总金额,订单总金额,申请退款总金额": (
            counts,
            *_SUMS,
        ),
        "总交易单数,应结订单总金额,手续费总金额,订单总金额": (counts, Total.PAID_SETTLE, Total.FEE, Total.ORDER),
        "总交易单数,总交易额,总退款金额,总企业红包退款金额,手续费总金额": (
            counts,
            Total.ORDER,
            Total.REFUND,
            Total.REFUND_COUPON,
            Total.FEE,
        ),
    }
    return BillForm(
        layout=Layout(head_lines=1, foot_lines=2),
        separator=backtick.SEPARATOR,
        mark=backtick.MARK,
        number_bar=backtick.MARK,
        headers=tuple(tuple(header.split(",")) for header in headers),
        patterns=_PATTERNS,
        texts=frozenset({"商品名称", "商户数据包"}),
        fields=_FIELDS,
        kinds=_KINDS,
        statuses=_STATUSES,
        moment=backtick.MOMENT,
        in_minor=False,
        fee_unit_e5=100_000,
        fee_factor=1,
        refund_fee_factor=facts.refund_fee_factor,
        check_head=backtick.check_no_head,
        read_foot=partial(backtick.read_summary, summaries=summaries),
    )
