import ast
import re
from collections.abc import Iterator

from tidy.repository import ROOT, Module, expect_none, files, modules

FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 600
# The only places where any error may end: there it is logged, counted and bounded.
TOP_OF_TURN = re.compile(r"\btop of (a|the) (turn|request|loop|job|command|process|thread|child)\b")
BROAD = frozenset({"Exception", "BaseException"})
UNFINISHED = re.compile(r"\b(TO[D]O|FIX[M]E|XX[X]|HA[C]K)\b")


def _catches_all(handler: ast.ExceptHandler) -> bool:
    if handler.type is None:
        return True
    return any(isinstance(node, ast.Name) and node.id in BROAD for node in ast.walk(handler.type))


def _passes_on(handler: ast.ExceptHandler) -> bool:
    last = handler.body[-1]
    return isinstance(last, ast.Raise) and last.exc is None


def _broad_excepts(module: Module) -> Iterator[str]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ExceptHandler) and _catches_all(node) and not _passes_on(node):
            comment = module.comments.get(node.lineno, "")
            if not TOP_OF_TURN.search(comment):
                yield module.at(node.lineno)


def _raw_amounts(tree: ast.AST) -> Iterator[int]:
    """The lines on which text for people holds an amount as it is stored; what is encoded is read by no person."""
    encoded = {
        id(node.func.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "encode"
    }
    for node in ast.walk(tree):
        shown: list[ast.expr] = []
        if isinstance(node, ast.JoinedStr) and id(node) not in encoded:
            shown = [part.value for part in node.values if isinstance(part, ast.FormattedValue)]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "str":
            shown = node.args
        yield from (value.lineno for value in shown if ast.unparse(value).endswith("_minor"))


def is_one_sentence(docstring: str) -> bool:
    """Whether the text ends as a sentence does and no second sentence starts in it."""
    line = " ".join(docstring.split())
    return line.endswith((".", "?", ")")) and not re.search(r"[.!?]\s+[A-Z`]", line)


def test_functions_fit_on_a_screen() -> None:
    found = [
        f"{module.at(node.lineno)}: {node.name} has {lines} lines"
        for module in modules("src", "tests")
        for node in ast.walk(module.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (lines := (node.end_lineno or node.lineno) - node.lineno + 1) > FUNCTION_LINES_MAX
    ]
    expect_none(found)


def test_files_stay_short_enough_to_be_read_at_once() -> None:
    found = [
        f"{module.path.relative_to(ROOT)} has {len(module.lines)} lines"
        for module in modules("src", "tests")
        if len(module.lines) > FILE_LINES_MAX
    ]
    expect_none(found)


def test_every_module_of_the_program_says_in_one_sentence_what_it_is() -> None:
    found = [
        module.at(1)
        for module in modules("src")
        if module.tree.body and not is_one_sentence(ast.get_docstring(module.tree) or "")
    ]
    expect_none(found)


def test_a_second_sentence_is_noticed() -> None:
    assert is_one_sentence("Locks the orders,\nthen decides.")
    assert not is_one_sentence("Locks the orders. Then decides.")
    assert not is_one_sentence("")


def test_an_error_of_any_kind_ends_only_at_the_top_of_a_turn() -> None:
    """Anywhere lower it would turn a bug or a cancellation into an answer."""
    expect_none(place for module in modules("src") for place in _broad_excepts(module))


def test_commands_show_people_money_and_no_minor_units() -> None:
    """Fen read as yuan are a hundred times the money; only `--json` has them, under names that say so."""
    found = [
        module.at(line)
        for module in modules("src")
        if module.path.is_relative_to(ROOT / "src/budan/cli") or module.path.name == "moments.py"
        for line in _raw_amounts(module.tree)
        # The one way to say an amount of a currency whose places nobody knows.
        if "} minor {" not in module.lines[line - 1]
    ]
    expect_none(found)


def test_an_amount_in_minor_units_is_noticed() -> None:
    text = 'f"{row.amount_minor} {row.currency}"\nstr(row.granted_minor)\nf"{reason} {amount_minor}".encode()\n'
    assert sorted(_raw_amounts(ast.parse(text))) == [1, 2]


def test_nothing_unfinished_is_committed() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in files()
        if path.suffix in {".py", ".sql", ".html", ".js", ".css", ".toml", ".in"} and "vendor" not in path.parts
        for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1)
        if UNFINISHED.search(line)
    ]
    expect_none(found)


def test_no_test_is_left_out() -> None:
    """A skipped test looks like a passed one in every summary."""
    found = [
        f"{module.at(node.lineno)}: {node.attr}"
        for module in modules("tests")
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Attribute) and node.attr in {"skip", "skipif", "xfail", "importorskip"}
    ]
    expect_none(found)
