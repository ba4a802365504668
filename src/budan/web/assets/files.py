"""The files that our pages load: read once, addressed by their content, cached for ever."""

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Self

from budan.core.errors import Refused
from budan.web.exchange import Answer, Exchange

_TYPES = {".css": b"text/css; charset=utf-8", ".js": b"text/javascript; charset=utf-8", ".svg": b"image/svg+xml"}


class Assets:
    """Gives each file an address that changes with its content."""

    def __init__(self, contents: Mapping[str, bytes]) -> None:
        self._addresses: dict[str, str] = {}
        self._answers: dict[str, Answer] = {}
        for name, content in contents.items():
            stem, _, suffix = name.rpartition(".")
            stamped = f"{stem}.{sha256(content).hexdigest()[:12]}.{suffix}"
            self._addresses[name] = f"/assets/{stamped}"
            self._answers[stamped] = Answer(
                status=200,
                body=content,
                headers=(
                    (b"content-type", _TYPES[f".{suffix}"]),
                    (b"cache-control", b"public, max-age=31536000, immutable"),
                    (b"x-content-type-options", b"nosniff"),
                ),
            )

    @classmethod
    def load(cls) -> Self:
        """The files of this folder."""
        folder = Path(__file__).parent
        return cls({path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.suffix in _TYPES})

    def address(self, name: str) -> str:
        """Where a page finds the file; a wrong name is our bug."""
        return self._addresses[name]

    async def answer(self, exchange: Exchange) -> Answer:
        """GET /assets/{name}."""
        found = self._answers.get(exchange.parameters[0])
        if found is None:
            raise Refused("path_unknown")
        return found
