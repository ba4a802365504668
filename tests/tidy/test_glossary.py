import ast
import re
from collections.abc import Iterator

from tidy.repository import ROOT, Module, expect_none, modules

# What `decide` and `decide_refund` ask the store to do; it is never stored and nobody sees it.
UNSEEN = frozenset({"Effect", "RefundEffect"})


def _rows() -> list[str]:
    return re.findall(r"^\| `([a-z0-9_]+)` \|", (ROOT / "docs" / "glossary.md").read_text("utf-8"), flags=re.MULTILINE)


def _members(module: Module) -> Iterator[tuple[str, str]]:
    for node in module.tree.body:
        if isinstance(node, ast.ClassDef) and node.name not in UNSEEN and "Enum" in map(ast.unparse, node.bases):
            for member in node.body:
                if isinstance(member, ast.Assign) and isinstance(member.value, ast.Constant):
                    yield f"{module.at(member.lineno)}: {member.value.value}", str(member.value.value)


def test_every_state_in_the_core_is_in_the_glossary() -> None:
    """A word that is stored is shown to somebody sooner or later, and then needs one translation, not two."""
    known = set(_rows())
    expect_none(place for module in modules("src/budan/core") for place, word in _members(module) if word not in known)


def test_every_row_of_the_glossary_is_complete() -> None:
    rows = [line for line in (ROOT / "docs" / "glossary.md").read_text("utf-8").splitlines() if line.startswith("| `")]
    expect_none(row for row in rows if not all(cell.strip() for cell in row.strip("|").split("|")))
