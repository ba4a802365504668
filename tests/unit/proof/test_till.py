"""Which answers of budan the audit holds it to."""

import pytest

from budan.proof.till import word_of


@pytest.mark.parametrize(
    ("status", "methods", "word"),
    [
        ("paid", ["native"], "paid"),
        ("unpaid", ["code"], "unpaid"),
        ("unpaid", ["code", "native"], "unpaid"),
        ("unpaid", ["native"], "pending"),
        ("unpaid", [], "pending"),
        ("pending", ["code"], "pending"),
    ],
)
def test_unpaid_is_a_promise_of_a_charge_only_however_it_was_asked(status: str, methods: list[str], word: str) -> None:
    """A desk reads it from a look as well as from the charge's own answer, and charges again."""
    assert word_of({"payment_status": status, "trades": [{"method": method} for method in methods]}) == word
