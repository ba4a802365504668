"""A bill that a person loaded, where its channel cannot be asked: two persons' word, row by row, through the door (I4)."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

import msgspec

from budan.core.errors import Refused
from budan.core.evidence import Source
from budan.core.numbers import AccountId, Environment, Lane, OrderId
from budan.core.reconcile import RowKind, Verdict
from budan.flows.acts import ACTS_MAX, actors, check_name, check_reason, get_proposal
from budan.flows.asking import asking_of
from budan.flows.calling import ACCOUNT_UNKNOWN, ChannelCalls, is_answer
from budan.flows.discrepancies import bill_evidence
from budan.flows.door import Door, DoorItem
from budan.flows.healths import ACCOUNTS_MAX
from budan.flows.testifying import SILENCE_MIN, Word, refuse_heard, refuse_too_early
from budan.flows.timelines import parse_order_no
from budan.ports.channel import PayResult
from budan.ports.clock import Clock
from budan.store import acts as stored
from budan.store import door as gate
from budan.store import health, reading
from budan.store import reconcile as bills
from budan.store.acts import ActRow
from budan.store.database import Database, Transaction
from budan.store.door import Key
from budan.store.reconcile import DiscrepancyFilter, DiscrepancyRow, RunRow
from budan.store.rows import TradeRow

# All are asked about at once: as many as an account's guard lets out beside other questions, so that its breaker, which
# opens after a few that were in vain, keeps none of them here. More payments than that were not lost one by one.
ROWS_MAX: Final = 200
LOOKED_AT_MAX: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class FileProposed:
    """One person's word on so many rows of a loaded bill; a second one may confirm from a moment on."""

    run: int
    rows: int
    silence: str
    confirm_from: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class FileConfirmed:
    """What two persons' word did: rows by what the door decided, and `channel_answers` where the channel had spoken."""

    run: int
    decisions: dict[str, int]


class FileWords:
    """Takes the rows of a loaded bill that are paid there and not here to the door, once two persons stand for them."""

    def __init__(
        self, *, database: Database, environment: Environment, calls: ChannelCalls, door: Door, clock: Clock
    ) -> None:
        self._database = database
        self._environment = environment
        self._calls = calls
        self._door = door
        self._clock = clock

    async def propose(self, run_id: int, *, by: str, reason: str) -> FileProposed:
        """Write down one person's word on the run's rows, after asking the channel about each in vain. Moves nothing.

        Raises `Refused` with `name_malformed`, `reason_malformed`, `run_not_found`, `run_not_by_hand`,
        `nothing_to_confirm`, `too_many_rows`, `channel_answers` or `channel_not_asked`.
        """
        by, reason = check_name(by), check_reason(reason)
        run, rows = await self._read(run_id)
        silences = await self._ask_in_vain(rows)
        moments = [
            await self._propose_row(row, run=run, by=by, reason=reason, silence=silence)
            for row, silence in zip(rows, silences, strict=True)
        ]
        silence = ", ".join(sorted(set(silences)))
        return FileProposed(run=run.id, rows=len(rows), silence=silence, confirm_from=moments[-1] + SILENCE_MIN)

    async def confirm(self, run_id: int, *, by: str) -> FileConfirmed:
        """A second person agrees, and the channel can still not be asked: each row goes through the door. Safe to repeat.

        A row whose trade, account, amount or currency is not ours completes nothing (I4). Raises `Refused` as `propose`
        does, then as `get_proposal` does, or with `too_early`; what was decided until then stays.
        """
        by = check_name(by)
        run, rows = await self._read(run_id)
        async with self._database.reading() as transaction:
            proposals = [await self._get_proposal(transaction, row, run=run, by=by) for row in rows]
        if ACCOUNT_UNKNOWN in await self._ask_in_vain(rows):
            await self._refuse_asked_elsewhere(run, since=min(proposal.acted_at for proposal in proposals))
        decisions = Counter[str]()
        for row in rows:
            decisions[await self._confirm_row(row, run=run, by=by)] += 1
        return FileConfirmed(run=run.id, decisions=dict(decisions))

    async def _propose_row(self, row: DiscrepancyRow, *, run: RunRow, by: str, reason: str, silence: str) -> datetime:
        """Write the word down; gives when."""
        async with self._database.transaction() as transaction:
            now = (await gate.lock_orders(transaction, [_key(row)]))[_key(row)].now
            word = Word(
                attempt=row.ordinal or 0,
                outcome="paid",
                channel_reference=row.channel_no,
                paid_at=row.happened_at,
                silence=silence,
                asked_at=now,
                run=run.id,
            )
            await stored.add_act(
                transaction,
                _key(row),
                kind="evidence",
                acted_by=by,
                reason=reason,
                acted_at=now,
                wish=msgspec.json.encode(word).decode(),
            )
        return now

    async def _confirm_row(self, row: DiscrepancyRow, *, run: RunRow, by: str) -> str:
        key, attempt = _key(row), row.ordinal or 0
        async with self._database.transaction() as transaction:
            now = (await gate.lock_orders(transaction, [key]))[key].now
            proposal = await self._get_proposal(transaction, row, run=run, by=by)
            try:
                await refuse_heard(transaction, key, attempt=attempt, proposal=proposal)
            except Refused as refused:
                return refused.code
            await stored.confirm_act(transaction, key, ordinal=proposal.ordinal, confirmed_by=by, confirmed_at=now)
            acts = await stored.list_acts(transaction, [key], rows_max=ACTS_MAX)
        confirmed = next(act for act in acts if act.ordinal == proposal.ordinal)
        said = replace(bill_evidence(row, source=Source.OPERATOR), learned_at=self._clock.now())
        planned = await self._door.record(DoorItem(evidence=said, actor=actors(confirmed)))
        return planned.decision

    async def _read(self, run_id: int) -> tuple[RunRow, Sequence[DiscrepancyRow]]:
        """The run and its rows that are paid there and not here."""
        async with self._database.reading() as transaction:
            runs = await bills.list_runs(transaction, run_id=run_id, rows_max=1)
            if not runs:
                raise Refused("run_not_found", param="run")
            (run,) = runs
            if run.origin != "file":
                raise Refused("run_not_by_hand", param="run", detail="its bill came from the channel, which is asked")
            wanted = DiscrepancyFilter(account_id=run.account_id, day=run.day)
            found = await bills.list_discrepancies(transaction, wanted, rows_max=LOOKED_AT_MAX)
        rows = [
            row
            for row in found
            if row.run_id == run.id
            and (row.kind, row.verdict) == (RowKind.PAYMENT.value, Verdict.THERE_ONLY.value)
            and row.order_id is not None
        ]
        if not rows:
            raise Refused("nothing_to_confirm", param="run", detail="it has no payment that is there only")
        if len(rows) > ROWS_MAX or len(found) == LOOKED_AT_MAX:
            raise Refused("too_many_rows", param="run", detail=f"at most {ROWS_MAX} payments, of a few differences")
        return run, rows

    async def _get_proposal(self, transaction: Transaction, row: DiscrepancyRow, *, run: RunRow, by: str) -> ActRow:
        """The newest word on this row of this run, which another person confirms now."""
        now = await transaction.clock()
        acts = await stored.list_acts(transaction, [_key(row)], rows_max=ACTS_MAX)
        of_run = [
            act.ordinal
            for act in acts
            if act.kind == "evidence" and msgspec.json.decode(act.wish, type=Word).run == run.id
        ]
        proposal = get_proposal(acts, ordinal=max(of_run, default=0), kind="evidence", by=by, now=now)
        refuse_too_early(proposal, now=now)
        return proposal

    async def _ask_in_vain(self, rows: Sequence[DiscrepancyRow]) -> Sequence[str]:
        """How the account cannot be asked about each row: without keys that can be used, or by silence.

        Every row is asked about, for a channel may be silent of one trade and say "closed" of the next; one answer refuses
        all, and has gone through the door. A question that did not leave for another reason proves nothing: this machine
        may have no way out.
        """
        assert len(rows) <= ROWS_MAX, "_read refuses more"
        async with self._database.reading() as transaction:
            trades = await reading.list_trades(transaction, list({_key(row) for row in rows}))
        async with asyncio.TaskGroup() as asking:
            asked = [asking.create_task(self._ask(row, trades.get(_key(row), []))) for row in rows]
        results = [task.result() for task in asked]
        if any(is_answer(result) for result in results):
            raise Refused("channel_answers", param="run", detail="its own word counts, and it is asked about every row")
        unsent = next((one.code for one in results if not one.sent and one.code != ACCOUNT_UNKNOWN), None)
        if unsent is not None:
            raise Refused("channel_not_asked", param="run", detail=f"a question did not leave: {unsent}")
        return [result.code for result in results]

    async def _refuse_asked_elsewhere(self, run: RunRow, *, since: datetime) -> None:
        """Keys that this process cannot use say nothing of the channel while another process asks it (healths.py)."""
        async with self._database.reading() as transaction:
            healths = (await health.list_healths(transaction, rows_max=ACCOUNTS_MAX)).by_account
        seen = healths.get(AccountId(run.account_id))
        if seen is not None and seen.at >= since:
            detail = f"another process of ours asked it or heard of it at {seen.at:%Y-%m-%dT%H:%M:%SZ}: confirm there"
            raise Refused("channel_not_asked", param="run", detail=detail)

    async def _ask(self, row: DiscrepancyRow, trades: Sequence[TradeRow]) -> PayResult:
        number = parse_order_no(row.subject, environment=self._environment)
        trade = next(one for one in trades if one.attempt == row.ordinal)
        _, result = await self._calls.ask(asking_of(number, trade, environment=self._environment))
        return result


def _key(row: DiscrepancyRow) -> Key:
    assert row.lane is not None
    assert row.order_id is not None
    return Lane(row.lane), OrderId(row.order_id)
