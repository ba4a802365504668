"""What somebody chose to go wrong for whole accounts, for amounts and with bills, and what an order meets by it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Final

import msgspec

from budan.sandbox.faults import NO_BILL_FAULTS, NO_ODDS, BillFaults, Dice, FaultOdds, Faults

# All of them are written in one line of the journal.
AMOUNTS_MAX: Final = 100
AMOUNT_MINOR_MAX: Final = 10_000_000_000
ACCOUNT_ID_MAX: Final = 64

AmountMinor = Annotated[int, msgspec.Meta(ge=1, le=AMOUNT_MINOR_MAX)]
AccountId = Annotated[str, msgspec.Meta(max_length=ACCOUNT_ID_MAX)]


class AmountFaults(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What orders and refunds of this amount meet at one account, or at every one that has no such amount of its own."""

    amount_minor: AmountMinor
    faults: Faults
    account_id: AccountId = ""


class OddsSet(msgspec.Struct, frozen=True, kw_only=True, tag="odds_set", tag_field="record"):
    """The odds were changed, of an account or of all that have none of their own; None takes an account's back."""

    at: datetime
    odds: FaultOdds | None
    account_id: str = ""


class AmountsSet(msgspec.Struct, frozen=True, kw_only=True, tag="amounts_set", tag_field="record"):
    """The table of amounts is this from now on."""

    at: datetime
    amounts: tuple[AmountFaults, ...]


class BillFaultsSet(msgspec.Struct, frozen=True, kw_only=True, tag="bill_faults_set", tag_field="record"):
    """The bills of an account, or of all that have none chosen, are wrong in this way from now on."""

    at: datetime
    faults: BillFaults
    account_id: str = ""


Choice = OddsSet | AmountsSet | BillFaultsSet


class Choices:
    """What counts just now; the truth keeps it over a restart."""

    def __init__(self) -> None:
        self.odds: FaultOdds = NO_ODDS
        self.account_odds: dict[str, FaultOdds] = {}
        self.amounts: tuple[AmountFaults, ...] = ()
        self.bill_faults: dict[str, BillFaults] = {}
        self._by_amount: Mapping[tuple[str, int], Faults] = {}

    def apply(self, choice: Choice) -> None:
        """Lets this choice count."""
        match choice:
            case OddsSet(account_id=""):
                self.odds = choice.odds or NO_ODDS
            case OddsSet(odds=None):
                self.account_odds.pop(choice.account_id, None)
            case OddsSet(odds=odds):
                assert odds is not None
                self.account_odds[choice.account_id] = odds
            case AmountsSet():
                self.amounts = choice.amounts
                self._by_amount = {(row.account_id, row.amount_minor): row.faults for row in choice.amounts}
            case BillFaultsSet(faults=faults) if faults == NO_BILL_FAULTS:
                self.bill_faults.pop(choice.account_id, None)
            case BillFaultsSet():
                self.bill_faults[choice.account_id] = choice.faults

    def faults_of(self, *, account_id: str, amount_minor: int, dice: Dice) -> Faults:
        """What an order or a refund meets for which nobody chose anything: by its amount, else by the account's odds."""
        for whose in (account_id, ""):
            if (faults := self._by_amount.get((whose, amount_minor))) is not None:
                return faults
        return dice.draw(self.odds_of(account_id))

    def odds_of(self, account_id: str) -> FaultOdds:
        """The odds of this account, or those of all where it has none of its own."""
        return self.account_odds.get(account_id, self.odds)

    def bill_faults_of(self, account_id: str) -> BillFaults:
        """What this account's bills meet."""
        return self.bill_faults.get(account_id) or self.bill_faults.get("") or NO_BILL_FAULTS
