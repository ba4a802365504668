"""What a call outside can come to when it brought no answer that we may read."""


class WireError(Exception):
    """A call outside failed; the subclass tells what that says about money."""


class NotSent(WireError):  # noqa: N818 - the design names what happened, not "error"
    """No byte of the request left this machine: the same call may be repeated with the same numbers."""


class NoAnswer(WireError):  # noqa: N818 - as above
    """A byte may have left this machine and no complete answer came in time: the other side may have acted."""


class BadAnswer(WireError):  # noqa: N818 - as above
    """The other side answered, but unreadably, too long or wrongly signed: it may have acted, and its word counts for nothing."""
