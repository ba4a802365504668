"""Numbers are joined as integers that SQL decodes, so what it decodes must be what core/numbers.py wrote."""

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


def keep(matching: Matching, numbers: list[str]) -> None:
    matching.make_no_bill()
    for line_no, number in enumerate(numbers, start=2):
        kind = "refund" if number.startswith("R") else "payment"
        matching.tables.execute(
            "INSERT INTO bill_line (line_no, kind, trade_no, refund_no) VALUES ($1, $2, $3, $3)",
            [line_no, kind, number],
        )
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
    matching.compare(rate_e6=None, fee_rounding_e5=1_000)
    unequal = list(matching.list_unequal())
    rows = matching.tables.execute("SELECT line_no - 2 FROM bill_row WHERE head IS NULL ORDER BY line_no").fetchall()
    matching.close()
    assert [row.number for row in unequal] == texts
    keyless = [texts[place] for (place,) in rows]
    assert keyless == [text for text in texts if len(text.encode()) != 30 or not text.startswith("P")]
