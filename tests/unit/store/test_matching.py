"""Numbers are joined as integers that SQL decodes, so what it decodes must be what core/numbers.py wrote."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path

from budan.core.numbers import (
    LANES_MAX,
    MERCHANT_ID_MAX,
    Environment,
    Lane,
    MerchantId,
    Number,
    NumberKind,
    OrderId,
    render_number,
)
from budan.core.reconcile import BillRow, RowKind, Terms, is_fee_right
from budan.store.matching import Matching


def spread(*, kind: NumberKind, place: int) -> Number:
    """Numbers whose parts take every bit: multiples of odd constants, cut to what each part may be."""
    return Number(
        environment=Environment.LIVE,
        kind=kind,
        lane=Lane(place * 37 % LANES_MAX),
        merchant_id=MerchantId(place * 0x2545_F491 % MERCHANT_ID_MAX + 1),
        order_id=OrderId((place * 0x9E37_79B9_7F4A_7C15 & (1 << 63) - 1) >> place % 40 | 1),
        ordinal=place % 31 + 1,
    )


def fill(matching: Matching, columns: Mapping[str, Sequence[object]]) -> None:
    """A bill of payments, or of refunds where their numbers begin like a refund's; the rest as the columns say."""
    matching.make_no_bill()
    matching.tables.execute(
        "INSERT INTO bill_line (line_no, kind, trade_no, refund_no, currency, status, order_minor, fee_e5)"
        " SELECT range + 2, CASE WHEN no LIKE 'R%' THEN 'refund' ELSE 'payment' END, no, no, * EXCLUDE (no, range)"
        " FROM (SELECT unnest($trade_no) AS no, unnest($currency), unnest($status), unnest($order_minor),"
        " unnest($fee_e5), unnest(range(len($trade_no))) AS range)",
        columns,
    )


def keep(matching: Matching, numbers: list[str]) -> None:
    other = {"currency": "CNY", "status": "succeeded", "order_minor": 1, "fee_e5": 0}
    fill(matching, {"trade_no": numbers} | {name: [value] * len(numbers) for name, value in other.items()})
    matching.keep_bill(order_lead="P", refund_lead="R")


def test_every_number_of_ours_is_decoded_as_it_was_written(tmp_path: Path) -> None:
    drawn = [spread(kind=kind, place=place) for kind in (NumberKind.ORDER, NumberKind.REFUND) for place in range(300)]
    matching = Matching(folder=tmp_path, threads=1)
    keep(matching, [render_number(number) for number in drawn])
    rows = matching.tables.execute("SELECT lane, head, tail FROM bill_row ORDER BY line_no").fetchall()
    matching.close()
    for number, (lane, head, tail) in zip(drawn, rows, strict=True):
        assert lane == number.lane
        assert head << 30 | tail >> 5 == number.order_id
        assert tail & 31 == number.ordinal


def test_any_other_text_is_kept_as_it_stands_and_breaks_nothing(tmp_path: Path) -> None:
    texts = ["", "4200", "D" * 30, "é" * 30, "P" + "\\x" * 14 + "\\", "P" + "é" * 29, "P" * 31, "=1+1", "P" + "~" * 29]
    matching = Matching(folder=tmp_path, threads=1)
    keep(matching, texts)
    (tmp_path / "ours.csv").touch()
    matching.keep_ours([tmp_path / "ours.csv"])
    matching.compare(rate_e6=None, beside=[])
    unequal = list(matching.list_unequal())
    rows = matching.tables.execute("SELECT line_no - 2 FROM bill_row WHERE head IS NULL ORDER BY line_no").fetchall()
    matching.close()
    assert [row.number for row in unequal] == texts
    keyless = [texts[place] for (place,) in rows]
    assert keyless == [text for text in texts if len(text.encode()) != 30 or not text.startswith("P")]


ORDERS = 600
# What is wrong with an order, by its place in forty: one in each stretch of four, and most have nothing.
CHANGES = {
    1: {"order_minor": 101},
    5: {"currency": "USD"},
    9: {"status": "failed"},
    13: {"fee_e5": 5_000},
    17: {"trade_no": "stranger"},
    21: {"lane": 9},
}
ABSENT, TWICE, TAKEN_BACK = 25, 29, 33


def test_what_is_not_alike_is_found_in_a_stretch_with_others_that_are(tmp_path: Path) -> None:
    """Stretches of ids are compared by their sums, so each kind of difference must change these."""
    lines, ours, wanted = list[dict[str, object]](), list[str](), set[tuple[int, bool]]()
    for place in range(ORDERS):
        change = CHANGES.get(place % 40, {})
        # Four to a stretch, as ids of one moment are.
        number = Number(
            environment=Environment.LIVE,
            kind=NumberKind.ORDER,
            lane=Lane(change.get("lane", 5)),
            merchant_id=MerchantId(1),
            order_id=OrderId((place // 4 + 1_000_000) << 30 | place),
            ordinal=1,
        )
        line = {"trade_no": render_number(number), "currency": "CNY", "status": "succeeded", "order_minor": 100}
        line |= {"fee_e5": 600} | {name: value for name, value in change.items() if name != "lane"}
        copies = {ABSENT: 0, TWICE: 2}.get(place % 40, 1)
        lines += [line] * copies
        is_taken_back = place % 40 == TAKEN_BACK
        ours.append(f"0,5,{number.order_id},1,100,CNY,{'t' if is_taken_back else 'f'},,")
        if change or copies != 1 or is_taken_back:
            wanted.add((place, place % 40 == TWICE))
    matching = Matching(folder=tmp_path, threads=1)
    fill(matching, {name: [line[name] for line in lines] for name in lines[0]})
    matching.keep_bill(order_lead="P", refund_lead="R")
    (tmp_path / "ours.csv").write_text("\n".join(ours))
    matching.keep_ours([tmp_path / "ours.csv"])
    matching.compare(rate_e6=6_000, beside=[])
    unequal = list(matching.list_unequal())
    matching.close()
    assert {(row.order_id & 1023, row.is_twice) for row in unequal if row.order_id is not None} == wanted
    assert sum(row.order_id is None for row in unequal) == ORDERS // 40, "the strangers"


def test_a_fee_is_judged_by_the_set_as_it_is_row_by_row(tmp_path: Path) -> None:
    """All rows go through the one rule, and those that it finds through the other: they must not contradict each other."""
    terms = Terms(environment=Environment.LIVE, account_id=1, day=date(2026, 1, 1), rate_e6=6_000)
    kinds = (RowKind.PAYMENT, RowKind.REFUND)
    drawn = [
        (place, amount, (amount * 6 + off) // step * step * sign)
        for place in range(2)
        for amount in (0, 1, 83, 84, 1_280, 1_854, 999_999)
        for off in (-1_001, -1_000, -999, -500, -1, 0, 1, 499, 500, 501, 1_000, 1_001)
        for step in (1, 1_000)
        for sign in (1, -1)
    ]
    matching = Matching(folder=tmp_path, threads=1)
    columns = {
        name: list(column) for name, column in zip(("kind", "amount", "fee"), zip(*drawn, strict=True), strict=True)
    }
    judged = matching.tables.execute(
        "SELECT fee_is_right(kind, fee, amount, 6000) FROM (SELECT unnest($kind) AS kind,"
        " unnest($fee)::bigint AS fee, unnest($amount)::bigint AS amount)",
        columns,
    ).fetchall()
    matching.close()
    for (place, amount, fee), (is_right,) in zip(drawn, judged, strict=True):
        row = BillRow(
            line_no=2,
            kind=kinds[place],
            happened_at=datetime(2026, 1, 1, 4, tzinfo=UTC),
            number=None,
            channel_no=None,
            status="succeeded",
            currency="CNY",
            amount_minor=amount,
            fee_e5=fee,
        )
        assert is_fee_right(row, terms) is is_right, (kinds[place], amount, fee)
