"""What the repository holds, read once for all tests of this folder."""

import ast
import io
import subprocess
import tokenize
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIST_TIMEOUT_S = 30


@dataclass(frozen=True, kw_only=True)
class Module:
    """One Python file; it is parsed when somebody looks, which takes seconds for all of them."""

    path: Path
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        """What it says."""
        return ast.parse(self.text, filename=str(self.path))

    @cached_property
    def lines(self) -> list[str]:
        """Its lines."""
        return self.text.splitlines()

    @cached_property
    def comments(self) -> dict[int, str]:
        """The comment of each line that has one."""
        tokens = tokenize.generate_tokens(io.StringIO(self.text).readline)
        return {token.start[0]: token.string for token in tokens if token.type == tokenize.COMMENT}

    def at(self, line: int) -> str:
        """The place of a line as editors understand it."""
        return f"{self.path.relative_to(ROOT)}:{line}"

    def says(self, node: ast.stmt | ast.expr | ast.arg | ast.excepthandler, word: str) -> bool:
        """Whether `word` is in the comment on the line where `node` starts, or on the line above it."""
        return any(word in self.comments.get(line, "") for line in (node.lineno, node.lineno - 1))


def expect_none(places: Iterable[str]) -> None:
    """Fails with one line per place, all of them, so that one run tells everything there is to mend."""
    found = list(places)
    assert not found, "\n" + "\n".join(found)


@cache
def files() -> tuple[Path, ...]:
    """Every file that is committed or about to be."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],  # noqa: S607 - git as every shell finds it
        cwd=ROOT,
        check=True,
        capture_output=True,
        timeout=LIST_TIMEOUT_S,
    )
    names = sorted(set(listed.stdout.decode().split("\0")) - {""})
    return tuple(ROOT / name for name in names if (ROOT / name).is_file())


@cache
def texts() -> tuple[tuple[Path, str], ...]:
    """Every file that is text, with its text."""
    found: list[tuple[Path, str]] = []
    for path in files():
        raw = path.read_bytes()
        if b"\0" not in raw:
            found.append((path, raw.decode("utf-8", errors="replace")))
    return tuple(found)


@cache
def modules(*folders: str) -> tuple[Module, ...]:
    """Every Python file under `folders`, which are names at the root."""
    roots = [ROOT / folder for folder in folders]
    return tuple(
        module(path) for path in files() if path.suffix == ".py" and any(path.is_relative_to(root) for root in roots)
    )


@cache
def module(path: Path) -> Module:
    """The module in the file at `path`."""
    return Module(path=path, text=path.read_text("utf-8"))
