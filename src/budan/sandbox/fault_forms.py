"""A form for each kind of choice, made from its fields, and the choice that was sent in one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeVar, get_args, get_origin

import msgspec

from budan.sandbox.faults import Probability
from budan.sandbox.finding import AdminRefusal

_PERCENT: Final = 100
_T = TypeVar("_T", bound=msgspec.Struct)


@dataclass(frozen=True, slots=True, kw_only=True)
class FormField:
    """One field as the page shows it; numbers have bounds, choices have words."""

    name: str
    kind: Literal["tick", "number", "percent", "choice"]
    value: str
    lowest: float = 0
    highest: float = 0
    step: str = "any"
    words: tuple[str, ...] = ()


def form_fields(chosen: msgspec.Struct) -> list[FormField]:
    """The fields of this choice with what they are set to."""
    return [
        _field(field.name, field.type, getattr(chosen, field.name)) for field in msgspec.structs.fields(type(chosen))
    ]


def read_form(form: Mapping[str, str], wanted: type[_T]) -> _T:
    """The choice that was sent; what is missing or empty is at rest. AdminRefusal when a value is out of its bounds."""
    fields = {field.name: field for field in msgspec.structs.fields(wanted)}
    try:
        sent: dict[str, Any] = {
            name: float(text) / _PERCENT if fields[name].type == Probability else text
            for name, text in form.items()
            if name in fields and text
        }
        # The form sends every number, so one that is empty is none, and a tick that is absent is off.
        return msgspec.convert(sent, type=wanted, strict=False)
    except (ValueError, msgspec.ValidationError) as error:
        raise AdminRefusal(400, "value_wrong", str(error)) from error


def spoken(chosen: msgspec.Struct, texts: Mapping[str, str]) -> str:
    """The choice in words: what it sets, and to what."""
    words: list[str] = []
    for field in msgspec.structs.fields(type(chosen)):
        value = getattr(chosen, field.name)
        if value != field.default:
            text = texts[f"field_{field.name}"]
            said = texts[f"word_{value}"] if isinstance(value, str) else f"{value:.10g}"
            words.append(text if value is True else f"{text}: {said}")
    return ", ".join(words)


def _field(name: str, kind: Any, value: Any) -> FormField:
    if isinstance(value, bool):
        return FormField(name=name, kind="tick", value="1" if value else "")
    if get_origin(kind) is Literal:
        return FormField(name=name, kind="choice", value=value, words=get_args(kind))
    if kind == Probability:
        return FormField(name=name, kind="percent", value=f"{value * _PERCENT:.10g}", highest=_PERCENT)
    number, bounds = get_args(kind)
    assert isinstance(bounds, msgspec.Meta)
    assert bounds.ge is not None
    assert bounds.le is not None
    step = "1" if number is int else "any"
    return FormField(name=name, kind="number", value=f"{value:.10g}", lowest=bounds.ge, highest=bounds.le, step=step)
