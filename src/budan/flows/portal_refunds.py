"""Refunds that only a bill tells of, made past us or ended here without moving money: their channel's signed answer books them."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from secrets import token_hex
from typing import Final

from budan.core.evidence import Source
from budan.core.numbers import AccountId, Environment, Lane, MerchantId, OrderId, parse_number, trade_number
from budan.core.pace import BILL_REFUND_LADDER_S, delay_after
from budan.core.refund import RefundEffect, RefundEvidence, RefundOrigin, RefundOutcome, RefundState
from budan.flows.calling import CALL_TIMEOUT_S
from budan.flows.discrepancies import names_portal_refund
from budan.flows.refund_door import RefundDoor, RefundItem
from budan.flows.refund_plan import TOLD_TOO_EARLY, RefundPlanned
from budan.flows.stamp import stamp_refund
from budan.ports.channel import Call, ChannelAccount, ChannelAccounts, RefundRef
from budan.ports.clock import Clock
from budan.store import asked_refunds
from budan.store import reconcile as stored
from budan.store.asked_refunds import AskedRefund
from budan.store.database import Database, Transaction
from budan.store.refunds import list_refunds

# Of each account in one run of the job; the next run goes on with those that are due longest by then.
ASKED_PER_ACCOUNT_MAX: Final = 500
# A channel that answers nothing takes no more of a run than this, and no other account waits for it.
ASKING_S_MAX: Final = 60.0
ACCOUNTS_AT_ONCE: Final = 4
_BOOKED: Final = frozenset({"external", RefundEffect.GIVE_BACK_FREED.value})
# "Not done yet" is an answer, and no reason to stop asking.
_NOT_FINAL: Final = frozenset({RefundOutcome.UNKNOWN, RefundOutcome.PENDING})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Question:
    """A difference and what its channel is asked by; `ref` is None where the refund's own due row asks."""

    asked: AskedRefund
    ref: RefundRef | None


class PortalRefunds:
    """Asks channels about them. The bill's word alone books nothing: whoever loads a file could write one (I4)."""

    def __init__(
        self,
        *,
        database: Database,
        environment: Environment,
        accounts: ChannelAccounts,
        door: RefundDoor,
        clock: Clock,
    ) -> None:
        self._database = database
        self._environment = environment
        self._accounts = accounts
        self._door = door
        self._clock = clock

    async def ask(self) -> int:
        """Ask about each that is due, an account's one after another; gives how many were booked. Safe to repeat and to race.

        A channel that does not answer is asked on, more slowly with time; what a final answer does not book is a
        person's an hour after its bill (Discrepancies). What is booked holds its order for an inquiry, like a refund of
        which a notice tells. One that a total told to us may hold already is not booked. Raises a group of `Overloaded`
        or `StoreUnavailable`; what was booked until then is.
        """
        by_account: defaultdict[int, list[_Question]] = defaultdict(list)
        for question in await self._list():
            by_account[question.asked.account_id].append(question)
        room = asyncio.Semaphore(ACCOUNTS_AT_ONCE)
        async with asyncio.TaskGroup() as tasks:
            asking = [tasks.create_task(self._ask_account(questions, room)) for questions in by_account.values()]
        return sum(task.result() for task in asking)

    async def _list(self) -> list[_Question]:
        async with self._database.reading() as transaction:
            due = await asked_refunds.list_due(transaction, account_rows_max=ASKED_PER_ACCOUNT_MAX)
            return await self._name(transaction, due) if due else []

    async def _name(self, transaction: Transaction, due: Sequence[AskedRefund]) -> list[_Question]:
        """By what their channels know them."""
        orders = {(Lane(asked.lane), OrderId(asked.order_id)) for asked in due}
        refunds = await list_refunds(transaction, sorted(orders))
        own = {(row.lane, row.order_id, row.ordinal): row for rows in refunds.values() for row in rows}
        attempts: dict[int, int] = {}
        for asked in due:
            if names_portal_refund(asked.subject, order_id=asked.order_id):
                attempts[asked.id] = asked.ordinal
                continue
            ordinal = parse_number(asked.subject).ordinal
            row = own.get((Lane(asked.lane), OrderId(asked.order_id), ordinal))
            if row is not None and row.origin == RefundOrigin.EXTERNAL.value:
                # Our number of one that was made past us is another's name at the channel.
                attempts[asked.id] = asked.ordinal
            elif row is not None and row.state == RefundState.FAILED.value:
                attempts[asked.id] = row.attempt
        keys = {(asked.lane, asked.order_id, attempts[asked.id]) for asked in due if asked.id in attempts}
        payments = await stored.list_trades(transaction, sorted(keys))
        questions: list[_Question] = []
        for asked in due:
            payment = payments.get((asked.lane, asked.order_id, attempts.get(asked.id, 0)))
            trade_no = None if payment is None else self._trade_no(payment.merchant_id, asked, attempts[asked.id])
            ref = trade_no and RefundRef(refund_no=asked.subject, trade_no=trade_no, created_at=asked.created_at)
            questions.append(_Question(asked=asked, ref=ref or None))
        return questions

    def _trade_no(self, merchant_id: int, asked: AskedRefund, attempt: int) -> str:
        return trade_number(
            environment=self._environment,
            lane=Lane(asked.lane),
            merchant_id=MerchantId(merchant_id),
            order_id=OrderId(asked.order_id),
            attempt=attempt,
        )

    async def _ask_account(self, questions: Sequence[_Question], room: asyncio.Semaphore) -> int:
        booked = 0
        async with room:
            until_s = self._clock.monotonic_s() + ASKING_S_MAX
            account = await self._accounts.find(AccountId(questions[0].asked.account_id))
            for question in questions if account is not None else ():
                assert account is not None
                if self._clock.monotonic_s() > until_s:
                    break
                booked += await self._ask(question, account)
        return booked

    async def _ask(self, question: _Question, account: ChannelAccount) -> bool:
        asked = question.asked
        if question.ref is None:
            await self._note(asked, has_left=False, is_final=False)
            return False
        asked_at = self._clock.now()
        call = Call(now=asked_at, nonce=token_hex(16), deadline_s=CALL_TIMEOUT_S)
        evidence = stamp_refund(
            await account.adapter.query_refund(question.ref, call=call),
            account_id=AccountId(asked.account_id),
            source=Source.QUERY,
            learned_at=self._clock.now(),
            asked_at=asked_at,
        )
        planned = await self._door.record(RefundItem(evidence=evidence))
        await self._note(asked, has_left=evidence.sent, is_final=_is_final(evidence, planned))
        return planned.decision in _BOOKED

    async def _note(self, asked: AskedRefund, *, has_left: bool, is_final: bool) -> None:
        wait = timedelta(seconds=BILL_REFUND_LADDER_S[0])
        if has_left:
            wait = delay_after(BILL_REFUND_LADDER_S, attempts=asked.ask_count)
        async with self._database.transaction() as transaction:
            await asked_refunds.note_answer(transaction, asked.id, wait=wait, has_left=has_left, is_final=is_final)


def _is_final(evidence: RefundEvidence, planned: RefundPlanned) -> bool:
    """Whether an answer will hardly be another one later; what we could not book yet is asked about again."""
    return evidence.outcome not in _NOT_FINAL and planned.decision not in TOLD_TOO_EARLY
