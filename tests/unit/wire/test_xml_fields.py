from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budan.wire.errors import BadAnswer, NotSent
from budan.wire.xml_fields import FIELDS_MAX, parse_fields, render_fields

BOMB = (
    '<?xml version="1.0"?><!DOCTYPE xml [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">'
    '<!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">]><xml><total_fee>&c;</total_fee></xml>'
)
OUTSIDE = '<!DOCTYPE xml [<!ENTITY a SYSTEM "file:///etc/hostname">]><xml><out_trade_no>&a;</out_trade_no></xml>'
NAMES = st.from_regex(r"[a-z_]{1,12}", fullmatch=True)
# What XML 1.0 holds, without the carriage return that every parser turns into a line feed.
VALUES = st.text(st.characters(exclude_characters="\r\ufffe\uffff", exclude_categories=["Cs", "Cc"]), max_size=40)


@pytest.mark.parametrize(
    ("channel", "name"),
    [
        ("swiftpass", "request_md5"),
        ("swiftpass", "response_md5_paid"),
        ("swiftpass", "notify_rsa_1_256_paid"),
        ("wechat_v2", "md5"),
        ("wechat_v2", "response"),
    ],
)
def test_a_documented_message_is_read_and_written_byte_for_byte(
    vectors: dict[str, Any], channel: str, name: str
) -> None:
    document = vectors[channel][name]["xml"].encode()
    fields = parse_fields(document)
    assert fields["sign"] == vectors[channel][name]["sign"]
    assert render_fields(fields) == document


def test_the_sealed_part_of_a_refund_notice_has_a_root_of_its_own(vectors: dict[str, Any]) -> None:
    plaintext = vectors["wechat_v2"]["refund_notify"]["plaintext"].encode()
    fields = parse_fields(plaintext, root="root")
    assert (fields["refund_fee"], fields["refund_status"]) == ("280", "SUCCESS")
    assert render_fields(fields, root="root") == plaintext


@given(fields=st.dictionaries(NAMES, VALUES, max_size=8))
def test_what_is_written_is_read_back(fields: dict[str, str]) -> None:
    assert parse_fields(render_fields(fields)) == fields


def test_the_end_of_cdata_in_a_value_ends_no_cdata() -> None:
    fields = {"body": "]]>", "attach": "a]]></attach><total_fee>1</total_fee><![CDATA["}
    assert parse_fields(render_fields(fields)) == fields


def test_plain_text_entities_of_xml_itself_and_blanks_between_fields_are_read() -> None:
    document = b"\n<xml>\n  <a>1 &lt; 2 &amp; 3</a> <b/>\r\n<c><![CDATA[x]]>y</c></xml>\n"
    assert parse_fields(document) == {"a": "1 < 2 & 3", "b": "", "c": "xy"}


PIECES = st.sampled_from(
    ["x", "店", "\r", "\n ", "]", "]]>", "&amp;", "&", "<", ">", "\x01", "\uffff", "<b/>", "<!---->"]
)
FORMS = st.sampled_from(
    ["<{0}>{1}</{0}>", "<{0}><![CDATA[{1}]]></{0}>", "<{0}>{1}</{0}>\n", "<{0}>{1}</a>", "<{0} b=''>{1}</{0}>"]
)
FIELDS = st.tuples(st.sampled_from(["a", "b_1", "Ab", "1", "a:b"]), st.lists(PIECES, max_size=3).map("".join), FORMS)


@pytest.mark.invariant("I4")
@given(fields=st.lists(FIELDS, max_size=4), before=st.sampled_from(["", "\n", " \u2003", "x"]))
def test_the_short_way_to_read_reads_what_the_parser_would(fields: list[tuple[str, str, str]], before: str) -> None:
    """Two readings of one message would let a stranger sign one and be believed the other."""
    members = before + "".join(form.format(name, value) for name, value, form in fields)
    # A comment is nothing, and the short way knows none.
    assert _read(f"<xml>{members}</xml>") == _read(f"<xml><!-- -->{members}</xml>")


def _read(document: str) -> dict[str, str] | None:
    try:
        return parse_fields(document.encode())
    except BadAnswer:
        return None


@pytest.mark.invariant("I4")
@pytest.mark.parametrize(
    "document",
    [
        pytest.param(BOMB, id="entities that grow"),
        pytest.param(OUTSIDE, id="an entity from outside"),
        pytest.param('<!DOCTYPE xml SYSTEM "http://127.0.0.1/x.dtd"><xml><a>1</a></xml>', id="a document type"),
        pytest.param("<!DOCTYPE xml><xml><a>1</a></xml>", id="an empty document type"),
        pytest.param("<xml><a>&nobody;</a></xml>", id="an entity that nobody declared"),
        pytest.param("<xml><a>1</a><a>2</a></xml>", id="a name twice"),
        pytest.param("<xml><a>1<b>2</b></a></xml>", id="a field in a field"),
        pytest.param("<xml><a b='1'>1</a></xml>", id="an attribute"),
        pytest.param("<xml>1<a>2</a></xml>", id="text between fields"),
        pytest.param("<html><a>1</a></html>", id="another root"),
        pytest.param("<xml><a>1</a>", id="cut short"),
        pytest.param("<xml><a>1</a></xml><xml/>", id="two documents"),
        pytest.param("", id="nothing"),
        pytest.param("<xml><a>\x01</a></xml>", id="a control character"),
        pytest.param("<" * 100_000, id="a page of brackets"),
        pytest.param("<xml>" * 10_000, id="too deep"),
        pytest.param("<xml>" + "".join(f"<a{at}>1</a{at}>" for at in range(FIELDS_MAX + 1)) + "</xml>", id="too many"),
        pytest.param('{"a": 1}', id="JSON"),
    ],
)
def test_anything_but_the_flat_form_is_refused(document: str) -> None:
    with pytest.raises(BadAnswer):
        parse_fields(document.encode())


@pytest.mark.parametrize(
    "document",
    [
        pytest.param("<xml><a>店</a></xml>".encode("gbk"), id="not UTF-8"),
        pytest.param('<?xml version="1.0" encoding="gbk"?><xml><a>店</a></xml>'.encode("gbk"), id="says another"),
        pytest.param("<xml><a>1</a></xml>".encode("utf-16"), id="UTF-16"),
        pytest.param("<xml><a>1</a></xml>".encode("utf-16-le"), id="UTF-16 without its mark"),
        pytest.param("<xml><a>1</a></xml>".encode("utf-32"), id="UTF-32"),
        pytest.param(b"<xml><a>\xed\xa0\x80</a></xml>", id="half a character"),
    ],
)
def test_only_utf_8_is_read(document: bytes) -> None:
    with pytest.raises(BadAnswer):
        parse_fields(document)


@pytest.mark.parametrize("value", ["\x00", "a\x08", "a\r\nb", "\ud800", "\uffff"])
def test_what_xml_cannot_hold_is_not_sent(value: str) -> None:
    with pytest.raises(NotSent):
        render_fields({"body": value})
