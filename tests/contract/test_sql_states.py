"""Which statements may touch what money hangs on: read from the SQL itself."""

import re
from collections.abc import Iterator
from importlib.resources import files

import pytest

from budan.store.queries import all_queries

# The gate and what it opens; intake makes rows and a further trade is opened under the gate (docs/design.md section 3).
# closing.sql closes and ends orders, and writes the intent to reverse a trade, under the same gate.
MAY_SET_ORDER_STATE = {"door_write", "intake_add", "trade_open", "closing_write"}
MAY_SET_TRADE_STATE = {"door_write", "intake_add", "reverse_begin"}
# Batches and their payouts are no orders: they are booked beside the gate, under their own marks and locks.
MAY_BOOK = {"door_write", "door_write_rare", "settlement_book"}
COMPLETION = {"remedy", "contradiction", "evidence", "refund_evidence"}
PAY_COLUMNS = ("state", "paid_attempt", "paid_at", "paid_seen")


def code_of(sql: str) -> str:
    return re.sub(r"--[^\n]*", "", sql)


def writers(table: str, *, column: str = "") -> set[str]:
    """The queries that insert into a table or update a column of it."""
    return {name for name, one in all_queries().items() if writes(code_of(one.sql), table, column)}


def writes(sql: str, table: str, column: str) -> bool:
    if any(not column or re.search(rf"\b{column}\b", listed) for listed in inserts(sql, table)):
        return True
    return any(not column or re.search(rf"(?:^|,)\s*{column}\s*=", assigned) for assigned in updates(sql, table))


def inserts(sql: str, table: str) -> Iterator[str]:
    yield from re.findall(rf"\bINSERT INTO {table}\b\s*\(([^)]*)\)", sql)


def updates(sql: str, table: str) -> Iterator[str]:
    """What each update of the table assigns, up to where the rows are chosen."""
    for found in re.finditer(
        rf"\bUPDATE {table}\b(?:\s+AS\s+\w+)?\s+SET\b(.*?)(?=\bFROM\s+(?:unnest|w\b)|\bWHERE\b)", sql, re.DOTALL
    ):
        yield found.group(1)


@pytest.mark.invariant("I2")
def test_a_pay_state_is_set_by_the_door_alone() -> None:
    assert writers("orders", column="state") == MAY_SET_ORDER_STATE
    assert writers("trade", column="state") == MAY_SET_TRADE_STATE
    assert writers("orders", column="paid_attempt") == {"door_write"}
    assert writers("orders", column="paid_at") == {"door_write"}


@pytest.mark.invariant("I2")
def test_the_statements_beside_the_door_make_nothing_paid() -> None:
    """Intake writes "created", a further trade moves an order from there to "paying", a close ends what is unpaid."""
    beside = (MAY_SET_ORDER_STATE | MAY_SET_TRADE_STATE) - {"door_write"}
    texts = {name: code_of(all_queries()[name].sql) for name in beside}
    assert "'created'," in texts["intake_add"]
    assert re.findall(r"\bstate = ('\w+')", texts["trade_open"]) == ["'paying'"]
    assert "state IN ('created', 'paying')" in texts["trade_open"]
    assert "o.state IN ('created', 'paying', 'closing')" in texts["closing_write"]
    assert "w.state IN ('closing', 'closed', 'expired')" in texts["closing_write"]
    assert re.findall(r"\bstate = ('\w+')", texts["reverse_begin"]) == ["'reversing'"]
    assert "t.state IN ('created', 'submitted', 'user_paying', 'unknown')" in texts["reverse_begin"]


@pytest.mark.invariant("I2")
def test_no_statement_outside_the_named_queries_touches_a_pay_state() -> None:
    """A function or a trigger in a migration would be a second door."""
    for path in files("budan.store").joinpath("migrations").iterdir():
        sql = code_of(path.read_text(encoding="utf-8"))
        assert not re.search(r"\b(?:INSERT INTO|DELETE FROM)\s+(?:orders|trade)\b", sql), path.name
        touched = [(table, column) for table in ("orders", "trade") for column in PAY_COLUMNS]
        assert not any(writes(sql, table, column) for table, column in touched), path.name
        assert "CREATE TRIGGER" not in sql


@pytest.mark.invariant("I10")
def test_what_is_booked_stays_booked() -> None:
    statements = [code_of(one.sql) for one in all_queries().values()]
    assert writers("posting") == MAY_BOOK
    assert [
        sql for sql in statements if re.search(r"\b(?:UPDATE|DELETE FROM|TRUNCATE|MERGE INTO)\s+posting\b", sql)
    ] == []


@pytest.mark.invariant("I3", "I12")
def test_what_tells_of_a_decision_is_written_by_the_door_and_never_changed() -> None:
    for table in sorted(COMPLETION):
        assert writers(table) <= {"door_write", "door_write_rare", "refund_write"}, table
        for one in all_queries().values():
            assert not re.search(rf"\b(?:UPDATE|DELETE FROM)\s+{table}\b", code_of(one.sql)), (one.name, table)


@pytest.mark.invariant("I2")
def test_a_refunds_state_is_set_by_its_door_alone() -> None:
    """The door of payments and the request behind the gate only make one; `refund_write` writes both doors' words."""
    assert writers("refund", column="state") == {"door_write_rare", "refund_write"}
    assert "'created'," in code_of(all_queries()["door_write_rare"].sql)


@pytest.mark.invariant("I2")
def test_every_change_of_an_order_compares_the_version_that_was_read() -> None:
    for name in sorted(writers("orders") - {"intake_add"}):
        sql = code_of(all_queries()[name].sql)
        # By one for each event of the change, which is never none: `OrderChange` asserts it.
        assert re.search(r"\bversion = (?:o\.)?version \+ (?:1|w\.raised)\b", sql), name
        assert re.search(r"\b(?:o\.)?version = (?:\$\d+|w\.version)\b", sql), name
