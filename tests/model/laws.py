"""What must be true in every state of a world, and where every state must be able to end."""

from collections import defaultdict
from collections.abc import Iterable

from budan.core.order import OrderState
from budan.core.trade import UNPAID_END_STATES, Direction, TradeState
from builders import AMOUNT_MINOR
from model.world import (
    ABSENT,
    BLOCKED,
    CALL_DONE,
    CLOSED,
    FAILED,
    MONEY_STANDS,
    PAID,
    PHASE_OVER,
    PHASE_SEND,
    PLACED,
    RETURNED,
    REVERSED,
    UNSENT,
    State,
    View,
    World,
    account,
)

Net = tuple[tuple[str, int], ...]
DEAD = frozenset({CLOSED, FAILED, REVERSED, RETURNED, BLOCKED})


def check(world: World, state: State) -> None:
    """The invariants that a single state can break."""
    _check_completion(state)
    _check_paid_once(state)
    if state.row.state is OrderState.EXPIRED and not world.breaks_word:
        assert not any(_is_payable(state, view) for view in state.views), "I7: expired, and it can still be paid"
    _check_word(state)
    for view in state.views:
        if view.trade != ABSENT:
            _check_trade(view)
            if view.row.state in UNPAID_END_STATES and not world.breaks_word:
                assert is_dead(state, view), "I5: ended, and it can still be paid"


def _check_completion(state: State) -> None:
    order = state.row
    merchants = [
        entry.key for entry in state.entries if any(line.account.startswith("merchant:") for line in entry.postings)
    ]
    if order.state is not OrderState.PAID:
        assert not merchants, "I3: the merchant is owed money of an order that is not paid"
        assert not state.told_paid, "I3: the merchant was told of a payment that is none"
        return
    assert order.paid_attempt is not None
    assert merchants == [f"payment:{order.paid_attempt}"], "I3, I9: paid, and booked so exactly once"
    assert state.told_paid, "I3: paid, and the merchant will not hear of it"
    payer = state.views[order.paid_attempt - 1]
    assert payer.truth in MONEY_STANDS, "I4: paid without money"
    assert payer.row.state is TradeState.SUCCEEDED
    for view in state.views:
        if view.trade != ABSENT and view.row.is_open:
            ending = view.close_due or view.row.state is TradeState.REVERSING
            assert ending, "I3: paid, and another trade of it stays payable"


def _check_word(state: State) -> None:
    """Whoever asks of a charged order while no trade of it can be paid reads "not paid", without writing anything."""
    rows = [view.row for view in state.views if view.trade != ABSENT]
    has_ended = state.row.state in {OrderState.EXPIRED, OrderState.CLOSED} or not any(row.is_open for row in rows)
    says_unpaid = state.row.state is not OrderState.PAID and has_ended
    if says_unpaid and any(row.direction is Direction.B2C for row in rows):
        assert state.row.told_unpaid, "I1: a shop may read that its charge is not paid, and nothing of it is committed"


def _check_paid_once(state: State) -> None:
    booked = {entry.key for entry in state.entries}
    for at, view in enumerate(state.views):
        if view.trade == ABSENT:
            continue
        completes = state.row.paid_attempt == at + 1
        succeeded = view.row.state is TradeState.SUCCEEDED
        assert view.refund == (succeeded and not completes), "I9: every other success goes back, and nothing else"
        if succeeded:
            assert f"payment:{at + 1}" in booked, "I9: a payment that is not booked"


def _check_trade(view: View) -> None:
    if view.row.state is TradeState.SUCCEEDED:
        assert view.truth in MONEY_STANDS, "I4: a success without money"
    if view.row.paid_seen:
        assert view.truth in MONEY_STANDS | {RETURNED}, "I4: a payment was heard that never was"


def is_dead(state: State, view: View) -> bool:
    """Whether no payment stands or can come."""
    nothing_comes = state.phase != PHASE_SEND or view.call == CALL_DONE
    return view.truth in DEAD or (view.truth == UNSENT and nothing_comes)


def _is_payable(state: State, view: View) -> bool:
    """Whether a payment stands that we did not hear of, or one can still come."""
    if view.trade == ABSENT or is_dead(state, view) or view.row.state is TradeState.SUCCEEDED:
        return False
    waits_in_vain = view.truth == PLACED and state.phase == PHASE_OVER and view.row.direction is Direction.C2B
    return not waits_in_vain


def check_money_is_known(answered: State) -> None:
    """I5, I7: queries and due work alone have brought every payment home, wherever the order stood."""
    for at, view in enumerate(answered.views):
        if view.trade == ABSENT or view.truth != PAID:
            continue
        completes = answered.row.state is OrderState.PAID and answered.row.paid_attempt == at + 1
        booked = f"payment:{at + 1}" in {entry.key for entry in answered.entries}
        assert completes or (booked and view.refund), "I7: a payment is lost"


def check_everything_ends(ended: State) -> None:
    """I6: nothing waits for ever. What the channel itself leaves open may stay so; a held order waits for a person."""
    for view in ended.views:
        if view.trade != ABSENT and view.truth != PLACED:
            assert not view.row.is_open, "I6: a trade never ends"
    final = {OrderState.PAID, OrderState.EXPIRED, OrderState.CLOSED}
    assert ended.row.state in final or ended.row.hold_reason, "I6: an order never ends"


def net(state: State) -> Net:
    """The balance of every account that the order touched, by account and currency."""
    sums: dict[str, int] = defaultdict(int)
    for entry in state.entries:
        for line in entry.postings:
            sums[f"{line.account} {line.currency}"] += line.amount_minor
    return tuple(sorted((name, total) for name, total in sums.items() if total))


def check_ends_alike(ends: Iterable[State]) -> int:
    """I8: the truth at the channel and whether somebody was told "not paid" fix the end. Returns how many ends."""
    alike: dict[tuple[object, ...], tuple[bool, Net]] = {}
    for state in ends:
        stands = tuple(view.truth in MONEY_STANDS for view in state.views)
        lies = sum(entry.key.startswith("suspense:") for entry in state.entries)
        is_paid = state.row.state is OrderState.PAID
        assert is_paid == (any(stands) and not state.row.told_unpaid), "I8: paid is not what the truth says"
        _check_balances(state, stands)
        outcome = (is_paid, net(state))
        assert alike.setdefault((stands, state.row.told_unpaid, lies), outcome) == outcome, "I8: one truth, two ends"
    return len(alike)


def _check_balances(state: State, stands: tuple[bool, ...]) -> None:
    """What stands at each channel is what our books say that it owes us; what came and does not fit is in suspense."""
    sums = dict(net(state))
    unfit = -sums.get("suspense CNY", 0)
    for at, standing in enumerate(stands):
        expected = AMOUNT_MINOR * standing + (unfit if at == 0 else 0)
        assert sums.get(f"channel:{account(at)} CNY", 0) == expected, "I8: the books are not the truth"
    to_give_back = AMOUNT_MINOR * sum(view.refund for view in state.views)
    assert sums.get("refund_payable CNY", 0) == -to_give_back, "I9: what is owed to payers is not what goes back"
