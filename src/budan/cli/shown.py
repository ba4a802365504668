"""Values as people read them."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING

from budan.core.journal import render_money

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_MINOR = "_minor"


def show_moment(moment: datetime | None) -> str:
    """A moment for people, UTC, to the millisecond; empty where there is none."""
    return "" if moment is None else moment.isoformat(sep=" ", timespec="milliseconds").removesuffix("+00:00")


def show_fields(record: "DataclassInstance") -> dict[str, str]:
    """A record's fields by name, as `show_values` does."""
    return show_values(asdict(record))


def show_values(values: Mapping[str, object]) -> dict[str, str]:
    """Values by name: amounts as money in the `currency` among them, and nothing where there is nothing."""
    currency = str(values.get("currency", ""))
    return {
        name.removesuffix(_MINOR) if currency else name: _show_value(
            value, currency=currency, is_amount=name.endswith(_MINOR)
        )
        for name, value in values.items()
        if name != "currency"
    }


def _show_value(value: object, *, currency: str, is_amount: bool) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case int() if is_amount and currency:
            return render_money(value, currency=currency)
        case float():
            return f"{value:.3f}"
        case datetime():
            return show_moment(value)
        case _:
            return str(value)
