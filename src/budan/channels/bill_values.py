"""What moments and amounts look like in bills, in a syntax that RE2 and Python read alike, and which of them SQL prints as they were."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

MOMENT_PATTERN: Final = r"[0-9]{4}-[0-9]{2}-[0-9]{2} (?:[01][0-9]|2[0-3]):[0-9]{2}:[0-9]{2}"
YUAN_PATTERN: Final = r"-?[0-9]{1,12}\.[0-9]{2}"
YUAN_OR_NONE_PATTERN: Final = rf"(?:{YUAN_PATTERN})?"
FEE_PATTERN: Final = r"-?[0-9]{1,9}\.[0-9]{2,5}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Printed:
    """Values that SQL prints as they were read, and the patterns of columns which let every one of them pass."""

    looks: str
    patterns: frozenset[str]


# By what is read of a column. A fee is printed with five places; whoever writes fewer is held against the pattern.
PRINTED: Final[Mapping[str, Printed]] = {
    "happened_at": Printed(looks=MOMENT_PATTERN, patterns=frozenset({MOMENT_PATTERN})),
    "order_minor": Printed(looks=YUAN_PATTERN, patterns=frozenset({YUAN_PATTERN, YUAN_OR_NONE_PATTERN})),
    "settle_minor": Printed(looks=YUAN_PATTERN, patterns=frozenset({YUAN_PATTERN, YUAN_OR_NONE_PATTERN})),
    "fee": Printed(looks=r"-?[0-9]{1,9}\.[0-9]{5}", patterns=frozenset({FEE_PATTERN})),
}
