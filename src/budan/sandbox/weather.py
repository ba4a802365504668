"""How the channels are just now: up, slow, down or with a wrong clock, for everybody and for one account."""

import asyncio
from typing import Annotated, Final

import msgspec

from budan.sandbox.faults import SlowMilliseconds

CLOCK_OFF_S_MAX: Final = 86_400
ClockOff = Annotated[int, msgspec.Meta(ge=-CLOCK_OFF_S_MAX, le=CLOCK_OFF_S_MAX)]


class Weather(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`down` answers 503 to every call of a shop, `slow_ms` lets each of them wait; notices still leave.

    `clock_off_s` is by how much the channel's clock is fast: in the times under its signatures, and where it judges
    those of a shop's.
    """

    down: bool = False
    slow_ms: SlowMilliseconds = 0
    clock_off_s: ClockOff = 0


FAIR: Final = Weather()


class ChannelDown(Exception):  # noqa: N818 - an answer, not an error
    """The channel is away for the account that asked."""


class WeatherVane:
    """The weather of the moment: everybody's, and what an account has besides. It is not kept: a sandbox starts up."""

    def __init__(self) -> None:
        self.weather = FAIR
        self.by_account: dict[str, Weather] = {}

    def turn(self, weather: Weather, *, account_id: str) -> None:
        """Changes everybody's weather, or that of one account."""
        if not account_id:
            self.weather = weather
        elif weather == FAIR:
            self.by_account.pop(account_id, None)
        else:
            self.by_account[account_id] = weather

    def over(self, account_id: str) -> Weather:
        """What was set for everybody (""), or for this account besides."""
        return self.by_account.get(account_id, FAIR) if account_id else self.weather

    def clock_off_s(self, account_id: str) -> int:
        """By how much the channel's clock is fast for this account."""
        return self.over(account_id).clock_off_s or self.weather.clock_off_s

    async def endure(self, account_id: str) -> None:
        """Waits as long as it is slow over this account, or over all (""); ChannelDown while it is down."""
        weather = self.over(account_id)
        if weather.slow_ms:
            await asyncio.sleep(weather.slow_ms / 1_000)
        if weather.down:
            raise ChannelDown
