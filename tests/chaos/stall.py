"""The platform that all chaos of a test process shares: each scenario has shops of its own."""

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

from budan.proof.instance import Instance, Shop
from budan.proof.scenarios.wishes import SERVES, WORKERS

SEED = 7
SHOPS = 48


class Stall:
    """The shared instance, the shops that nobody has used yet, and which program it runs."""

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self._left: Iterator[Shop] = iter(instance.shops)
        self._tree: Path | None = None

    def shops(self, count: int) -> list[Shop]:
        return [next(self._left) for _ in range(count)]

    async def run_from(self, tree: Path | None) -> None:
        """Budan's own programs run from this copy, or from the program itself; started anew only where that changes."""
        if tree == self._tree:
            return
        names = (*SERVES, *WORKERS)
        await asyncio.gather(*(self.instance.stop(name) for name in names))
        more = None
        if tree is not None:
            # Without coverage: what a copy ran would be counted as files of ours that nobody tests.
            more = {"PYTHONPATH": str(tree / "src"), "COVERAGE_PROCESS_CONFIG": "", "COVERAGE_PROCESS_START": ""}
        await asyncio.gather(*(self.instance.start(name, more) for name in names))
        self._tree = tree


def tell(line: str) -> None:
    # Shown by pytest when a test fails, which is when somebody wants to know.
    sys.stderr.write(f"{line}\n")
