"""The proof's own SQL, by name: text that shares nothing with what it judges."""

import re
from functools import cache
from importlib.resources import files

_HEADER = re.compile(r"^-- name: (?P<name>[a-z0-9_]+) :(?:one|maybe|many|none)$", re.MULTILINE)


@cache
def query(name: str) -> str:
    """The text of a named query of proof/sql; a wrong name fails at import."""
    return queries_of("sql")[name]


@cache
def queries_of(folder: str) -> dict[str, str]:
    """The text of each named query of a folder of this package, by name."""
    found: dict[str, str] = {}
    for path in sorted(files("budan.proof").joinpath(folder).iterdir(), key=lambda item: item.name):
        text = path.read_text(encoding="utf-8")
        headers = list(_HEADER.finditer(text))
        for header, following in zip(headers, [*headers[1:], None], strict=True):
            found[header["name"]] = text[header.end() : following.start() if following else len(text)].strip()
    return found
