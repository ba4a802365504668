"""How long the first byte of a call may still wait to leave (I11)."""

from collections.abc import Callable

from budan.ports.channel import Call
from budan.wire.errors import NotSent


def send_within_s(call: Call, *, monotonic_s: Callable[[], float]) -> float | None:
    """What is left of the call's send window, None where it has none; raises `NotSent` when it is over.

    Read it after the signature was made, right before the client takes over.
    """
    if call.send_before_s is None:
        return None
    left_s = call.send_before_s - monotonic_s()
    if left_s <= 0:
        raise NotSent("the time to send is over")
    return left_s
