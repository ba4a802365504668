"""What a merchant is owed, entry by entry: not settled yet, payable in a batch, or held back."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from budan.core.money import CURRENCY_EXPONENTS
from budan.store.ledger import Line

# Entries of a statement that no order has.
OPENING: Final = "opening"
CLOSING: Final = "closing"


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementLine:
    """One entry as it concerns a merchant: what it gained (positive) or gave, and what we owe it then, in all.

    `payable_minor` of that is in batches that no bank has sent, `held_back_minor` stays here for refunds; the rest is not
    settled yet. A batch moves between these, so it changes nothing of what is owed. `OPENING` and `CLOSING` are entries
    of no order: how it stood before the first day and after the last. `reason` is a person's, of an adjustment.
    """

    booked_at: datetime
    order_no: str
    reference: str
    entry: str
    amount_minor: int
    currency: str
    owed_minor: int
    payable_minor: int
    held_back_minor: int
    reason: str


class Standing:
    """What we owe a merchant by its accounts: payable, held back, and its own."""

    def __init__(self, accounts: tuple[str, str, str], balances: dict[tuple[str, str], int]) -> None:
        self._accounts = accounts
        self._balances = balances

    def currencies(self) -> list[str]:
        """Those in which there ever was anything; all that we know where there was nothing."""
        return sorted({currency for _, currency in self._balances} or CURRENCY_EXPONENTS)

    def add(self, entry: Sequence[Line]) -> int:
        """Count an entry; gives what the merchant gained by it."""
        for line in entry:
            key = (line.account, line.currency)
            self._balances[key] = self._balances.get(key, 0) + line.amount_minor
        return -sum(line.amount_minor for line in entry)

    def line(self, currency: str, entry: str, *, at: datetime) -> StatementLine:
        """How it stands. What we owe is on the credit side, which is negative in the books."""
        payable, held_back, own = (-self._balances.get((account, currency), 0) for account in self._accounts)
        return StatementLine(
            booked_at=at,
            order_no="",
            reference="",
            entry=entry,
            amount_minor=0,
            currency=currency,
            owed_minor=payable + held_back + own,
            payable_minor=payable,
            held_back_minor=held_back,
            reason="",
        )


async def merge_lines(own: AsyncGenerator[Line], others: Sequence[Line]) -> AsyncGenerator[Line]:
    """Both in the order of their places."""
    number = 0
    async with aclosing(own):
        async for line in own:
            while number < len(others) and others[number].place < line.place:
                yield others[number]
                number += 1
            yield line
    for other in others[number:]:
        yield other


async def group_lines(lines: AsyncGenerator[Line]) -> AsyncGenerator[list[Line]]:
    """Lines that follow each other and are of one entry and currency."""
    entry: list[Line] = []
    async with aclosing(lines):
        async for line in lines:
            if entry and _entry_of(entry[0]) != _entry_of(line):
                yield entry
                entry = []
            entry.append(line)
    if entry:
        yield entry


def _entry_of(line: Line) -> tuple[datetime, int, str, str]:
    return line.booked_at, line.order_id, line.entry_key, line.currency
