"""What can go wrong on purpose: the faults of one trade, and the odds by which the sandbox chooses them itself."""

import random
from collections.abc import Mapping
from typing import Annotated, Final, Literal

import msgspec

DELAY_S_MAX: Final = 3_600
TYPING_S_MAX: Final = 600
SLOW_MS_MAX: Final = 60_000
# A notice that waits to be overtaken leaves after this long in any case.
REORDER_S_MAX: Final = 10
AMOUNT_OFF_MAX: Final = 1_000_000

DelaySeconds = Annotated[float, msgspec.Meta(ge=0, le=DELAY_S_MAX)]
TypingSeconds = Annotated[float, msgspec.Meta(ge=0, le=TYPING_S_MAX)]
SlowMilliseconds = Annotated[int, msgspec.Meta(ge=0, le=SLOW_MS_MAX)]
AmountOff = Annotated[int, msgspec.Meta(ge=-AMOUNT_OFF_MAX, le=AMOUNT_OFF_MAX)]
Probability = Annotated[float, msgspec.Meta(ge=0, le=1)]
TypingEnd = Literal["paid", "failed"]
RefundEnd = Literal["done", "abnormal", "closed"]


class Faults(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True, gc=False):
    """The faults of one trade; all at rest by default.

    `drop_notice` loses every repeat too. `timeout_after_charge` and `busy` take effect after the order was placed or
    the money taken, `timeout_before_charge` before anything was recorded. `user_paying_s` is for code payments.
    `retry_cancel` makes the first cancel answer retry_flag=Y and do nothing.

    `reorder_notice` holds the payment's notice back until another notice of the same account has left, a refund's of the
    same trade too, 10 s at most.

    A channel that lies of a payment: `amount_off_minor` is added to the amount that its notice and its answers tell,
    `wrong_merchant` makes them name somebody else, `stale_query_s` lets queries say "not paid" for so long after the
    payment, and before its notice `forge_notice` sends a copy that was changed on its way.

    Refunds meet the same ones: their own notice, answers lost before or after the money went back, `busy` after it did.
    `refund_refused` says that the shop has no money there; `refund_takes_s` and `refund_ends` are of a refund that was
    accepted, and `tell_refund` makes Alipay announce it as a payment's repeated notice.
    """

    drop_notice: bool = False
    double_notice: bool = False
    delay_notice_s: DelaySeconds = 0
    timeout_before_charge: bool = False
    timeout_after_charge: bool = False
    busy: bool = False
    user_paying_s: TypingSeconds = 0
    user_paying_ends: TypingEnd = "paid"
    retry_cancel: bool = False
    refund_refused: bool = False
    refund_takes_s: TypingSeconds = 0
    refund_ends: RefundEnd = "done"
    tell_refund: bool = False
    amount_off_minor: AmountOff = 0
    wrong_merchant: bool = False
    stale_query_s: DelaySeconds = 0
    forge_notice: bool = False
    slow_ms: SlowMilliseconds = 0
    reorder_notice: bool = False

    @property
    def notice_wait_s(self) -> float:
        """How long a payment's notice waits at most before it leaves."""
        return max(self.delay_notice_s, REORDER_S_MAX if self.reorder_notice else 0)


NO_FAULTS: Final = Faults()

# Amounts that a shop's programmer may use once they are put in force: ¥1.01 loses its notice, and so on.
DOCUMENTED_AMOUNTS: Final[Mapping[int, Faults]] = {
    101: Faults(drop_notice=True),
    102: Faults(double_notice=True),
    103: Faults(delay_notice_s=10),
    104: Faults(reorder_notice=True),
    105: Faults(forge_notice=True),
    106: Faults(timeout_before_charge=True),
    107: Faults(timeout_after_charge=True),
    108: Faults(busy=True),
    109: Faults(user_paying_s=10),
    110: Faults(user_paying_s=10, user_paying_ends="failed"),
    111: Faults(amount_off_minor=-1),
    112: Faults(wrong_merchant=True),
    113: Faults(stale_query_s=10),
    114: Faults(slow_ms=3_000),
    115: Faults(retry_cancel=True),
    121: Faults(refund_refused=True),
    122: Faults(refund_takes_s=10),
    123: Faults(refund_ends="abnormal"),
    124: Faults(refund_ends="closed"),
    125: Faults(tell_refund=True),
}


class BillFaults(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is wrong with the bills of an account; all at rest by default.

    `creating` has no bill yet. The rows: `next_day_row` tells the last payment as made after midnight, `refunds_first`
    puts what goes back before what was paid, `extra_row` adds a payment that nobody made, `missing_row` leaves the
    first payment out, `wrong_fee` takes a fen too much for it. These agree with their summary; `wrong_summary` does
    not, and `cut_off` loses the end of the file.
    """

    creating: bool = False
    next_day_row: bool = False
    refunds_first: bool = False
    extra_row: bool = False
    missing_row: bool = False
    wrong_fee: bool = False
    wrong_summary: bool = False
    cut_off: bool = False


NO_BILL_FAULTS: Final = BillFaults()


class FaultOdds(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How likely each fault is for a trade whose faults nobody chose; the `_s` and `_ms` fields say how much.

    `user_paying_fails` is the share of the payers who type and then do not pay.
    """

    drop_notice: Probability = 0.0
    double_notice: Probability = 0.0
    delay_notice: Probability = 0.0
    delay_notice_s: DelaySeconds = 5
    timeout_before_charge: Probability = 0.0
    timeout_after_charge: Probability = 0.0
    busy: Probability = 0.0
    user_paying: Probability = 0.0
    user_paying_s: TypingSeconds = 8
    user_paying_fails: Probability = 0.0
    retry_cancel: Probability = 0.0
    refund_refused: Probability = 0.0
    refund_abnormal: Probability = 0.0
    refund_takes: Probability = 0.0
    refund_takes_s: TypingSeconds = 5
    amount_off: Probability = 0.0
    amount_off_minor: AmountOff = -1
    wrong_merchant: Probability = 0.0
    stale_query: Probability = 0.0
    stale_query_s: DelaySeconds = 10
    forge_notice: Probability = 0.0
    slow: Probability = 0.0
    slow_ms: SlowMilliseconds = 1_000
    reorder_notice: Probability = 0.0
    refund_closed: Probability = 0.0
    tell_refund: Probability = 0.0


NO_ODDS: Final = FaultOdds()


class Dice:
    """Draws faults by the odds of the moment; the same seed and the same calls give the same faults."""

    def __init__(self, *, seed: int) -> None:
        # Chaos must be repeatable, and nothing secret depends on it.
        self._random = random.Random(seed)  # noqa: S311 - a seeded run is the purpose

    def draw(self, odds: FaultOdds) -> Faults:
        """The faults of the next trade."""
        if odds == NO_ODDS:
            return NO_FAULTS
        # Each fault has its own number in each draw, so that changing one's odds moves no other.
        drop, double, delay, before, after, busy, typing, fails, retry, slow = (
            self._random.random() for _ in range(10)
        )
        refused, abnormal, takes = (self._random.random() for _ in range(3))
        amount, merchant, stale, forged = (self._random.random() for _ in range(4))
        reordered, closed, told = (self._random.random() for _ in range(3))
        return Faults(
            drop_notice=drop < odds.drop_notice,
            double_notice=double < odds.double_notice,
            delay_notice_s=odds.delay_notice_s if delay < odds.delay_notice else 0,
            timeout_before_charge=before < odds.timeout_before_charge,
            timeout_after_charge=after < odds.timeout_after_charge,
            busy=busy < odds.busy,
            user_paying_s=odds.user_paying_s if typing < odds.user_paying else 0,
            user_paying_ends="failed" if fails < odds.user_paying_fails else "paid",
            retry_cancel=retry < odds.retry_cancel,
            refund_refused=refused < odds.refund_refused,
            refund_takes_s=odds.refund_takes_s if takes < odds.refund_takes else 0,
            refund_ends=_refund_end(is_closed=closed < odds.refund_closed, is_abnormal=abnormal < odds.refund_abnormal),
            tell_refund=told < odds.tell_refund,
            amount_off_minor=odds.amount_off_minor if amount < odds.amount_off else 0,
            wrong_merchant=merchant < odds.wrong_merchant,
            stale_query_s=odds.stale_query_s if stale < odds.stale_query else 0,
            forge_notice=forged < odds.forge_notice,
            slow_ms=odds.slow_ms if slow < odds.slow else 0,
            reorder_notice=reordered < odds.reorder_notice,
        )


def _refund_end(*, is_closed: bool, is_abnormal: bool) -> RefundEnd:
    if is_closed:
        return "closed"
    return "abnormal" if is_abnormal else "done"


def with_notice_faults(faults: Faults, *, of: Faults) -> Faults:
    """`faults` with those of a payment's telling taken from `of`: they are drawn when it is paid."""
    return msgspec.structs.replace(
        faults,
        drop_notice=of.drop_notice,
        double_notice=of.double_notice,
        delay_notice_s=of.delay_notice_s,
        amount_off_minor=of.amount_off_minor,
        wrong_merchant=of.wrong_merchant,
        stale_query_s=of.stale_query_s,
        forge_notice=of.forge_notice,
        reorder_notice=of.reorder_notice,
    )
