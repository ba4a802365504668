"""How the channels are as a whole just now: up, slow, or down for everybody."""

import asyncio

import msgspec

from budan.sandbox.faults import SlowMilliseconds


class Weather(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`down` answers 503 to every call of a shop, `slow_ms` lets each of them wait; notices still leave."""

    down: bool = False
    slow_ms: SlowMilliseconds = 0


class WeatherVane:
    """The weather of the moment. It is not kept: a sandbox that starts is up."""

    def __init__(self) -> None:
        self.weather = Weather()

    async def keeps_away(self) -> bool:
        """Waits as long as it is slow, and says whether the channels are down."""
        if self.weather.slow_ms:
            await asyncio.sleep(self.weather.slow_ms / 1_000)
        return self.weather.down
