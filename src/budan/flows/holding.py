"""Holds: one person may set one, two must agree to lift it, and what contradicted is decided again first."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import assert_never

import msgspec

from budan.core.cashback import CashbackCause
from budan.core.decide import Mismatch
from budan.core.errors import Refused, StaleState
from budan.core.evidence import Evidence, Outcome, Source
from budan.core.ledger import (
    Entry,
    Posting,
    is_suspense,
    resolved_key,
    suspense_credited_entry,
    suspense_returned_entry,
)
from budan.core.numbers import Environment, MerchantId, Number
from budan.flows.acts import ACTS_MAX, check_name, check_reason, get_proposal
from budan.flows.asking import asking_of
from budan.flows.calling import ChannelCalls
from budan.flows.cashback_plan import find_paid, plan_settled, read_cashbacks
from budan.flows.door import Door, DoorItem
from budan.flows.events import hold_webhook
from budan.flows.locking import lock_named
from budan.flows.timelines import parse_order_no
from budan.store import acts as stored
from budan.store import door as gate
from budan.store import reading, timeline
from budan.store.acts import OpenContradiction
from budan.store.database import Database, Transaction
from budan.store.door import DoorWrites, Key, LockedOrder

HELD_BY_HAND = "operator"
POSTINGS_MAX = 1_000

_MISMATCHES = frozenset(mismatch.value for mismatch in Mismatch)
_EVIDENCE = msgspec.json.Decoder(Evidence)


class Resolution(Enum):
    """What becomes of money in suspense."""

    RETURNED = "returned"  # it went back to its payer at the channel
    CREDITED = "credited"  # the merchant keeps it


class ReleaseWish(msgspec.Struct, frozen=True, kw_only=True):
    """What a release proposal asks for: `accept` takes what still contradicts, of what was `seen`, as it is."""

    accept: bool
    resolution: Resolution | None
    seen: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Something that does not fit an order and that no release has settled."""

    attempt: int
    mismatch: str
    found_at: datetime
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOrder:
    """An order's hold as a person left it. `act` is what they did or proposed; `contradictions` are open."""

    order_no: str
    version: int
    hold_reason: str | None
    act: int
    contradictions: tuple[Standing, ...]
    suspense: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Released:
    """How a release was decided: what was cleared by the channel's fresh word, what was accepted, what was booked."""

    order_no: str
    version: int
    state: str
    cleared: tuple[Standing, ...]
    accepted: tuple[Standing, ...]
    booked: tuple[str, ...]


class Holds:
    """Sets and lifts holds, all behind the gate."""

    def __init__(self, *, database: Database, environment: Environment, calls: ChannelCalls, door: Door) -> None:
        self._database = database
        self._environment = environment
        self._calls = calls
        self._door = door

    async def hold(self, order_no: str, *, by: str, reason: str) -> HeldOrder:
        """Hold an order: no payout, refund by API or closing until two persons release it. It can still be paid.

        Raises `Refused` with `name_malformed`, `reason_malformed`, as `parse_order_no` does, then with
        `order_not_found` or `order_already_held`.
        """
        by, reason = check_name(by), check_reason(reason)
        number = parse_order_no(order_no, environment=self._environment)
        async with self._database.transaction() as transaction:
            locked = await lock_named(transaction, number)
            if locked.order.hold_reason is not None:
                raise Refused("order_already_held", param="order_no", detail=locked.order.hold_reason)
            held = await stored.hold_order_if(
                transaction, _key(number), version=locked.version, reason=HELD_BY_HAND, now=locked.now
            )
            if not held:
                raise StaleState
            act = await stored.add_act(
                transaction, _key(number), kind="hold", acted_by=by, reason=reason, acted_at=locked.now, wish="{}"
            )
            told = hold_webhook(self._environment, locked, hold_reason=HELD_BY_HAND)
            await gate.write(transaction, DoorWrites(webhooks=[told]), now=locked.now)
            return HeldOrder(
                order_no=order_no,
                version=locked.version + 1,
                hold_reason=HELD_BY_HAND,
                act=act,
                contradictions=_shown(await stored.list_open_contradictions(transaction, [_key(number)])),
                suspense=tuple(entry.key for entry in await _list_suspense(transaction, _key(number))),
            )

    async def propose_release(
        self, order_no: str, *, by: str, reason: str, accept: bool, resolution: Resolution | None
    ) -> HeldOrder:
        """Write down one person's wish to lift a hold; another one must confirm it within a day.

        Raises `Refused` as `hold` does, with `order_not_held` in the place of its last code, then with
        `suspense_unresolved` where money waits and `resolution` does not say whose it is.
        """
        by, reason = check_name(by), check_reason(reason)
        number = parse_order_no(order_no, environment=self._environment)
        key = _key(number)
        async with self._database.transaction() as transaction:
            locked = await _lock_held(transaction, number)
            found = await stored.list_open_contradictions(transaction, [key])
            suspense = await _list_suspense(transaction, key)
            _refuse_unresolved(suspense, resolution)
            wish = ReleaseWish(accept=accept, resolution=resolution, seen=tuple(_name(one) for one in found))
            act = await stored.add_act(
                transaction,
                key,
                kind="release",
                acted_by=by,
                reason=reason,
                acted_at=locked.now,
                wish=msgspec.json.encode(wish).decode(),
            )
        return HeldOrder(
            order_no=order_no,
            version=locked.version,
            hold_reason=locked.order.hold_reason,
            act=act,
            contradictions=_shown(found),
            suspense=tuple(entry.key for entry in suspense),
        )

    async def confirm_release(self, order_no: str, *, by: str, act: int) -> Released:
        """A second person agrees: ask the channels afresh, decide again, and lift the hold where nothing stands.

        What the channels answer stays, whatever becomes of the hold; a refused confirmation may be tried again. Raises
        `Refused` with `name_malformed`, as `parse_order_no` does, then with `order_not_found`, `order_not_held`, as
        `get_proposal` does, then with `order_changed` (something new does not fit), `order_still_contradicted` or
        `suspense_unresolved`.
        """
        by = check_name(by)
        number = parse_order_no(order_no, environment=self._environment)
        async with self._database.transaction() as transaction:
            locked = await _lock_held(transaction, number)
            await _get_wish(transaction, number, act=act, by=by, now=locked.now)
            found = await stored.list_open_contradictions(transaction, [_key(number)])
        cleared = await self._decide_again(number, found)
        async with self._database.transaction() as transaction:
            return await self._release(transaction, number, order_no, by=by, act=act, cleared=cleared)

    async def _decide_again(self, number: Number, found: Sequence[OpenContradiction]) -> frozenset[str]:
        """The contradictions that the channel's fresh word or today's rules clear.

        Money at an account that is not the trade's does not go away by what the trade's own account says, and no word
        about the payment answers what was said of a refund.
        """
        cleared: set[str] = set()
        attempts_paid = await self._ask_afresh(number)
        for one in found:
            if one.statement is None:
                continue
            if one.attempt in attempts_paid and one.mismatch != Mismatch.WRONG_ACCOUNT.value:
                cleared.add(_name(one))
            said = _EVIDENCE.decode(one.statement)
            if said.source is Source.OPERATOR:
                # Persons' words are theirs to repeat: one that did not fit stands until it is accepted.
                continue
            planned = await self._door.record(DoorItem(evidence=said))
            if planned.order_state and planned.decision not in _MISMATCHES:
                cleared.add(_name(one))
        return frozenset(cleared)

    async def _ask_afresh(self, number: Number) -> frozenset[int]:
        """Ask about every trade of the order; gives those that their channel calls paid in a way that fits."""
        async with self._database.reading() as transaction:
            trades = (await reading.list_trades(transaction, [_key(number)])).get(_key(number), [])
        paid: set[int] = set()
        for trade in trades:
            planned, result = await self._calls.ask(asking_of(number, trade, environment=self._environment))
            if result.outcome is Outcome.PAID and planned.decision not in _MISMATCHES:
                paid.add(trade.attempt)
        return frozenset(paid)

    async def _release(
        self,
        transaction: Transaction,
        number: Number,
        order_no: str,
        *,
        by: str,
        act: int,
        cleared: frozenset[str],
    ) -> Released:
        key = _key(number)
        locked = await _lock_held(transaction, number)
        wish = await _get_wish(transaction, number, act=act, by=by, now=locked.now)
        found = await stored.list_open_contradictions(transaction, [key])
        stands = [one for one in found if _name(one) not in cleared]
        _refuse_standing(stands, wish)
        suspense = await _list_suspense(transaction, key)
        _refuse_unresolved(suspense, wish.resolution)
        entries = [_resolve(entry, wish.resolution, number.merchant_id) for entry in suspense]
        if not await stored.release_order_if(transaction, key, version=locked.version):
            raise StaleState
        await stored.confirm_act(transaction, key, ordinal=act, confirmed_by=by, confirmed_at=locked.now)
        settled = [(one.attempt, one.digest, "accepted" if one in stands else "cleared") for one in found]
        await stored.settle_contradictions(transaction, key, act=act, settled=settled)
        writes = DoorWrites(
            entries=[(key, entry) for entry in entries],
            webhooks=[hold_webhook(self._environment, locked, hold_reason=None)],
        )
        await _plan_waiting_cashback(transaction, locked, writes)
        await gate.write(transaction, writes, now=locked.now)
        return Released(
            order_no=order_no,
            version=locked.version + 1,
            state=locked.order.state.value,
            cleared=_shown([one for one in found if one not in stands]),
            accepted=_shown(stands),
            booked=tuple(entry.key for entry in entries),
        )


def _key(number: Number) -> Key:
    return number.lane, number.order_id


async def _lock_held(transaction: Transaction, number: Number) -> LockedOrder:
    locked = await lock_named(transaction, number)
    if locked.order.hold_reason is None:
        raise Refused("order_not_held", param="order_no")
    return locked


async def _get_wish(transaction: Transaction, number: Number, *, act: int, by: str, now: datetime) -> ReleaseWish:
    acts = await stored.list_acts(transaction, [_key(number)], rows_max=ACTS_MAX)
    proposal = get_proposal(acts, ordinal=act, kind="release", by=by, now=now)
    if proposal.confirmed_by is not None:
        # It lifted a hold of before; the order is held anew.
        raise Refused("proposal_confirmed", param="confirm", detail=f"by {proposal.confirmed_by}")
    return msgspec.json.decode(proposal.wish, type=ReleaseWish)


async def _plan_waiting_cashback(transaction: Transaction, locked: LockedOrder, writes: DoorWrites) -> None:
    """Cashback that waited for the inquiry is booked with the release."""
    key = (locked.lane, locked.order_id)
    trades = (await gate.list_trades(transaction, [key])).get(key, [])
    cashback = (await read_cashbacks(transaction, {key: locked}, {key: trades}, writes)).get(key)
    paid = find_paid(locked, trades)
    if cashback is not None and paid is not None:
        plan_settled(locked, paid, cashback, writes, cause=CashbackCause.RELEASED, is_held=False)


async def _list_suspense(transaction: Transaction, key: Key) -> list[Entry]:
    """The order's money in suspense that nobody has resolved."""
    rows = await timeline.list_postings(transaction, [key], rows_max=POSTINGS_MAX)
    entries: dict[str, list[Posting]] = {}
    for row in rows:
        line = Posting(account=row.account, amount_minor=row.amount_minor, currency=row.currency)
        entries.setdefault(row.entry_key, []).append(line)
    return [
        Entry(key=name, postings=tuple(lines))
        for name, lines in entries.items()
        if is_suspense(name) and resolved_key(name) not in entries
    ]


def _refuse_unresolved(suspense: Sequence[Entry], resolution: Resolution | None) -> None:
    if suspense and resolution is None:
        keys = ", ".join(entry.key for entry in suspense)
        raise Refused("suspense_unresolved", param="resolution", detail=f"say what becomes of the money: {keys}")


def _refuse_standing(stands: Sequence[OpenContradiction], wish: ReleaseWish) -> None:
    unseen = [one for one in stands if _name(one) not in wish.seen]
    if unseen:
        raise Refused("order_changed", param="confirm", detail=f"not there when it was proposed: {_list_names(unseen)}")
    if stands and not wish.accept:
        raise Refused(
            "order_still_contradicted", param="confirm", detail=f"propose with --accept: {_list_names(stands)}"
        )


def _resolve(entry: Entry, resolution: Resolution | None, merchant_id: MerchantId) -> Entry:
    assert resolution is not None, "refused before"
    match resolution:
        case Resolution.RETURNED:
            return suspense_returned_entry(entry)
        case Resolution.CREDITED:
            return suspense_credited_entry(entry, merchant_id=merchant_id)
        case _:
            assert_never(resolution)


def _name(one: OpenContradiction) -> str:
    return f"{one.attempt}:{one.digest.hex()}"


def _list_names(contradictions: Sequence[OpenContradiction]) -> str:
    return ", ".join(f"{one.mismatch} of trade {one.attempt}" for one in contradictions)


def _shown(contradictions: Sequence[OpenContradiction]) -> tuple[Standing, ...]:
    return tuple(
        Standing(attempt=one.attempt, mismatch=one.mismatch, found_at=one.found_at, digest=one.digest.hex())
        for one in contradictions
    )
