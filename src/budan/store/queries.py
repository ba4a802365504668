"""Named queries: the text is in sql/*.sql, constant, and found by name."""

import re
from dataclasses import dataclass
from enum import Enum
from functools import cache
from importlib.resources import files


class Rows(Enum):
    """How many rows may come."""

    ONE = "one"
    MAYBE = "maybe"
    MANY = "many"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One statement with its name and what it may return."""

    name: str
    rows: Rows
    sql: str


_HEADER = re.compile(r"^-- name: (?P<name>[a-z0-9_]+) :(?P<rows>one|maybe|many|none)$", re.MULTILINE)


def all_queries() -> dict[str, Query]:
    """Every named query for PostgreSQL, by name."""
    return queries_of("sql")


@cache
def queries_of(folder: str) -> dict[str, Query]:
    """Every named query of a folder of this package, by name."""
    found: dict[str, Query] = {}
    for path in sorted(files("budan.store").joinpath(folder).iterdir(), key=lambda item: item.name):
        text = path.read_text(encoding="utf-8")
        headers = list(_HEADER.finditer(text))
        for header, following in zip(headers, [*headers[1:], None], strict=True):
            body = text[header.end() : following.start() if following else len(text)]
            name = header["name"]
            assert name not in found, f"query {name} is named twice"
            found[name] = Query(name=name, rows=Rows(header["rows"]), sql=body.strip())
    return found


def query(name: str) -> Query:
    """The query of this name; a wrong name fails at import."""
    return all_queries()[name]
