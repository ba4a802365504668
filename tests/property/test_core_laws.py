from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from budan.core.evidence import Outcome, Source, evidence_digest
from budan.core.fees import FEE_RATE_BP_MAX, FeeTerms, fee
from budan.core.ledger import payment_entry
from budan.core.money import AMOUNT_MINOR_MAX, Money
from budan.core.numbers import (
    ALPHABET,
    ID_EPOCH,
    LANES_MAX,
    MERCHANT_ID_MAX,
    NUMBER_LENGTH,
    ORDINAL_MAX,
    AccountId,
    BadNumber,
    Environment,
    Lane,
    MerchantId,
    Number,
    NumberKind,
    OrderId,
    beijing_day,
    id_floor,
    lane_of,
    next_id,
    parse_number,
    render_number,
)
from builders import evidence, made_at

EPOCH_MS = int(ID_EPOCH.timestamp() * 1_000)
AMOUNTS = st.integers(0, AMOUNT_MINOR_MAX)
RATES = st.integers(0, FEE_RATE_BP_MAX)
NUMBERS = st.builds(
    Number,
    environment=st.sampled_from(Environment),
    kind=st.sampled_from(NumberKind),
    lane=st.integers(0, LANES_MAX - 1).map(Lane),
    merchant_id=st.integers(1, MERCHANT_ID_MAX).map(MerchantId),
    order_id=st.integers(1, (1 << 63) - 1).map(OrderId),
    ordinal=st.integers(0, ORDINAL_MAX),
)


def cny(amount_minor: int) -> Money:
    return Money(amount_minor=amount_minor, currency="CNY")


@given(NUMBERS)
def test_a_number_reads_back_as_it_was_written(number: Number) -> None:
    assert parse_number(render_number(number)) == number


@given(NUMBERS, st.integers(0, NUMBER_LENGTH - 1), st.sampled_from(ALPHABET))
def test_a_number_with_one_wrong_character_is_none(number: Number, at: int, character: str) -> None:
    text = render_number(number)
    wrong = text[:at] + character + text[at + 1 :]
    if wrong != text:
        with pytest.raises(BadNumber):
            parse_number(wrong)


@given(NUMBERS, st.integers(0, NUMBER_LENGTH - 2))
def test_a_number_with_two_neighbours_swapped_is_none(number: Number, at: int) -> None:
    text = render_number(number)
    swapped = text[:at] + text[at + 1] + text[at] + text[at + 2 :]
    if swapped != text:
        with pytest.raises(BadNumber):
            parse_number(swapped)


@given(st.text(alphabet=ALPHABET, min_size=NUMBER_LENGTH, max_size=NUMBER_LENGTH) | st.text())
def test_any_text_is_a_number_or_refused(text: str) -> None:
    """What comes from outside never raises anything else."""
    try:
        number = parse_number(text)
    except BadNumber:
        return
    assert render_number(number) == text


@given(NUMBERS)
def test_the_day_in_a_number_is_the_bill_day_of_its_order(number: Number) -> None:
    day = beijing_day(made_at(number.order_id))
    assert render_number(number)[1:7] == f"{day:%y%m%d}"


@given(st.integers(1, MERCHANT_ID_MAX).map(MerchantId), st.integers(1, LANES_MAX))
def test_every_merchant_has_a_lane(merchant_id: MerchantId, lanes: int) -> None:
    assert 0 <= lane_of(merchant_id, lanes=lanes) < lanes


# A process keeps its last id when it loses its number and takes another, lower or higher.
CLOCK_STEPS_MS = st.one_of(st.integers(-3, 3), st.sampled_from([-3_600_000, 3_600_000]))


@given(st.lists(st.tuples(CLOCK_STEPS_MS, st.integers(0, 1023)), max_size=60))
def test_ids_of_a_process_only_rise_however_its_clock_steps(steps: list[tuple[int, int]]) -> None:
    """A clock that was set back once stopped every order and notice until it had caught up."""
    now_ms, latest_ms, previous = EPOCH_MS + 100 * 3_600_000, 0, 0
    for step, process_number in steps:
        now_ms += step
        latest_ms = max(latest_ms, now_ms)
        identity = next_id(previous=previous, now_ms=now_ms, process_number=process_number)
        assert identity > previous
        assert identity >> 12 & 1023 == process_number
        assert id_floor(made_at(identity)) <= identity
        assert now_ms - EPOCH_MS <= identity >> 22 <= latest_ms - EPOCH_MS + len(steps)
        previous = identity


@given(AMOUNTS, RATES)
def test_a_fee_is_the_exact_share_rounded_half_up_and_never_above_the_amount(amount: int, rate_bp: int) -> None:
    charged = fee(cny(amount), FeeTerms(rate_bp=rate_bp)).amount_minor
    assert 0 <= charged <= amount
    assert -5_000 < charged * 10_000 - amount * rate_bp <= 5_000


@given(AMOUNTS, AMOUNTS, RATES, RATES)
def test_a_fee_grows_with_amount_and_rate(amount: int, other: int, rate_bp: int, other_bp: int) -> None:
    less, more = sorted((amount, other))
    lower, higher = sorted((rate_bp, other_bp))
    assert fee(cny(less), FeeTerms(rate_bp=lower)).amount_minor <= fee(cny(more), FeeTerms(rate_bp=higher)).amount_minor


@pytest.mark.invariant("I10")
@given(st.integers(1, AMOUNT_MINOR_MAX), RATES)
def test_a_payment_is_split_without_loss(amount: int, rate_bp: int) -> None:
    charged = fee(cny(amount), FeeTerms(rate_bp=rate_bp))
    entry = payment_entry(attempt=1, account_id=AccountId(7), merchant_id=MerchantId(42), paid=cny(amount), fee=charged)
    lines = {posting.account: posting.amount_minor for posting in entry.postings}
    assert lines["channel:7"] == amount
    assert -lines.get("merchant:42", 0) - lines.get("fee_income", 0) == amount


REFERENCES = st.none() | st.text(max_size=4)
STATEMENTS = st.builds(
    evidence,
    trade_no=st.sampled_from(["one", "other"]),
    outcome=st.just(Outcome.PAID),
    source=st.sampled_from(Source),
    order_minor=st.integers(0, 2),
    payer_minor=st.none() | st.integers(0, 2),
    currency=st.sampled_from(["CNY", "USD"]),
    channel_reference=REFERENCES,
    wallet_reference=REFERENCES,
    refunded_hint=st.booleans(),
)


@pytest.mark.invariant("I8")
@given(STATEMENTS, STATEMENTS, st.sampled_from(Source))
@settings(max_examples=300)
def test_two_statements_share_a_digest_only_if_they_say_the_same(one: object, other: object, source: Source) -> None:
    says_the_same = replace(one, source=source) == replace(other, source=source)
    is_bill = [statement.source is Source.BILL for statement in (one, other)]
    assert (evidence_digest(one) == evidence_digest(other)) == (says_the_same and is_bill[0] is is_bill[1])
