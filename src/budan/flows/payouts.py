"""Settlement batches as people see them, and what persons tell of their payouts."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

from budan.core.errors import Refused
from budan.core.ledger import (
    Entry,
    payout_entry,
    payout_returned_entry,
    second_payout_entry,
    second_payout_returned_entry,
)
from budan.core.money import Money
from budan.core.numbers import (
    BadNumber,
    Environment,
    MerchantId,
    Number,
    NumberKind,
    OrderId,
    parse_number,
    render_number,
)
from budan.core.settlement import BatchState, PayoutAct, decide_payout, decide_second_payout
from budan.flows.acts import check_name, check_reason
from budan.flows.payees import open_number
from budan.store import payees as stored_payees
from budan.store import settlement as stored
from budan.store.database import Database, Transaction
from budan.store.payees import PayeeRow
from budan.store.settlement import NEWEST, BatchKey, BatchLine, BatchRow, LockedBatch, PayoutChange, PayoutRow
from budan.wire.secret_box import SecretBox

BATCHES_PER_PAGE: Final = 1_000
LINES_PER_PAGE: Final = 5_000
# A bank's file of one day; more batches than these in one command are no person's work.
BATCHES_PER_ACT_MAX: Final = 1_000
REFERENCE_CHARACTERS_MAX: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchFilter:
    """Which batches; None is any. `due` are those that are to be paid out."""

    day: date | None
    merchant_id: int | None
    due: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A batch with its number; `is_held` where one of its orders is held now, which stops its payout.

    `payee` is whom the merchant's payouts go to now, None where nobody has said it, which stops it too.
    `released_in` is the number of the batch that gave back what this one held back, None where it is still here.
    """

    batch_no: str
    is_held: bool
    payee: PayeeRow | None
    released_in: str | None
    row: BatchRow


@dataclass(frozen=True, slots=True, kw_only=True)
class SettledLine:
    """A line of a batch with the numbers of both; no order's where it is an adjustment of none."""

    batch_no: str
    order_no: str
    line: BatchLine


@dataclass(frozen=True, slots=True, kw_only=True)
class PaidOut:
    """What a person's word did: `changed` is False where it was told before.

    `is_held`: an order of it is on hold, and its money is gone all the same.
    """

    batch_no: str
    state: BatchState
    changed: bool
    is_held: bool


class Payouts:
    """Shows batches and takes a person's word about their payouts."""

    def __init__(self, *, database: Database, environment: Environment, box: SecretBox) -> None:
        self._database = database
        self._environment = environment
        self._box = box

    async def list_batches(self, wanted: BatchFilter) -> AsyncGenerator[Batch]:
        """Batches, the newest day first."""
        states = [BatchState.OPEN.value, BatchState.RETURNED.value] if wanted.due else None
        merchant_id = None if wanted.merchant_id is None else MerchantId(wanted.merchant_id)
        after = NEWEST
        while True:
            async with self._database.reading() as transaction:
                rows = await stored.list_batches(
                    transaction,
                    day=wanted.day,
                    merchant_id=merchant_id,
                    states=states,
                    after=after,
                    rows_max=BATCHES_PER_PAGE,
                )
                batches = await self._complete(transaction, rows)
            for batch in batches:
                yield batch
            if len(rows) < BATCHES_PER_PAGE:
                return
            after = rows[-1].place

    async def get_batch(self, batch_no: str) -> Batch:
        """One batch. Raises `Refused` with `batch_no_malformed`, `wrong_environment` or `batch_not_found`."""
        key, _ = self._parse(batch_no)
        async with self._database.reading() as transaction:
            row = await stored.find_batch(transaction, key)
            if row is None:
                raise Refused("batch_not_found", param="batch")
            (batch,) = await self._complete(transaction, [row])
        return batch

    def open_number(self, payee: PayeeRow) -> str:
        """A payee's whole number, for the file that a bank gets; raises `Refused` with `secrets_unreadable`."""
        return open_number(payee, box=self._box)

    async def list_payouts(self, batch: Batch) -> list[PayoutRow]:
        """What was sent of a batch, and came back of it, oldest first."""
        async with self._database.reading() as transaction:
            return await stored.list_payouts(transaction, batch.row.key)

    async def list_releases(self, batch: Batch) -> list[str]:
        """The batches, by number, whose hold-back this one gives back, oldest first."""
        async with self._database.reading() as transaction:
            released = await stored.list_releases(transaction, batch.row)
        return [self._batch_no((batch.row.lane, batch_id), batch.row.merchant_id) for batch_id in released]

    async def list_lines(self, batch: Batch) -> AsyncGenerator[SettledLine]:
        """A batch's lines, in the order of their orders."""
        after = (0, "")
        while True:
            async with self._database.reading() as transaction:
                lines = await stored.list_lines(transaction, batch.row.key, after=after, rows_max=LINES_PER_PAGE)
            for line in lines:
                yield SettledLine(batch_no=batch.batch_no, order_no=self._order_no(line), line=line)
            if len(lines) < LINES_PER_PAGE:
                return
            after = lines[-1].place

    async def send(self, batches: Sequence[Batch], *, by: str, file_sha256: str) -> None:
        """Keep that these batches, as they were read, are in a file that asks a bank to pay their payees; all or none.

        Not safe to repeat: a second file is a second transfer. Raises `Refused` with `name_malformed`, or with
        `batch_changed` where one was sent, paid out or taken back since it was read, an order of it put on hold, or its
        merchant's payee changed.
        """
        by, read = check_name(by), {batch.row.key: batch for batch in batches}
        async with self._database.transaction() as transaction:
            locked = await stored.lock_batches(transaction, list(read))
            held = await stored.list_held(transaction, [batch.batch_id for batch in locked])
            merchant_ids = {batch.merchant_id for batch in locked}
            await stored_payees.keep_payees(transaction, merchant_ids)
            payees = await stored_payees.list_in_force(transaction, merchant_ids)
            sent: list[tuple[LockedBatch, int]] = []
            for batch in locked:
                key = (batch.lane, batch.batch_id)
                was, payee = read[key], payees.get(batch.merchant_id)
                is_same = (batch.state, batch.payouts, batch.files) == (was.row.state, was.row.payouts, was.row.files)
                if not is_same or key in held or payee is None or was.payee is None or payee.id != was.payee.id:
                    detail = f"{was.batch_no} was sent, told of, put on hold or given another payee meanwhile"
                    raise Refused("batch_changed", param="batch", detail=f"{detail}: write the file again")
                sent.append((batch, payee.id))
            now = await transaction.clock()
            await stored.add_sent(transaction, sent, file_sha256=file_sha256, by=by, at=now)

    async def pay_out(self, batch_nos: Sequence[str], *, by: str, reference: str) -> list[PaidOut]:
        """A bank has sent these batches' money, by this reference; all of them or none. Safe to repeat.

        It is a fact, so an order that was put on hold after the file was written does not refuse it: `is_held` tells.
        Raises `Refused` with `name_malformed`, `reference_malformed`, `batches_too_many`, as `get_batch` does, or as
        `decide_payout` does.
        """
        by, reference = check_name(by), check_reference(reference)
        return await self._act(batch_nos, PayoutAct.PAY_OUT, by=by, reference=reference, reason=None)

    async def pay_second(self, batch_nos: Sequence[str], *, by: str, reference: str, reason: str) -> list[PaidOut]:
        """A bank has sent once more what was paid out; all of them or none. Safe to repeat: the reference tells.

        The merchant is debited with it, so its next batch has that much less. Raises `Refused` as `pay_out` does, with
        `reason_malformed`, or as `decide_second_payout` does.
        """
        by, reference, reason = check_name(by), check_reference(reference), check_reason(reason)
        wanted = self._parse_all(batch_nos)
        async with self._database.transaction() as transaction:
            locked = await _lock(transaction, wanted)
            fresh = [batch for batch in locked if _is_second(batch, reference=reference)]
            now = await transaction.clock()
            await stored.add_second_payouts(transaction, fresh, reference=reference, reason=reason, by=by, at=now)
            entries = [_second_entry(batch, len(batch.second_references) + 1, PayoutAct.PAY_OUT) for batch in fresh]
            await stored.book(transaction, entries, now=now)
        changed = {(batch.lane, batch.batch_id) for batch in fresh}
        states = {(batch.lane, batch.batch_id): BatchState(batch.state) for batch in locked}
        return [
            PaidOut(batch_no=text, state=states[key], changed=key in changed, is_held=False)
            for key, text in wanted.items()
        ]

    async def take_back(self, batch_nos: Sequence[str], *, by: str, reference: str, reason: str) -> list[PaidOut]:
        """What was sent by this reference came back: it is payable again; all of them or none. Safe to repeat.

        A second payout is owed back no more, and its batch stays as it is.
        Raises as `pay_out` does, and with `reason_malformed`.
        """
        by, reference, reason = check_name(by), check_reference(reference), check_reason(reason)
        return await self._act(batch_nos, PayoutAct.TAKE_BACK, by=by, reference=reference, reason=reason)

    async def _act(
        self, batch_nos: Sequence[str], act: PayoutAct, *, by: str, reference: str, reason: str | None
    ) -> list[PaidOut]:
        wanted = self._parse_all(batch_nos)
        async with self._database.transaction() as transaction:
            locked = await _lock(transaction, wanted)
            seconds = [batch for batch in locked if reason is not None and reference in batch.second_references]
            states = {(batch.lane, batch.batch_id): BatchState(batch.state) for batch in seconds}
            returned = await _return_second(transaction, seconds, by=by, reference=reference, reason=reason)
            firsts = [batch for batch in locked if batch not in seconds]
            changing = [batch for batch in firsts if _decide(batch, act, reference=reference) is not None]
            held = await stored.list_held(transaction, [batch_id for _, batch_id in wanted])
            after = BatchState.PAID_OUT if act is PayoutAct.PAY_OUT else BatchState.RETURNED
            now = await transaction.clock()
            change = PayoutChange(
                state=after.value,
                payouts=int(act is PayoutAct.PAY_OUT),
                bank_reference=reference,
                changed_by=by,
                changed_at=now,
                return_reason=reason,
            )
            changed = await stored.set_payout_if(transaction, changing, change)
            assert len(changed) == len(changing), "this transaction holds them"
            await stored.book(transaction, [_entry(batch, act) for batch in changing], now=now)
        return [
            PaidOut(batch_no=text, state=states.get(key, after), changed=key in changed | returned, is_held=key in held)
            for key, text in wanted.items()
        ]

    async def _complete(self, transaction: Transaction, rows: Sequence[BatchRow]) -> list[Batch]:
        """Batches with what stops their payout, or where it goes."""
        held = await stored.list_held(transaction, [row.batch_id for row in rows])
        payees = await stored_payees.list_in_force(transaction, {row.merchant_id for row in rows})
        return [
            Batch(
                batch_no=self._batch_no(row.key, row.merchant_id),
                is_held=row.key in held,
                payee=payees.get(row.merchant_id),
                released_in=None
                if row.released_in is None
                else self._batch_no((row.lane, row.released_in), row.merchant_id),
                row=row,
            )
            for row in rows
        ]

    def _parse_all(self, batch_nos: Sequence[str]) -> dict[BatchKey, str]:
        if len(batch_nos) > BATCHES_PER_ACT_MAX:
            raise Refused("batches_too_many", param="batch", detail=f"at most {BATCHES_PER_ACT_MAX} at once")
        return dict(self._parse(batch_no) for batch_no in batch_nos)

    def _parse(self, batch_no: str) -> tuple[BatchKey, str]:
        try:
            number = parse_number(batch_no.strip().upper())
        except BadNumber as error:
            raise Refused("batch_no_malformed", param="batch", detail=batch_no) from error
        if number.environment is not self._environment:
            raise Refused("wrong_environment", param="batch", detail=f"a number of {number.environment.value}")
        if number.kind is not NumberKind.SETTLEMENT:
            raise Refused("batch_no_malformed", param="batch", detail=f"{batch_no} is of an {number.kind.value}")
        return (number.lane, number.order_id), batch_no

    def _batch_no(self, key: BatchKey, merchant_id: MerchantId) -> str:
        return self._render(NumberKind.SETTLEMENT, key, merchant_id)

    def _order_no(self, line: BatchLine) -> str:
        if line.order_minor is None and not line.is_batch:
            return ""
        kind = NumberKind.SETTLEMENT if line.is_batch else NumberKind.ORDER
        return self._render(kind, (line.lane, line.order_id), line.merchant_id)

    def _render(self, kind: NumberKind, key: BatchKey, merchant_id: MerchantId) -> str:
        lane, identity = key
        return render_number(
            Number(
                environment=self._environment,
                kind=kind,
                lane=lane,
                merchant_id=merchant_id,
                order_id=OrderId(identity),
                ordinal=0,
            )
        )


async def _lock(transaction: Transaction, wanted: Mapping[BatchKey, str]) -> list[LockedBatch]:
    """All of these batches; raises `Refused` with `batch_not_found`."""
    locked = await stored.lock_batches(transaction, list(wanted))
    if len(locked) < len(wanted):
        missing = sorted(wanted.keys() - {(batch.lane, batch.batch_id) for batch in locked})
        raise Refused("batch_not_found", param="batch", detail=wanted[missing[0]])
    return locked


async def _return_second(
    transaction: Transaction, batches: Sequence[LockedBatch], *, by: str, reference: str, reason: str | None
) -> set[BatchKey]:
    """Second payouts of this reference came back; gives the batches of which nobody had told."""
    fresh = [
        (batch, batch.second_references.index(reference) + 1)
        for batch in batches
        if reference not in batch.returned_second_references
    ]
    if not fresh:
        return set()
    assert reason is not None
    now = await transaction.clock()
    await stored.return_second_payouts(transaction, fresh, reason=reason, by=by, at=now)
    entries = [_second_entry(batch, ordinal, PayoutAct.TAKE_BACK) for batch, ordinal in fresh]
    await stored.book(transaction, entries, now=now)
    return {(batch.lane, batch.batch_id) for batch, _ in fresh}


def _is_second(batch: LockedBatch, *, reference: str) -> bool:
    return decide_second_payout(
        BatchState(batch.state),
        payout_references=[*batch.returned_references, batch.bank_reference or ""],
        second_references=batch.second_references,
        returned_references=batch.returned_second_references,
        reference=reference,
    )


def _second_entry(batch: LockedBatch, ordinal: int, act: PayoutAct) -> tuple[BatchKey, Entry]:
    build = second_payout_entry if act is PayoutAct.PAY_OUT else second_payout_returned_entry
    payout = Money(amount_minor=batch.payout_minor, currency=batch.currency)
    return (batch.lane, batch.batch_id), build(ordinal=ordinal, merchant_id=batch.merchant_id, payout=payout)


def _decide(batch: LockedBatch, act: PayoutAct, *, reference: str) -> BatchState | None:
    if act is PayoutAct.PAY_OUT and reference in batch.second_references:
        raise Refused("payout_made", param="reference", detail=f"{reference} is a second payout of it")
    return decide_payout(
        BatchState(batch.state),
        kept_reference=batch.bank_reference,
        returned_references=batch.returned_references,
        act=act,
        reference=reference,
    )


def _entry(batch: LockedBatch, act: PayoutAct) -> tuple[BatchKey, Entry]:
    payout = Money(amount_minor=batch.payout_minor, currency=batch.currency)
    if act is PayoutAct.PAY_OUT:
        entry = payout_entry(ordinal=batch.payouts + 1, merchant_id=batch.merchant_id, payout=payout)
    else:
        entry = payout_returned_entry(ordinal=batch.payouts, merchant_id=batch.merchant_id, payout=payout)
    return (batch.lane, batch.batch_id), entry


def check_reference(reference: str) -> str:
    """A bank's reference as it is kept; raises `Refused` with `reference_malformed`."""
    kept = " ".join(reference.split())
    if not 1 <= len(kept) <= REFERENCE_CHARACTERS_MAX or not kept.isprintable():
        detail = f"1 to {REFERENCE_CHARACTERS_MAX} printable characters"
        raise Refused("reference_malformed", param="reference", detail=detail)
    return kept
