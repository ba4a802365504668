"""The page that lists each invariant of the design with the tests that hold it.

`make invariants` writes it; a test compares it with what the markers in the tests say now.
"""

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tidy.repository import ROOT, Module, modules

PAGE = ROOT / "docs" / "invariants.md"
DESIGN = ROOT / "docs" / "design.md"
MARKER = "invariant"
INTRODUCTION = """\
# Invariants and their tests

Written by `make invariants` from [the design](design.md#4-invariants-each-has-a-test-that-fails-when-it-is-broken)
and the markers in the tests. Do not edit it.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """A test that says which invariant it holds."""

    invariant: str
    path: Path
    name: str


def sentences(design: str) -> dict[str, str]:
    """The first sentence of each invariant in §4 of the design, by its name."""
    section = re.split(r"^## ", design, flags=re.MULTILINE)[4]
    entries = re.findall(r"^- (I\d+) (.*(?:\n  .*)*)", section, flags=re.MULTILINE)
    return {name: re.split(r"(?<=\.)\s", " ".join(text.split()))[0] for name, text in entries}


def holdings(module: Module) -> Iterator[Holding]:
    """What the tests of one module hold, by their own markers, their class's and the module's."""
    yield from _held_in(module, body=module.tree.body, inherited=_module_markers(module.tree), prefix="")


def _held_in(module: Module, *, body: list[ast.stmt], inherited: list[str], prefix: str) -> Iterator[Holding]:
    for node in body:
        if isinstance(node, ast.ClassDef):
            own = inherited + _decorated(node.decorator_list)
            yield from _held_in(module, body=node.body, inherited=own, prefix=f"{prefix}{node.name}::")
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            for invariant in dict.fromkeys(inherited + _decorated(node.decorator_list)):
                yield Holding(invariant=invariant, path=module.path, name=f"{prefix}{node.name}")


def _module_markers(tree: ast.Module) -> list[str]:
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "pytestmark" for t in node.targets):
            marks = node.value.elts if isinstance(node.value, ast.List | ast.Tuple) else [node.value]
            return _decorated(marks)
    return []


def _decorated(marks: list[ast.expr]) -> list[str]:
    return [
        argument.value
        for mark in marks
        if isinstance(mark, ast.Call) and isinstance(mark.func, ast.Attribute) and mark.func.attr == MARKER
        for argument in mark.args
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
    ]


def page(design: str, held: list[Holding]) -> str:
    """The whole page, equal for equal input."""
    parts = [INTRODUCTION]
    for name, sentence in sentences(design).items():
        tests = sorted(
            {(holding.path.relative_to(ROOT).as_posix(), holding.name) for holding in held if holding.invariant == name}
        )
        lines = [f"- [{path}](../{path}) `{test}`" for path, test in tests]
        parts.append(f"## {name}\n\n{sentence}\n\n" + ("\n".join(lines) or "No test yet.") + "\n")
    return "\n".join(parts)


def all_holdings() -> list[Holding]:
    """What every test of the repository holds."""
    return [holding for module in modules("tests") for holding in holdings(module)]


if __name__ == "__main__":
    PAGE.write_text(page(DESIGN.read_text("utf-8"), all_holdings()), "utf-8")
    sys.stdout.write(f"wrote {PAGE.relative_to(ROOT)}\n")
