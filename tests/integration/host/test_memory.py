import gc

from budan.host.memory import spare_what_is_built


def test_what_a_process_was_built_from_is_never_looked_through_for_garbage() -> None:
    """Else each collection walks through every module and page that the process holds for its whole life."""
    before = gc.get_threshold()
    try:
        spare_what_is_built()
        assert gc.get_freeze_count() > 1_000
        assert gc.get_threshold() > before
        assert gc.isenabled()
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)
