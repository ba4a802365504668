"""Any order of consistent evidence ends alike: histories longer than tests/model can explore exhaustively."""

from collections import Counter
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budan.core.completion import consequences
from budan.core.decide import Effect, RemedyCause, Transition, decide
from budan.core.evidence import Evidence, Source
from budan.core.fees import FEE_RATE_BP_MAX, FeeTerms
from budan.core.ledger import Entry
from budan.core.money import AMOUNT_MINOR_MAX
from budan.core.numbers import AccountId
from budan.core.order import Order, OrderState
from budan.core.trade import Direction, Trade
from builders import a_trade, an_order, not_found, not_paid_yet, paid, refused, silence

pytestmark = pytest.mark.invariant("I8", "I9", "I10")

TRADES_MAX = 4
Heard = tuple[int, Evidence]


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """Where an order came to rest."""

    order: Order
    trades: tuple[Trade, ...]
    entries: tuple[Entry, ...]
    refunds: tuple[int, ...]
    remedies: tuple[RemedyCause, ...]

    @property
    def net(self) -> Counter[str]:
        sums = Counter[str]()
        for entry in self.entries:
            for line in entry.postings:
                sums[line.account] += line.amount_minor
        return Counter({account: total for account, total in sums.items() if total})


def hear_all(order: Order, trades: list[Trade], heard: list[Heard]) -> End:
    """The door, one evidence after the other."""
    rows, entries, refunds, remedies = list(trades), list[Entry](), list[int](), list[RemedyCause]()
    for at, evidence in heard:
        decision = decide(order, rows[at], evidence)
        if not isinstance(decision, Transition):
            continue
        siblings = [row for n, row in enumerate(rows) if n != at]
        follows = consequences(order, rows[at], siblings, decision)
        completes = decision.effect is Effect.COMPLETE
        order = replace(
            order,
            state=decision.order_state,
            paid_attempt=at + 1 if completes else order.paid_attempt,
            told_unpaid=order.told_unpaid or follows.tells_unpaid,
        )
        rows[at] = decision.trade
        entries += follows.entries
        refunds += [at] if follows.refund_minor is not None else []
        remedies += [follows.remedy] if follows.remedy else []
    return End(
        order=order, trades=tuple(rows), entries=tuple(entries), refunds=tuple(refunds), remedies=tuple(remedies)
    )


def said_before_the_end() -> st.SearchStrategy[Evidence]:
    """What a channel may say of any trade while nothing is certain, and what we note when it says nothing."""
    return st.sampled_from(
        [
            not_paid_yet(),
            not_paid_yet(user_paying=True),
            not_found(),
            silence(),
            silence(source=Source.REPLY),
        ]
    )


@st.composite
def histories(draw: st.DrawFn) -> tuple[Order, list[Trade], list[Heard], list[Heard], int]:
    """An order, its trades, and two orders of the same consistent news with different repeats; how many were paid."""
    amount = draw(st.integers(1, AMOUNT_MINOR_MAX))
    rate_bp = draw(st.integers(0, FEE_RATE_BP_MAX))
    state = draw(st.sampled_from([state for state in OrderState if state is not OrderState.PAID]))
    order = an_order(state=state, told_unpaid=draw(st.booleans()), amount_minor=amount)
    trades, words, paid_count = list[Trade](), list[Heard](), 0
    for at in range(draw(st.integers(1, TRADES_MAX))):
        account = AccountId(10 + at)
        direction = draw(st.sampled_from(Direction))
        trades.append(
            a_trade(
                attempt=at + 1,
                direction=direction,
                account_id=account,
                amount_minor=amount,
                fee_terms=FeeTerms(rate_bp=rate_bp),
            )
        )
        is_paid = draw(st.booleans())
        paid_count += is_paid
        last = paid(order_minor=amount, account_id=account) if is_paid else refused(account_id=account)
        words.append((at, last))
        words += [(at, replace(word, account_id=account)) for word in draw(st.lists(said_before_the_end(), max_size=4))]
    orders = [draw(st.permutations(words + draw(st.lists(st.sampled_from(words), max_size=6)))) for _ in range(2)]
    by_other_ways = [
        (at, replace(word, source=draw(st.sampled_from([Source.QUERY, Source.NOTICE])))) for at, word in orders[1]
    ]
    return order, trades, orders[0], by_other_ways, paid_count


@given(histories())
def test_any_order_and_any_repeat_of_the_same_news_ends_alike(
    history: tuple[Order, list[Trade], list[Heard], list[Heard], int],
) -> None:
    order, trades, one_way, other_way, paid_count = history
    one, other = hear_all(order, trades, one_way), hear_all(order, trades, other_way)
    assert one.order.state is other.order.state
    assert one.net == other.net
    assert len(one.refunds) == len(other.refunds)
    assert [trade.state for trade in one.trades] == [trade.state for trade in other.trades]
    assert (one.order.state is OrderState.PAID) == (paid_count > 0 and not order.told_unpaid)


@given(histories())
def test_money_is_conserved_and_every_payment_but_one_goes_back(
    history: tuple[Order, list[Trade], list[Heard], list[Heard], int],
) -> None:
    order, trades, heard, _, paid_count = history
    end = hear_all(order, trades, heard)
    completed = end.order.state is OrderState.PAID
    assert sum(end.net.values()) == 0
    assert sum(total for account, total in end.net.items() if account.startswith("channel:")) == (
        paid_count * order.amount_minor
    )
    assert -end.net["refund_payable"] == (paid_count - completed) * order.amount_minor
    assert len(set(end.refunds)) == len(end.refunds) == paid_count - completed
    assert len({entry.key for entry in end.entries}) == len(end.entries)
    # All but a first payment that came the normal way are marked (I12).
    assert len(end.remedies) in {paid_count, paid_count - completed}
