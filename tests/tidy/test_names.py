import ast
import re
from collections.abc import Iterator

from tidy.repository import ROOT, Module, expect_none, modules

BANNED = frozenset({"util", "common", "helper", "manager", "data", "info", "process", "handle"})
# A name that a protocol or a library gave us is not ours to choose; its line says so with these words.
THEIRS = "their name"

# Terms of the trade whose word is exact: the operating system's process that made an id (docs/design.md §6), and the
# part of an AEAD message that is signed but not hidden.
EXACT = frozenset({"process_number", "associated_data"})


def words(name: str) -> set[str]:
    """The words of a snake_case or CamelCase name, in lower case."""
    return {word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)}


def says_nothing(name: str) -> bool:
    """Whether a banned word is left in the name when the exact terms are taken out."""
    for term in EXACT:
        name = name.replace(term, "")
    return bool(words(name) & BANNED)


def _parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[ast.arg]:
    arguments = function.args
    yield from (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
    yield from (starred for starred in (arguments.vararg, arguments.kwarg) if starred)


def _defined(module: Module) -> Iterator[tuple[ast.stmt | ast.arg, str]]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            # A test's name is a sentence about the world, where these words may stand.
            if not node.name.startswith("test_"):
                yield node, node.name
            yield from ((parameter, parameter.arg) for parameter in _parameters(node))
        elif isinstance(node, ast.ClassDef):
            yield node, node.name
            yield from (
                (field, field.target.id)
                for field in node.body
                if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
            )


def test_names_are_split_into_their_words() -> None:
    assert words("close_order_if") == {"close", "order", "if"}
    assert words("HTTPDataReader2") == {"http", "data", "reader", "2"}
    assert words("_processes") == {"processes"}
    assert says_nothing("process_order")
    assert not says_nothing("take_process_number")


def test_no_name_that_we_define_uses_a_word_that_says_nothing() -> None:
    """Such a name sends the reader to the body to learn what the thing is."""
    found = [
        f"{module.at(node.lineno)}: {name}"
        for module in modules("src", "tests")
        for node, name in _defined(module)
        if says_nothing(name) and not module.says(node, THEIRS)
    ]
    expect_none(found)


def test_no_file_is_named_by_a_word_that_says_nothing() -> None:
    found = [
        str(module.path.relative_to(ROOT))
        for module in modules("src", "tests")
        for part in module.path.relative_to(ROOT).with_suffix("").parts
        if words(part) & BANNED and not part.startswith("test_")
    ]
    expect_none(found)
