"""What nearly all rows of a bill have in common, so that most of a row is known to be right by one comparison."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

# Of so many bytes at the beginning; a longer line than that makes no bill quicker.
LOOKED_AT_BYTES: Final = 1 << 17
# A column that differs more often would send more rows the long way than it spares the short one.
SHARE_MIN: Final = 0.9


def first_rows(rows_path: Path, *, separator: str, columns: int) -> list[list[str]]:
    """The values of a bill's first rows, without those of another length."""
    with rows_path.open("rb") as file:
        whole_lines, _, _ = file.read(LOOKED_AT_BYTES).rpartition(b"\n")
    parted = [line.split(separator) for line in whole_lines.decode().split("\n")]
    return [values for values in parted if len(values) == columns]


def usual_values(rows: Sequence[Sequence[str]]) -> dict[int, str]:
    """The value that nearly each of these rows has in a column, by the column's place, counted from 0.

    It is no promise about the bill's other rows, and nothing about whether the value is right.
    """
    found: dict[int, str] = {}
    for place, values in enumerate(zip(*rows, strict=True)):
        ((value, count),) = Counter(values).most_common(1)
        if count >= SHARE_MIN * len(rows):
            found[place] = value
    return found


def look_usually_like(values: Sequence[str], looks: str) -> bool:
    """Whether nearly all of these values look like that; likewise no promise about others."""
    return sum(re.fullmatch(looks, value, re.ASCII) is not None for value in values) >= SHARE_MIN * len(values)
