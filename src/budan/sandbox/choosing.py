"""How somebody chooses what goes wrong: the wishes of the JSON interface, and the page's."""

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec

from budan.sandbox.choices import AMOUNTS_MAX, AccountId, AmountFaults, AmountsSet, BillFaultsSet, OddsSet
from budan.sandbox.faults import DOCUMENTED_AMOUNTS, BillFaults, FaultOdds, Faults
from budan.sandbox.finding import AdminRefusal, find_trade, refuse_unknown_account
from budan.sandbox.records import Event, EventKind, PlacingSet, Trade, TradeState
from budan.sandbox.weather import Weather
from budan.sandbox.world import World


class AccountFaultsWish(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """By which odds this account's trades meet faults from now on; absent takes its own back."""

    account_id: Annotated[str, msgspec.Meta(min_length=1)]
    odds: FaultOdds | None = None


class AmountsWish(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole table of amounts."""

    amounts: Annotated[tuple[AmountFaults, ...], msgspec.Meta(max_length=AMOUNTS_MAX)]


class BillFaultsWish(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is wrong with an account's bills from now on; without an account, with those of all that have none chosen."""

    faults: BillFaults
    account_id: AccountId = ""


class WeatherWish(Weather, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The weather of everybody, or what one account has besides."""

    account_id: AccountId = ""


def choose_odds(world: World, odds: FaultOdds | None, *, account_id: str) -> None:
    """Lets these odds count; None takes an account's own back. AdminRefusal for an account that is not here."""
    refuse_unknown_account(world, account_id)
    world.truth.record(OddsSet(at=world.clock(), odds=odds, account_id=account_id))


def choose_amounts(world: World, amounts: Sequence[AmountFaults]) -> None:
    """Replaces the table of amounts. AdminRefusal when it names an amount twice, is too long or names no account of ours."""
    for row in amounts:
        refuse_unknown_account(world, row.account_id)
    if len({(row.account_id, row.amount_minor) for row in amounts}) < len(amounts):
        raise AdminRefusal(400, "amount_twice", "an amount is there once for each account")
    if len(amounts) > AMOUNTS_MAX:
        raise AdminRefusal(409, "amounts_full", f"there is room for {AMOUNTS_MAX} amounts")
    ordered = sorted(amounts, key=lambda row: (row.account_id, row.amount_minor))
    world.truth.record(AmountsSet(at=world.clock(), amounts=tuple(ordered)))


def documented_amounts(account_id: str) -> list[AmountFaults]:
    """The documented table, for this account or for all."""
    return [
        AmountFaults(amount_minor=amount_minor, faults=faults, account_id=account_id)
        for amount_minor, faults in DOCUMENTED_AMOUNTS.items()
    ]


def choose_bill_faults(world: World, faults: BillFaults, *, account_id: str) -> None:
    """Spoils the bills of an account, or of all that have none chosen. AdminRefusal for an account that is not here."""
    refuse_unknown_account(world, account_id)
    world.truth.record(BillFaultsSet(at=world.clock(), faults=faults, account_id=account_id))


def choose_weather(world: World, weather: Weather, *, account_id: str) -> Weather:
    """Turns the weather, everybody's or an account's, and returns it. AdminRefusal for an account that is not here."""
    refuse_unknown_account(world, account_id)
    fields: dict[str, Any] = {name: getattr(weather, name) for name in Weather.__struct_fields__}
    world.vane.turn(Weather(**fields), account_id=account_id)
    return world.vane.over(account_id)


def choose_for_placing(world: World, subject: str, faults: Faults) -> None:
    """Lets the next order of this subject meet the faults. AdminRefusal when too many are still to come."""
    if world.truth.is_full_of_placings:
        raise AdminRefusal(409, "placings_full", "too many orders are still to come")
    world.truth.record(PlacingSet(at=world.clock(), subject=subject, faults=faults))


def choose_for_trade(world: World, kind: EventKind, faults: Faults | None, *, trade_no: str, account_id: str) -> Trade:
    """Lets a trade, or by `kind` its refunds, meet the faults from now on; a payer who types, types so long from now on.

    AdminRefusal when it is not here.
    """
    trade = find_trade(world, trade_no=trade_no, account_id=account_id)
    world.truth.record(Event(nth=trade.nth, at=world.clock(), kind=kind, faults=faults))
    chosen = world.truth.get(trade.nth)
    if chosen.state is not TradeState.TYPING:
        return chosen
    world.payer.arm(chosen)
    return world.payer.settled(chosen)
