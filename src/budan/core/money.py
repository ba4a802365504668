"""Money in integer minor units."""

from dataclasses import dataclass

from budan.core.errors import Refused

# The exponent says how many minor units make a major one: 10 ** exponent.
CURRENCY_EXPONENTS: dict[str, int] = {"CNY": 2}

# 100 million yuan is Alipay's limit for one trade (protocols/alipay.md section 1), the highest of our channels'.
AMOUNT_MINOR_MAX = 10_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Money:
    """An amount of one currency; never negative."""

    amount_minor: int
    currency: str

    def __post_init__(self) -> None:
        assert self.amount_minor >= 0, "money is never negative; direction is a posting's sign"
        assert self.currency in CURRENCY_EXPONENTS


def parse_order_amount(*, amount_minor: int, currency: str) -> Money:
    """The amount of a new order.

    Raises `Refused` with `currency_unknown`, `amount_not_positive` or `amount_too_large`, in this order.
    """
    if currency not in CURRENCY_EXPONENTS:
        raise Refused("currency_unknown", param="currency")
    if amount_minor <= 0:
        raise Refused("amount_not_positive", param="amount_minor")
    if amount_minor > AMOUNT_MINOR_MAX:
        raise Refused("amount_too_large", param="amount_minor", detail=f"at most {AMOUNT_MINOR_MAX}")
    return Money(amount_minor=amount_minor, currency=currency)
