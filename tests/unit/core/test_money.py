import pytest

from budan.core.errors import Refused
from budan.core.money import AMOUNT_MINOR_MAX, Money, parse_order_amount


def cny(amount_minor: int) -> Money:
    return Money(amount_minor=amount_minor, currency="CNY")


def test_money_is_never_negative_and_knows_its_currency() -> None:
    with pytest.raises(AssertionError):
        cny(-1)
    with pytest.raises(AssertionError):
        Money(amount_minor=1, currency="ZZZ")


@pytest.mark.parametrize("amount_minor", [1, 1_999, AMOUNT_MINOR_MAX])
def test_an_order_takes_any_amount_within_the_bounds(amount_minor: int) -> None:
    assert parse_order_amount(amount_minor=amount_minor, currency="CNY") == cny(amount_minor)


@pytest.mark.parametrize(
    ("amount_minor", "currency", "code", "param"),
    [
        (0, "ZZZ", "currency_unknown", "currency"),  # the first that applies wins
        (100, "cny", "currency_unknown", "currency"),
        (0, "CNY", "amount_not_positive", "amount_minor"),
        (-5, "CNY", "amount_not_positive", "amount_minor"),
        (AMOUNT_MINOR_MAX + 1, "CNY", "amount_too_large", "amount_minor"),
    ],
)
def test_an_amount_that_no_order_can_have_is_refused_by_code(
    amount_minor: int, currency: str, code: str, param: str
) -> None:
    with pytest.raises(Refused) as refusal:
        parse_order_amount(amount_minor=amount_minor, currency=currency)
    assert (refusal.value.code, refusal.value.param) == (code, param)
