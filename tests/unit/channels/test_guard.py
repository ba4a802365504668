import asyncio
from dataclasses import dataclass
from datetime import timedelta

import pytest

from budan.channels.guard import BREAKER_CODE, BUSY_CODE, DEADLINE_CODE, GuardedChannel, GuardLimits
from budan.channels.silence import unsent_pay_result
from budan.core.evidence import Outcome
from budan.core.numbers import AccountId
from budan.core.refund import RefundOutcome
from budan.ports.channel import EndResult, EndState, Method, PayResult, RawNotice, RefundResult
from unit.channels.builders import (
    NOW,
    REFUND_NO,
    HandClock,
    a_call,
    a_ref,
    a_refund_intent,
    a_refund_ref,
    an_intent,
)
from unit.channels.scripted import REFUND_PENDING, UNKNOWN, UNPAID, ScriptedChannel, at_once

LIMITS = GuardLimits(
    place_calls_max=2,
    query_calls_max=1,
    end_calls_max=1,
    refund_calls_max=1,
    failures_to_open=2,
    place_probe_every_s=5.0,
    query_probe_every_s=1.0,
    end_probe_every_s=2.0,
    refund_probe_every_s=2.0,
)
NOT_SENT = PayResult(outcome=Outcome.UNPAID_OPEN, trade_no="T1", sent=False, code="not_sent")


@dataclass
class World:
    """A guarded channel, the channel behind it, and its clock."""

    inner: ScriptedChannel
    guard: GuardedChannel
    clock: HandClock

    async def charge(self, *, deadline_s: float = 5.0) -> PayResult:
        intent = an_intent(method=Method.CODE)
        return await self.guard.charge(intent, auth_code="280000000000000000", call=a_call(deadline_s=deadline_s))

    async def query(self, *, deadline_s: float = 5.0) -> PayResult:
        return await self.guard.query(a_ref(), call=a_call(deadline_s=deadline_s))

    async def refund(self, *, deadline_s: float = 5.0) -> RefundResult:
        return await self.guard.refund(a_refund_intent(), call=a_call(deadline_s=deadline_s))

    async def reverse(self, *, deadline_s: float = 5.0) -> EndResult:
        return await self.guard.reverse(a_ref(), call=a_call(deadline_s=deadline_s))


@pytest.fixture
def world() -> World:
    inner, clock = ScriptedChannel(), HandClock()
    return World(inner, GuardedChannel(inner, account_id=AccountId(7), clock=clock, limits=LIMITS), clock)


async def test_a_call_passes_with_the_shorter_of_both_deadlines(world: World) -> None:
    assert await world.charge(deadline_s=3.0) == UNPAID
    await world.charge(deadline_s=3_600.0)
    assert world.guard.capabilities.call_timeout == timedelta(seconds=10)
    assert [call.deadline_s for call in world.inner.calls] == [3.0, 10.0]
    assert {(call.now, call.nonce) for call in world.inner.calls} == {(NOW, a_call().nonce)}


@pytest.mark.invariant("I5")
async def test_a_call_past_its_deadline_is_unknown_for_it_may_have_been_sent(world: World) -> None:
    world.inner.turn = asyncio.Event().wait
    paid, asked, ended = await asyncio.gather(
        world.charge(deadline_s=0.0), world.query(deadline_s=0.0), world.reverse(deadline_s=0.0)
    )
    assert [(result.outcome, result.sent, result.code) for result in (paid, asked)] == [
        (Outcome.UNKNOWN, True, DEADLINE_CODE)
    ] * 2
    assert (ended.state, ended.sent) == (EndState.UNKNOWN, True)
    created = await world.guard.create(an_intent(), call=a_call(deadline_s=0.0))
    assert (created.result.outcome, created.action) == (Outcome.UNKNOWN, None)


@pytest.mark.invariant("I5")
async def test_a_refund_past_its_deadline_is_unknown_and_its_query_too(world: World) -> None:
    world.inner.turn = asyncio.Event().wait
    sent = await world.refund(deadline_s=0.0)
    asked = await world.guard.query_refund(a_refund_ref(), call=a_call(deadline_s=0.0))
    for result in (sent, asked):
        assert (result.outcome, result.refund_no, result.sent) == (RefundOutcome.UNKNOWN, REFUND_NO, True)
        assert result.code == DEADLINE_CODE


async def test_refunds_have_a_bound_and_a_breaker_of_their_own(world: World) -> None:
    """A channel whose refunds hang still takes charges and tells of them."""
    gate = asyncio.Event()
    world.inner.turn = gate.wait
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(world.refund())
        await world.inner.arrived(calls=1)
        refused = await world.refund()
        assert (refused.outcome, refused.sent, refused.code) == (RefundOutcome.UNKNOWN, False, BUSY_CODE)
        charge = tasks.create_task(world.charge())
        await world.inner.arrived(calls=1)
        gate.set()
    assert (running.result(), charge.result()) == (REFUND_PENDING, UNPAID)
    world.inner.refunded = RefundResult(outcome=RefundOutcome.UNKNOWN, refund_no="R1", trade_no="T1")
    for _ in range(LIMITS.failures_to_open):
        await world.refund()
    assert (await world.refund()).code == BREAKER_CODE
    assert (await world.charge()) == UNPAID


async def test_an_adapters_own_time_out_error_is_its_bug_and_passes(world: World) -> None:
    async def blunder() -> None:
        raise TimeoutError

    world.inner.turn = blunder
    for _ in range(LIMITS.place_calls_max):
        with pytest.raises(TimeoutError):
            await world.charge()
    assert world.guard.takes_new


async def test_over_the_bound_a_call_is_refused_at_once_and_nothing_is_sent(world: World) -> None:
    """A slow channel must not collect callers: a refused one may be repeated with the same numbers."""
    gate = asyncio.Event()
    world.inner.turn = gate.wait
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(world.charge()) for _ in range(2)]
        running.append(tasks.create_task(world.query()))
        tasks.create_task(world.reverse())
        await world.inner.arrived(calls=4)
        refused = [await world.charge(), (await world.guard.create(an_intent(), call=a_call())).result]
        refused.append(await world.query())
        ended = await world.reverse()
        gate.set()
    assert {(result.outcome, result.sent, result.code) for result in refused} == {
        (Outcome.UNPAID_OPEN, False, BUSY_CODE)
    }
    assert (ended.state, ended.sent, ended.code) == (EndState.RETRY, False, BUSY_CODE)
    assert [task.result() for task in running] == [UNPAID] * 3
    assert world.guard.takes_new
    assert await world.query() == UNPAID
    assert (await world.reverse()).sent


@pytest.mark.parametrize("sick", [UNKNOWN, NOT_SENT])
async def test_a_sick_channel_is_left_alone_and_probed(world: World, sick: PayResult) -> None:
    world.inner.pay = sick
    for _ in range(2):
        await world.charge()
    assert not world.guard.takes_new
    refused = await world.charge()
    assert (refused.outcome, refused.sent, refused.code) == (Outcome.UNPAID_OPEN, False, BREAKER_CODE)
    assert len(world.inner.calls) == 2
    world.clock.seconds += 5.0
    assert await world.charge() == sick
    assert (await world.charge()).code == BREAKER_CODE
    world.inner.pay = UNPAID
    world.clock.seconds += 5.0
    assert await world.charge() == UNPAID
    assert world.guard.takes_new


async def test_queries_and_reverses_go_on_while_charges_are_held_back(world: World) -> None:
    """They are how what the charges left unknown is found out."""
    world.inner.pay = UNKNOWN
    for _ in range(2):
        await world.charge()
    world.inner.pay = UNPAID
    assert await world.query() == UNPAID
    assert (await world.reverse()).state is EndState.ENDED


async def test_one_query_per_interval_passes_an_open_breaker(world: World) -> None:
    world.inner.pay = UNKNOWN
    for _ in range(2):
        await world.query()
    sent = len(world.inner.calls)
    for _ in range(3):
        world.clock.seconds += 1.0
        assert [(await world.query()).code for _ in range(2)] == [UNKNOWN.code, BREAKER_CODE]
    assert len(world.inner.calls) == sent + 3


async def test_a_refusal_of_the_adapters_own_says_nothing_of_the_channel(world: World) -> None:
    world.inner.pay = unsent_pay_result("not_supported", trade_no="T1")
    for _ in range(5):
        await world.charge()
    assert world.guard.takes_new


async def test_unknown_ends_open_the_breaker_of_ends(world: World) -> None:
    world.inner.end = EndResult(state=EndState.UNKNOWN)
    for _ in range(2):
        await world.reverse()
    assert (await world.reverse()) == EndResult(state=EndState.RETRY, sent=False, code=BREAKER_CODE)


async def test_cancellation_passes_through_and_frees_its_place(world: World) -> None:
    world.inner.turn = asyncio.Event().wait
    task = asyncio.create_task(world.query())
    await world.inner.arrived(calls=1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    world.inner.turn = at_once
    assert await world.query() == UNPAID


async def test_notices_pass_whatever_the_calls_do(world: World) -> None:
    world.inner.pay = UNKNOWN
    for _ in range(4):
        await world.charge()
        await world.query()
    notice = world.guard.parse_notice(RawNotice(headers={}, body=b""), now=NOW)
    assert notice.result == UNKNOWN
    assert world.guard.acknowledge(accepted=True).body == b"success"
    await world.guard.end_session()
    assert world.inner.sessions_ended == 1
