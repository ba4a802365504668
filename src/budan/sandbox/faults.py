"""What can go wrong on purpose: the faults of one trade, and the odds by which the sandbox chooses them itself."""

import random
from typing import Annotated, Final, Literal

import msgspec

DELAY_S_MAX: Final = 3_600
TYPING_S_MAX: Final = 600
SLOW_MS_MAX: Final = 60_000
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


NO_FAULTS: Final = Faults()


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
            refund_ends="abnormal" if abnormal < odds.refund_abnormal else "done",
            amount_off_minor=odds.amount_off_minor if amount < odds.amount_off else 0,
            wrong_merchant=merchant < odds.wrong_merchant,
            stale_query_s=odds.stale_query_s if stale < odds.stale_query else 0,
            forge_notice=forged < odds.forge_notice,
            slow_ms=odds.slow_ms if slow < odds.slow else 0,
        )


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
    )
