"""A question that never left keeps its rung."""

from datetime import UTC, datetime, timedelta

from budan.core.evidence import Evidence, Outcome, Source
from budan.core.numbers import AccountId
from budan.core.pace import QUERY_LADDER_S
from budan.flows.door_plan import UNSENT_DELAY, _next_rung
from builders import a_trade

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def an_answer(*, sent: bool) -> Evidence:
    return Evidence(
        trade_no="D",
        account_id=AccountId(1),
        outcome=Outcome.UNPAID_OPEN,
        source=Source.QUERY,
        learned_at=NOW,
        sent=sent,
    )


def test_a_sent_question_climbs() -> None:
    assert _next_rung(a_trade(), an_answer(sent=True), 2, now=NOW) == (NOW + timedelta(seconds=QUERY_LADDER_S[3]), 3)


def test_an_unsent_question_keeps_its_rung_and_rests() -> None:
    """After an outage of the channel a young order must not wait on a long rung."""
    assert _next_rung(a_trade(), an_answer(sent=False), 0, now=NOW) == (NOW + UNSENT_DELAY, 0)
