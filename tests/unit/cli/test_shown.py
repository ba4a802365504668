from datetime import UTC, datetime

from budan.cli.shown import show_values


def test_values_are_shown_as_people_read_them() -> None:
    """Fen read as yuan are a hundred times the money, and `None` in a cell is no answer."""
    values = {"amount_minor": 1_280, "currency": "CNY", "fee_minor": None, "held": False, "recover_s": 0.25, "asked": 3}
    at = datetime(2026, 1, 5, 4, 0, tzinfo=UTC)
    assert show_values(values | {"paid_at": at}) == {
        "amount": "12.80 CNY",
        "fee": "",
        "held": "no",
        "recover_s": "0.250",
        "asked": "3",
        "paid_at": "2026-01-05 04:00:00.000",
    }
    assert show_values({"payout_minor_min": 1}) == {"payout_minor_min": "1"}
