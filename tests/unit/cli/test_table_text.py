from datetime import UTC, datetime

import pytest

from budan.cli.table_text import safe_cell


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "\uff1d"])
def test_what_a_merchant_wrote_is_never_run_as_a_formula(start: str) -> None:
    """A reference is the merchant's own text, and finance opens the table in a spreadsheet."""
    assert safe_cell(f'{start}HYPERLINK("http://evil")') == f'\'{start}HYPERLINK("http://evil")'


def test_numbers_moments_and_plain_text_stay_what_they_are() -> None:
    assert safe_cell(-5) == "-5"
    assert safe_cell(1.5) == "1.5"
    assert safe_cell(None) == ""
    assert safe_cell("table-7") == "table-7"
    assert safe_cell(datetime(2026, 1, 5, tzinfo=UTC)) == "2026-01-05T00:00:00+00:00"
