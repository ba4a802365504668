from tidy import invariants
from tidy.repository import ROOT, Module

# Why an invariant cannot be broken yet. An entry goes in the commit that adds the code which could break it.
NOT_YET_BINDING: dict[str, str] = {}


def _design() -> str:
    return invariants.DESIGN.read_text("utf-8")


def test_the_page_of_invariants_is_what_the_tests_say() -> None:
    """Someone who audits us reads the page, not the markers. If this fails: `make invariants`."""
    assert invariants.PAGE.read_text("utf-8") == invariants.page(_design(), invariants.all_holdings())


def test_a_marker_names_an_invariant_of_the_design() -> None:
    known = set(invariants.sentences(_design()))
    strangers = [holding for holding in invariants.all_holdings() if holding.invariant not in known]
    assert strangers == []


def test_every_invariant_that_binds_has_a_test() -> None:
    held = {holding.invariant for holding in invariants.all_holdings()}
    names = set(invariants.sentences(_design()))
    assert sorted(names - held - set(NOT_YET_BINDING)) == []
    assert sorted(held & set(NOT_YET_BINDING)) == []


def test_the_design_has_thirteen_invariants() -> None:
    sentences = invariants.sentences(_design())
    assert list(sentences) == [f"I{number}" for number in range(1, 14)]
    assert sentences["I2"] == "A pay state changes only in the door."
    assert sentences["I7"].startswith("Closing and reversing")


def test_markers_of_a_module_and_a_class_count_for_the_tests_in_it() -> None:
    text = (
        "pytestmark = [pytest.mark.invariant('I1')]\n"
        "class TestDoor:\n"
        "    @pytest.mark.invariant('I2', 'I3')\n"
        "    async def test_a(self): ...\n"
        "def test_b(): ...\n"
    )
    module = Module(path=ROOT / "tests" / "x.py", text=text)
    held = [(holding.invariant, holding.name) for holding in invariants.holdings(module)]
    assert held == [
        ("I1", "TestDoor::test_a"),
        ("I2", "TestDoor::test_a"),
        ("I3", "TestDoor::test_a"),
        ("I1", "test_b"),
    ]
