from budan.store.database import columns, sparse_columns


def test_only_a_column_without_any_value_is_left_to_unnest() -> None:
    """One NULL too many would lose what the row says; a shorter array that is not empty would shift it to other rows."""
    rows = [(1, None, "a", None, False), (2, None, None, 0, None)]
    assert sparse_columns(rows, 5) == [[1, 2], [], ["a", None], [None, 0], [False, None]]
    assert columns(rows, 5)[1] == [None, None]
    assert sparse_columns([], 2) == [[], []]
