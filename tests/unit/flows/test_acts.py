import pytest

from budan.core.errors import Refused
from budan.flows.acts import check_name, is_same_person


@pytest.mark.invariant("I4")
@pytest.mark.parametrize("other", ["Ann", "ANN", " ann ", "\uff21\uff4e\uff4e"])
def test_one_person_is_the_same_however_her_name_is_typed(other: str) -> None:
    """Two persons must agree where money hangs on it: another width or case of a name is nobody else."""
    assert is_same_person("Ann", other)


@pytest.mark.invariant("I4")
@pytest.mark.parametrize(
    ("one", "other"),
    [("Jose\u0301", "Jos\u00e9"), ("Stra\u00dfe", "STRASSE"), ("Ann Lee", "Ann\u3000Lee"), ("\ufb01nn", "Finn")],
)
def test_composed_ligated_and_spaced_names_are_the_same(one: str, other: str) -> None:
    assert is_same_person(one, other)


@pytest.mark.parametrize(("one", "other"), [("Ann", "Anna"), ("Ann", "Bob"), ("AnnLee", "Ann Lee")])
def test_two_names_are_two_persons(one: str, other: str) -> None:
    assert not is_same_person(one, other)


@pytest.mark.invariant("I4")
@pytest.mark.parametrize("unseen", ["\ufe0f", "\u034f", "\u3164", "\u2800", "\U000e0100", "\u200b", "\u00ad", "\n\x00"])
def test_a_name_has_nothing_that_nobody_sees(unseen: str) -> None:
    """It would print as the proposer's own and be another person's."""
    assert check_name("Ann") == "Ann"
    with pytest.raises(Refused, match="name_malformed"):
        check_name(f"Ann{unseen}")
