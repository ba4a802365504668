"""What every face of the sandbox shares."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import msgspec

from budan.sandbox.alarms import Alarms
from budan.sandbox.bills import BillDesk
from budan.sandbox.certificates import Certifier
from budan.sandbox.faults import Dice, Faults
from budan.sandbox.keys import KeyRing
from budan.sandbox.payer import Payer
from budan.sandbox.records import Event, EventKind, PlacingSet, Trade
from budan.sandbox.truth import Truth
from budan.sandbox.weather import WeatherVane
from budan.wire.rsa import Signer

# A poll each second must not make a trade's history endless.
QUERIES_RECORDED_MAX: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """The truth, the payers, the keys, and the sources of time and chance."""

    truth: Truth
    payer: Payer
    alarms: Alarms
    dice: Dice
    keys: KeyRing
    signer: Signer
    clock: Callable[[], datetime]
    nonce: Callable[[], str]
    base_url: str
    vane: WeatherVane
    bills: BillDesk
    certifier: Certifier
    secure_url: str

    def note(self, trade: Trade, kind: EventKind) -> Trade:
        """Records that this happened to the trade now, and returns the trade after it."""
        self.truth.record(Event(nth=trade.nth, at=self.clock(), kind=kind))
        return self.truth.get(trade.nth)

    def note_query(self, trade: Trade) -> None:
        """Records that the merchant asked, and what it was told; not for ever."""
        if trade.queries < QUERIES_RECORDED_MAX:
            asked = Event(nth=trade.nth, at=self.clock(), kind=EventKind.QUERIED, text=trade.state.value)
            self.truth.record(asked)

    def faults_for(self, chosen: Faults | None, *, account_id: str, amount_minor: int) -> Faults:
        """The faults that somebody chose for this very thing, else those that its amount or the odds give."""
        if chosen is not None:
            return chosen
        return self.truth.choices.faults_of(account_id=account_id, amount_minor=amount_minor, dice=self.dice)

    def faults_for_placing(self, subject: str, *, account_id: str, amount_minor: int) -> Faults:
        """The faults that an order of this subject meets when it is placed: chosen for it, else by amount or odds.

        A chosen time-out before the charge is met once: a repeat of the placement meets the rest.
        """
        chosen = self.truth.find_placing(subject)
        if chosen is not None and chosen.timeout_before_charge:
            rest = msgspec.structs.replace(chosen, timeout_before_charge=False)
            self.truth.record(PlacingSet(at=self.clock(), subject=subject, faults=rest))
        return self.faults_for(chosen, account_id=account_id, amount_minor=amount_minor)

    def told_time(self, account_id: str) -> datetime:
        """What the channel's own clock shows where it signs, and where it judges a shop's time."""
        return self.clock() + timedelta(seconds=self.vane.clock_off_s(account_id))

    async def slow_down(self, trade: Trade) -> None:
        """Waits as long as the trade's faults say."""
        if trade.faults.slow_ms:
            await asyncio.sleep(trade.faults.slow_ms / 1_000)
