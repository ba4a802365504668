"""The one percentile of every measurement, by the same rule as the platform's own reports."""

from collections.abc import Sequence
from typing import Final

_WHOLE: Final = 100


def percentile(ordered: Sequence[float], share: int) -> float:
    """The nearest rank: the smallest value that at least `share` of a hundred do not exceed; 0 when there is none."""
    assert 0 < share <= _WHOLE
    return ordered[-(-len(ordered) * share // _WHOLE) - 1] if ordered else 0.0
