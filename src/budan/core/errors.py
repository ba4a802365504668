"""What the core and the flows may refuse, by stable code."""


class Refused(Exception):  # noqa: N818 - the word of the house style; a refusal is an answer, not an error
    """The request is wrong or not allowed now; nothing was changed.

    `code` is stable and never renamed; `param` names the field at fault.
    """

    def __init__(self, code: str, *, param: str | None = None, detail: str = "") -> None:
        super().__init__(code)
        self.code = code
        self.param = param
        self.detail = detail


class StaleState(Exception):  # noqa: N818 - the word of the house style
    """A compare-and-set found another version: under an order's lock our own bug, of a job's run that another holds it."""


class StoreUnavailable(Exception):  # noqa: N818 - the word of the house style
    """PostgreSQL is away or refuses for now: 503 at the edge, backoff in a worker."""


class Overloaded(Exception):  # noqa: N818 - the word callers test for
    """A bounded queue is full; nothing was promised and nothing was written."""
