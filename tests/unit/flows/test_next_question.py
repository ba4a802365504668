"""When an answer leaves a trade or a refund open, the next look is due by its age, what was heard, and the account's notices."""

from datetime import timedelta

import pytest

from budan.core.evidence import Outcome, Source
from budan.core.health import NoticeHealth
from budan.core.numbers import Environment, Lane, OrderId
from budan.core.pace import COMING_AGES_S, MISSING_AGES_S, PERSON_AFTER, QUERY_LADDER_B2C_S, UNKNOWN_AGES_S
from budan.core.refund import RefundEvidence, RefundOutcome, TradeRefunds
from budan.core.trade import Direction, Trade, TradeState
from budan.flows.door_plan import UNSENT_DELAY, Heard, Subject, _next_question
from budan.flows.refund_plan import RefundSubject, Writes, plan_refund
from budan.store.door import DoorWrites, LockedOrder, LockedTrade, NextQuestion
from budan.store.refunds import RefundRow, RefundWrites
from builders import CREATED_AT, EXPIRES_AT, TRADE_NO, a_trade, an_order, evidence

# Not among those that are asked about young.
PLAIN_ORDER = OrderId(2)
UNSENT_REFUND = RefundRow(
    lane=Lane(17),
    order_id=PLAIN_ORDER,
    ordinal=1,
    attempt=1,
    origin="merchant",
    state="created",
    amount_minor=280,
    currency="CNY",
    reason="",
    created_at=CREATED_AT - timedelta(minutes=1),
    intent=None,
    to_send=True,
    refused=False,
    untaken=False,
    send_until=None,
    # The channel takes refunds of one trade a minute apart; the wait for that is no failure.
    send_after=CREATED_AT,
    channel_reference=None,
    refunded_at=None,
    ended_at=None,
    fee_given_back_minor=0,
    code="",
    message="",
    by_total=False,
)


def locked(*, age_s: float) -> LockedOrder:
    return LockedOrder(
        lane=17,
        order_id=PLAIN_ORDER,
        version=1,
        order=an_order(),
        reference="r",
        subject="tea",
        created_at=CREATED_AT,
        expires_at=EXPIRES_AT,
        trade_count=1,
        refund_count=0,
        now=CREATED_AT + timedelta(seconds=age_s),
    )


def locked_trade(trade: Trade) -> LockedTrade:
    return LockedTrade(
        trade=trade,
        channel="wechat_v3",
        method="native",
        created_at=CREATED_AT,
        paid_at=None,
        channel_reference=None,
        refunds=TradeRefunds(
            paid_minor=0, reserved_minor=0, refunded_minor=0, elsewhere_minor=0, fee_given_back_minor=0
        ),
    )


def ask_next(
    *,
    age_s: float,
    attempts: int = 0,
    notices: NoticeHealth = NoticeHealth.MISSING,
    direction: Direction = Direction.C2B,
    sent: bool = True,
    outcome: Outcome = Outcome.UNPAID_OPEN,
) -> NextQuestion:
    trade = a_trade(direction=direction)
    subject = Subject(locked=locked(age_s=age_s), trade=locked_trade(trade), siblings=())
    answer = evidence(outcome=outcome, source=Source.QUERY, sent=sent)
    return _next_question(subject, Heard(evidence=answer, notices=notices, asked_attempts=attempts), trade, attempts)


def due_age_s(question: NextQuestion) -> float:
    assert question.due_at
    return (question.due_at - CREATED_AT).total_seconds()


def test_a_c2b_trade_is_asked_about_by_its_age_and_its_accounts_notices() -> None:
    assert due_age_s(ask_next(age_s=3, notices=NoticeHealth.UNKNOWN)) == UNKNOWN_AGES_S[1]
    assert due_age_s(ask_next(age_s=7)) == MISSING_AGES_S[1]
    assert due_age_s(ask_next(age_s=7, notices=NoticeHealth.COMING)) == COMING_AGES_S[0]


def test_a_b2c_trade_keeps_its_ladder_whatever_its_accounts_notices_do() -> None:
    """The channels' documents say how often they want to be asked while a payer stands at the desk."""
    for notices in NoticeHealth:
        question = ask_next(age_s=4, attempts=1, notices=notices, direction=Direction.B2C)
        assert due_age_s(question) == 4 + QUERY_LADDER_B2C_S[2]
        assert question.attempts == 2


@pytest.mark.parametrize("direction", Direction)
def test_a_question_that_never_left_counts_for_nothing_and_rests(direction: Direction) -> None:
    """After an outage of the channel a young order must not wait long, and what is refused must not be asked hotly."""
    question = ask_next(age_s=1, notices=NoticeHealth.COMING, direction=direction, sent=False)
    assert question.attempts == 0
    assert due_age_s(question) == 1 + UNSENT_DELAY.total_seconds()


@pytest.mark.invariant("I6")
@pytest.mark.parametrize("notices", NoticeHealth)
def test_a_question_that_nothing_was_learned_by_is_asked_again_soon_although_notices_come(
    notices: NoticeHealth,
) -> None:
    """A payment whose notice is lost while its channel is silent for a moment must not wait for the next quiet age."""
    question = ask_next(age_s=8, notices=notices, outcome=Outcome.UNKNOWN)
    assert question.attempts == 1
    assert due_age_s(question) == MISSING_AGES_S[1]


@pytest.mark.invariant("I6")
def test_a_trade_that_nobody_can_pay_any_more_and_no_answer_ends_is_shown_and_asked_on() -> None:
    over_s = (EXPIRES_AT + PERSON_AFTER - CREATED_AT).total_seconds()
    assert not ask_next(age_s=over_s - 1, attempts=40).needs_person
    shown = ask_next(age_s=over_s + 1, attempts=40)
    assert shown.needs_person
    assert due_age_s(shown) > over_s
    climbed = ask_next(age_s=5_000, attempts=len(QUERY_LADDER_B2C_S), direction=Direction.B2C)
    assert climbed.needs_person
    assert due_age_s(climbed) == 5_000 + QUERY_LADDER_B2C_S[-1]


@pytest.mark.invariant("I6")
@pytest.mark.parametrize(("age_s", "wait_s"), [(0, 2), (600, 60), (432_000, 300)])
def test_a_refund_whose_account_cannot_be_used_is_tried_ever_more_rarely_and_soon_once_it_can(
    age_s: float, wait_s: float
) -> None:
    """Each try is a transaction of the door: at two seconds for ever, a thousand refunds would be 500 of them a second."""
    trade = a_trade(state=TradeState.SUCCEEDED)
    subject = RefundSubject(locked=locked(age_s=age_s), trade=locked_trade(trade), refunds=())
    unsent = RefundEvidence(
        refund_no="R1",
        trade_no=TRADE_NO,
        account_id=trade.account_id,
        outcome=RefundOutcome.UNKNOWN,
        source=Source.REPLY,
        learned_at=subject.locked.now,
        sent=False,
    )
    writes = Writes(door=DoorWrites(), refunds=RefundWrites())
    plan_refund(subject, UNSENT_REFUND, unsent, writes, attempts=0, environment=Environment.TEST)
    (step,) = writes.refunds.steps
    assert step.due_at
    assert (step.attempts, (step.due_at - subject.locked.now).total_seconds()) == (0, wait_s)
