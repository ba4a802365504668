import pytest

from budan.core.errors import Refused
from budan.core.money import AMOUNT_MINOR_MAX, FEE_RATE_BP_MAX, Money, fee, parse_order_amount


def cny(amount_minor: int) -> Money:
    return Money(amount_minor=amount_minor, currency="CNY")


@pytest.mark.parametrize(
    ("amount_minor", "rate_bp", "expected"),
    [
        (0, 60, 0),
        (1, 60, 0),
        (83, 60, 0),  # 0.498
        (84, 60, 1),  # 0.504
        (250, 60, 2),  # 1.5 goes up
        (249, 60, 1),  # 1.494
        (50, 100, 1),  # exactly half goes up
        (49, 100, 0),
        (1_000, 38, 4),  # 3.8
        (1_999, 60, 12),  # 11.994: binary fractions would say 11
        (1, 5_000, 1),
        (1, 4_999, 0),
        (1_000, 0, 0),
        (1_000, FEE_RATE_BP_MAX, 1_000),
        (AMOUNT_MINOR_MAX, 60, 60_000_000),
    ],
)
def test_a_fee_is_rounded_half_up_to_a_minor_unit(amount_minor: int, rate_bp: int, expected: int) -> None:
    assert fee(cny(amount_minor), rate_bp=rate_bp) == cny(expected)


@pytest.mark.parametrize("rate_bp", [-1, FEE_RATE_BP_MAX + 1])
def test_a_rate_outside_its_bounds_is_our_bug(rate_bp: int) -> None:
    with pytest.raises(AssertionError):
        fee(cny(100), rate_bp=rate_bp)


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
