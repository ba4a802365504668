"""What the repository holds, read once for all tests of this folder."""

import ast
import io
import subprocess
import tokenize
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIST_TIMEOUT_S = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """One Python file, parsed; `comments` maps a line's number to its comment."""

    path: Path
    tree: ast.Module
    lines: list[str]
    comments: dict[int, str]

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
        parsed(path) for path in files() if path.suffix == ".py" and any(path.is_relative_to(root) for root in roots)
    )


def parsed(path: Path) -> Module:
    """The module in the file at `path`."""
    text = path.read_text("utf-8")
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return Module(
        path=path,
        tree=ast.parse(text, filename=str(path)),
        lines=text.splitlines(),
        comments={token.start[0]: token.string for token in tokens if token.type == tokenize.COMMENT},
    )
