"""Every way in which a difference ends is an outcome of the day."""

from itertools import chain

from budan.core.reconcile import AGREED
from budan.core.tie_out import Became, agreed_as, ended_as
from budan.flows.discrepancies import RESOLUTIONS


def test_every_way_to_agree_or_to_end_has_its_outcome() -> None:
    """One without would leave a report that nobody can read."""
    assert {ended_as(resolution) for resolution in RESOLUTIONS} == {Became.BY_HAND}
    assert ended_as("") is Became.OPEN
    by_itself = [ended_as(resolution) for resolution in ("repaired", "neighbour_day", "gone")]
    assert by_itself == [Became.REPAIRED, Became.NEIGHBOUR_DAY, Became.GONE]
    agreed = map(agreed_as, AGREED)
    assert set(chain(agreed, by_itself)) | {Became.BY_HAND, Became.OPEN} == set(Became)
