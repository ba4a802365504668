from datetime import date

import pytest

from budan.core.errors import Refused
from budan.core.ledger import Entry, payout_entry, payout_returned_entry, settlement_entry
from budan.core.money import Money
from budan.core.settlement import BatchState, PayoutAct, decide_payout, decide_second_payout
from builders import MERCHANT

DAY = date(2026, 11, 24)


def lines(entry: Entry) -> dict[str, int]:
    return {posting.account: posting.amount_minor for posting in entry.postings}


def a_batch(*, total: int, held_back: int = 0, released: int = 0) -> dict[str, int]:
    return lines(
        settlement_entry(
            day=DAY,
            merchant_id=MERCHANT,
            currency="CNY",
            total_minor=total,
            held_back_minor=held_back,
            released_minor=released,
        )
    )


@pytest.mark.invariant("I10")
@pytest.mark.parametrize(
    ("total", "held_back", "released", "expected"),
    [
        (1_000, 0, 0, {"merchant:42": 1_000, "payable:42": -1_000}),
        (1_000, 100, 0, {"merchant:42": 1_000, "payable:42": -900, "held_back:42": -100}),
        (1_000, 100, 100, {"merchant:42": 1_000, "payable:42": -1_000}),
        (-30, 0, 100, {"merchant:42": -30, "payable:42": -70, "held_back:42": 100}),
        (0, 0, 100, {"payable:42": -100, "held_back:42": 100}),
    ],
)
def test_a_batch_makes_payable_what_was_owed_less_what_stays(
    total: int, held_back: int, released: int, expected: dict[str, int]
) -> None:
    assert a_batch(total=total, held_back=held_back, released=released) == expected


@pytest.mark.parametrize(("total", "released"), [(0, 0), (-1, 0), (-100, 100)])
def test_a_batch_that_pays_nothing_cannot_be_built(total: int, released: int) -> None:
    with pytest.raises(AssertionError):
        a_batch(total=total, released=released)


@pytest.mark.invariant("I10")
def test_a_payout_that_comes_back_leaves_the_books_as_before() -> None:
    paid = payout_entry(ordinal=1, merchant_id=MERCHANT, payout=Money(amount_minor=70, currency="CNY"))
    back = payout_returned_entry(ordinal=1, merchant_id=MERCHANT, payout=Money(amount_minor=70, currency="CNY"))
    assert lines(paid) == {"payable:42": 70, "bank": -70}
    assert {account: -amount for account, amount in lines(back).items()} == lines(paid)
    assert paid.key != back.key


@pytest.mark.parametrize(
    ("state", "kept", "act", "reference", "expected"),
    [
        # "b0" was paid and came back before all this.
        (BatchState.RETURNED, "b1", PayoutAct.PAY_OUT, "b0", "payout_returned"),
        (BatchState.PAID_OUT, "b1", PayoutAct.PAY_OUT, "b0", "payout_returned"),
        (BatchState.OPEN, None, PayoutAct.PAY_OUT, "b1", BatchState.PAID_OUT),
        (BatchState.PAID_OUT, "b1", PayoutAct.PAY_OUT, "b1", None),
        (BatchState.PAID_OUT, "b1", PayoutAct.PAY_OUT, "b2", "payout_made"),
        (BatchState.RETURNED, "b1", PayoutAct.PAY_OUT, "b1", "payout_returned"),
        (BatchState.RETURNED, "b1", PayoutAct.PAY_OUT, "b2", BatchState.PAID_OUT),
        (BatchState.OPEN, None, PayoutAct.TAKE_BACK, "b1", "payout_not_made"),
        (BatchState.PAID_OUT, "b1", PayoutAct.TAKE_BACK, "b1", BatchState.RETURNED),
        (BatchState.PAID_OUT, "b1", PayoutAct.TAKE_BACK, "b2", "payout_reference_differs"),
        (BatchState.RETURNED, "b1", PayoutAct.TAKE_BACK, "b1", None),
        (BatchState.RETURNED, "b1", PayoutAct.TAKE_BACK, "b2", "payout_reference_differs"),
    ],
)
def test_the_banks_reference_tells_a_repeat_from_a_second_payout(
    state: BatchState, kept: str | None, act: PayoutAct, reference: str, expected: BatchState | str | None
) -> None:
    """A command that is typed twice must never send money twice, nor hide that it was sent."""
    returned = ["b0", "b1"] if state is BatchState.RETURNED else ["b0"]

    def decide() -> BatchState | None:
        return decide_payout(state, kept_reference=kept, returned_references=returned, act=act, reference=reference)

    if isinstance(expected, str):
        with pytest.raises(Refused) as refused:
            decide()
        assert refused.value.code == expected
    else:
        assert decide() is expected


@pytest.mark.parametrize(
    ("state", "reference", "expected"),
    [
        (BatchState.PAID_OUT, "b2", True),
        (BatchState.PAID_OUT, "s1", False),
        (BatchState.RETURNED, "s1", False),
        (BatchState.PAID_OUT, "s0", "payout_returned"),
        (BatchState.PAID_OUT, "b1", "payout_made"),
        (BatchState.OPEN, "b2", "payout_not_made"),
        (BatchState.RETURNED, "b2", "payout_not_made"),
    ],
)
def test_a_second_payout_is_one_of_a_batch_that_was_paid_out(
    state: BatchState, reference: str, *, expected: bool | str
) -> None:
    """It debits the merchant, so a first payout or a repeat must never be taken for one."""

    def decide() -> bool:
        return decide_second_payout(
            state,
            payout_references=["b1"],
            second_references=["s0", "s1"],
            returned_references=["s0"],
            reference=reference,
        )

    if isinstance(expected, str):
        with pytest.raises(Refused, match=expected):
            decide()
    else:
        assert decide() is expected
