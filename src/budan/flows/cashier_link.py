"""Addresses of the cashier page: an order number that nobody can make up."""

import hmac
from hashlib import sha256

from budan.core.numbers import ALPHABET, BadNumber, parse_number
from budan.flows.views import Caller

MAC_LENGTH = 16


def link_mac(secret: bytes, text: str, *, purpose: str) -> str:
    """80 bits of HMAC-SHA256 that nobody makes up; what was made for one purpose opens nothing of another."""
    digest = hmac.digest(secret, f"{purpose}:{text}".encode(), sha256)
    return "".join(ALPHABET[byte & 31] for byte in digest[:MAC_LENGTH])


class CashierLinks:
    """Renders and reads cashier tokens: `<order_no>-<mac>`; the mac is 80 bits of HMAC-SHA256."""

    def __init__(self, *, secret: bytes) -> None:
        assert len(secret) >= 32  # noqa: PLR2004 - as long as the digest that it keys
        self._secret = secret

    def render(self, order_no: str) -> str:
        """The token of an order's page."""
        return f"{order_no}-{self._mac(order_no)}"

    def read(self, token: str) -> tuple[Caller, str] | None:
        """Whose order a token opens, or None where the token is not ours; compared in constant time."""
        order_no, dash, mac = token.partition("-")
        if not dash or not mac.isascii() or not hmac.compare_digest(mac, self._mac(order_no)):
            return None
        try:
            number = parse_number(order_no)
        except BadNumber:
            return None
        return Caller(merchant_id=number.merchant_id, lane=number.lane), order_no

    def _mac(self, order_no: str) -> str:
        return link_mac(self._secret, order_no, purpose="cashier")
