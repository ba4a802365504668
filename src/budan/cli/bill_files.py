"""Bills of any length for the bench, in each channel's own form: everything in them is made up, and agrees."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from itertools import islice
from pathlib import Path
from typing import IO, Final
from zipfile import ZIP_DEFLATED, ZipFile

from budan.channels.alipay import bill as alipay
from budan.channels.bill_reading import BillForm
from budan.channels.ipaynow import bill as ipaynow
from budan.channels.swiftpass import bill as swiftpass
from budan.channels.wechat_bills import ALL_HEADER, OLD_HEADER, read_bill_facts
from budan.channels.wechat_v2 import bill as wechat_v2
from budan.channels.wechat_v3 import bill as wechat_v3
from budan.ports.bill import FetchedBill, Packing

DAY: Final = date(2026, 1, 1)
ACCOUNT_NO: Final = "1900000109"
_LINES_AT_ONCE: Final = 10_000
_SECONDS: Final = 86_400
_FEN: Final = 1280
_FEE_FEN: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One channel's bill: its form, how it is packed, and its lines."""

    form: BillForm
    packing: Packing
    encoding: str
    head: tuple[str, ...]
    row: Callable[[int], str]
    foot: Callable[[int], tuple[str, ...]]


def write_bill(sample: Sample, path: Path, *, rows: int) -> FetchedBill:
    """The bill with so many rows."""
    if sample.packing is Packing.ZIP:
        with ZipFile(path, "w", ZIP_DEFLATED, compresslevel=1) as archive:
            name = f"{ACCOUNT_NO}_业务明细.csv".encode("gbk").decode("cp437")
            with archive.open(name, "w", force_zip64=True) as stream:
                _write(sample, stream, rows=rows)
    else:
        with path.open("wb") as stream:
            _write(sample, stream, rows=rows)
    return FetchedBill(path=path, packing=sample.packing)


def _write(sample: Sample, stream: IO[bytes], *, rows: int) -> None:
    lines = _lines(sample, rows=rows)
    while part := list(islice(lines, _LINES_AT_ONCE)):
        stream.write("".join(part).encode(sample.encoding))


def _lines(sample: Sample, *, rows: int) -> Iterator[str]:
    yield from (f"{line}\r\n" for line in sample.head)
    yield from (f"{sample.row(nth)}\r\n" for nth in range(rows))
    yield from (f"{line}\r\n" for line in sample.foot(rows))


def _moment(nth: int) -> str:
    second = nth % _SECONDS
    return f"2026-01-01 {second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}"


def _yuan(fen: int) -> str:
    return f"{fen // 100}.{fen % 100:02}"


def _wechat_row(nth: int) -> str:
    return (
        f"`{_moment(nth)},`wx0000000000000001,`{ACCOUNT_NO},`0,`,`4200009999202601{nth:012},`T{nth:014},`oTestOpenid000000000000001,"
        "`NATIVE,`SUCCESS,`OTHERS,`CNY,`12.80,`0.00,`0,`0,`0.00,`0.00,`,`,`门店点单-拿铁,大杯,`store=7,`0.08000,`0.60%,`12.80,`0.00,`"
    )


def _wechat_foot(rows: int) -> tuple[str, ...]:
    paid, fee = _yuan(rows * _FEN), f"{_yuan(rows * _FEE_FEN)}000"
    return (
        "总交易单数,应结订单总金额,退款总金额,充值券退款总金额,手续费总金额,订单总金额,申请退款总金额",
        f"`{rows},`{paid},`0.00,`0.00,`{fee},`{paid},`0.00",
    )


def _old_wechat_row(nth: int) -> str:
    return (
        f"`{_moment(nth)},`wx0000000000000001,`{ACCOUNT_NO},`0,`POS7,`4200009999202601{nth:012},`T{nth:014},`oTestOpenid000000000000001,"
        "`MICROPAY,`SUCCESS,`OTHERS,`CNY,`12.80,`0.00,`0,`0,`0.00,`0.00,`,`,`门店点单-拿铁,`a=1&b=2,`0.08000,`0.60%"
    )


def _old_wechat_foot(rows: int) -> tuple[str, ...]:
    return (
        "总交易单数,总交易额,总退款金额,总企业红包退款金额,手续费总金额",
        f"`{rows},`{_yuan(rows * _FEN)},`0.00,`0.00,`{_yuan(rows * _FEE_FEN)}000",
    )


def _swiftpass_row(nth: int) -> str:
    return (
        f"`{_moment(nth)},`,`,`755000000000,`{ACCOUNT_NO},`POS7,`755000000001{nth:018},`4200009999202601{nth:012},`T{nth:014},"
        "`2088000000000001,`pay.alipay.micropay,`支付成功,`ALIPAYACCOUNT,`CNY,`12.80,`0.00,`,`,`,`,`,`,`门店点单-拿铁,大杯,`a=1&b=2,"
        "`0.08,`0.600%,`API,`0,`7,`测试商户,`,`,`0.00,`12.80,`12.72,`,`,`"
    )


def _swiftpass_foot(rows: int) -> tuple[str, ...]:
    paid = _yuan(rows * _FEN)
    return (
        "总交易单数,总交易额,总退款金额,总企业红包退款金额,总手续费金额,总实收金额",
        f"`{rows},`{paid},`0.00,`0,`{_yuan(rows * _FEE_FEN)},`{paid}",
    )


def _alipay_row(nth: int) -> str:
    moment = _moment(nth)
    return (
        f"20260101220014{nth:014}\t,T{nth:014}\t,交易\t,门店点单-拿铁\t,{moment}\t,{moment}\t,7\t,一号店\t,\t,\t,*测(159****5620)\t,"
        "12.80,12.80,0.00,0.00,0.00,0.00,0.00,\t,0.00,0.00,\t,-0.08,0.00,\t"
    )


def _alipay_foot(rows: int) -> tuple[str, ...]:
    return (
        "#-----业务明细列表结束-----",
        f"#交易合计：{rows}笔，商家实收共{_yuan(rows * _FEN)}元，商家优惠共0.00元",
        "#退款合计：0笔，商家实收退款共0.00元，商家优惠退款共0.00元",
        "#导出时间：[2026年01月02日 09:12:00]",
    )


def _ipaynow_row(nth: int) -> str:
    second = nth % _SECONDS
    at = f"20260101{second // 3600:02}{second // 60 % 60:02}{second % 60:02}"
    return f"T{nth:014},200301{nth:021},4200009999202601{nth:012},PAY,13,1280,8,{at},A001,"


def _ipaynow_foot(rows: int) -> tuple[str, ...]:
    return (f"TOTAL,{rows},,,,{rows * _FEN},{rows * _FEE_FEN},,,",)


def all_samples() -> dict[str, Sample]:
    """One for each channel; v2 in its older form, for its newer one is v3's."""
    wechat_facts = read_bill_facts({})
    return {
        "wechat_v3": _plain(wechat_v3.bill_form(wechat_facts), ALL_HEADER, _wechat_row, _wechat_foot),
        "wechat_v2": _plain(wechat_v2.bill_form(wechat_facts), OLD_HEADER, _old_wechat_row, _old_wechat_foot),
        "alipay": Sample(
            form=alipay.bill_form(alipay.read_bill_facts({})),
            packing=Packing.ZIP,
            encoding="gb18030",
            head=(
                "#支付宝业务明细查询",
                f"#账号：[{ACCOUNT_NO}0156]",
                "#起始日期：[2026年01月01日 00:00:00]   终止日期：[2026年01月02日 00:00:00]",
                "#-----业务明细列表-----",
                alipay.HEADER,
            ),
            row=_alipay_row,
            foot=_alipay_foot,
        ),
        "swiftpass": _plain(
            swiftpass.bill_form(swiftpass.read_bill_facts({})), swiftpass.HEADER, _swiftpass_row, _swiftpass_foot
        ),
        "ipaynow": _plain(ipaynow.bill_form(), ipaynow.HEADER, _ipaynow_row, _ipaynow_foot),
    }


def _plain(form: BillForm, header: str, row: Callable[[int], str], foot: Callable[[int], tuple[str, ...]]) -> Sample:
    return Sample(form=form, packing=Packing.PLAIN, encoding="utf-8", head=(header,), row=row, foot=foot)
