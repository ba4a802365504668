import shlex

import pytest

from budan.cli.proving import prove, read_wanted
from budan.proof.drawing import Mix, parse_mix, with_notice_faults
from budan.proof.prove import Wanted, repeat_command

ANY = Wanted(scenario="mixed", seed=7, orders=None, mix=Mix(), kill_every_s=3.0, patience_s=60.0)


@pytest.mark.parametrize(
    "wanted",
    [
        ANY,
        Wanted(
            scenario="channel's clock stops",
            seed=0,
            orders=120,
            mix=parse_mix("unpaid=0,busy=0.125", mix=with_notice_faults(Mix(), 0.1)),
            kill_every_s=0.0,
            patience_s=1.5,
        ),
    ],
)
def test_the_command_for_the_same_faults_again_asks_for_all_that_was_asked(wanted: Wanted) -> None:
    """A fault that was found once in an hour is of use only when the command that was printed finds it again."""
    name, command, *words = shlex.split(repeat_command(wanted))
    assert (name, command) == ("budan", "prove")
    asked = prove.make_context(command, words).params
    assert not asked.pop("lists")
    assert not asked.pop("as_json")
    assert read_wanted(**asked) == wanted
