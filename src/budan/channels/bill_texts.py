"""Separators in what strangers write, such as the names of goods, told apart from those between a row's values."""

from dataclasses import dataclass
from typing import Final

# No bill has it: control characters are refused before.
STAND_IN: Final = b"\x1f"


@dataclass(frozen=True, slots=True, kw_only=True)
class RowParts:
    """Of what a row's line consists: of `columns` values, `texts` side by side from `first_text` on are written by strangers.

    Only these may hold the separator, so counting from both ends of a line tells which separators are theirs. None of
    them is the last, so that a line that lacks values never seems to have them all.
    """

    separator: bytes
    columns: int
    first_text: int
    texts: int

    def __post_init__(self) -> None:
        assert self.texts == 0 or 0 <= self.first_text < self.first_text + self.texts < self.columns

    def are_regular(self, lines: bytes, count: int) -> bool:
        """Whether so many lines have as many separators as they should, all together: nearly all have, and it is quick."""
        return lines.count(self.separator) == (self.columns - 1) * count

    def hide(self, line: bytes) -> bytes:
        """The line with a stand-in for each separator that a text holds. One that lacks values stays as it is."""
        values = line.split(self.separator)
        extra = len(values) - self.columns
        if extra <= 0 or not self.texts:
            return line
        past = self.first_text + extra + 1
        text = STAND_IN.join(values[self.first_text : past])
        return self.separator.join([*values[: self.first_text], text, *values[past:]])

    def show(self, line: bytes) -> bytes:
        """The line as it stands in the bill."""
        return line.replace(STAND_IN, self.separator)
