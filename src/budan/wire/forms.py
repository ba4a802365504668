"""URL-encoded forms, both ways and exactly."""

from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl, urlencode

from budan.wire.errors import BadAnswer

_FORM_FIELDS_MAX: Final = 200


def render_form(parameters: Mapping[str, str]) -> bytes:
    """The URL-encoded form, or query, in the order of the mapping."""
    return urlencode(parameters).encode("ascii")


def parse_form(body: bytes) -> dict[str, str]:
    """The decoded fields, empty ones too; BadAnswer when it is no form, is not UTF-8 or names a field twice."""
    try:
        pairs = parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=True,
            errors="strict",
            max_num_fields=_FORM_FIELDS_MAX,
        )
    except ValueError as error:
        raise BadAnswer("unreadable form") from error
    fields = dict(pairs)
    # With two values under one name, the one that was signed and the one that is read could differ.
    if len(fields) != len(pairs):
        raise BadAnswer("form names a field twice")
    return fields
