"""Alipay's bill of a day: a ZIP of two files in GBK (docs/protocols/alipay.md §6)."""

import io
import zipfile
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Final

from budan.sandbox.bill_rows import BillRow, paid_minor, returned_minor, yuan
from budan.sandbox.numbers import BEIJING
from budan.sandbox.records import AlipayAccount

_SUFFIX: Final = "0156"
_HEADER: Final = (
    "支付宝交易号,商户订单号,业务类型,商品名称,创建时间,完成时间,门店编号,门店名称,操作员,终端号,对方账户,订单金额（元）,商家实收（元）,"
    "支付宝红包（元）,集分宝（元）,支付宝优惠（元）,商家优惠（元）,券核销金额（元）,券名称,商家红包消费金额（元）,卡消费金额（元）,"
    "退款批次号/请求号,服务费（元）,分润（元）,备注"
)
_SUMMARY: Final = (
    "门店编号,门店名称,交易订单总笔数,退款订单总笔数,订单金额（元）,商家实收（元）,支付宝优惠（元）,商家优惠（元）,卡消费金额（元）,"
    "服务费（元）,分润（元）,实收净额（元）"
)
_RULE: Final = "-" * 40


def alipay_bill(
    account: AlipayAccount, rows: Sequence[BillRow], *, day: date, total_off_minor: int, cut_off: bool, now: datetime
) -> bytes:
    """The ZIP as it is served."""
    bill = _bill(account, rows, day=day, total_off_minor=total_off_minor, now=now).encode("gb18030")
    name = f"{account.seller_id}{_SUFFIX}_{day:%Y%m%d}"
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for ending, content in (
            ("业务明细.csv", bill[: len(bill) * 3 // 4] if cut_off else bill),
            ("业务明细(汇总).csv", _by_shops(rows).encode("gb18030")),
        ):
            # The names are GBK and do not say so; zipfile would mark anything else as UTF-8.
            archive.writestr(f"{name}_{ending}".encode("gbk").decode("cp437"), content)
    return packed.getvalue()


def _bill(account: AlipayAccount, rows: Sequence[BillRow], *, day: date, total_off_minor: int, now: datetime) -> str:
    payments = [row for row in rows if row.is_payment]
    returned = yuan(-returned_minor(rows))
    lines = (
        "#支付宝业务明细查询",
        f"#账号：[{account.seller_id}{_SUFFIX}]",
        f"#起始日期：[{_date(day)} 00:00:00]   终止日期：[{_date(day + timedelta(days=1))} 00:00:00]",
        f"#{_RULE}业务明细列表{_RULE}",
        _HEADER,
        *(_row(row) for row in rows),
        f"#{_RULE}业务明细列表结束{_RULE}",
        f"#交易合计：{len(payments)}笔，商家实收共{yuan(paid_minor(rows) + total_off_minor)}元，商家优惠共0.00元",
        f"#退款合计：{len(rows) - len(payments)}笔，商家实收退款共{returned}元，商家优惠退款共0.00元",
        f"#导出时间：[{_date(now.astimezone(BEIJING).date())} {now.astimezone(BEIJING):%H:%M:%S}]",
    )
    return "".join(f"{line}\r\n" for line in lines)


def _row(row: BillRow) -> str:
    trade = row.trade
    amount = yuan(row.amount_minor if row.is_payment else -row.amount_minor)
    made = f"{trade.placed_at.astimezone(BEIJING):%Y-%m-%d %H:%M:%S}" if row.is_payment else row.moment
    kind, refund_no = ("交易", "") if row.is_payment else ("退款", row.refund_no)
    texts = (
        trade.channel_no,
        trade.trade_no,
        kind,
        trade.subject,
        made,
        row.moment,
        "",
        "",
        "",
        "",
        "*测(159****5620)",
    )
    nothing = ("0.00",) * 5
    # Fees are what the merchant pays: negative on payments.
    fee = yuan(-row.fee_e5 // 1_000)
    return ",".join(
        (
            *(f"{text}\t" for text in texts),
            amount,
            amount,
            *nothing,
            "\t",
            "0.00",
            "0.00",
            f"{refund_no}\t",
            fee,
            "0.00",
            "\t",
        )
    )


def _by_shops(rows: Sequence[BillRow]) -> str:
    payments = sum(row.is_payment for row in rows)
    net_minor = paid_minor(rows) - returned_minor(rows)
    fee_minor = -sum(row.fee_e5 for row in rows) // 1_000
    net, fee, left = yuan(net_minor), yuan(fee_minor), yuan(net_minor + fee_minor)
    sums = f"{payments},{len(rows) - payments},{net},{net},0.00,0.00,0.00,{fee},0.00,{left}"
    return f"#支付宝业务汇总查询\r\n{_SUMMARY}\r\n\t,\t,{sums}\r\n合计\t,\t,{sums}\r\n"


def _date(day: date) -> str:
    return f"{day.year:04}年{day.month:02}月{day.day:02}日"
