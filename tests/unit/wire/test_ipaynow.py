from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budan.wire import ipaynow
from budan.wire.errors import BadAnswer
from budan.wire.forms import parse_form, render_form
from budan.wire.ipaynow import Signed

Vectors = dict[str, Any]
MESSAGES = {
    "request_WP001_b2c": Signed.PAY_REQUEST,
    "response_WP001_b2c_paid": Signed.PAY_ANSWER,
    "request_MQ002": Signed.PAY_REQUEST,
    "request_R001": Signed.REFUND_REQUEST,
    "notify_N001": Signed.PAY_ANSWER,
}


@pytest.fixture(scope="session")
def vectors_of(vectors: Vectors) -> Vectors:
    return vectors["ipaynow"]


def flipped(text: str, at: int) -> str:
    return text[:at] + chr(ord(text[at]) ^ 1) + text[at + 1 :]


@pytest.mark.parametrize("name", MESSAGES)
def test_every_message_is_signed_and_rendered_byte_for_byte_as_documented(vectors_of: Vectors, name: str) -> None:
    vector, kind = vectors_of[name], MESSAGES[name]
    fields = parse_form(vector["form_urlencoded"].encode())
    app_key = vectors_of["app_key"]
    assert ipaynow.sign_string(fields, app_key=app_key, kind=kind) == vector["sign_string"].encode()
    assert vector["sign_string"].endswith(vectors_of["md5_app_key"])
    unsigned = {field: value for field, value in fields.items() if field != kind.field_name}
    again = ipaynow.signed(unsigned, app_key=app_key, kind=kind)
    assert again[kind.field_name] == vector["signature"]
    assert render_form(again) == vector["form_urlencoded"].encode()


@pytest.mark.parametrize("name", MESSAGES)
def test_a_message_with_any_changed_character_does_not_count(vectors_of: Vectors, name: str) -> None:
    kind, app_key = MESSAGES[name], vectors_of["app_key"]
    fields = parse_form(vectors_of[name]["form_urlencoded"].encode())
    assert ipaynow.verify(fields, app_key=app_key, kind=kind)
    covered = [field for field in fields if field not in kind.left_out - {kind.field_name}]
    for field in covered:
        for at in range(len(fields[field])):
            changed = {**fields, field: flipped(fields[field], at)}
            assert not ipaynow.verify(changed, app_key=app_key, kind=kind), (field, at)
        missing = {kept: value for kept, value in fields.items() if kept != field}
        assert not ipaynow.verify(missing, app_key=app_key, kind=kind), field
    assert not ipaynow.verify(fields | {"added": "1"}, app_key=app_key, kind=kind)
    assert not ipaynow.verify(fields, app_key=flipped(app_key, 0), kind=kind)


@pytest.mark.parametrize("name", MESSAGES)
def test_any_changed_byte_of_a_whole_body_is_found(vectors_of: Vectors, name: str) -> None:
    """Whatever a byte on the wire turns into, it is unreadable or unsigned, or it says the same as before."""
    kind, body = MESSAGES[name], vectors_of[name]["form_urlencoded"].encode()
    good = parse_form(body)
    for at in range(len(body)):
        try:
            fields = parse_form(body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :])
        except BadAnswer:
            continue
        if ipaynow.verify(fields, app_key=vectors_of["app_key"], kind=kind):
            differs = {name for name in fields.keys() | good.keys() if fields.get(name) != good.get(name)}
            assert differs <= kind.left_out - {kind.field_name}, (at, differs)


def test_each_kind_leaves_out_what_the_documents_say(vectors_of: Vectors) -> None:
    fields = {"b": "2", "a": "1", "empty": "", "signType": "MD5", "mhtSignature": "x", "signature": "y"}
    key = vectors_of["md5_app_key"]
    texts = {
        Signed.PAY_REQUEST: f"a=1&b=2&signType=MD5&signature=y&{key}",
        Signed.PAY_ANSWER: f"a=1&b=2&mhtSignature=x&signType=MD5&{key}",
        Signed.REFUND_REQUEST: f"a=1&b=2&signature=y&{key}",
        Signed.REFUND_ANSWER: f"a=1&b=2&mhtSignature=x&{key}",
    }
    for kind, text in texts.items():
        assert ipaynow.sign_string(fields, app_key=vectors_of["app_key"], kind=kind).decode() == text


@given(
    st.dictionaries(st.text(st.characters(codec="ascii", categories=["L"]), min_size=1), st.text(), max_size=8),
    st.sampled_from(Signed),
)
def test_what_one_side_signs_the_other_accepts_after_the_wire(fields: dict[str, str], kind: Signed) -> None:
    sent = ipaynow.signed(fields, app_key="k" * 32, kind=kind)
    received = parse_form(render_form(sent))
    assert ipaynow.verify(received, app_key="k" * 32, kind=kind)
    assert not ipaynow.verify(received, app_key="l" * 32, kind=kind)


@pytest.mark.parametrize("signature", ["", "签", "FFEA41932B82F24F7AF0BFD72B505725", "ffea41932b82f24f7af0bfd72b50572"])
def test_a_signature_that_is_none_is_refused_and_no_error(vectors_of: Vectors, signature: str) -> None:
    fields = parse_form(vectors_of["response_WP001_b2c_paid"]["form_urlencoded"].encode())
    forged = fields | {"signature": signature}
    assert not ipaynow.verify(forged, app_key=vectors_of["app_key"], kind=Signed.PAY_ANSWER)
