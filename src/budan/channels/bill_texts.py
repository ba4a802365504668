"""Separators in what strangers write, such as the names of goods, told apart from those between a row's values."""

from dataclasses import dataclass
from typing import Final

# No bill has it: control characters are refused before.
STAND_IN: Final = b"\x1f"
_VISIBLE: Final = bytes([*range(32, 127), *range(128, 256)])


@dataclass(frozen=True, slots=True, kw_only=True)
class RowParts:
    """Of what a row's line consists: of `columns` values, `texts` side by side from `first_text` on are written by strangers.

    Only these may hold the separator, so counting from both ends of a line tells which separators are theirs. None of
    them is the last, so that a line that lacks values never seems to have them all.
    """

    separator: bytes
    mark: bytes
    columns: int
    first_text: int
    texts: int

    def __post_init__(self) -> None:
        assert self.texts == 0 or 0 <= self.first_text < self.first_text + self.texts < self.columns

    def count_plain(self, lines: bytes, end: bytes) -> int | None:
        """How many lines of UTF-8 these are, if each is plain; None if one is not, or may not be.

        A plain line has no control character but its `end`, and the last sign of a separator as often as it should. So
        what is left of the lines without anything else is one and the same for each: the cheapest look at them there is.
        """
        sign = self.separator[-1:]
        left_of_line = sign * (self.mark.count(sign) + self.columns - 1) + end
        left = lines.translate(None, _VISIBLE.replace(sign, b""))
        count = len(left) // len(left_of_line)
        return count if left == left_of_line * count else None

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
