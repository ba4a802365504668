import ast
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tidy.repository import ROOT, Module, expect_none, files, modules

HEADER = re.compile(r"^-- name: (?P<name>[a-z][a-z0-9_]*) :(?P<rows>one|maybe|many|none)$")
STATEMENT = re.compile(
    r"\s*(SELECT|INSERT INTO|UPDATE|DELETE FROM|WITH|CREATE|ALTER|DROP|TRUNCATE|COPY|VACUUM|GRANT|LOCK TABLE|EXPLAIN|SET)\s+\S"
)
SPEAKERS = frozenset({"execute", "executemany", "fetch", "fetchmany", "fetchrow", "fetchval", "prepare", "cursor"})
# The server takes no parameter where a name stands (CREATE DATABASE); such a line says `# sql:` and why it is safe.
EXCUSED = "sql:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A named query: where it stands and the comment under its name."""

    name: str
    place: str
    why: str


def _query_files() -> list[Path]:
    return [path for path in files() if path.suffix == ".sql" and path.parent.name == "sql"]


def _queries(path: Path) -> Iterator[Query]:
    lines = path.read_text("utf-8").splitlines()
    for number, line in enumerate(lines, start=1):
        if match := HEADER.match(line):
            why = lines[number] if number < len(lines) else ""
            yield Query(name=match["name"], place=f"{path.relative_to(ROOT)}:{number}", why=why)


def _all_queries() -> list[Query]:
    return [query for path in _query_files() for query in _queries(path)]


def _words_of(module: Module) -> Iterator[str]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def _is_built(node: ast.expr) -> bool:
    if isinstance(node, ast.JoinedStr | ast.BinOp):
        return True
    if isinstance(node, ast.Constant):
        return isinstance(node.value, str)
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in {"format", "join"}


def _text_handed_over(module: Module) -> Iterator[str]:
    for node in ast.walk(module.tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args):
            continue
        if node.func.attr in SPEAKERS and _is_built(node.args[0]) and not module.says(node.args[0], EXCUSED):
            yield module.at(node.args[0].lineno)


def _statements(module: Module) -> Iterator[str]:
    docstrings = {id(node.value) for node in ast.walk(module.tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(module.tree):
        if not (isinstance(node, ast.Constant) and isinstance(node.value, str)):
            continue
        if STATEMENT.match(node.value) and id(node) not in docstrings and not module.says(node, EXCUSED):
            yield module.at(node.lineno)


def test_sql_stands_in_sql_files_only() -> None:
    """Text that code puts together is text that a stranger can add to, and that no linter has read."""
    speakers = modules("src/budan/store", "src/budan/proof")
    expect_none(
        [place for module in speakers for place in _text_handed_over(module)]
        + [place for module in modules("src") for place in _statements(module)]
    )


def test_every_query_has_a_name_a_row_count_and_a_reason() -> None:
    spoiled = [
        f"{path.relative_to(ROOT)}:{number}: {line}"
        for path in _query_files()
        for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1)
        if line.startswith("-- name") and not HEADER.match(line)
    ]
    expect_none(spoiled)
    silent = [query.place for query in _all_queries() if not re.match(r"-- \S+ \S+", query.why)]
    expect_none(silent)


def test_a_query_name_is_given_once() -> None:
    counts = Counter(query.name for query in _all_queries())
    expect_none(name for name, count in counts.items() if count > 1)


def test_every_query_is_used() -> None:
    """An unused query is kept working by nobody and still has to be migrated by everybody."""
    used = {word for module in modules("src") for word in _words_of(module)}
    expect_none(f"{query.place}: {query.name}" for query in _all_queries() if query.name not in used)


def test_no_query_asks_for_every_column() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in _query_files()
        for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1)
        if re.search(r"\bselect\s+([a-z_]+\.)?\*|\breturning\s+([a-z_]+\.)?\*", line.partition("--")[0], re.IGNORECASE)
    ]
    expect_none(found)


def test_a_migration_says_its_order_its_side_and_its_reason() -> None:
    migrations = [path for path in files() if path.suffix == ".sql" and path.parent.name == "migrations"]
    misnamed = [path.name for path in migrations if not re.fullmatch(r"\d{4}_[a-z0-9_]+\.(pre|post)\.sql", path.name)]
    expect_none(misnamed)
    expect_none(path.name for path in migrations if not path.read_text("utf-8").startswith("-- "))
    numbers = Counter(path.name[:4] for path in migrations)
    expect_none(number for number, count in numbers.items() if count > 1)
