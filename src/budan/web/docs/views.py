"""The API for people and machines: one page and one document, both from the table of routes."""

from typing import Any

import msgspec
from litestar import Response, get
from litestar.handlers import HTTPRouteHandler

from budan.flows.events import ORDER_EVENTS, REFUND_EVENTS
from budan.web.api.openapi import build_openapi
from budan.web.exchange import Answer
from budan.web.page.render import Pages, speech_of
from budan.web.problems import KINDS
from budan.web.rest import PageRequest, exchange_of, path_of, respond


class Docs:
    """Answers the same to everybody."""

    def __init__(self, *, pages: Pages, public_url: str) -> None:
        self._pages = pages
        self._document: dict[str, Any] = build_openapi(public_url=public_url)
        self._json = Answer(
            status=200,
            body=msgspec.json.encode(self._document),
            headers=((b"content-type", b"application/json"), (b"cache-control", b"no-cache")),
        )

    def handlers(self) -> list[HTTPRouteHandler]:
        """GET /openapi.json and /docs."""

        @get(path_of("openapi"), name="openapi")
        async def openapi() -> Response[bytes]:
            return respond(self._json)

        @get(path_of("docs"), name="docs")
        async def docs(request: PageRequest) -> Response[bytes]:
            page = self._pages.render(
                "docs.html",
                speech=speech_of(exchange_of(request).scope),
                operations=self._operations(),
                events={**ORDER_EVENTS, **REFUND_EVENTS},
                kinds=KINDS,
            )
            return respond(page)

        return [openapi, docs]

    def _operations(self) -> list[dict[str, Any]]:
        schemas = self._document["components"]["schemas"]
        operations: list[dict[str, Any]] = []
        for path, methods in self._document["paths"].items():
            for method, operation in methods.items():
                body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
                operations.append(
                    {
                        "path": path,
                        "method": method.upper(),
                        "summary": operation["summary"],
                        "asks_key": "security" in operation,
                        "parameters": [one for one in operation.get("parameters", []) if one["in"] == "query"],
                        "takes_idempotency_key": any(
                            one["name"] == "Idempotency-Key" for one in operation.get("parameters", [])
                        ),
                        "fields": _fields(schemas, body) if body else [],
                        "responses": {
                            status: response["description"] for status, response in operation["responses"].items()
                        },
                    }
                )
        return operations


def _fields(schemas: dict[str, Any], ref: dict[str, Any], *, prefix: str = "") -> list[dict[str, Any]]:
    """The fields of a body, those of its parts after them with their path."""
    schema = schemas[ref["$ref"].rpartition("/")[2]]
    fields: list[dict[str, Any]] = []
    for name, field in schema["properties"].items():
        fields.append(
            {
                "name": prefix + name,
                "required": name in schema.get("required", []),
                "kind": field.get("type") or " | ".join(field.get("enum", ["object"])),
                "description": field.get("description", ""),
            }
        )
        if "$ref" in field:
            fields.extend(_fields(schemas, field, prefix=f"{prefix}{name}."))
    return fields
