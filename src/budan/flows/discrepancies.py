"""What becomes of differences: asked about, met in another bill, taken care of and ended by persons."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Final

from budan.core.errors import Refused
from budan.core.evidence import Evidence, Outcome, Source
from budan.core.numbers import AccountId, BadNumber, Lane, NumberKind, OrderId, day_begin, parse_number
from budan.core.reconcile import NEIGHBOUR_MAX, RowKind, Verdict
from budan.core.refund import RefundState
from budan.flows.acts import check_name
from budan.flows.door import Door, DoorItem
from budan.store import door as gate
from budan.store import reconcile as stored
from budan.store.accounts import lock_account
from budan.store.contracts import ContractRow, list_contracts, set_contract
from budan.store.database import Database, Transaction
from budan.store.reconcile import (
    DiscrepancyFilter,
    DiscrepancyRow,
    Move,
    MovedRow,
    NoteRow,
    PortalKey,
    RowKey,
    SightingKey,
)
from budan.store.setup_acts import SetupActRow, SetupKind, add_setup_act, list_account_acts
from budan.store.suspense import SUSPENSE, BilledRow, SettledRow, list_ended, list_settled

PAGE_ROWS: Final = 1_000
# Orders locked at a time: as many as the door takes.
ASKED_AT_ONCE: Final = 200
# A channel that answers "not paid" for so long, of what its own bill calls paid, contradicts itself: that is a person's.
ASKED_FOR: Final = timedelta(hours=1)
LIST_ROWS_MAX: Final = 1_000
NOTE_LENGTH_MAX: Final = 500
# How it ends where the bill of another day has its row.
MET_BESIDE: Final = "neighbour_day"
# How a person may end a difference; the program itself says repaired, neighbour_day or gone.
RESOLUTIONS: Final = ("accepted", "corrected", "refunded", "claimed")


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowedUp:
    """What a look at the open differences did: ended because both sides agree now, met elsewhere, asked about again."""

    repaired: int = 0
    neighbours: int = 0
    asked: int = 0

    def __add__(self, other: "FollowedUp") -> "FollowedUp":
        return FollowedUp(
            repaired=self.repaired + other.repaired,
            neighbours=self.neighbours + other.neighbours,
            asked=self.asked + other.asked,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscrepancyView:
    """A difference with all that was written to it."""

    discrepancy: DiscrepancyRow
    notes: tuple[NoteRow, ...]


class Discrepancies:
    """Looks after differences; moves no money, and no state of an order but through the door."""

    def __init__(self, *, database: Database, door: Door) -> None:
        self._database = database
        self._door = door

    async def follow_up(self, account_id: AccountId | None = None) -> FollowedUp:
        """Look again at all that may end by itself, of one account or of all accounts. Safe to repeat and to race.

        A payment or refund that the channel has is asked about at once; what it answers goes through the door (about a
        refund that was made past us: PortalRefunds). Raises
        `Overloaded` or `StoreUnavailable`; what was ended until then is.
        """
        done, after = FollowedUp(), 0
        while True:
            async with self._database.reading_statement() as transaction:
                rows = await stored.list_followed(transaction, after=after, account_id=account_id, rows_max=PAGE_ROWS)
            if not rows:
                return done
            after = rows[-1].id
            moves = await self._look_again(rows)
            settled = await self._settle(list(moves.values())) if moves else []
            done += FollowedUp(
                repaired=sum(move.resolution == "repaired" for move in settled),
                neighbours=sum(move.resolution == MET_BESIDE for move in settled),
                asked=await self._ask([row for row in rows if row.state == "asked" and row.id not in moves]),
            )

    async def list_page(self, wanted: DiscrepancyFilter, *, rows_max: int) -> list[DiscrepancyRow]:
        """The differences that fit, oldest first, after `wanted.after`. Raises `Refused` with `limit_out_of_range`."""
        if not 0 < rows_max <= LIST_ROWS_MAX:
            raise Refused("limit_out_of_range", param="limit", detail=f"1 to {LIST_ROWS_MAX}")
        async with self._database.reading() as transaction:
            return await stored.list_discrepancies(transaction, wanted, rows_max=rows_max)

    async def get(self, discrepancy_id: int) -> DiscrepancyView:
        """One difference; raises `Refused` with `discrepancy_not_found`."""
        async with self._database.reading() as transaction:
            return await _view(transaction, discrepancy_id)

    async def assign(self, discrepancy_id: int, *, owner: str, by: str, note: str | None) -> DiscrepancyView:
        """Say who takes care of a difference.

        Raises `Refused` with `name_malformed`, `note_malformed`, `discrepancy_not_found` or `discrepancy_resolved`.
        """
        owner, by = check_name(owner), check_name(by)
        text = _check_note(note if note is not None else f"given to {owner}")
        async with self._database.transaction() as transaction:
            await lock_unresolved(transaction, discrepancy_id)
            await stored.assign_discrepancy(transaction, discrepancy_id, owner=owner)
            await stored.add_note(transaction, discrepancy_id, written_by=by, note=text)
            return await _view(transaction, discrepancy_id)

    async def resolve(self, discrepancy_id: int, *, resolution: str, by: str, note: str) -> DiscrepancyView:
        """End a difference by a person's decision. It moves no money: that is done by the commands that it names.

        Raises `Refused` with `resolution_unknown`, `name_malformed`, `note_malformed`, `discrepancy_not_found` or
        `discrepancy_resolved`.
        """
        if resolution not in RESOLUTIONS:
            raise Refused("resolution_unknown", param="as", detail=f"one of {', '.join(RESOLUTIONS)}")
        by, note = check_name(by), _check_note(note)
        async with self._database.transaction() as transaction:
            row = await lock_unresolved(transaction, discrepancy_id)
            await end_locked(transaction, row, resolution=resolution, by=by, note=note)
            return await _view(transaction, discrepancy_id)

    async def reopen(self, discrepancy_id: int, *, by: str, note: str) -> DiscrepancyView:
        """Open again what a person has ended by mistake, with how it was; it keeps its age and its owner. Moves no money.

        What both sides agree on meanwhile, and what a bill or the channel's word has ended, stays so. Raises `Refused` with
        `name_malformed`, `note_malformed`, `discrepancy_not_found`, `discrepancy_not_resolved` or `discrepancy_settled`.
        """
        by, note = check_name(by), _check_note(note)
        async with self._database.reading() as transaction:
            was = (await _view(transaction, discrepancy_id)).discrepancy
        looked = await self._look_again([replace(was, state="open", resolution=None)])
        async with self._database.transaction() as transaction:
            # As a run does: a day that is being closed sees it, or is closed before.
            await stored.lock_account(transaction, AccountId(was.account_id))
            if await stored.lock_discrepancy(transaction, discrepancy_id) != "resolved":
                raise Refused("discrepancy_not_resolved", param="discrepancy")
            ended = (await _view(transaction, discrepancy_id)).discrepancy.resolution
            if discrepancy_id in looked or not await stored.reopen_discrepancy_if(transaction, discrepancy_id):
                again = looked[discrepancy_id].resolution if discrepancy_id in looked else ended
                detail = f"no person's word holds it: it ends by itself as {again}"
                raise Refused("discrepancy_settled", param="discrepancy", detail=detail)
            await stored.add_note(
                transaction, discrepancy_id, written_by=by, note=f"open again: it was resolved as {ended}"
            )
            await stored.add_note(transaction, discrepancy_id, written_by=by, note=note)
            return await _view(transaction, discrepancy_id)

    async def annotate(self, discrepancy_id: int, *, by: str, note: str) -> DiscrepancyView:
        """Write to a difference, also to one that is resolved.

        Raises `Refused` with `name_malformed`, `note_malformed` or `discrepancy_not_found`.
        """
        by, note = check_name(by), _check_note(note)
        async with self._database.transaction() as transaction:
            if await stored.lock_discrepancy(transaction, discrepancy_id) is None:
                raise Refused("discrepancy_not_found", param="discrepancy")
            await stored.add_note(transaction, discrepancy_id, written_by=by, note=note)
            return await _view(transaction, discrepancy_id)

    async def set_contract(self, account_id: AccountId, *, rate_e6: int, effective_from: date, by: str) -> None:
        """What the channel takes of an account's payments from a day on; what was said before of that day is kept.

        Safe to repeat. Raises `Refused` with `name_malformed` or `account_unknown`.
        """
        by = check_name(by)
        async with self._database.transaction() as transaction:
            if await lock_account(transaction, account_id) is None:
                raise Refused("account_unknown", param="account")
            said = await list_contracts(transaction, account_id)
            was = next((row for row in said if row.effective_from == effective_from), None)
            if was is not None and was.rate_e6 == rate_e6:
                return
            await set_contract(transaction, account_id, effective_from=effective_from, rate_e6=rate_e6, set_by=by)
            await add_setup_act(
                transaction,
                SetupKind.CONTRACT_SET,
                account_id=account_id,
                by=by,
                before=None if was is None else {"effective_from": effective_from, "rate_e6": was.rate_e6},
                after={"effective_from": effective_from, "rate_e6": rate_e6},
            )

    async def list_contracts(self, account_id: AccountId) -> list[ContractRow]:
        """The rates of an account's contract, oldest first."""
        async with self._database.reading() as transaction:
            return await list_contracts(transaction, account_id)

    async def list_contract_acts(self, account_id: AccountId) -> list[SetupActRow]:
        """Who said what of an account's contract, and what it said before, the newest first."""
        async with self._database.reading() as transaction:
            acts = await list_account_acts(transaction, account_id)
        return [act for act in acts if act.kind == SetupKind.CONTRACT_SET.value]

    async def _look_again(self, rows: Sequence[DiscrepancyRow]) -> dict[int, Move]:
        """What ended or changed without a person, by difference."""
        there_only = [row for row in rows if row.verdict == Verdict.THERE_ONLY.value]
        portal = [row for row in there_only if is_portal_refund(row)]
        refunds = {row.id: _refund_key(row) for row in there_only if _is_own_refund(row)}
        trades = {
            row.id: _key(row) for row in there_only if row.order_id is not None and row.kind != RowKind.REFUND.value
        }
        async with self._database.reading() as transaction:
            found_trades = await stored.list_trades(transaction, sorted(set(trades.values())))
            found_refunds = await stored.list_refunds(transaction, sorted(set(refunds.values())))
        here = {number: found_trades.get(key) for number, key in trades.items()}
        here |= {number: found_refunds.get(key) for number, key in refunds.items()}
        # Our number of one that was made past us is not that one's name at the channel, but perhaps another's.
        external = {number for number, moved in here.items() if moved is not None and moved.is_external}
        portal += [row for row in there_only if row.id in external]
        moves: dict[int, Move] = {}
        for row in there_only:
            moved = here.get(row.id)
            if moved is None or moved.is_external:
                continue
            if _is_repaired(row, moved):
                moves[row.id] = Move(row=row, state="resolved", resolution="repaired")
            elif row.state == "asked" and _is_denied(row, moved):
                moves[row.id] = Move(row=row, state="open")
        moves |= await self._look_at_portal(portal)
        moves |= await self._look_at_settled([row for row in rows if row.id not in moves])
        async with self._database.reading() as transaction:
            here_only = [row for row in rows if row.verdict == Verdict.HERE_ONLY.value]
            return moves | await _look_beside(transaction, here_only)

    async def _look_at_portal(self, rows: Sequence[DiscrepancyRow]) -> dict[int, Move]:
        """Refunds that were made past us: booked by now, or answered otherwise for long enough."""
        if not rows:
            return {}
        async with self._database.reading() as transaction:
            made = await stored.list_portal_refunds(transaction, sorted({portal_key(row)[:2] for row in rows}))
        booked = {(one.lane, one.order_id, one.reference): one.amount_minor for one in made}
        moves: dict[int, Move] = {}
        for row in rows:
            if booked.get(portal_key(row)) == row.their_minor:
                moves[row.id] = Move(row=row, state="resolved", resolution="repaired")
            elif row.state == "asked" and _is_answered(row):
                moves[row.id] = Move(row=row, state="open")
        return moves

    async def _look_at_settled(self, rows: Sequence[DiscrepancyRow]) -> dict[int, Move]:
        """Money of the bill that lay in suspense, also where its run did not know: persons have said whose it is."""
        came = {row.id: row for row in rows if _is_money_that_came(row)}
        if not came:
            return {}
        # First what its run has found to lie there: of what has no name any other row may be another payment.
        surest_first = sorted(came.values(), key=lambda row: (row.verdict != Verdict.IN_SUSPENSE.value, row.id))
        billed = [_billed(row) for row in surest_first]
        keys = sorted({one.key for one in billed})
        async with self._database.reading() as transaction:
            settled = await list_settled(transaction, keys)
            ended = [one for one in await list_ended(transaction, keys) if one.id not in came]
        return {
            number: Move(row=came[number], state="resolved", resolution="refunded" if one.is_returned else "corrected")
            for number, one in _meet_settled([*ended, *billed], settled).items()
            if number in came
        }

    async def _settle(self, moves: Sequence[Move]) -> list[Move]:
        """Write these moves; gives those that changed anything.

        A run that is being kept changes what its bill has of other days, and opens again what that had ended: ended in
        the same moment by what was read before, a difference would stay so. Its account is left to a later look, and
        what another day's bill ends is looked up once more under the lock.
        """
        async with self._database.transaction() as transaction:
            free = await stored.lock_free_accounts(transaction, {move.row.account_id for move in moves})
            kept = [move for move in moves if move.row.account_id in free]
            beside = await _look_beside(transaction, [move.row for move in kept if move.resolution == MET_BESIDE])
            kept = [move for move in kept if move.resolution != MET_BESIDE or beside.get(move.row.id) == move]
            portal = [move.row.id for move in kept if move.state == "resolved" and _is_refund_there(move.row)]
            if portal:
                await stored.add_portal_sightings(transaction, portal)
            changed = await stored.settle_discrepancies(transaction, kept)
        return [move for move in kept if move.row.id in changed]

    async def _ask(self, rows: Sequence[DiscrepancyRow]) -> int:
        """Make due what these are about, a few orders at a time under their locks; gives how many it was.

        What the bill says of a payment goes through the door, which keeps it and asks (I4).
        """
        asked = 0
        for first in range(0, len(rows), ASKED_AT_ONCE):
            part = rows[first : first + ASKED_AT_ONCE]
            statements = [bill_evidence(row) for row in part if row.kind != RowKind.REFUND.value]
            planned = await asyncio.gather(*(self._door.record(DoorItem(evidence=said)) for said in statements))
            asked += sum(outcome.decision == "channel_is_asked" for outcome in planned)
            # At once and by their workers; whatever that leaves is asked about by the job (PortalRefunds).
            refunds = sorted({_refund_key(row) for row in part if _is_own_refund(row) and row.ask_count == 0})
            if refunds:
                async with self._database.transaction() as transaction:
                    await gate.lock_orders(transaction, sorted({(Lane(key[0]), OrderId(key[1])) for key in refunds}))
                    asked += len(await stored.ask_refunds(transaction, refunds))
        return asked


async def _look_beside(transaction: Transaction, rows: Sequence[DiscrepancyRow]) -> dict[int, Move]:
    """Ours that the bill did not have: whether another day's bill has it by now, or has been read without it."""
    moves: dict[int, Move] = {}
    for account_id in {row.account_id for row in rows}:
        of_account = [row for row in rows if row.account_id == account_id]
        days = [row.day for row in of_account]
        wanted = {key for row in of_account for key in _sighting_keys(row)}
        sighted = await stored.list_sightings(transaction, AccountId(account_id), sorted(wanted))
        read = await stored.list_days(
            transaction, AccountId(account_id), first=min(days) - NEIGHBOUR_MAX, last=max(days) + NEIGHBOUR_MAX
        )
        for row in of_account:
            seen = next((sighted[key] for key in _sighting_keys(row) if key in sighted), None)
            # What the channel's own bill misses no person's file ends.
            if seen is not None and (seen.by_channel or not read.get(row.day, False)):
                moves[row.id] = Move(row=row, state="resolved", resolution=MET_BESIDE)
            elif row.state == "awaited" and _day_beside(row) in read:
                moves[row.id] = Move(row=row, state="open")
    return moves


def bill_evidence(row: DiscrepancyRow, *, source: Source = Source.BILL) -> Evidence:
    """What a bill says of a trade of ours, by the row of a payment or a reversal."""
    assert row.their_minor is not None, "a row of a bill has an amount"
    is_payment = row.kind == RowKind.PAYMENT.value
    return Evidence(
        trade_no=row.subject,
        account_id=AccountId(row.account_id),
        outcome=Outcome.PAID if is_payment else Outcome.UNPAID_FINAL,
        source=source,
        learned_at=row.found_at,
        order_minor=row.their_minor if is_payment else None,
        currency=row.currency if is_payment else None,
        channel_reference=row.channel_no,
        paid_at=row.happened_at if is_payment else None,
        reversed_here=not is_payment,
        money_returned=not is_payment,
    )


def is_portal_refund(row: DiscrepancyRow) -> bool:
    """Whether a refund of the bill was made past us: the row is then named by a payment of ours, the refund is not."""
    return _is_refund_there(row) and names_portal_refund(row.subject, order_id=row.order_id)


def _is_refund_there(row: DiscrepancyRow) -> bool:
    return row.kind == RowKind.REFUND.value and row.verdict == Verdict.THERE_ONLY.value


def names_portal_refund(subject: str, *, order_id: int | None) -> bool:
    """Whether a refund of this order has no number of ours."""
    try:
        number = parse_number(subject)
    except BadNumber:
        return True
    return number.kind is not NumberKind.REFUND or number.order_id != order_id


def portal_key(row: DiscrepancyRow) -> PortalKey:
    """By what a refund that was made past us is known."""
    return row.lane or 0, row.order_id or 0, row.subject


def _is_repaired(row: DiscrepancyRow, moved: MovedRow) -> bool:
    """Whether both sides agree by now."""
    is_done = row.kind != RowKind.REVERSAL.value or moved.state == "reversed"
    return moved.has_moved and is_done and moved.amount_minor == row.their_minor


def _is_denied(row: DiscrepancyRow, moved: MovedRow) -> bool:
    """Whether the channel has answered long after its bill, and its answer mended nothing.

    Of a payment that we have not seen, and of a refund that has ended here, that is its answer's own moment: a silent
    channel is asked on. A refund under way is asked about until its end whatever this says, and what the bill takes back
    or changes of a payment that we have seen was asked about at each look for as long.
    """
    if row.kind == RowKind.REFUND.value and moved.state == RefundState.FAILED.value:
        return _is_answered(row)
    if row.kind == RowKind.REFUND.value or moved.has_moved:
        return row.age_s >= ASKED_FOR.total_seconds()
    return moved.answered_at is not None and moved.answered_at >= row.found_at + ASKED_FOR


def _is_answered(row: DiscrepancyRow) -> bool:
    """Whether the channel's final answer about a refund came long after its bill."""
    return row.answered_at is not None and row.answered_at >= row.found_at + ASKED_FOR


def _day_beside(row: DiscrepancyRow) -> date:
    """The day at whose edge a row of ours is; a reversal comes after its payment, whose moment is all that is known."""
    noon = day_begin(row.day) + timedelta(hours=12)
    is_early = row.kind != RowKind.REVERSAL.value and row.happened_at is not None and row.happened_at < noon
    return row.day - NEIGHBOUR_MAX if is_early else row.day + NEIGHBOUR_MAX


def _is_money_that_came(row: DiscrepancyRow) -> bool:
    """Whether a row is of a payment that the channel has and that completed nothing here."""
    is_came = row.verdict in {Verdict.IN_SUSPENSE.value, Verdict.THERE_ONLY.value}
    return is_came and row.kind == RowKind.PAYMENT.value and row.order_id is not None


def _meet_settled(rows: Sequence[BilledRow], settled: Sequence[SettledRow]) -> dict[int, SettledRow]:
    """Which payment in suspense that is settled each of these is, by difference; each is met once, by the first of them.

    One that its channel named is what has its number there, for another of the same amount may be a payment that nobody
    here has heard of. One without a name is known by its amount alone.
    """
    left, met = list(settled), dict[int, SettledRow]()
    for by_name in (True, False):
        for row in rows:
            if row.id in met:
                continue
            found = next((one for one in left if one.is_named is by_name and _is_same_payment(row, one)), None)
            if found is not None:
                left.remove(found)
                met[row.id] = found
    return met


def _is_same_payment(row: BilledRow, one: SettledRow) -> bool:
    is_alike = (row.key, row.currency, row.their_minor) == (one.key, one.currency, one.amount_minor)
    return is_alike and (not one.is_named or row.channel_no == one.payment)


def _billed(row: DiscrepancyRow) -> BilledRow:
    lane, order_id, ordinal = _key(row)
    return BilledRow(
        id=row.id,
        account_id=row.account_id,
        lane=lane,
        order_id=order_id,
        ordinal=ordinal,
        channel_no=row.channel_no,
        their_minor=row.their_minor,
        currency=row.currency,
    )


def _sighting_keys(row: DiscrepancyRow) -> list[SightingKey]:
    """As what the bill of another day may have what this one lacks.

    Of ours only money in suspense has its number at the channel. Of a charge that was taken back it may be the reversal
    alone.
    """
    kinds = [row.kind] if row.channel_no is None else [SUSPENSE]
    if kinds == [RowKind.PAYMENT.value]:
        kinds.append(RowKind.REVERSAL.value)
    return [(row.order_id or 0, row.ordinal or 0, kind) for kind in kinds]


def _key(row: DiscrepancyRow) -> RowKey:
    return row.lane or 0, row.order_id or 0, row.ordinal or 0


def _is_own_refund(row: DiscrepancyRow) -> bool:
    return row.kind == RowKind.REFUND.value and row.order_id is not None and not is_portal_refund(row)


def _refund_key(row: DiscrepancyRow) -> RowKey:
    """Of a refund by its own number: one that is not here is kept with the ordinal of its payment."""
    return row.lane or 0, row.order_id or 0, parse_number(row.subject).ordinal


def _check_note(note: str) -> str:
    note = note.strip()
    if not 0 < len(note) <= NOTE_LENGTH_MAX:
        raise Refused("note_malformed", param="note", detail=f"1 to {NOTE_LENGTH_MAX} characters")
    return note


async def lock_unresolved(transaction: Transaction, discrepancy_id: int) -> DiscrepancyRow:
    """A difference that somebody is about to end, which nobody else changes until the transaction ends.

    Raises `Refused` with `discrepancy_not_found` or `discrepancy_resolved`.
    """
    state = await stored.lock_discrepancy(transaction, discrepancy_id)
    if state is None:
        raise Refused("discrepancy_not_found", param="discrepancy")
    if state == "resolved":
        raise Refused("discrepancy_resolved", param="discrepancy")
    return (await _view(transaction, discrepancy_id)).discrepancy


async def end_locked(transaction: Transaction, row: DiscrepancyRow, *, resolution: str, by: str, note: str) -> None:
    """End a difference that this transaction holds, by persons' decision."""
    assert resolution in RESOLUTIONS
    ended = await stored.settle_discrepancies(transaction, [Move(row=row, state="resolved", resolution=resolution)])
    assert ended == {row.id}, "nobody else changes what this transaction holds"
    await stored.add_note(transaction, row.id, written_by=by, note=note)


async def _view(transaction: Transaction, discrepancy_id: int) -> DiscrepancyView:
    wanted = DiscrepancyFilter(discrepancy_id=discrepancy_id, with_resolved=True)
    rows = await stored.list_discrepancies(transaction, wanted, rows_max=1)
    if not rows:
        raise Refused("discrepancy_not_found", param="discrepancy")
    return DiscrepancyView(discrepancy=rows[0], notes=tuple(await stored.list_notes(transaction, discrepancy_id)))
