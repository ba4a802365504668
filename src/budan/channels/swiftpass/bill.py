"""Swiftpass's bill, which is WeChat's in Chinese words (docs/protocols/swiftpass.md section 6)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from budan.channels import backtick_bills as backtick
from budan.channels.bill_reading import BillFields, BillForm, Total, read_bill_counts
from budan.channels.bill_unpacking import Layout
from budan.channels.bill_values import FEE_PATTERN, MOMENT_PATTERN, YUAN_OR_NONE_PATTERN, YUAN_PATTERN
from budan.channels.settings import read_optional_text

HEADER: Final = (
    "交易时间,公众账号ID,第三方商户号,商户号,子商户号,设备编号,平台订单号,第三方订单号,商户订单号,用户标识,交易类型,交易状态,付款银行,货币种类,总金额,"
    "企业红包金额,平台退款单号,商户退款单号,退款金额,企业红包退款金额,退款类型,退款状态,商品名称,商户数据包,手续费,费率,终端类型,对账标识,门店编号,"
    "商户名称,收银员,子商户ID,免充值券金额,实收金额,结算金额,扩展字段2,扩展字段3,扩展字段4"
)
# Of 2017, and of banks that still run it.
OLD_HEADER: Final = (
    HEADER.replace("平台订单号", "威富通订单号")
    .replace("平台退款单号", "威富通退款单号")
    .replace("结算金额", "扩展字段1")
)

_STATUSES: Final = {
    "退款成功": "succeeded",
    "退款中": "pending",
    "退款处理中": "pending",
    "转入代发": "pending",
    "": "pending",
    "退款失败": "failed",
}
_NUMBERS: Final = ("平台订单号", "威富通订单号", "商户订单号")
_NUMBERS_OR_NONE: Final = ("第三方订单号", "平台退款单号", "威富通退款单号", "商户退款单号")
_AMOUNTS_OR_NONE: Final = ("企业红包金额", "退款金额", "企业红包退款金额", "免充值券金额", "实收金额", "结算金额")

_FIELDS: Final = BillFields(
    happened_at=("交易时间",),
    kind=("交易状态",),
    trade_no=("商户订单号",),
    channel_no=("平台订单号", "威富通订单号"),
    order_minor=("总金额",),
    settle_minor=("实收金额",),
    coupon_minor=("企业红包金额",),
    refund_no=("商户退款单号",),
    channel_refund_no=("平台退款单号", "威富通退款单号"),
    refund_minor=("退款金额",),
    refund_settle_minor=("实收金额",),
    refund_coupon_minor=("企业红包退款金额",),
    status=("退款状态",),
    fee=("手续费",),
    method=("交易类型",),
    currency=("货币种类",),
    account_no=(),
)
_SUMMARY: Final = "总交易单数,总交易额,总退款金额,总企业红包退款金额,总手续费金额,总实收金额"


@dataclass(frozen=True, slots=True, kw_only=True)
class SwiftpassBillFacts:
    """What no public document confirms: what the summary counts, which column names us, how a reversal is called."""

    counts: Total
    account_column: str
    reversed_words: frozenset[str]


def read_bill_facts(settings: Mapping[str, str]) -> SwiftpassBillFacts:
    """The settings `bill_counts`, `bill_account_column` (`子商户号` or `商户号`) and `bill_reversed_words`, by commas."""
    column = read_optional_text(settings, "bill_account_column", pattern="子商户号|商户号") or "子商户号"
    words = read_optional_text(settings, "bill_reversed_words", pattern=r"\w+(,\w+)*") or "已冲正,已撤销"
    return SwiftpassBillFacts(
        counts=read_bill_counts(settings), account_column=column, reversed_words=frozenset(words.split(","))
    )


def bill_form(facts: SwiftpassBillFacts) -> BillForm:
    """The trade bill with either header."""
    kinds = {"支付成功": "payment", "转入退款": "refund", **dict.fromkeys(sorted(facts.reversed_words), "reversal")}
    sums = (Total.ORDER, Total.REFUND, Total.REFUND_COUPON, Total.FEE, Total.NET_SETTLE)
    return BillForm(
        layout=Layout(head_lines=1, foot_lines=2),
        separator=backtick.SEPARATOR,
        mark=backtick.MARK,
        number_bar=backtick.MARK,
        headers=(tuple(HEADER.split(",")), tuple(OLD_HEADER.split(","))),
        patterns=_patterns(kinds),
        texts=frozenset({"商品名称", "商户数据包"}),
        fields=replace(_FIELDS, account_no=(facts.account_column,)),
        kinds=kinds,
        statuses=_STATUSES,
        moment=backtick.MOMENT,
        in_minor=False,
        fee_unit_e5=100_000,
        fee_factor=1,
        refund_fee_factor=1,
        check_head=backtick.check_no_head,
        read_foot=partial(backtick.read_summary, summaries={_SUMMARY: (facts.counts, *sums)}),
    )


def _patterns(kinds: Mapping[str, str]) -> Mapping[str, str]:
    return {
        **dict.fromkeys(_NUMBERS, backtick.NUMBER_PATTERN),
        **dict.fromkeys(_NUMBERS_OR_NONE, backtick.NUMBER_OR_NONE_PATTERN),
        **dict.fromkeys(_AMOUNTS_OR_NONE, YUAN_OR_NONE_PATTERN),
        "交易时间": MOMENT_PATTERN,
        "交易类型": backtick.WORD_PATTERN,
        "交易状态": "|".join(kinds),
        "退款状态": "|".join(_STATUSES),
        "货币种类": backtick.CURRENCY_PATTERN,
        "总金额": YUAN_PATTERN,
        "手续费": FEE_PATTERN,
    }
