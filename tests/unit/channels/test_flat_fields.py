from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from budan.channels.flat_fields import (
    Fen,
    Reference,
    find_moment,
    list_numbered,
    parse_fen,
    read,
    render_moment,
    render_text,
)
from budan.wire.errors import BadAnswer
from budan.wire.xml_fields import parse_fields, render_fields


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """A message with what the channels' have."""

    total_fee: Fen
    transaction_id: Reference | None = None


@given(st.integers(min_value=0, max_value=10**15 - 1))
def test_every_amount_comes_back_from_its_text(fen: int) -> None:
    assert parse_fen(read({"total_fee": str(fen)}, Message).total_fee) == fen


@pytest.mark.parametrize("text", ["", "-1", "+1", "1.0", "1e3", " 1", "1\n", "١٢", "1" * 16, "十"])
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(BadAnswer):
        read({"total_fee": text}, Message)


def test_an_empty_element_is_absent_and_a_strange_reference_is_refused() -> None:
    assert read({"total_fee": "1", "transaction_id": ""}, Message).transaction_id is None
    for reference in ("a b", "店", "a\n", "a" * 129):
        with pytest.raises(BadAnswer):
            read({"total_fee": "1", "transaction_id": reference}, Message)


def test_a_moment_is_beijings_and_one_that_cannot_be_read_is_none() -> None:
    moment = datetime(2026, 1, 1, 0, 0, 3, tzinfo=UTC)
    assert render_moment(moment) == "20260101080003"
    assert find_moment("20260101080003") == moment
    for text in (None, "", "2026-01-01 08:00:03", "20261301080003", "00010101000000"):
        assert find_moment(text) is None


@given(st.text(max_size=60), st.integers(min_value=1, max_value=130))
def test_a_text_is_cut_between_characters_to_what_xml_can_hold(text: str, bytes_max: int) -> None:
    shown = render_text(text, bytes_max=bytes_max)
    assert len(shown.encode()) <= bytes_max
    assert parse_fields(render_fields({"body": shown})) == {"body": shown}


def test_a_numbered_list_ends_where_a_number_is_missing() -> None:
    fields = {f"out_refund_no_{at}": f"R{at}" for at in range(12)} | {"refund_fee_11": "5", "out_refund_no_13": "R13"}
    listed = list_numbered(fields, "out_refund_no")
    assert [part["out_refund_no"] for part in listed] == [f"R{at}" for at in range(12)]
    assert listed[11] == {"out_refund_no": "R11", "refund_fee": "5"}
    assert list_numbered({}, "out_refund_no") == []
