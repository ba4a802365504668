"""What operators read of holds, releases and persons' words: one fact a line, and the next command to type."""

from collections.abc import Iterable, Iterator

from budan.cli.shown import show_moment
from budan.flows.holding import HeldOrder, Released, Resolution, Standing
from budan.flows.testifying import Proposed, Testified


def tell_held(held: HeldOrder) -> Iterator[str]:
    """What stands after an order was held, and how its hold is lifted."""
    yield f"{held.order_no} is held: {held.hold_reason}"
    yield from _list_open(held)
    resolution = f" --resolution {'|'.join(one.value for one in Resolution)}" if held.suspense else ""
    yield f"to lift it: budan orders release {held.order_no} --by NAME --reason WHY{resolution}"


def tell_proposed_release(held: HeldOrder) -> Iterator[str]:
    """What a proposed release would decide about, and how another person agrees to it."""
    yield f"{held.order_no} stays held ({held.hold_reason}) until another person agrees to proposal {held.act}"
    yield from _list_open(held)
    yield f"to agree: budan orders release {held.order_no} --by NAME --confirm {held.act}"


def tell_released(released: Released) -> Iterator[str]:
    """What a release decided."""
    yield f"{released.order_no} is no longer held, and {released.state}"
    yield from _list_standing("cleared", released.cleared)
    yield from _list_standing("accepted as it is", released.accepted)
    for entry_key in released.booked:
        yield f"booked: {entry_key}"
    yield f"to read all of it: budan orders show {released.order_no}"


def tell_proposed_word(proposed: Proposed) -> Iterator[str]:
    """What a person said of a trade, and how another one agrees to it."""
    yield f"{proposed.trade_no}: {proposed.outcome}, by proposal {proposed.act}; the channel said nothing ({proposed.silence})"
    yield (
        f"another person may agree from {show_moment(proposed.confirm_from)} UTC on, if it still says nothing: "
        f"budan orders evidence {proposed.trade_no} --by NAME --confirm {proposed.act}"
    )


def tell_taken_word(taken: Testified) -> Iterator[str]:
    """What two persons' word did."""
    yield f"{taken.trade_no}: the trade is {taken.trade_state}, its order {taken.order_state}"
    yield f"decided: {taken.decision}, by the word of {taken.actor}"
    yield f"to read all of it: budan orders show {taken.trade_no}"


def _list_open(held: HeldOrder) -> Iterator[str]:
    yield from _list_standing("does not fit", held.contradictions)
    for entry_key in held.suspense:
        yield f"money in suspense: {entry_key}"


def _list_standing(word: str, found: Iterable[Standing]) -> Iterator[str]:
    for one in found:
        yield f"{word}: {one.mismatch} of trade {one.attempt}, found {show_moment(one.found_at)} UTC"
