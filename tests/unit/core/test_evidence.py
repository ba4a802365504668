from datetime import timedelta
from typing import Any

import pytest

from budan.core.evidence import Outcome, Source, evidence_digest
from builders import CREATED_AT, OTHER_ACCOUNT, evidence, paid


@pytest.mark.invariant("I8")
@pytest.mark.parametrize(
    "changes",
    [
        {"source": Source.QUERY},
        {"learned_at": CREATED_AT + timedelta(days=1)},
        {"asked_at": None},
        {"paid_at": CREATED_AT},
        {"payer_id": "someone"},
        {"code": "SUCCESS", "message": "支付成功"},
    ],
)
def test_the_same_news_by_another_way_or_at_another_time_has_the_same_digest(changes: dict[str, Any]) -> None:
    assert evidence_digest(paid(**changes)) == evidence_digest(paid())


@pytest.mark.parametrize(
    "changes",
    [
        {"trade_no": "another"},
        {"account_id": OTHER_ACCOUNT},
        {"order_minor": 999},
        {"payer_minor": 900},
        {"settle_minor": 990},
        {"currency": "USD"},
        {"channel_reference": "4200000002"},
        {"channel_reference": None},
        {"channel_reference": "None"},
        {"wallet_reference": "w1"},
        {"irreversible": True},
        {"refunded_hint": True},
        {"refunded_hint": True, "refunded_in_full": True},
        {"outcome": Outcome.UNPAID_FINAL},
        {"outcome": Outcome.UNPAID_FINAL, "reversed_here": True},
        {"outcome": Outcome.UNPAID_FINAL, "reversed_here": True, "money_returned": True},
        {"source": Source.BILL},
    ],
)
def test_other_news_has_another_digest(changes: dict[str, Any]) -> None:
    assert evidence_digest(paid(**changes)) != evidence_digest(paid())


def test_an_absent_reference_is_not_the_word_none() -> None:
    assert evidence_digest(paid(channel_reference=None)) != evidence_digest(paid(channel_reference="None"))


@pytest.mark.invariant("I4")
@pytest.mark.parametrize(
    "changes",
    [
        {"outcome": Outcome.PAID, "currency": "CNY"},
        {"outcome": Outcome.PAID, "order_minor": 1_000},
        {"outcome": Outcome.UNPAID_FINAL, "money_returned": True},
        {"outcome": Outcome.UNPAID_OPEN, "irreversible": True},
        {"outcome": Outcome.UNPAID_FINAL, "not_found": True},
    ],
)
def test_a_statement_that_contradicts_itself_cannot_be_built(changes: dict[str, Any]) -> None:
    with pytest.raises(AssertionError):
        evidence(**changes)
