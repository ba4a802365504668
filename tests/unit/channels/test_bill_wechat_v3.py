from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from budan.channels.wechat_bills import read_bill_facts
from budan.channels.wechat_v3.bill import bill_form
from budan.ports.bill import Packing
from unit.channels.bills import Desk, gzipped, sample, sha1_of

LINES = sample("wechat_v3", after="Synthetic ALL bill")
MCHID = "1900000109"


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(form=bill_form(read_bill_facts({})), account_no=MCHID, folder=tmp_path)


def bill(*changes: tuple[int, str, str]) -> bytes:
    """The document's bill with a text replaced in each of these lines, counted from 1."""
    lines = list(LINES)
    for line_no, old, new in changes:
        assert old in lines[line_no - 1]
        lines[line_no - 1] = lines[line_no - 1].replace(old, new, 1)
    return _joined(lines)


def _joined(lines: list[str]) -> bytes:
    return "".join(f"{line}\r\n" for line in lines).encode()


def test_the_documents_bill_is_read_with_every_field(desk: Desk) -> None:
    read, rows = desk.read(bill(), sha1=sha1_of(bill()))
    assert (read.totals.rows, read.totals.payments, read.totals.refunds, read.remarks) == (3, 2, 1, ())
    assert (read.totals.order_minor, read.totals.settle_minor, read.totals.fee_e5) == (4780, 4000, 24_000)
    assert rows[1] == {
        "line_no": 3,
        "kind": "payment",
        "happened_at": datetime(2026, 1, 1, 0, 5, 10, tzinfo=UTC),
        "trade_no": "T20260101000002",
        "channel_no": "4200009999202601010000000002",
        "refund_no": None,
        "channel_refund_no": None,
        "status": "succeeded",
        "currency": "CNY",
        "order_minor": 3500,
        "settle_minor": 3000,
        "coupon_minor": 500,
        "refund_minor": None,
        "fee_e5": 18_000,
        "method": "MICROPAY",
        "account_no": MCHID,
    }
    refund = rows[2]
    assert (refund["kind"], refund["refund_no"], refund["channel_refund_no"]) == (
        "refund",
        "R20260101000001",
        "50300009992026010100000000001",
    )
    assert (refund["refund_minor"], refund["settle_minor"], refund["fee_e5"]) == (280, -280, -2000)
    assert (refund["order_minor"], refund["trade_no"], refund["status"]) == (None, "T20260101000001", "succeeded")


def test_packing_byte_order_mark_and_line_ends_change_nothing(desk: Desk) -> None:
    _, rows = desk.read(bill())
    for content in (b"\xef\xbb\xbf" + bill(), bill().replace(b"\r\n", b"\n"), bill().removesuffix(b"\r\n")):
        assert desk.read(content)[1] == rows
    read, packed_rows = desk.read(gzipped(bill()), packing=Packing.GZIP, sha1=sha1_of(bill()).upper())
    assert packed_rows == rows
    assert read.sha256 == desk.read(bill())[0].sha256


def test_rows_may_stand_in_any_order(desk: Desk) -> None:
    """A refund before its payment: real bills have that."""
    read, rows = desk.read(_joined([LINES[0], LINES[3], LINES[2], LINES[1], *LINES[4:]]))
    assert [row["kind"] for row in rows] == ["refund", "payment", "payment"]
    assert read.totals == desk.read(bill())[0].totals


def test_a_name_of_goods_may_hold_the_separator(desk: Desk) -> None:
    """A payer who could break the bill by a name would stop the reconciliation of everybody's day."""
    hostile = "茶,`0.00,`9.99,`0.60%,`1.00,`2.00,`"
    _, rows = desk.read(bill((2, "门店点单-拿铁,大杯", hostile), (3, "套餐,`", "套餐,`,`a,`b,`")))
    assert rows == desk.read(bill())[1]
    quoted = bill((2, "门店点单-拿铁,大杯", '"拿,`铁\\",'), (3, "套餐,`", "'#套`餐',,,`"))
    assert desk.read(quoted)[1] == rows


def test_a_bad_line_is_named_beside_a_right_one_that_makes_up_for_its_separators(desk: Desk) -> None:
    """Separators are counted for many lines at once, and what one lacks another may have in a name."""
    assert desk.refusal(bill((2, "拿铁", "拿,`铁"), (3, ",`CMB_CREDIT", ""))) == ("row_fields", 3)
    lines = bill((2, "拿铁", ",`" * 26)).split(b"\r\n")
    assert desk.refusal(b"\r\n".join([*lines[:3], b"", *lines[3:]])) == ("blank_line", 4)
    # So many are missing in the two lines of the summary, which are no rows.
    assert desk.read(bill((2, "拿铁", ",`" * 46)))[1] == desk.read(bill())[1]


@pytest.mark.parametrize(
    ("changes", "code", "line_no"),
    [
        ([(1, "设备号,微信订单号", "微信订单号,设备号")], "header", 1),
        ([(1, ",费率备注", "")], "header", 1),
        ([(2, ",`OTHERS", "")], "row_fields", 2),
        ([(3, "`2026", "2026")], "row_fields", 3),
        ([(3, "35.00", "35.0")], "row_value", 3),
        ([(3, "35.00", "35.001")], "row_value", 3),
        ([(3, "35.00", "3 5.00")], "row_value", 3),
        ([(3, "35.00", "1e3.00")], "row_value", 3),
        ([(2, "2026-01-01", "2026-02-30")], "row_value", 2),
        ([(2, "2026-01-01 08", "2026-01-01 24")], "row_value", 2),
        ([(2, "SUCCESS", "WAITING")], "row_value", 2),
        ([(4, "ORIGINAL,`SUCCESS", "ORIGINAL,`DONE")], "row_value", 4),
        ([(4, MCHID, "1900000110")], "foreign_account", 4),
        ([(4, "2026-01-01", "2026-01-03")], "wrong_day", 4),
        ([(3, "0000000002,`T", "0000000001,`T")], "row_repeated", 3),
        ([(5, "总交易单数", "总单数")], "summary", 5),
        ([(6, "`3,", "3,")], "summary", 6),
        ([(6, ",`2.80", "")], "summary", 6),
        ([(6, "47.80", "x")], "summary", 6),
        ([(6, "47.80", "NaN")], "summary", 6),
        ([(6, "47.80", "47.801")], "summary", 6),
        ([(6, "`3,", "`4,")], "summary_mismatch", 5),
        ([(6, "0.24000", "0.24001")], "summary_mismatch", 5),
        ([(3, "35.00", "35.01")], "summary_mismatch", 5),
        ([(3, "0.18000", "-0.18000")], "summary_mismatch", 5),
        ([(2, "拿铁", "拿\x00铁")], "control_character", 2),
        ([(2, "拿铁", "拿\r铁")], "control_character", 2),
        ([(3, "套餐", "套\n餐")], "row_fields", 3),
        ([(3, "套餐", "套餐" * 300_000)], "line_too_long", 3),
    ],
)
def test_a_bill_that_is_not_right_is_refused_with_its_line(
    desk: Desk, changes: list[tuple[int, str, str]], code: str, line_no: int
) -> None:
    assert desk.refusal(bill(*changes)) == (code, line_no)


def test_a_bill_that_was_cut_off_doubled_or_encoded_anew_is_refused(desk: Desk) -> None:
    whole = bill()
    assert desk.refusal(b"") == ("empty", None)
    assert desk.refusal(_joined(LINES[:1])) == ("truncated", 1)
    assert desk.refusal(_joined(LINES[:4])) == ("summary", 3)
    assert desk.refusal(_joined(LINES[:5])) == ("summary", 4)
    assert desk.refusal(_joined([*LINES[:4], *LINES[2:]])) == ("row_repeated", 5)
    assert desk.refusal(_joined([*LINES, *LINES])) == ("row_fields", 5)
    assert desk.refusal(_joined([*LINES[:3], "", *LINES[3:]])) == ("blank_line", 4)
    assert desk.refusal(whole.decode().encode("gb18030")) == ("encoding", 1)
    assert desk.refusal(whole, sha1="0" * 40) == ("digest", None)
    assert desk.refusal(gzipped(whole)[:-20], packing=Packing.GZIP) == ("packing", None)
    assert desk.refusal(whole, packing=Packing.GZIP) == ("packing", None)
    assert desk.refusal(whole, packing=Packing.ZIP) == ("packing", None)


def test_a_bill_of_another_day_is_refused_and_a_few_of_its_rows_are_reported(desk: Desk) -> None:
    with pytest.raises(Exception, match="wrong_day in line 2"):
        desk.read(bill(), day=date(2026, 1, 2))
    read, rows = desk.read(bill((3, "2026-01-01", "2026-01-02")))
    assert [(remark.code, remark.line_no, remark.count) for remark in read.remarks] == [("other_day", 3, 1)]
    assert len(rows) == 3


def test_a_bill_without_rows_is_read_when_its_summary_says_so(desk: Desk) -> None:
    empty = "`0,`0.00,`0.00,`0.00,`0.00000,`0.00,`0.00"
    read, rows = desk.read(_joined([LINES[0], LINES[4], empty]))
    assert (read.totals.rows, rows) == (0, [])


def test_unconfirmed_facts_are_read_as_the_account_says(tmp_path: Path) -> None:
    form = bill_form(read_bill_facts({"bill_counts": "payments", "bill_refund_fee": "positive"}))
    desk = Desk(form=form, account_no=MCHID, folder=tmp_path)
    read, rows = desk.read(bill((6, "`3,", "`2,"), (4, "-0.02000", "0.02000")))
    assert (read.totals.fee_e5, rows[2]["fee_e5"]) == (24_000, -2000)
    assert desk.refusal(bill()) == ("summary_mismatch", 5)


def test_the_bills_of_payments_and_of_refunds_alone_are_read(desk: Desk) -> None:
    """The columns that a kind lacks are absent, not empty."""
    header, row = LINES[0].split(","), LINES[1].removeprefix("`").split(",`")
    paid = [place for place, name in enumerate(header) if "退款" not in name]
    success = [
        ",".join(header[place] for place in paid),
        "`" + ",`".join(row[place] for place in paid),
        "总交易单数,应结订单总金额,手续费总金额,订单总金额",
        "`1,`12.80,`0.08000,`12.80",
    ]
    assert [row["order_minor"] for row in desk.read(_joined(success))[1]] == [1280]
    gone = LINES[3].removeprefix("`").split(",`")
    times = ["2026-01-01 08:59:00", ""]
    refund = [
        ",".join([*header[:14], "退款申请时间", "退款成功时间", *header[14:]]),
        "`" + ",`".join(["2025-11-01 08:00:00", *gone[1:14], *times, *gone[14:]]),
        LINES[4],
        "`1,`0.00,`2.80,`0.00,`-0.02000,`0.00,`2.80",
    ]
    (row_read,) = desk.read(_joined(refund))[1]
    assert row_read["happened_at"] == datetime(2026, 1, 1, 0, 59, tzinfo=UTC)
