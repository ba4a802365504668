"""A bill by hand of an account that cannot be asked: nothing happens until a second person stands for it (I4)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import asyncpg
import msgspec
import pytest

from budan.core.errors import Refused
from budan.core.evidence import Outcome
from budan.flows.calling import ChannelCalls
from budan.flows.file_words import FileWords
from budan.ports.channel import Call, Channel, ChannelAccount, PayResult, TradeRef
from integration.reconcile.clerk import Clerk
from stage import AMOUNT_MINOR, StagedOrder

Rows = asyncpg.Connection
HALF_AN_HOUR_AGO = "UPDATE operator_act SET acted_at = acted_at - interval '31 minutes'"


@dataclass
class Mouth:
    """An account's channel that says one thing to every question, or another one of some trades."""

    says: PayResult
    but: Mapping[str, PayResult] = field(default_factory=dict)

    async def find(self, account_id: Any) -> ChannelAccount:
        """See ChannelAccounts.find."""
        adapter = cast("Channel", self)
        return ChannelAccount(
            account_id=account_id, channel="wechat_v3", name="m", enabled=True, adapter=adapter, takes_new=lambda: False
        )

    async def close(self) -> None:
        """See ChannelAccounts.close."""

    async def query(self, ref: TradeRef, *, call: Call) -> PayResult:
        """See Channel.query."""
        assert call.deadline_s > 0
        return msgspec.structs.replace(self.but.get(ref.trade_no, self.says), trade_no=ref.trade_no)


def words_of(clerk: Clerk, *, says: PayResult | None = None, but: Mapping[str, PayResult] | None = None) -> FileWords:
    """Persons' word where the account's channel says this; None where the account has no keys."""
    flows, opened = clerk.stage.flows, clerk.stage.opened
    calls = flows.calls
    if says is not None:
        calls = ChannelCalls(
            accounts=Mouth(says, but or {}), door=flows.door, clock=opened.clock, healths=flows.healths
        )
    return FileWords(
        database=opened.database,
        environment=opened.settings.environment,
        calls=calls,
        door=flows.door,
        clock=opened.clock,
    )


async def refusal_of(word: Any) -> str:
    """The code with which this is refused."""
    with pytest.raises(Refused) as refused:
        await word
    return refused.value.code


async def state_of(rows: Rows, order: StagedOrder) -> tuple[str, str | None]:
    """The order's state and hold."""
    found = await rows.fetchrow("SELECT state, hold_reason FROM orders WHERE id = $1", order.order_id)
    return tuple(found)


@pytest.mark.invariant("I4")
async def test_two_persons_stand_for_a_loaded_bill_whose_channel_cannot_be_asked(clerk: Clerk, rows: Rows) -> None:
    """The clerk's account has no keys. What fits completes its order; another amount completes nothing."""
    fits, differs = await clerk.order(), await clerk.order()
    report = await clerk.compare([clerk.line(fits), clerk.line(differs, amount_minor=AMOUNT_MINOR - 1)])
    words, run = words_of(clerk), report.run.id
    proposed = await words.propose(run, by="ann", reason="the channel ended our contract")
    assert (proposed.rows, proposed.silence) == (2, "account_unknown")
    assert await refusal_of(words.confirm(run, by="Ann ")) == "same_person"
    assert await refusal_of(words.confirm(run, by="bob")) == "too_early"
    assert [await state_of(rows, order) for order in (fits, differs)] == [("paying", None), ("paying", None)]
    await rows.execute(HALF_AN_HOUR_AGO)
    confirmed = await words.confirm(run, by="bob")
    assert confirmed.decisions == {"complete": 1, "wrong_amount": 1}
    assert await state_of(rows, fits) == ("paid", None)
    assert await state_of(rows, differs) == ("paying", "wrong_amount")
    remedy = await rows.fetchrow("SELECT learned_source, actor FROM remedy WHERE order_id = $1", fits.order_id)
    assert tuple(remedy) == ("operator", "ann, bob")
    await clerk.discrepancies.follow_up(clerk.account_id)
    assert (await clerk.differences())[fits.trade_no].resolution == "repaired"


@pytest.mark.invariant("I4")
async def test_keys_that_one_process_cannot_use_prove_nothing_while_another_one_asks(clerk: Clerk, rows: Rows) -> None:
    """The installation's key is gone here alone: the account is told as unusable, and its channel is asked elsewhere."""
    order = await clerk.order()
    await rows.execute("UPDATE channel_account SET sealed_secrets = $1", b"sealed elsewhere")
    run, words = (await clerk.compare([clerk.line(order)])).run.id, words_of(clerk)
    assert (await words.propose(run, by="ann", reason="why")).silence == "account_unknown"
    await rows.execute(HALF_AN_HOUR_AGO)
    asked = "INSERT INTO account_health (account_id, folded_at, timely, missed, asked) VALUES ($1, now(), 0, 0, 1)"
    await rows.execute(asked, clerk.account_id)
    assert await refusal_of(words.confirm(run, by="bob")) == "channel_not_asked"
    assert await state_of(rows, order) == ("paying", None)
    await rows.execute("UPDATE account_health SET folded_at = now() - interval '1 hour'")
    assert (await words.confirm(run, by="bob")).decisions == {"complete": 1}


@pytest.mark.invariant("I4")
async def test_no_person_stands_for_a_channel_that_answers_or_was_not_asked(clerk: Clerk, rows: Rows) -> None:
    order = await clerk.order()
    run = (await clerk.compare([clerk.line(order)])).run.id
    answers = words_of(clerk, says=PayResult(outcome=Outcome.UNPAID_OPEN, trade_no="", code="NOTPAY"))
    assert await refusal_of(answers.propose(run, by="ann", reason="why")) == "channel_answers"
    unsent = words_of(clerk, says=PayResult(outcome=Outcome.UNPAID_OPEN, trade_no="", sent=False, code="not_sent"))
    assert await refusal_of(unsent.propose(run, by="ann", reason="why")) == "channel_not_asked"
    silent = words_of(clerk, says=PayResult(outcome=Outcome.UNKNOWN, trade_no="", code="no_answer"))
    await silent.propose(run, by="ann", reason="why")
    await rows.execute(HALF_AN_HOUR_AGO)
    assert await refusal_of(answers.confirm(run, by="bob")) == "channel_answers"
    heard = await silent.confirm(run, by="bob")
    assert heard.decisions == {"channel_answers": 1}, "it answered meanwhile, so its own word counts"
    assert await state_of(rows, order) == ("paying", None)
    assert await refusal_of(silent.confirm(run + 1, by="bob")) == "run_not_found"


@pytest.mark.invariant("I4")
async def test_a_channel_that_answers_about_any_row_is_not_stood_in_for(clerk: Clerk, rows: Rows) -> None:
    """Silent of the first trade, "closed" of the last: two names completed the last one, had only the first been asked."""
    orders = [await clerk.order() for _ in range(3)]
    run = (await clerk.compare([clerk.line(order) for order in orders])).run.id
    silence = PayResult(outcome=Outcome.UNKNOWN, trade_no="", code="no_answer")
    closed = PayResult(outcome=Outcome.UNPAID_OPEN, trade_no="", code="NOTPAY")
    silent, speaks = words_of(clerk, says=silence), words_of(clerk, says=silence, but={orders[-1].trade_no: closed})
    assert await refusal_of(speaks.propose(run, by="ann", reason="why")) == "channel_answers"
    assert await rows.fetchval("SELECT count(*) FROM operator_act") == 0
    assert (await silent.propose(run, by="ann", reason="why")).rows == len(orders)
    await rows.execute(HALF_AN_HOUR_AGO)
    assert await refusal_of(speaks.confirm(run, by="bob")) == "channel_answers"
    assert [await state_of(rows, order) for order in orders] == [("paying", None)] * 3
