"""Alipay's bill: GBK in a ZIP, with lines that begin with `#` round the rows (docs/protocols/alipay.md section 6)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from typing import Final

from budan.channels.bill_reading import BillFields, BillForm, ExpectedBill, Total
from budan.channels.bill_unpacking import Layout, Unpacked
from budan.channels.bill_values import FEE_PATTERN, MOMENT_PATTERN, YUAN_PATTERN
from budan.channels.settings import read_optional_text
from budan.ports.bill import BillRefused

HEADER: Final = (
    "支付宝交易号,商户订单号,业务类型,商品名称,创建时间,完成时间,门店编号,门店名称,操作员,终端号,对方账户,订单金额（元）,商家实收（元）,"
    "支付宝红包（元）,集分宝（元）,支付宝优惠（元）,商家优惠（元）,券核销金额（元）,券名称,商家红包消费金额（元）,卡消费金额（元）,"
    "退款批次号/请求号,服务费（元）,分润（元）,备注"
)
_BILL_ENDS: Final = "业务明细.csv"
_SUMMARY_ENDS: Final = "业务明细(汇总).csv"
_SUMMARY_HEADER: Final = "门店编号,门店名称,交易订单总笔数,退款订单总笔数"

_KINDS: Final = {"交易": "payment", "退款": "refund"}
_NUMBER_PATTERN: Final = r"[!-+\--~]{1,64}"  # visible ASCII but for the comma
_PATTERNS: Final = {
    **{name: YUAN_PATTERN for name in HEADER.split(",") if name.endswith("（元）")},
    "支付宝交易号": _NUMBER_PATTERN,
    "商户订单号": _NUMBER_PATTERN,
    "业务类型": "|".join(_KINDS),
    "创建时间": MOMENT_PATTERN,
    "完成时间": MOMENT_PATTERN,
    "服务费（元）": FEE_PATTERN,
}

_FIELDS: Final = BillFields(
    happened_at=("完成时间",),
    kind=("业务类型",),
    trade_no=("商户订单号",),
    channel_no=("支付宝交易号",),
    order_minor=("订单金额（元）",),
    settle_minor=("商家实收（元）",),
    coupon_minor=("支付宝优惠（元）",),
    refund_no=("退款批次号/请求号",),
    channel_refund_no=(),
    refund_minor=("订单金额（元）",),
    refund_settle_minor=("商家实收（元）",),
    refund_coupon_minor=("支付宝优惠（元）",),
    status=(),
    fee=("服务费（元）",),
    method=(),
)

_ACCOUNT: Final = re.compile(r"#账号：\[([0-9]+)\]")
_PERIOD: Final = re.compile(r"#起始日期：\[(\S+) 00:00:00\]\s+终止日期：\[(\S+) 00:00:00\]")
_FOOT: Final = (
    re.compile(r"#-+业务明细列表结束-+"),
    re.compile(r"#交易合计：([0-9]+)笔，商家实收共(-?[0-9]+\.[0-9]{2})元，商家优惠共-?[0-9]+\.[0-9]{2}元"),
    re.compile(r"#退款合计：([0-9]+)笔，商家实收退款共(-?[0-9]+\.[0-9]{2})元，商家优惠退款共-?[0-9]+\.[0-9]{2}元"),
    re.compile(r"#导出时间：\[.*\]"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AlipayBillFacts:
    """What no public document confirms: what follows the PID in the account's line, and the sign of a payment's fee."""

    account_suffix: str
    fee_factor: int


def read_bill_facts(settings: Mapping[str, str]) -> AlipayBillFacts:
    """`bill_account_suffix` is `0156` by default; `bill_fee` is `negative` (default) or `positive`, on payments."""
    fee = read_optional_text(settings, "bill_fee", pattern="negative|positive") or "negative"
    suffix = read_optional_text(settings, "bill_account_suffix", pattern="[0-9]{1,8}|none") or "0156"
    return AlipayBillFacts(account_suffix="" if suffix == "none" else suffix, fee_factor=-1 if fee == "negative" else 1)


def bill_form(facts: AlipayBillFacts) -> BillForm:
    """The bill of trades."""
    return BillForm(
        layout=Layout(
            head_lines=5,
            foot_lines=len(_FOOT),
            # GBK's superset: a name may hold what GBK has no sign for.
            encoding="gb18030",
            tab_ended=True,
            member=lambda name: name.endswith(_BILL_ENDS),
            side_member=lambda name: name.endswith(_SUMMARY_ENDS),
        ),
        separator=",",
        mark="",
        number_bar=",",
        headers=(tuple(HEADER.split(",")),),
        patterns=_PATTERNS,
        texts=frozenset({"商品名称"}),
        fields=_FIELDS,
        kinds=_KINDS,
        # A refund is in the bill once it is done, and the row has no word for it.
        statuses={"": "succeeded"},
        moment="%Y-%m-%d %H:%M:%S",
        in_minor=False,
        fee_unit_e5=100_000,
        fee_factor=facts.fee_factor,
        refund_fee_factor=facts.fee_factor,
        check_head=partial(_check_head, facts),
        read_foot=_read_foot,
    )


def _check_head(facts: AlipayBillFacts, head: tuple[str, ...], expected: ExpectedBill) -> None:
    account, period = _ACCOUNT.fullmatch(head[1].rstrip()), _PERIOD.fullmatch(head[2].rstrip())
    if account is None:
        raise BillRefused("header", line_no=2, detail="names no account")
    if account[1] != expected.account_no + facts.account_suffix:
        raise BillRefused("foreign_account", line_no=2, detail="the bill is of another account")
    if period is None:
        raise BillRefused("header", line_no=3, detail="names no day")
    if (period[1], period[2]) != (_rendered(expected.day), _rendered(expected.day + timedelta(days=1))):
        raise BillRefused("wrong_day", line_no=3, detail="the bill is of another day")


def _rendered(day: date) -> str:
    return f"{day.year:04}年{day.month:02}月{day.day:02}日"


def _read_foot(unpacked: Unpacked) -> Mapping[Total, int]:
    matches = [pattern.fullmatch(line.rstrip()) for pattern, line in zip(_FOOT, unpacked.foot, strict=True)]
    for place, match in enumerate(matches):
        if match is None:
            detail = "is not the end of a list: the bill may have been cut off"
            raise BillRefused("summary", line_no=unpacked.foot_from + place, detail=detail)
    _, paid, refunded, _ = matches
    assert paid is not None
    assert refunded is not None
    said = {
        Total.PAYMENTS: int(paid[1]),
        Total.PAID_SETTLE: _fen(paid[2]),
        Total.REFUNDS: int(refunded[1]),
        Total.REFUND_SETTLE: -_fen(refunded[2]),
    }
    if unpacked.side is not None:
        _refuse_other_counts(unpacked.side, said)
    return said


def _refuse_other_counts(side: str, said: Mapping[Total, int]) -> None:
    """The file by shops must count what the bill's own end counts; its amounts are net or gross, which nobody confirms."""
    lines = [[value.strip() for value in line.split(",")] for line in side.splitlines()]
    is_known = any(",".join(values).startswith(_SUMMARY_HEADER) for values in lines)
    total = next((values for values in lines if "合计" in values[:2]), None)
    if not is_known or total is None:
        raise BillRefused("summary", detail="the file by shops is not what it should be")
    if total[2:4] != [str(said[Total.PAYMENTS]), str(said[Total.REFUNDS])]:
        raise BillRefused("summary_mismatch", detail="the file by shops counts otherwise than the bill's end")


def _fen(text: str) -> int:
    return int(text.replace(".", ""))
