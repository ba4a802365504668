"""How the flat XML channels write amounts, moments, texts and refusals, and what their signature makes of an answer."""

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import Enum
from typing import Annotated, Final, TypeVar

import msgspec

from budan.core.numbers import BEIJING
from budan.wire.errors import BadAnswer

# Amounts stay texts in a message: a number parser would also take "+1", "1e3" and blanks.
Fen = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,15}\Z")]
Reference = Annotated[str, msgspec.Meta(pattern=r"^[!-~]{1,128}\Z")]
Message = TypeVar("Message", bound=msgspec.Struct)

_MOMENT: Final = "%Y%m%d%H%M%S"

# The codes of WeChat's refund that say that this request is refused (docs/protocols/wechat_v2_micropay.md section 3);
# Swiftpass hands them on.
REFUND_REFUSALS: Final = frozenset(
    {
        "TRADE_OVERDUE",
        "ERROR",
        "USER_ACCOUNT_ABNORMAL",
        "INVALID_TRANSACTIONID",
        "NOTENOUGH",
        "ORDERNOTEXIST",
        "PARAM_ERROR",
    }
)


class Proof(Enum):
    """What a message's signature is worth."""

    VALID = "valid"
    UNSIGNED = "unsigned"
    WRONG = "wrong"


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of an answer, and whether the channel's signature covers them."""

    fields: Mapping[str, str]
    proof: Proof


def read(fields: Mapping[str, str], message: type[Message]) -> Message:
    """The fields as this message; raises `BadAnswer`."""
    # What is not known comes as an empty element, which is no reference and no amount.
    present = {name: value for name, value in fields.items() if value}
    try:
        return msgspec.convert(present, message)
    except msgspec.ValidationError as error:
        raise BadAnswer(f"{message.__name__} is not readable: {error}") from error


def list_numbered(fields: Mapping[str, str], first: str) -> list[dict[str, str]]:
    """The parts of a message whose names end in `_0`, `_1` and so on, as long as there is a `first` of the number."""
    found: list[dict[str, str]] = []
    while f"{first}_{len(found)}" in fields:
        end = f"_{len(found)}"
        found.append({name.removesuffix(end): value for name, value in fields.items() if name.endswith(end)})
    return found


def parse_fen(text: Fen | None) -> int | None:
    """The amount, or None where there is none."""
    return int(text) if text else None


def find_moment(text: str | None) -> datetime | None:
    """A moment of Beijing, UTC; None when it is absent or unreadable.

    A payment is no less a payment for a clock that we cannot read: what proves it is its amount and number.
    """
    try:
        return datetime.strptime(text or "", _MOMENT).replace(tzinfo=BEIJING).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def render_moment(moment: datetime) -> str:
    """A moment as these channels write it: Beijing, whole seconds."""
    return moment.astimezone(BEIJING).strftime(_MOMENT)


def render_text(text: str, *, bytes_max: int) -> str:
    """The text cut between characters to what the channel takes, without what XML cannot hold."""
    shown = "".join(mark if mark.isprintable() else " " for mark in text)
    return shown.encode()[:bytes_max].decode(errors="ignore")
