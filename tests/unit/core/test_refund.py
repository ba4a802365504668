from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import pytest

from budan.core.evidence import Source
from budan.core.numbers import AccountId
from budan.core.refund import (
    OPEN_REFUND_STATES,
    Refund,
    RefundContradiction,
    RefundDecision,
    RefundEffect,
    RefundEvidence,
    RefundMismatch,
    RefundOrigin,
    RefundOutcome,
    RefundState,
    RefundTransition,
    RefundUnchanged,
    TradeRefunds,
    decide_refund,
    external_refund_minor,
    refund_evidence_digest,
    refund_settled_at,
)

NOW = datetime(2026, 1, 5, tzinfo=UTC)
SENT_UNTIL = NOW - timedelta(minutes=1)
ENDED = {RefundState.SUCCEEDED, RefundState.FAILED}
SOURCES = (Source.REPLY, Source.NOTICE, Source.QUERY)


def a_refund(**changes: Any) -> Refund:
    values: dict[str, Any] = {
        "ordinal": 1,
        "origin": RefundOrigin.MERCHANT,
        "state": RefundState.UNKNOWN,
        "account_id": AccountId(7),
        "amount_minor": 280,
        "owed_minor": 1_000,
        "currency": "CNY",
        "to_send": False,
        "send_until": SENT_UNTIL,
        **changes,
    }
    return Refund(**values)


def said(outcome: RefundOutcome, *, source: Source = Source.QUERY, **changes: Any) -> RefundEvidence:
    values: dict[str, Any] = {
        "refund_no": "R1",
        "trade_no": "T1",
        "account_id": AccountId(7),
        "outcome": outcome,
        "source": source,
        "learned_at": NOW,
        "asked_at": NOW if source is Source.QUERY else None,
        "amount_minor": 280 if outcome is RefundOutcome.SUCCEEDED else None,
        "currency": "CNY" if outcome is RefundOutcome.SUCCEEDED else None,
        **changes,
    }
    return RefundEvidence(**values)


def effect_of(decision: RefundDecision) -> RefundEffect | None:
    return decision.effect if isinstance(decision, RefundTransition) else None


def after(refund: Refund, decision: RefundDecision) -> Refund:
    return decision.refund if isinstance(decision, RefundTransition) else refund


def every_case() -> list[tuple[Refund, RefundEvidence]]:
    refunds = [
        a_refund(
            state=state, origin=origin, refused=refused, to_send=to_send, send_until=send_until, owed_minor=owed_minor
        )
        for state, origin, refused, to_send, send_until, owed_minor in product(
            RefundState, RefundOrigin, (False, True), (False, True), (None, SENT_UNTIL, NOW), (280, 0)
        )
        if not (state in ENDED and (refused or to_send))
    ]
    evidence = [
        said(outcome, source=source, sent=sent, to_repeat=outcome is RefundOutcome.UNKNOWN and repeat)
        for outcome, source, sent, repeat in product(RefundOutcome, SOURCES, (False, True), (False, True))
    ]
    return list(product(refunds, evidence))


def test_every_evidence_has_a_decision_and_a_repeat_changes_no_money() -> None:
    """Total, and safe to repeat (I8): a second copy never has an effect on money."""
    for refund, evidence in every_case():
        once = decide_refund(refund, evidence)
        again = decide_refund(after(refund, once), evidence)
        assert effect_of(again) in {None, RefundEffect.NOTHING}, (refund, evidence)


@pytest.mark.invariant("I5")
def test_an_amount_is_freed_only_by_a_querys_word() -> None:
    """Silence, time, a refusal alone and a notice free nothing; and nothing ends a refund that the channel may still pay."""
    for refund, evidence in every_case():
        decision = decide_refund(refund, evidence)
        if effect_of(decision) in {RefundEffect.FREE, RefundEffect.BEGIN_ANEW, RefundEffect.OVERTAKEN}:
            assert evidence.source is Source.QUERY
            assert evidence.outcome in {RefundOutcome.FAILED, RefundOutcome.NOT_FOUND}
            if evidence.outcome is RefundOutcome.NOT_FOUND:
                assert refund.refused
                assert refund.send_until is not None
                assert refund_settled_at(refund.send_until) < NOW
        if evidence.outcome in {RefundOutcome.UNKNOWN, RefundOutcome.PENDING}:
            assert (after(refund, decision).state in ENDED) == (refund.state in ENDED)


@pytest.mark.invariant("I9")
def test_a_payment_that_must_go_back_is_never_given_up() -> None:
    """A refusal of an unwanted payment's refund frees nothing: it is sent again, or begun anew under another number."""
    for refund, evidence in every_case():
        effect = effect_of(decide_refund(refund, evidence))
        if refund.origin is RefundOrigin.UNWANTED:
            assert effect is not RefundEffect.FREE
        if effect is RefundEffect.OVERTAKEN:
            assert (refund.origin, refund.owed_minor) == (RefundOrigin.UNWANTED, 0)


@pytest.mark.invariant("I6", "I9")
@pytest.mark.parametrize(
    ("owed_minor", "effect", "state"),
    [
        (280, RefundEffect.NOTHING, RefundState.UNKNOWN),
        (100, RefundEffect.BEGIN_ANEW, RefundState.FAILED),
        (0, RefundEffect.OVERTAKEN, RefundState.FAILED),
    ],
)
def test_a_refused_refund_that_a_portal_refund_overtook_ends_or_begins_anew_with_the_rest(
    owed_minor: int, effect: RefundEffect, state: RefundState
) -> None:
    """The channel will never take it: it was sent, refused and not found day after day."""
    refund = a_refund(origin=RefundOrigin.UNWANTED, refused=True, owed_minor=owed_minor)
    decision = decide_refund(refund, said(RefundOutcome.NOT_FOUND))
    assert (effect_of(decision), after(refund, decision).state) == (effect, state)


@pytest.mark.invariant("I6", "I9")
@pytest.mark.parametrize("refused", [True, False])
def test_what_the_channel_refused_and_does_not_know_is_in_no_total_until_it_is_sent_again(*, refused: bool) -> None:
    """Only then may a total that it tells be of portal refunds alone; of silence nobody knows what is on its way."""
    refund = a_refund(origin=RefundOrigin.UNWANTED, refused=refused)
    again = after(refund, decide_refund(refund, said(RefundOutcome.NOT_FOUND)))
    assert (again.to_send, again.untaken) == (True, refused)
    sent = replace(again, to_send=False, untaken=False)
    assert not after(sent, decide_refund(sent, said(RefundOutcome.FAILED, source=Source.REPLY))).untaken


@pytest.mark.parametrize("state", RefundState)
@pytest.mark.parametrize("source", SOURCES)
def test_money_that_went_back_is_booked_once_whatever_was_thought_before(state: RefundState, source: Source) -> None:
    decision = decide_refund(a_refund(state=state), said(RefundOutcome.SUCCEEDED, source=source))
    expected = {RefundState.SUCCEEDED: None, RefundState.FAILED: RefundEffect.GIVE_BACK_FREED}
    assert effect_of(decision) is expected.get(state, RefundEffect.GIVE_BACK)
    assert after(a_refund(state=state), decision).state is RefundState.SUCCEEDED


def test_a_refusal_waits_for_a_query_and_the_query_frees() -> None:
    refund = a_refund(state=RefundState.CREATED, to_send=True)
    refused = after(refund, decide_refund(refund, said(RefundOutcome.FAILED, source=Source.REPLY)))
    assert (refused.state, refused.refused, refused.to_send) == (RefundState.UNKNOWN, True, False)
    decision = decide_refund(refused, said(RefundOutcome.NOT_FOUND))
    assert (after(refused, decision).state, effect_of(decision)) == (RefundState.FAILED, RefundEffect.FREE)


def test_a_refusal_is_not_confirmed_while_an_earlier_copy_may_arrive() -> None:
    refused = a_refund(refused=True, send_until=NOW)
    for asked_at in (NOW, refund_settled_at(NOW)):
        decision = decide_refund(refused, said(RefundOutcome.NOT_FOUND, asked_at=asked_at))
        assert decision == RefundUnchanged(reason="not_found_yet")


def test_a_refused_request_whose_earlier_copy_was_taken_goes_on() -> None:
    refused = a_refund(refused=True)
    decision = decide_refund(refused, said(RefundOutcome.PENDING))
    assert after(refused, decision) == a_refund(state=RefundState.SUBMITTED)


def test_what_never_arrived_is_sent_again_under_its_number() -> None:
    lost = a_refund()
    assert after(lost, decide_refund(lost, said(RefundOutcome.NOT_FOUND))).to_send
    unsent = a_refund(state=RefundState.CREATED)
    decision = decide_refund(unsent, said(RefundOutcome.UNKNOWN, source=Source.REPLY, sent=False))
    assert after(unsent, decision) == replace(unsent, to_send=True)


@pytest.mark.invariant("I5")
@pytest.mark.invariant("I6")
@pytest.mark.parametrize("refused", [False, True])
@pytest.mark.parametrize("state", [RefundState.SUBMITTED, RefundState.UNKNOWN])
def test_what_the_channel_wants_again_is_sent_again_and_frees_nothing(state: RefundState, *, refused: bool) -> None:
    unsure = said(RefundOutcome.UNKNOWN, to_repeat=True)
    refund = a_refund(state=state, refused=refused)
    decision = decide_refund(refund, unsure)
    assert effect_of(decision) is RefundEffect.NOTHING
    assert after(refund, decision) == a_refund(state=RefundState.UNKNOWN, to_send=True)
    early = replace(unsure, asked_at=refund_settled_at(SENT_UNTIL))
    silence = said(RefundOutcome.UNKNOWN)
    for evidence in (early, silence, replace(unsure, source=Source.REPLY, asked_at=None)):
        assert decide_refund(refund, evidence) == RefundUnchanged(reason="unclear")
    abnormal = a_refund(state=RefundState.ABNORMAL)
    assert decide_refund(abnormal, unsure) == RefundUnchanged(reason="unclear")


def test_a_dead_card_asks_for_a_person_and_can_still_end_well() -> None:
    refund = a_refund(state=RefundState.SUBMITTED)
    decision = decide_refund(refund, said(RefundOutcome.ABNORMAL, source=Source.NOTICE))
    assert effect_of(decision) is RefundEffect.ASK_PERSON
    abnormal = after(refund, decision)
    assert abnormal.state in OPEN_REFUND_STATES
    assert effect_of(decide_refund(abnormal, said(RefundOutcome.SUCCEEDED))) is RefundEffect.GIVE_BACK


@pytest.mark.invariant("I4")
@pytest.mark.parametrize(
    ("changes", "mismatch"),
    [
        ({"account_id": AccountId(8)}, RefundMismatch.WRONG_ACCOUNT),
        ({"currency": "USD"}, RefundMismatch.WRONG_CURRENCY),
        ({"amount_minor": 281}, RefundMismatch.WRONG_AMOUNT),
    ],
)
def test_evidence_that_does_not_fit_is_a_contradiction(changes: dict[str, Any], mismatch: RefundMismatch) -> None:
    decision = decide_refund(a_refund(), said(RefundOutcome.SUCCEEDED, **changes))
    assert decision == RefundContradiction(mismatch=mismatch)


def test_a_refund_that_was_done_and_is_now_denied_is_a_contradiction() -> None:
    done = a_refund(state=RefundState.SUCCEEDED)
    for source in (Source.QUERY, Source.NOTICE):
        decision = decide_refund(done, said(RefundOutcome.FAILED, source=source))
        assert decision == RefundContradiction(mismatch=RefundMismatch.REFUND_DENIED)
    assert effect_of(decide_refund(done, said(RefundOutcome.FAILED, source=Source.REPLY))) is None


def test_the_same_news_has_one_digest_however_it_came() -> None:
    news = said(RefundOutcome.SUCCEEDED)
    later = said(RefundOutcome.SUCCEEDED, source=Source.NOTICE, learned_at=NOW + timedelta(days=1))
    assert refund_evidence_digest(news) == refund_evidence_digest(later)
    assert refund_evidence_digest(news) != refund_evidence_digest(replace(news, amount_minor=281))


def sums(**changes: int) -> TradeRefunds:
    values = {
        "paid_minor": 1_000,
        "reserved_minor": 0,
        "refunded_minor": 0,
        "elsewhere_minor": 0,
        "fee_given_back_minor": 0,
        **changes,
    }
    return TradeRefunds(**values)


def test_a_total_tells_what_our_own_refunds_leave_over() -> None:
    told = said(RefundOutcome.SUCCEEDED, amount_minor=None, refunded_total_minor=500)
    assert external_refund_minor(sums(), told, untaken_minor=0) == 500
    assert external_refund_minor(sums(refunded_minor=200, elsewhere_minor=100), told, untaken_minor=0) == 200
    assert external_refund_minor(sums(refunded_minor=500), told, untaken_minor=0) == 0
    assert external_refund_minor(sums(reserved_minor=1), told, untaken_minor=0) is None
    assert external_refund_minor(sums(reserved_minor=1), told, untaken_minor=1) == 500
    alone = said(RefundOutcome.SUCCEEDED, amount_minor=300)
    assert external_refund_minor(sums(reserved_minor=1), alone, untaken_minor=0) == 300


def test_what_is_left_counts_promises_and_what_went_back_past_us() -> None:
    assert sums(reserved_minor=100, refunded_minor=200, elsewhere_minor=300).left_minor == 400
