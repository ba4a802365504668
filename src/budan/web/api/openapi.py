"""OpenAPI 3.1 of the API, written from the table of routes and the types that the code reads and answers with."""

import re
from collections.abc import Iterable
from http import HTTPStatus
from importlib.metadata import version
from typing import Any

import msgspec

from budan.flows.events import ORDER_EVENTS, REFUND_EVENTS, OrderEvent, RefundEvent
from budan.web.problems import CONTENT_TYPE, KINDS, Problem
from budan.web.routes import ROUTES, BodyKind, Route, Surface

Schema = dict[str, Any]

_REF = "#/components/schemas/{name}"
_INTRO = """Amounts are whole minor units, times RFC 3339 in UTC. Every answer has an `X-Request-Id`.

A request is refused by the first that applies, in this order: overload, address, method, API key, body size and time,
content type, `Idempotency-Key`, JSON, fields, then what the operation itself refuses. A problem's `code` is never
renamed and always comes with the same status; `param` names the field at fault. Fields that an operation does not know
are refused, so that a misspelt one is not silently left out.

Events come by Standard Webhooks, those of one order in the order of its `version`, some more than once under the same
`webhook-id`.

With an `Idempotency-Key` a request may be repeated as often as needed: the repeat resumes the same order and answers
with its present state. 503 answers come with `Retry-After`."""


def documented_routes() -> list[Route]:
    """What merchants and channels may rely on."""
    described = {Surface.API, Surface.NOTICE}
    return [route for route in ROUTES if route.surface in described and route.name != "openapi"]


def build_openapi(*, public_url: str) -> Schema:
    """The document, as values ready for JSON."""
    routes = documented_routes()
    structs = {kind for route in routes for kind in (route.takes, route.gives) if kind is not None}
    structs |= {Problem, OrderEvent, RefundEvent}
    _, components = msgspec.json.schema_components(sorted(structs, key=lambda kind: kind.__name__), ref_template=_REF)
    paths: dict[str, Schema] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {"title": "budan", "version": version("budan"), "description": _INTRO},
        "servers": [{"url": public_url}],
        "paths": paths,
        "webhooks": {
            event: _webhook(meaning, kind)
            for kind, events in ((OrderEvent, ORDER_EVENTS), (RefundEvent, REFUND_EVENTS))
            for event, meaning in events.items()
        },
        "components": {
            "schemas": components,
            "securitySchemes": {"api_key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(route: Route) -> Schema:
    operation: Schema = {
        "operationId": route.name,
        "summary": route.summary,
        "responses": _responses(route),
    }
    parameters = [*_path_parameters(route), *_query_parameters(route), *_header_parameters(route)]
    if parameters:
        operation["parameters"] = parameters
    if route.asks_key:
        operation["security"] = [{"api_key": []}]
    if route.takes is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": _ref(route.takes)}}}
    elif route.body is BodyKind.BYTES:
        operation["requestBody"] = {"required": True, "content": {"*/*": {}}}
    return operation


def _webhook(meaning: str, kind: type[msgspec.Struct]) -> Schema:
    """An event as the merchant takes it: any 2xx means that it is taken, anything else that it comes again."""
    headers = ("webhook-id", "webhook-timestamp", "webhook-signature")
    signed = [{"name": name, "in": "header", "required": True, "schema": {"type": "string"}} for name in headers]
    signed[-1]["description"] = "By spaces, one for each secret in force; one that fits is enough."
    told = {
        "summary": meaning,
        "parameters": signed,
        "requestBody": {"required": True, "content": {"application/json": {"schema": _ref(kind)}}},
        "responses": {"2XX": {"description": "Taken."}, "default": {"description": "It comes again, for days."}},
    }
    return {"post": told}


def _path_parameters(route: Route) -> Iterable[Schema]:
    for name in re.findall(r"{(\w+)}", route.path):
        yield {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}


def _query_parameters(route: Route) -> Iterable[Schema]:
    if route.query is None:
        return
    _, components = msgspec.json.schema_components([route.query], ref_template=_REF)
    for name, schema in components[route.query.__name__]["properties"].items():
        yield {"name": name, "in": "query", "schema": _without_null(schema)}


def _without_null(schema: Schema) -> Schema:
    """A query has no null: what is not wished is left out."""
    kinds = [kind for kind in schema.get("anyOf", []) if kind.get("type") != "null"]
    if len(kinds) != 1:
        return schema
    return kinds[0]


def _header_parameters(route: Route) -> Iterable[Schema]:
    if route.takes_idempotency_key:
        yield {
            "name": "Idempotency-Key",
            "in": "header",
            "required": route.needs_idempotency_key,
            "description": "1 to 255 visible ASCII characters; the same key always means the same request.",
            "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
        }


def _responses(route: Route) -> Schema:
    responses: Schema = {}
    if route.gives is not None:
        responses[str(route.status)] = {
            "description": HTTPStatus(route.status).phrase,
            "headers": _REQUEST_ID,
            "content": {"application/json": {"schema": _ref(route.gives)}},
        }
    by_status: dict[HTTPStatus, list[str]] = {}
    for code in sorted(route.all_codes):
        by_status.setdefault(KINDS[code].status, []).append(code)
    for status, codes in sorted(by_status.items()):
        responses[str(status.value)] = _problem_response(status, codes)
    if route.surface is Surface.NOTICE:
        responses["default"] = {"description": "The channel's own form of yes and no."}
    return responses


_REQUEST_ID: Schema = {"X-Request-Id": {"required": True, "schema": {"type": "string"}}}
_RETRY_AFTER: Schema = {"Retry-After": {"required": True, "schema": {"type": "integer"}}}


def _problem_response(status: HTTPStatus, codes: list[str]) -> Schema:
    headers = _REQUEST_ID | (_RETRY_AFTER if status is HTTPStatus.SERVICE_UNAVAILABLE else {})
    schema = {"allOf": [_ref(Problem), {"properties": {"code": {"enum": codes}}}]}
    return {
        "description": " ".join(f"`{code}`: {KINDS[code].title}" for code in codes),
        "headers": headers,
        "content": {CONTENT_TYPE.decode(): {"schema": schema}},
    }


def _ref(kind: type[msgspec.Struct]) -> Schema:
    return {"$ref": _REF.format(name=kind.__name__)}
