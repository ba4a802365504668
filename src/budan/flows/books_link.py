"""Addresses of the page of the books: good for some hours, made by whoever may type commands here."""

import hmac
import re
from datetime import timedelta
from typing import Final

from budan.flows.cashier_link import link_mac
from budan.ports.clock import Clock

LINK_LIFE: Final = timedelta(hours=12)
_TOKEN: Final = re.compile(r"([0-9]{1,12})-([0-9A-Z]{1,32})")


class BooksLinks:
    """Renders and reads tokens: `<until>-<mac>`, `until` in seconds of 1970. Whoever has one may look, and do nothing."""

    def __init__(self, *, secret: bytes, clock: Clock) -> None:
        self._secret = secret
        self._clock = clock

    def render(self) -> str:
        """A token for `LINK_LIFE` from now on."""
        until = f"{(self._clock.now() + LINK_LIFE).timestamp():.0f}"
        return f"{until}-{self._mac(until)}"

    def is_good(self, token: str) -> bool:
        """Whether a token is ours and not over; compared in constant time."""
        match = _TOKEN.fullmatch(token)
        if match is None or not hmac.compare_digest(match[2], self._mac(match[1])):
            return False
        return self._clock.now().timestamp() < int(match[1])

    def _mac(self, until: str) -> str:
        return link_mac(self._secret, until, purpose="books")
