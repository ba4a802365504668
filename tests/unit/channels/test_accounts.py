import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from budan.channels import accounts
from budan.channels.accounts import AccountCache, CachePace
from budan.channels.settings import BadSettings
from budan.core.errors import Overloaded, StoreUnavailable
from budan.core.numbers import AccountId
from budan.ports.channel import AccountConfig, ChannelAccount
from unit.channels.builders import HandClock, an_alipay_config
from unit.channels.scripted import PATIENCE_S, ScriptedChannel

KNOWN = AccountId(2)
PACE = CachePace(stale_after_s=2.0, old_after_s=4.0, old_wait_s=5.0, unknown_for_s=1.0, grace_s=0.0, load_timeout_s=5.0)


class Store:
    """What the cache fills itself from; counts what it is asked, and may be away or slow."""

    def __init__(self) -> None:
        self.configs: dict[AccountId, AccountConfig] = {KNOWN: an_alipay_config()}
        self.loads = 0
        self.arrivals = asyncio.Semaphore(0)
        self.error: Exception | None = None
        self.open = asyncio.Event()
        self.open.set()
        self.built: list[ScriptedChannel] = []
        self.refuses = ""

    async def load(self, account_id: AccountId) -> AccountConfig | None:
        self.loads += 1
        self.arrivals.release()
        await self.open.wait()
        if self.error is not None:
            raise self.error
        return self.configs.get(account_id)

    async def arrived(self) -> None:
        """Waits until one more load is here."""
        async with asyncio.timeout(PATIENCE_S):
            await self.arrivals.acquire()

    def build(self, config: AccountConfig) -> ScriptedChannel:
        if config.name == self.refuses:
            raise BadSettings("app_id", "is missing")
        self.built.append(ScriptedChannel())
        return self.built[-1]


class World:
    """A store, a clock that the test moves, and the cache on both."""

    def __init__(self, pace: CachePace) -> None:
        self.store, self.clock = Store(), HandClock()
        self.cache = AccountCache(
            load=self.store.load, builders={"alipay": self.store.build}, clock=self.clock, pace=pace
        )

    async def find(self, account_id: AccountId = KNOWN) -> ChannelAccount | None:
        return await self.cache.find(account_id)

    async def refresh(self) -> ChannelAccount | None:
        """Finds a stale account, which starts a load, and waits for its end."""
        self.clock.seconds += PACE.stale_after_s
        served = await self.find()
        while self.cache._loading:
            await asyncio.gather(*self.cache._loading.values(), return_exceptions=True)
            await asyncio.sleep(0)
        return served


@asynccontextmanager
async def a_world(pace: CachePace = PACE) -> AsyncIterator[World]:
    world = World(pace)
    try:
        yield world
    finally:
        world.store.open.set()
        await world.cache.close()


async def test_it_fills_itself_once_for_all_who_wait() -> None:
    async with a_world() as world:
        found = await asyncio.gather(*(world.find() for _ in range(10)))
        assert {id(account.adapter) for account in found if account} == {id(world.store.built[0])}
        assert (world.store.loads, len(world.store.built)) == (1, 1)
        assert found[0] is not None
        assert (found[0].channel, found[0].account_id, found[0].enabled) == ("alipay", KNOWN, True)


async def test_a_caller_that_gives_up_does_not_take_the_answer_from_the_others() -> None:
    async with a_world() as world:
        world.store.open.clear()
        hasty, patient = asyncio.create_task(world.find()), asyncio.create_task(world.find())
        await world.store.arrived()
        hasty.cancel()
        await asyncio.sleep(0)
        world.store.open.set()
        assert await patient is not None
        assert hasty.cancelled()


async def test_an_old_account_serves_while_it_is_looked_at_again() -> None:
    async with a_world() as world:
        first = await world.find()
        world.store.open.clear()
        world.clock.seconds += PACE.stale_after_s
        assert await world.find() is first
        assert await world.find() is first
        await asyncio.sleep(0)
        assert world.store.loads == 2


async def test_an_account_that_nobody_asked_for_in_a_while_is_found_as_it_is_now() -> None:
    """It may have been switched off an hour ago: the first payer after that must not be sent there."""
    async with a_world() as world:
        await world.find()
        world.store.configs[KNOWN] = replace(an_alipay_config(), enabled=False)
        world.clock.seconds += PACE.old_after_s
        found = await asyncio.gather(*(world.find() for _ in range(3)))
        assert [account.enabled for account in found if account] == [False] * 3
        assert world.store.loads == 2


async def test_an_old_account_serves_while_the_store_does_not_answer() -> None:
    async with a_world(replace(PACE, old_wait_s=0.01)) as world:
        first = await world.find()
        world.store.open.clear()
        world.clock.seconds += PACE.old_after_s
        assert await world.find() is first


async def test_a_disabled_account_that_nobody_asked_for_in_a_while_waits_for_the_stores_word() -> None:
    """It may be on again since an hour: whoever heard "disabled" now would refuse an order for good."""
    async with a_world(replace(PACE, old_wait_s=0.01)) as world:
        world.store.configs[KNOWN] = replace(an_alipay_config(), enabled=False)
        await world.find()
        world.store.configs[KNOWN] = an_alipay_config()
        world.store.open.clear()
        world.clock.seconds += PACE.old_after_s
        finding = asyncio.create_task(world.find())
        await world.store.arrived()
        await asyncio.wait([finding], timeout=0.05)
        assert not finding.done()
        world.store.open.set()
        found = await finding
        assert found is not None
        assert found.enabled


async def test_an_account_that_is_switched_off_keeps_its_adapter_and_session() -> None:
    """Its trades go on being asked about, by the keys and lines that are there."""
    async with a_world() as world:
        old = await world.find()
        world.store.configs[KNOWN] = replace(an_alipay_config(), enabled=False)
        assert await world.refresh() is old
        new = await world.find()
        assert old is not None
        assert new is not None
        assert not new.enabled
        assert new.adapter is old.adapter


async def test_an_unchanged_account_keeps_its_adapter_and_session() -> None:
    async with a_world() as world:
        await world.find()
        await world.refresh()
        account = await world.find()
        assert account is not None
        assert account.adapter is world.store.built[0]
        assert len(world.store.built) == 1


async def test_a_changed_account_gets_a_new_adapter_and_the_old_session_ends() -> None:
    async with a_world() as world:
        old = await world.find()
        world.store.configs[KNOWN] = replace(an_alipay_config(), name="another")
        assert await world.refresh() is old
        new = await world.find()
        assert new is not None
        assert new.adapter is world.store.built[1]
        assert new.name == "another"
        async with asyncio.timeout(PATIENCE_S):
            await world.store.built[0].session_ended.wait()


async def test_an_old_session_lives_until_its_calls_must_be_over() -> None:
    async with a_world(replace(PACE, grace_s=3_600.0)) as world:
        await world.find()
        world.store.configs[KNOWN] = replace(an_alipay_config(), name="new")
        await world.refresh()
        assert world.store.built[0].sessions_ended == 0
    assert [channel.sessions_ended for channel in world.store.built] == [1, 1]


async def test_an_account_stays_while_the_database_is_away() -> None:
    async with a_world() as world:
        first = await world.find()
        world.store.error = StoreUnavailable("gone")
        for _ in range(3):
            assert await world.refresh() is first
        assert world.cache.problems == {KNOWN: "not loaded: StoreUnavailable"}
        loads = world.store.loads
        for _ in range(10):
            assert await world.find() is first
            await asyncio.sleep(0)  # the turn in which a load would start
        assert world.store.loads == loads, "a database that is away is not asked by every call"
        world.store.error = None
        await world.refresh()
        assert world.cache.problems == {}


async def test_an_account_stays_while_its_new_settings_cannot_be_used() -> None:
    async with a_world() as world:
        first = await world.find()
        world.store.refuses = "broken"
        world.store.configs[KNOWN] = replace(an_alipay_config(), name="broken")
        await world.refresh()
        assert await world.find() is first
        assert world.cache.problems == {KNOWN: "app_id: is missing"}
        world.store.configs[KNOWN] = replace(an_alipay_config(), name="mended")
        await world.refresh()
        account = await world.find()
        assert account is not None
        assert account.name == "mended"
        assert world.cache.problems == {}


async def test_an_account_that_never_worked_is_none_and_says_why() -> None:
    async with a_world() as world:
        world.store.configs[KNOWN] = replace(an_alipay_config(), channel="cowrie")
        assert await world.find() is None
        assert world.cache.problems == {KNOWN: "channel: is none that this installation knows"}


async def test_the_first_caller_is_told_what_the_store_said() -> None:
    async with a_world() as world:
        world.store.error = StoreUnavailable("gone")
        with pytest.raises(StoreUnavailable):
            await world.find()
        world.store.error = None
        assert await world.find() is not None


async def test_a_store_that_hangs_is_away() -> None:
    async with a_world(replace(PACE, load_timeout_s=0.01)) as world:
        world.store.open.clear()
        with pytest.raises(StoreUnavailable):
            await world.find()


async def test_an_unknown_id_is_remembered_for_a_short_time() -> None:
    async with a_world() as world:
        stranger = AccountId(99)
        assert [await world.find(stranger) for _ in range(5)] == [None] * 5
        assert world.store.loads == 1
        world.store.configs[stranger] = replace(an_alipay_config(), account_id=stranger)
        world.clock.seconds += PACE.unknown_for_s
        assert await world.find(stranger) is not None


async def test_an_account_that_the_store_no_longer_has_goes() -> None:
    async with a_world() as world:
        await world.find()
        world.store.configs.clear()
        await world.refresh()
        assert await world.find() is None
        async with asyncio.timeout(PATIENCE_S):
            await world.store.built[0].session_ended.wait()


async def test_strangers_numbers_cost_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounts, "UNKNOWN_IDS_MAX", 8)
    async with a_world() as world:
        for number in range(100, 150):
            await world.find(AccountId(number))
        assert len(world.cache._unknown_until_s) == 8


async def test_accounts_are_bounded_and_the_oldest_session_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounts, "ACCOUNTS_MAX", 3)
    async with a_world() as world:
        for number in range(10, 15):
            world.store.configs[AccountId(number)] = replace(an_alipay_config(), account_id=AccountId(number))
            await world.find(AccountId(number))
        assert list(world.cache._entries) == [12, 13, 14]
        async with asyncio.timeout(PATIENCE_S):
            await world.store.built[0].session_ended.wait()


async def test_too_many_searches_at_once_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounts, "LOADS_AT_ONCE_MAX", 2)
    async with a_world() as world:
        world.store.open.clear()
        waiting = [asyncio.create_task(world.find(AccountId(number))) for number in (20, 21)]
        await world.store.arrived()
        await world.store.arrived()
        with pytest.raises(Overloaded):
            await world.find(AccountId(22))
        world.store.open.set()
        assert await asyncio.gather(*waiting) == [None, None]


async def test_closing_ends_loads_and_every_session() -> None:
    async with a_world() as world:
        await world.find()
        world.store.open.clear()
        world.clock.seconds += PACE.stale_after_s
        await world.find()
        await world.cache.close()
        assert world.store.built[0].sessions_ended == 1
        with pytest.raises(Overloaded):
            await world.find()
