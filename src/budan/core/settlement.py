"""What becomes of a settlement batch: it is open, paid out, and may come back."""

from collections.abc import Collection
from enum import Enum
from typing import assert_never

from budan.core.errors import Refused


class BatchState(Enum):
    """open → paid_out → returned → paid_out, as often as a bank sends it back."""

    OPEN = "open"  # to be paid out
    PAID_OUT = "paid_out"  # a bank has sent it
    RETURNED = "returned"  # it came back, and is to be paid out again


class PayoutAct(Enum):
    """What a person tells of a batch."""

    PAY_OUT = "pay_out"
    TAKE_BACK = "take_back"


def decide_payout(
    state: BatchState,
    *,
    kept_reference: str | None,
    returned_references: Collection[str],
    act: PayoutAct,
    reference: str,
) -> BatchState | None:
    """What a batch becomes by a person's word, None where it is that already: the bank's reference tells a repeat.

    `kept_reference` is the last payout's. Raises `Refused` with `payout_made` (by another reference), `payout_returned`
    (this very payout came back, lately or before: the next has a reference of its own), `payout_not_made` or
    `payout_reference_differs`.
    """
    match act:
        case PayoutAct.PAY_OUT:
            if reference in returned_references:
                raise Refused(
                    "payout_returned", param="reference", detail=f"{reference} came back: name the next payout"
                )
            return _decide_pay_out(state, kept_reference=kept_reference, reference=reference)
        case PayoutAct.TAKE_BACK:
            return _decide_take_back(state, kept_reference=kept_reference, reference=reference)
        case _:
            assert_never(act)


def _decide_pay_out(state: BatchState, *, kept_reference: str | None, reference: str) -> BatchState | None:
    match state:
        case BatchState.OPEN:
            return BatchState.PAID_OUT
        case BatchState.PAID_OUT:
            if reference != kept_reference:
                raise Refused("payout_made", param="reference", detail=f"paid out already, by {kept_reference}")
            return None
        case BatchState.RETURNED:
            return BatchState.PAID_OUT
        case _:
            assert_never(state)


def _decide_take_back(state: BatchState, *, kept_reference: str | None, reference: str) -> BatchState | None:
    if state is BatchState.OPEN:
        raise Refused("payout_not_made", param="batch")
    if reference != kept_reference:
        raise Refused("payout_reference_differs", param="reference", detail=f"it was paid out by {kept_reference}")
    return BatchState.RETURNED if state is BatchState.PAID_OUT else None


def decide_second_payout(
    state: BatchState,
    *,
    payout_references: Collection[str],
    second_references: Collection[str],
    returned_references: Collection[str],
    reference: str,
) -> bool:
    """Whether a transfer of what was paid out already is to be booked by this reference; False where it was before.

    Raises `Refused` with `payout_returned` (this second payout came back), `payout_made` (this is the payout itself) or
    `payout_not_made`.
    """
    if reference in returned_references:
        raise Refused("payout_returned", param="reference", detail=f"{reference} came back")
    if reference in second_references:
        return False
    if reference in payout_references:
        raise Refused("payout_made", param="reference", detail=f"{reference} is the payout itself, not a second one")
    if state is not BatchState.PAID_OUT:
        raise Refused("payout_not_made", param="batch", detail="a first payout is told without --second")
    return True
