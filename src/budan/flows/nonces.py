"""Nonces of calls to channels: random texts that no two calls share."""

from secrets import token_hex
from typing import Final

# Each draw from the kernel lets go of Python's lock, and a loop beside busy signers waits to get it back: in a sweep
# that was a fifteenth of the loop's time.
DRAWN_AT_ONCE: Final = 256
_BYTES: Final = 16
_LENGTH: Final = 2 * _BYTES


class Nonces:
    """A source of nonces that draws many at a time; belongs to one process, for a forked copy would give the same again."""

    __slots__ = ("_drawn",)

    def __init__(self) -> None:
        self._drawn: list[str] = []

    def take(self) -> str:
        """One that was never given: 128 bits of the kernel's random numbers as 32 hexadecimal digits."""
        if not self._drawn:
            drawn = token_hex(_BYTES * DRAWN_AT_ONCE)
            self._drawn = [drawn[first : first + _LENGTH] for first in range(0, len(drawn), _LENGTH)]
        return self._drawn.pop()
