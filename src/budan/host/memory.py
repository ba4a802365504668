"""When Python looks for garbage in a process of ours: seldom, and never among what the process was built from."""

import gc
from typing import Final

# Python's own are 700, 10, 10. Nearly all garbage here is freed by counting; what a collection walks through under load
# are the requests under way, and the more seldom it walks the fewer of them it meets twice.
_YOUNG_MAX: Final = 10_000
_TURNS_MAX: Final = 20


def spare_what_is_built() -> None:
    """Objects that are there now are never looked through again; call it once, when the process is about to serve or work.

    Most of them are modules, tables and pages that live as long as the process. Safe to repeat.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_MAX, _TURNS_MAX, _TURNS_MAX)
