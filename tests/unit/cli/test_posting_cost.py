from budan.cli.posting_cost import posting_parameters
from budan.store.queries import query


def test_what_is_left_out_are_the_postings_columns_and_nothing_else() -> None:
    """A parameter too many would leave out the webhook as well, and posting would look dear; one too few, cheap."""
    sql = query("door_write").sql
    columns = posting_parameters(sql)
    assert len(columns) == 7
    assert max(columns) - min(columns) == 6
    written = sql[sql.index("INSERT INTO posting") : sql.index("new_webhook AS")]
    assert all(f"${number}::" in written for number in columns)
    assert sum(sql.count(f"${number}::") for number in columns) == 7
