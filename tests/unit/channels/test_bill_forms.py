from pathlib import Path

import pytest

from budan.channels.alipay import bill as alipay
from budan.channels.bill_reading import BillForm
from budan.channels.bill_tables import open_tables
from budan.channels.form_reader import FormReader
from budan.channels.ipaynow import bill as ipaynow
from budan.channels.settings import BadSettings
from budan.channels.swiftpass import bill as swiftpass
from budan.channels.wechat_bills import read_bill_facts
from budan.channels.wechat_v2 import bill as wechat_v2
from budan.ports.bill import FetchedBill, Packing
from unit.channels.bills import DAY, Desk, sample, zipped
from unit.channels.builders import IPAYNOW_APP_ID, MCHID, SELLER_ID, SWIFTPASS_MCH_ID

V2_LINES = sample("wechat_v2_micropay", after="Synthetic old-form ALL bill")
SWIFTPASS_LINES = sample("swiftpass", after="Summary: ")
ALIPAY_LINES = sample("alipay", after="Synthetic 业务明细.csv")
IPAYNOW_LINES = sample("ipaynow", after="**invented** CSV")
SUMMARY = [
    "#支付宝业务汇总查询",
    "门店编号,门店名称,交易订单总笔数,退款订单总笔数,订单金额（元）,商家实收（元）,支付宝优惠（元）,商家优惠（元）,卡消费金额（元）,服务费（元）,分润（元）,实收净额（元）",
    "7\t,一号店\t,2,1,45.00,45.00,5.00,0.00,0.00,-0.27,0.00,44.73",
    "合计\t,\t,2,1,45.00,45.00,5.00,0.00,0.00,-0.27,0.00,44.73",
]


def desk(form: BillForm, account_no: str, folder: Path) -> Desk:
    return Desk(form=form, account_no=account_no, folder=folder)


@pytest.fixture
def v2(tmp_path: Path) -> Desk:
    return desk(wechat_v2.bill_form(read_bill_facts({})), MCHID, tmp_path)


@pytest.fixture
def at_swiftpass(tmp_path: Path) -> Desk:
    return desk(swiftpass.bill_form(swiftpass.read_bill_facts({})), SWIFTPASS_MCH_ID, tmp_path)


@pytest.fixture
def at_alipay(tmp_path: Path) -> Desk:
    return desk(alipay.bill_form(alipay.read_bill_facts({})), SELLER_ID, tmp_path)


@pytest.fixture
def at_ipaynow(tmp_path: Path) -> Desk:
    return desk(ipaynow.bill_form(), IPAYNOW_APP_ID, tmp_path)


def changed(lines: list[str], *changes: tuple[int, str, str]) -> list[str]:
    """The lines with a text replaced in each of these, counted from 1."""
    mended = list(lines)
    for line_no, old, new in changes:
        assert old in mended[line_no - 1]
        mended[line_no - 1] = mended[line_no - 1].replace(old, new, 1)
    return mended


def text(lines: list[str], *, end: str = "\n") -> bytes:
    return "".join(f"{line}{end}" for line in lines).encode()


def packed(lines: list[str], summary: list[str] | None = SUMMARY, *, encoding: str = "gb18030") -> bytes:
    """Alipay's ZIP."""
    members = {"20880000000001560156_20260101_业务明细.csv": "".join(f"{line}\r\n" for line in lines).encode(encoding)}
    if summary is not None:
        members["20880000000001560156_20260101_业务明细(汇总).csv"] = "\r\n".join(summary).encode(encoding)
    return zipped(members)


def test_wechats_older_bill_is_read_with_a_reversal(v2: Desk) -> None:
    read, rows = v2.read(text(V2_LINES, end="\r\n"))
    assert [(row["kind"], row["order_minor"], row["refund_minor"], row["fee_e5"]) for row in rows] == [
        ("payment", 1280, None, 8000),
        ("reversal", None, 500, -3000),
        ("refund", None, 280, -2000),
    ]
    assert (read.totals.reversals, read.totals.refund_minor, read.totals.settle_minor) == (1, 780, 500)
    assert rows[2]["refund_no"] == "R20260101000002"


def test_wechats_interfaces_serve_one_and_the_same_bill(v2: Desk) -> None:
    read, _ = v2.read(text(sample("wechat_v3", after="Synthetic ALL bill"), end="\r\n"))
    assert read.totals.rows == 3


def test_swiftpass_bill_is_read_under_both_its_headers(at_swiftpass: Desk) -> None:
    read, rows = at_swiftpass.read(b"\xef\xbb\xbf" + text(SWIFTPASS_LINES))
    assert [(row["kind"], row["order_minor"], row["settle_minor"], row["refund_minor"]) for row in rows] == [
        ("payment", 1280, 1280, None),
        ("payment", 3500, 3500, None),
        ("refund", None, -280, 280),
    ]
    assert (read.totals.fee_e5, rows[0]["method"], rows[0]["account_no"]) == (
        27_000,
        "pay.alipay.micropay",
        SWIFTPASS_MCH_ID,
    )
    assert (rows[2]["channel_refund_no"], rows[2]["status"]) == ("755000000001202601019876543210", "succeeded")
    older = changed(
        SWIFTPASS_LINES,
        (1, "平台订单号", "威富通订单号"),
        (1, "平台退款单号", "威富通退款单号"),
        (1, "结算金额", "扩展字段1"),
    )
    assert at_swiftpass.read(text(older))[1] == rows


def test_alipays_bill_is_read_out_of_its_archive(at_alipay: Desk) -> None:
    read, rows = at_alipay.read(packed(ALIPAY_LINES), packing=Packing.ZIP)
    assert [row["line_no"] for row in rows] == [6, 7, 8]
    assert [(row["kind"], row["order_minor"], row["settle_minor"], row["refund_minor"]) for row in rows] == [
        ("payment", 1280, 1280, None),
        ("payment", 3500, 3500, None),
        ("refund", None, -280, 280),
    ]
    # The fee is negative on payments, as the document has it.
    assert [row["fee_e5"] for row in rows] == [8000, 21_000, -2000]
    assert (rows[2]["refund_no"], rows[2]["trade_no"], rows[2]["status"]) == (
        "R20260101000003",
        "T20260101000003",
        "succeeded",
    )
    assert (read.totals.payments, read.totals.refunds, read.totals.settle_minor) == (2, 1, 4500)
    assert at_alipay.read(packed(ALIPAY_LINES, None), packing=Packing.ZIP)[1] == rows


def test_a_name_of_goods_may_hold_commas_at_alipay(at_alipay: Desk) -> None:
    hostile = changed(ALIPAY_LINES, (6, "门店点单-拿铁", "茶,2026-01-01 08:00:00,1.00,,退款,"))
    assert at_alipay.read(packed(hostile), packing=Packing.ZIP)[1][0]["order_minor"] == 1280


def test_an_ipaynow_file_that_a_person_loads_is_read(at_ipaynow: Desk) -> None:
    read, rows = at_ipaynow.read(text(IPAYNOW_LINES))
    assert [(row["kind"], row["order_minor"], row["refund_minor"], row["fee_e5"]) for row in rows] == [
        ("payment", 1280, None, 8000),
        ("payment", 3500, None, 21_000),
        ("refund", None, 280, -2000),
    ]
    assert (read.totals.settle_minor, rows[0]["account_no"], rows[2]["refund_no"]) == (
        4500,
        IPAYNOW_APP_ID,
        "R20260101000005",
    )


@pytest.mark.parametrize(
    ("changes", "code", "line_no"),
    [
        ([(2, "0156]", "0157]")], "foreign_account", 2),
        ([(2, "账号", "账户")], "header", 2),
        ([(3, "01月01日", "01月02日")], "wrong_day", 3),
        ([(3, "起始", "开始")], "header", 3),
        ([(5, "商户订单号,业务类型", "业务类型,商户订单号")], "header", 5),
        ([(6, "交易\t", "转账\t")], "row_value", 6),
        ([(6, ",12.80,12.80", ",12.80")], "row_fields", 6),
        ([(7, "一号店", "一,号店")], "row_fields", 7),
        ([(8, "-2.80,-2.80", "-2.8,-2.80")], "row_value", 8),
        ([(6, "T20260101000003", "T2026\t0101000003")], "row_value", 6),
        ([(9, "结束", "")], "summary", 9),
        ([(10, "2笔", "3笔")], "summary_mismatch", None),
        ([(10, "47.80", "47.81")], "summary_mismatch", 9),
        ([(11, "-2.80", "-2.81")], "summary_mismatch", 9),
        ([(12, "导出", "")], "summary", 12),
    ],
)
def test_an_alipay_bill_that_is_not_right_is_refused_with_its_line(
    at_alipay: Desk, changes: list[tuple[int, str, str]], code: str, line_no: int | None
) -> None:
    content = packed(changed(ALIPAY_LINES, *changes))
    assert at_alipay.refusal(content, packing=Packing.ZIP) == (code, line_no)


def test_an_archive_that_is_not_alipays_is_refused(at_alipay: Desk) -> None:
    whole = packed(ALIPAY_LINES)
    broken = whole[:60] + bytes([whole[60] ^ 1]) + whole[61:]
    one_more = [*SUMMARY[:3], SUMMARY[3].replace(",2,1,", ",2,2,")]
    assert at_alipay.refusal(packed(ALIPAY_LINES, SUMMARY[:2]), packing=Packing.ZIP) == ("summary", None)
    assert at_alipay.refusal(packed(ALIPAY_LINES, one_more), packing=Packing.ZIP) == ("summary_mismatch", None)
    assert at_alipay.refusal(zipped({"readme.txt": b"x"}), packing=Packing.ZIP) == ("packing", None)
    assert at_alipay.refusal(broken, packing=Packing.ZIP) == ("packing", None)
    assert at_alipay.refusal(whole[:-30], packing=Packing.ZIP) == ("packing", None)
    assert at_alipay.refusal(packed(ALIPAY_LINES, encoding="utf-8"), packing=Packing.ZIP)[0] in {"encoding", "header"}


@pytest.mark.parametrize(
    ("changes", "code", "line_no"),
    [
        ([(1, ",扩展字段4", "")], "header", 1),
        ([(2, "支付成功", "支付")], "row_value", 2),
        ([(4, "退款成功", "退款完成")], "row_value", 4),
        ([(3, ",`755000000001,", ",`755000000002,")], "foreign_account", 3),
        ([(6, "45.00", "45.01")], "summary_mismatch", 5),
        ([(6, "0.27", "0.28")], "summary_mismatch", 5),
    ],
)
def test_a_swiftpass_bill_that_is_not_right_is_refused_with_its_line(
    at_swiftpass: Desk, changes: list[tuple[int, str, str]], code: str, line_no: int
) -> None:
    assert at_swiftpass.refusal(text(changed(SWIFTPASS_LINES, *changes))) == (code, line_no)


def test_an_ipaynow_file_that_is_not_right_is_refused_with_its_line(at_ipaynow: Desk) -> None:
    assert at_ipaynow.refusal(text(IPAYNOW_LINES[:4])) == ("summary", 4)
    assert at_ipaynow.refusal(text(changed(IPAYNOW_LINES, (5, "4500", "4501")))) == ("summary_mismatch", 5)
    assert at_ipaynow.refusal(text(changed(IPAYNOW_LINES, (2, "A001", "A002")))) == ("row_value", 2)
    assert at_ipaynow.refusal(text(changed(IPAYNOW_LINES, (4, "REFUND,13", "REFUND")))) == ("row_fields", 4)


def test_lines_are_numbered_as_they_stand_when_several_threads_read_them(at_ipaynow: Desk, tmp_path: Path) -> None:
    """No row carries its number: it is where the row lies, whoever read it."""
    # More than the eight megabytes that one thread takes.
    rows = 60_000
    lines = [
        IPAYNOW_LINES[0],
        *(f"T{nth:014},N{nth:063},C{nth:063},PAY,13,1280,8,20260101120000,A001," for nth in range(rows)),
        f"TOTAL,{rows},,,,{rows * 1280},{rows * 8},,,",
    ]
    path = tmp_path / "bill"
    path.write_bytes(text(lines))
    with open_tables(tmp_path, memory_mb=128, threads=2) as tables:
        reader = FormReader(form=ipaynow.bill_form(), account_no=IPAYNOW_APP_ID)
        reader.read_bill(tables, FetchedBill(path=path, packing=Packing.PLAIN), day=DAY, folder=tmp_path)
        misplaced = tables.execute(
            "SELECT count(*) FROM bill_line WHERE trade_no != 'T' || lpad((line_no - 2)::varchar, 14, '0')"
        )
        assert misplaced.fetchall() == [(0,)]
    spoiled = changed(lines, (rows - 9, ",PAY,", ",PAID,"), (rows, ",A001,", ",A002,"))
    assert at_ipaynow.refusal(text(spoiled)) == ("row_value", rows - 9)


def test_unconfirmed_facts_are_settings_of_the_account(tmp_path: Path) -> None:
    facts = alipay.read_bill_facts({"bill_account_suffix": "none", "bill_fee": "positive"})
    lines = changed(
        ALIPAY_LINES, (2, "0156]", "]"), (6, "-0.08", "0.08"), (7, "-0.21", "0.21"), (8, ",0.02,", ",-0.02,")
    )
    read, _ = desk(alipay.bill_form(facts), SELLER_ID, tmp_path).read(packed(lines), packing=Packing.ZIP)
    assert read.totals.fee_e5 == 27_000
    with pytest.raises(BadSettings, match="bill_fee"):
        alipay.read_bill_facts({"bill_fee": "none"})
    own = swiftpass.read_bill_facts({"bill_account_column": "商户号", "bill_reversed_words": "冲正"})
    reversed_lines = changed(SWIFTPASS_LINES, (4, "转入退款", "冲正"))
    _, rows = desk(swiftpass.bill_form(own), "755000000000", tmp_path).read(text(reversed_lines))
    assert rows[2]["kind"] == "reversal"
