"""A nonce tells two calls apart, so it is random and none comes twice."""

import re

from budan.flows.nonces import DRAWN_AT_ONCE, Nonces


def test_no_nonce_comes_twice_over_many_draws() -> None:
    """One that is given again is a request that a channel may take for a replay."""
    nonces = Nonces()
    taken = [nonces.take() for _ in range(3 * DRAWN_AT_ONCE + 1)]
    assert len(set(taken)) == len(taken)
    assert all(re.fullmatch("[0-9a-f]{32}", nonce) for nonce in taken)


def test_two_sources_share_no_nonce() -> None:
    """Each process and each flow has its own source."""
    one, other = Nonces(), Nonces()
    assert {one.take() for _ in range(DRAWN_AT_ONCE)}.isdisjoint(other.take() for _ in range(DRAWN_AT_ONCE))
