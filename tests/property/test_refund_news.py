"""Money is conserved whatever is said of refunds, in any order and however often: the real plan on rows in memory."""

from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budan.core.cashback import (
    Cashback,
    CashbackCause,
    CashbackOffer,
    Funder,
    grant_cashback,
    settle_cashback,
)
from budan.core.evidence import Source
from budan.core.fees import FEE_RATE_BP_MAX, FeeTerms, correct_fee, fee
from budan.core.ledger import Entry, cashback_entry, fee_correction_entry, payment_entry
from budan.core.money import Money
from budan.core.numbers import AccountId, Environment, Lane, MerchantId
from budan.core.refund import RefundEvidence, RefundOutcome, RefundState, TradeRefunds
from budan.core.trade import TradeState
from budan.flows.cashback_plan import plan_settled
from budan.flows.refund_plan import RefundSubject, Writes, plan_external, plan_refund
from budan.store.door import DoorWrites, LockedOrder, LockedTrade
from budan.store.refunds import RefundRow, RefundWrites
from builders import ORDER_ID, a_trade, an_order

pytestmark = pytest.mark.invariant("I8", "I10")

NOW = datetime(2026, 1, 5, tzinfo=UTC)
ACCOUNT, MERCHANT, LANE = AccountId(7), MerchantId(42), Lane(17)
REFUNDS_MAX = 4
EARLY, LATE = NOW - timedelta(minutes=5), NOW + timedelta(minutes=5)


@dataclass(slots=True)
class Books:
    """One paid trade with its refunds, as the store would keep them."""

    paid_minor: int
    terms: FeeTerms
    refunds: list[RefundRow]
    sums: TradeRefunds
    cashback: Cashback
    version: int = 1
    is_held: bool = False
    entries: list[Entry] = field(default_factory=list[Entry])

    def subject(self) -> RefundSubject:
        trade = a_trade(
            state=TradeState.SUCCEEDED,
            paid_seen=True,
            account_id=ACCOUNT,
            amount_minor=self.paid_minor,
            fee_terms=self.terms,
        )
        locked = LockedOrder(
            lane=LANE,
            order_id=ORDER_ID,
            version=self.version,
            order=replace(
                an_order(amount_minor=self.paid_minor), paid_attempt=1, hold_reason="held" if self.is_held else None
            ),
            reference="r",
            subject="Latte",
            created_at=NOW,
            expires_at=NOW,
            trade_count=1,
            refund_count=len(self.refunds),
            now=NOW,
        )
        row = LockedTrade(
            trade=trade,
            channel="wechat_v3",
            method="native",
            created_at=NOW,
            paid_at=NOW,
            channel_reference=None,
            refunds=self.sums,
        )
        return RefundSubject(locked=locked, trade=row, refunds=tuple(self.refunds), cashback=self.cashback)

    def hear(self, at: int | None, evidence: RefundEvidence) -> None:
        """The door of refunds on these rows; `at` None is a refund that is none of ours."""
        writes, subject = Writes(door=DoorWrites(), refunds=RefundWrites()), self.subject()
        if at is None:
            plan_external(subject, evidence, writes, environment=Environment.LOCAL)
        else:
            plan_refund(subject, self.refunds[at], evidence, writes, attempts=None, environment=Environment.LOCAL)
        self.apply(writes)

    def apply(self, writes: Writes) -> None:
        assert len(writes.door.orders) <= 1
        self.version += len(writes.door.orders)
        self.is_held |= any(change.hold_reason for change in writes.door.orders)
        for moved in writes.door.cashbacks:
            assert moved.taken_minor <= 0, "a refund takes nothing of a budget"
            self.cashback = moved.after
        for one in writes.refunds.sums:
            self.sums = replace(
                self.sums,
                reserved_minor=self.sums.reserved_minor + one.reserved_minor,
                refunded_minor=self.sums.refunded_minor + one.refunded_minor,
                elsewhere_minor=self.sums.elsewhere_minor + one.elsewhere_minor,
                fee_given_back_minor=self.sums.fee_given_back_minor + one.fee_minor,
            )
        for change in writes.refunds.changes:
            row = self.refunds[change.refund.ordinal - 1]
            self.refunds[change.refund.ordinal - 1] = replace(
                row,
                state=change.refund.state.value,
                to_send=change.refund.to_send,
                refused=change.refund.refused,
                untaken=change.refund.untaken,
                channel_reference=change.evidence.channel_reference or row.channel_reference,
            )
        for made in writes.refunds.made:
            self.refunds.append(a_row(made.ordinal, made.amount_minor, origin=made.origin, state=made.state))
            self.refunds[-1] = replace(self.refunds[-1], channel_reference=made.channel_reference)
        self.entries += [entry for _, entry in writes.door.entries]
        self.check()

    def check(self) -> None:
        """What the table's CHECK and the books promise at every moment."""
        sums = self.sums
        assert sums.reserved_minor >= 0
        assert sums.refunded_minor >= 0
        assert sums.reserved_minor + sums.refunded_minor <= self.paid_minor
        assert 0 <= sums.fee_given_back_minor <= fee(self.paid(), self.terms).amount_minor
        assert len({entry.key for entry in self.entries}) == len(self.entries)
        assert -self.net["cashback_payable"] == self.cashback.booked_minor
        left = self.paid_minor - min(self.paid_minor, sums.gone_minor)
        # Within half a unit of the part of the payment that is not back.
        part = self.cashback.standing_minor * self.paid_minor - self.cashback.granted_minor * left
        assert abs(2 * part) <= self.paid_minor

    def release(self) -> None:
        """Two persons lift the hold that a refund made elsewhere set; what waited for that is booked."""
        self.is_held, writes, subject = False, Writes(door=DoorWrites(), refunds=RefundWrites()), self.subject()
        cause = CashbackCause.RELEASED
        plan_settled(subject.locked, subject.trade, self.cashback, writes.door, cause=cause, is_held=False)
        self.apply(writes)

    def correct(self, after: FeeTerms) -> None:
        """What a person's correction writes and puts in force."""
        correction = correct_fee(
            self.paid(),
            before=self.terms,
            after=after,
            refunded_minor=self.sums.gone_minor,
            given_minor=self.sums.fee_given_back_minor,
        )
        if correction.owed_minor:
            owed = Money(amount_minor=abs(correction.owed_minor), currency="CNY")
            act = len(self.entries)
            is_ours = correction.owed_minor > 0
            self.entries.append(fee_correction_entry(act=act, merchant_id=MERCHANT, owed=owed, is_ours=is_ours))
        self.terms = after
        self.sums = replace(self.sums, fee_given_back_minor=correction.given_back_minor)
        self.check()

    @property
    def kept_minor(self) -> int:
        """The fee in force less what of it went back."""
        return fee(self.paid(), self.terms).amount_minor - self.sums.fee_given_back_minor

    def paid(self) -> Money:
        return Money(amount_minor=self.paid_minor, currency="CNY")

    @property
    def net(self) -> Counter[str]:
        totals = Counter[str]()
        for entry in self.entries:
            for line in entry.postings:
                totals[line.account] += line.amount_minor
        return totals


def a_row(ordinal: int, amount_minor: int, *, origin: str = "merchant", state: str = "created") -> RefundRow:
    return RefundRow(
        lane=LANE,
        order_id=ORDER_ID,
        ordinal=ordinal,
        attempt=1,
        origin=origin,
        state=state,
        amount_minor=amount_minor,
        currency="CNY",
        reason="",
        created_at=NOW,
        intent=None,
        to_send=state == "created",
        refused=False,
        untaken=False,
        send_until=NOW - timedelta(minutes=1),
        send_after=None,
        channel_reference=None,
        refunded_at=None,
        ended_at=None,
        fee_given_back_minor=0,
        code="",
        message="",
        by_total=False,
    )


def open_books(amounts: list[int], *, paid_minor: int, terms: FeeTerms) -> Books:
    paid = Money(amount_minor=paid_minor, currency="CNY")
    entry = payment_entry(attempt=1, account_id=ACCOUNT, merchant_id=MERCHANT, paid=paid, fee=fee(paid, terms))
    # Half of the payment, of the merchant's money.
    offer = CashbackOffer(plan_id=1, funded_by=Funder.MERCHANT, amount_minor=(paid_minor + 1) // 2)
    cashback = settle_cashback(
        grant_cashback(offer, budget_left_minor=offer.amount_minor),
        payer_id="Bob",
        is_held=False,
        gone_minor=0,
        promised_minor=0,
        paid_minor=paid_minor,
    )
    given = cashback_entry(
        ordinal=1,
        merchant_id=MERCHANT,
        funded_by=Funder.MERCHANT,
        given=Money(amount_minor=cashback.booked_minor, currency="CNY"),
        is_back=False,
    )
    return Books(
        paid_minor=paid_minor,
        terms=terms,
        cashback=cashback,
        refunds=[a_row(at + 1, amount) for at, amount in enumerate(amounts)],
        sums=TradeRefunds(
            paid_minor=paid_minor,
            reserved_minor=sum(amounts),
            refunded_minor=0,
            elsewhere_minor=0,
            fee_given_back_minor=0,
        ),
        entries=[entry, given],
    )


def says(
    outcome: RefundOutcome, source: Source, *, amount: int | None = None, asked_at: datetime = LATE
) -> RefundEvidence:
    return RefundEvidence(
        refund_no="R",
        trade_no="T",
        account_id=ACCOUNT,
        outcome=outcome,
        source=source,
        learned_at=NOW,
        asked_at=asked_at if source is Source.QUERY else None,
        amount_minor=amount,
        currency="CNY" if amount is not None else None,
    )


# What may be said of any refund before its end is told, whatever that end is.
BEFORE = [
    says(RefundOutcome.UNKNOWN, Source.REPLY),
    says(RefundOutcome.UNKNOWN, Source.QUERY),
    says(RefundOutcome.PENDING, Source.REPLY),
    says(RefundOutcome.PENDING, Source.QUERY),
    says(RefundOutcome.FAILED, Source.REPLY),
    says(RefundOutcome.ABNORMAL, Source.NOTICE),
    says(RefundOutcome.NOT_FOUND, Source.QUERY, asked_at=EARLY),
]

News = tuple[int | None, RefundEvidence]


@st.composite
def fee_terms(draw: st.DrawFn) -> FeeTerms:
    """Terms with bounds that are often reached."""
    minimum = draw(st.just(0) | st.integers(0, 500))
    maximum = draw(st.none() | st.integers(minimum, minimum + 500))
    return FeeTerms(rate_bp=draw(st.integers(0, FEE_RATE_BP_MAX)), minimum_minor=minimum, maximum_minor=maximum)


@dataclass(frozen=True, slots=True)
class Case:
    """Refunds of one trade, which of them went back in truth, and two orders of the same news."""

    paid_minor: int
    terms: FeeTerms
    amounts: list[int]
    went_back: list[bool]
    elsewhere_minor: int
    one_way: list[News]
    other_way: list[News]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    amounts = draw(st.lists(st.integers(1, 10_000), min_size=1, max_size=REFUNDS_MAX))
    went_back = [draw(st.booleans()) for _ in amounts]
    elsewhere_minor = draw(st.integers(0, 500))
    paid_minor = sum(amounts) + elsewhere_minor + draw(st.integers(0, 5_000))
    news: list[News] = []
    for at, (amount, back) in enumerate(zip(amounts, went_back, strict=True)):
        ways = draw(st.lists(st.sampled_from([Source.REPLY, Source.NOTICE, Source.QUERY]), min_size=1, max_size=3))
        if back:
            news += [(at, says(RefundOutcome.SUCCEEDED, way, amount=amount)) for way in ways]
        else:
            news += [(at, says(RefundOutcome.FAILED, Source.QUERY))]
        news += [(at, word) for word in draw(st.lists(st.sampled_from(BEFORE), max_size=4))]
    if elsewhere_minor:
        portal = replace(says(RefundOutcome.SUCCEEDED, Source.NOTICE, amount=elsewhere_minor), refund_no="PORTAL1")
        news += [(None, portal)] * draw(st.integers(1, 2))
    return Case(
        paid_minor=paid_minor,
        terms=draw(fee_terms()),
        amounts=amounts,
        went_back=went_back,
        elsewhere_minor=elsewhere_minor,
        one_way=draw(st.permutations(news)),
        other_way=draw(st.permutations(news)),
    )


def heard(case: Case, news: list[News]) -> Books:
    books = open_books(case.amounts, paid_minor=case.paid_minor, terms=case.terms)
    for at, evidence in news:
        books.hear(at, evidence)
    books.release()
    return books


@given(cases())
def test_any_order_and_any_repeat_of_the_news_of_refunds_ends_alike(case: Case) -> None:
    one, other = heard(case, case.one_way), heard(case, case.other_way)
    ours = slice(0, len(case.amounts))
    assert [row.state for row in one.refunds[ours]] == [row.state for row in other.refunds[ours]]
    assert one.net == other.net
    assert one.cashback.booked_minor == other.cashback.booked_minor == one.cashback.standing_minor
    assert one.sums.gone_minor == other.sums.gone_minor
    assert one.sums.reserved_minor == other.sums.reserved_minor == 0


@given(cases())
def test_what_went_back_is_booked_once_with_its_fee_and_nothing_else_is(case: Case) -> None:
    books = heard(case, case.one_way)
    back_minor = sum(amount for amount, back in zip(case.amounts, case.went_back, strict=True) if back)
    gone_minor = back_minor + case.elsewhere_minor
    states = [RefundState.SUCCEEDED if back else RefundState.FAILED for back in case.went_back]
    assert [row.state for row in books.refunds[: len(states)]] == [state.value for state in states]
    assert sum(books.net.values()) == 0
    assert books.net[f"channel:{ACCOUNT}"] == case.paid_minor - gone_minor
    taken = fee(Money(amount_minor=case.paid_minor, currency="CNY"), case.terms).amount_minor
    kept = -books.net["fee_income"]
    assert 0 <= kept <= taken
    # Within half a unit of the part that was not refunded, and nothing of it once all is.
    assert abs(2 * (kept * case.paid_minor - taken * (case.paid_minor - gone_minor))) <= case.paid_minor
    assert kept == books.kept_minor


@given(cases(), fee_terms(), st.integers(0, 30))
def test_a_fee_corrected_at_any_moment_ends_as_if_it_had_been_right_from_the_start(
    case: Case, right: FeeTerms, after: int
) -> None:
    corrected = open_books(case.amounts, paid_minor=case.paid_minor, terms=case.terms)
    for at, evidence in case.one_way[:after]:
        corrected.hear(at, evidence)
    corrected.correct(right)
    corrected.correct(right)
    for at, evidence in case.one_way[after:]:
        corrected.hear(at, evidence)
    corrected.release()
    assert corrected.net == heard(replace(case, terms=right), case.one_way).net
