"""The flat XML of WeChat v2 and Swiftpass: one element that holds named texts and nothing else."""

import re
from collections.abc import Mapping
from typing import Final
from xml.parsers import expat

from budan.wire.errors import BadAnswer, NotSent

FIELDS_MAX: Final = 400

_DEPTH_OF_FIELDS: Final = 2
# What XML 1.0 can hold; a carriage return is left out, for a parser reads it as a line feed and breaks the signature.
_UNSENDABLE: Final = re.compile(r"[^\t\n\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
# How channels write in fact: nothing but fields, each in CDATA or plain. Possessive, so that a page of brackets is given
# up where it first differs; without the characters that a parser changes, or refuses, or ends CDATA by.
_HELD: Final = r"[^\]\x00-\x08\x0b-\x1f\ud800-\udfff\ufffe\uffff]*+"
_BARE: Final = _HELD.replace("[^", "[^<&")
_PLAIN_FIELD: Final = rf"<([A-Za-z_][A-Za-z0-9_]*+)>(?:<!\[CDATA\[({_HELD})\]\]>|({_BARE}))</\1>[ \t\n]*+"
_FIND_PLAIN: Final = re.compile(_PLAIN_FIELD).findall
_MATCH_PLAIN: Final = re.compile(rf"[ \t\n]*+(?:{_PLAIN_FIELD})*+").match


def render_fields(fields: Mapping[str, str], *, root: str = "xml") -> bytes:
    """The fields in the order of the mapping, each value in CDATA; NotSent for a value that XML cannot hold."""
    held = "".join(fields.values())
    if _UNSENDABLE.search(held):
        raise NotSent("a value holds what XML cannot carry")
    if "]]>" in held:
        # The one text that CDATA cannot hold ends it; cut in two, it is read as it was.
        fields = {name: value.replace("]]>", "]]]]><![CDATA[>") for name, value in fields.items()}
    members = "".join([f"<{name}><![CDATA[{value}]]></{name}>" for name, value in fields.items()])
    return f"<{root}>{members}</{root}>".encode()


def parse_fields(body: bytes, *, root: str = "xml") -> dict[str, str]:
    """The fields, empty ones too; BadAnswer when it is anything but the flat form in UTF-8.

    A document type is refused where it begins, so there are no entities to expand and nothing outside to read. A name
    that comes twice is refused: the value that was signed and the one that is read could differ.
    """
    # Naming the encoding overrules what the document says of itself, but not what looks like UTF-16.
    if b"\x00" in body:
        raise BadAnswer("not well-formed XML in UTF-8")
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadAnswer("not well-formed XML in UTF-8") from error
    fields = _find_plain_fields(text, root)
    return _parse(text, root) if fields is None else fields


def _find_plain_fields(text: str, root: str) -> dict[str, str] | None:
    """What a parser would read, at a third of its cost; None for all but the form that needs no parser."""
    begin, end = f"<{root}>", f"</{root}>"
    found = _MATCH_PLAIN(text, len(begin))
    if not text.startswith(begin) or found is None or text[found.end() :].rstrip(" \t\n") != end:
        return None
    members: list[tuple[str, str, str]] = _FIND_PLAIN(text, len(begin), found.end())
    fields = {name: held or bare for name, held, bare in members}
    return fields if len(fields) == len(members) <= FIELDS_MAX else None


def _parse(text: str, root: str) -> dict[str, str]:
    reader = _Reader(root)
    parser = expat.ParserCreate("utf-8")
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = _refuse_doctype
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    try:
        parser.Parse(text, True)  # noqa: FBT003 - the standard library's own signature
    except expat.ExpatError as error:
        raise BadAnswer("not well-formed XML in UTF-8") from error
    return reader.fields


class _Reader:
    """Collects what the parser sees, and refuses what is not the flat form."""

    def __init__(self, root: str) -> None:
        self.fields: dict[str, str] = {}
        self._root = root
        self._depth = 0
        self._texts: list[str] = []

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        self._depth += 1
        if attributes:
            raise BadAnswer("an element has attributes")
        if self._depth == 1 and name != self._root:
            raise BadAnswer(f"root is not {self._root}")
        if self._depth > _DEPTH_OF_FIELDS:
            raise BadAnswer("a field holds elements")
        if self._depth == _DEPTH_OF_FIELDS and (name in self.fields or len(self.fields) >= FIELDS_MAX):
            raise BadAnswer("a field comes twice" if name in self.fields else "too many fields")
        self._texts = []

    def end(self, name: str) -> None:
        if self._depth == _DEPTH_OF_FIELDS:
            self.fields[name] = "".join(self._texts)
        self._depth -= 1

    def text(self, text: str) -> None:
        if self._depth == _DEPTH_OF_FIELDS:
            self._texts.append(text)
        elif text.strip():
            raise BadAnswer("there is text between the fields")


def _refuse_doctype(*_: object) -> None:
    raise BadAnswer("a document type is declared")
