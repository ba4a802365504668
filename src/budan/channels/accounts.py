"""Channel accounts ready for use: a cache that fills itself and follows the store."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

import structlog

from budan.channels.session import GuardedSession
from budan.channels.settings import BadSettings
from budan.core.errors import Overloaded, StoreUnavailable
from budan.core.numbers import AccountId
from budan.ports.channel import AccountConfig, ChannelAccount
from budan.ports.clock import Clock
from budan.telemetry import metrics

ACCOUNTS_MAX: Final = 4_096
UNKNOWN_IDS_MAX: Final = 1_024
LOADS_AT_ONCE_MAX: Final = 64

Load = Callable[[AccountId], Awaitable[AccountConfig | None]]
Builder = Callable[[AccountConfig], GuardedSession]

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class CachePace:
    """How old what we know may get.

    From `stale_after_s` on an account is loaded anew while it serves on; one that is `old_after_s` old serves only when
    the store has not answered for `old_wait_s`, one that was disabled not before the store has answered or failed.
    `grace_s` is how long a replaced adapter may still finish its calls; no call runs longer than its deadline.
    """

    stale_after_s: float = 1.5
    old_after_s: float = 2.0
    old_wait_s: float = 0.5
    unknown_for_s: float = 1.0
    grace_s: float = 30.0
    load_timeout_s: float = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    config: AccountConfig
    account: ChannelAccount
    adapter: GuardedSession
    loaded_at_s: float


class AccountCache:
    """Implements `ChannelAccounts`; belongs to one event loop.

    An account that was found once stays found while the store is away or its new settings cannot be used: the one that
    worked goes on, and `problems` tells why. Only the store's own "there is none" takes it away.
    """

    def __init__(
        self, *, load: Load, builders: Mapping[str, Builder], clock: Clock, pace: CachePace | None = None
    ) -> None:
        self._load = load
        self._builders = builders
        self._clock = clock
        self._pace = pace or CachePace()
        self._entries: dict[AccountId, _Entry] = {}
        self._unknown_until_s: dict[AccountId, float] = {}
        self._loading: dict[AccountId, asyncio.Task[None]] = {}
        self._retired: set[asyncio.Task[None]] = set()
        self._problems: dict[AccountId, str] = {}
        self._closing = asyncio.Event()

    @property
    def problems(self) -> Mapping[AccountId, str]:
        """Why an account's present settings could not be loaded or used, for the console and the doctor."""
        return self._problems

    async def find(self, account_id: AccountId) -> ChannelAccount | None:
        """See ChannelAccounts.find.

        Waits without a bound of its own only for an account that was never found yet; raises then what the store raised,
        `StoreUnavailable` when it took too long, or `Overloaded` when too many are being looked for.
        """
        entry = self._entries.get(account_id)
        if entry is None:
            return await self._find_first(account_id)
        age_s = self._clock.monotonic_s() - entry.loaded_at_s
        if age_s < self._pace.stale_after_s or self._closing.is_set():
            return entry.account
        task = self._loading.get(account_id) or self._start(account_id)
        if age_s < self._pace.old_after_s:
            return entry.account
        # Nobody has asked for it in a while: it may have been switched off, or on again, an hour ago. One that is on may
        # serve before the store has answered; one that was off would have its caller refuse an order that it may take.
        await asyncio.wait([task], timeout=self._pace.old_wait_s if entry.account.enabled else None)
        entry = self._entries.get(account_id)
        return None if entry is None else entry.account

    async def close(self) -> None:
        """See ChannelAccounts.close."""
        self._closing.set()
        loading = list(self._loading.values())
        for task in loading:
            task.cancel()
        await asyncio.gather(*loading, *self._retired, return_exceptions=True)
        entries = list(self._entries.values())
        self._entries.clear()
        for entry in entries:
            await entry.adapter.end_session()

    async def _find_first(self, account_id: AccountId) -> ChannelAccount | None:
        if self._clock.monotonic_s() < self._unknown_until_s.get(account_id, float("-inf")):
            return None
        task = self._loading.get(account_id)
        if task is None:
            if self._closing.is_set() or len(self._loading) >= LOADS_AT_ONCE_MAX:
                raise Overloaded("account_loads")
            task = self._start(account_id)
        # Shielded: one caller that gives up does not take the answer from the others.
        await asyncio.shield(task)
        entry = self._entries.get(account_id)
        return None if entry is None else entry.account

    def _start(self, account_id: AccountId) -> asyncio.Task[None]:
        task = asyncio.create_task(self._refresh(account_id), name=f"load channel account {account_id}")
        self._loading[account_id] = task
        task.add_done_callback(lambda done: self._loaded(account_id, done))
        return task

    def _loaded(self, account_id: AccountId, task: asyncio.Task[None]) -> None:
        del self._loading[account_id]
        if task.cancelled() or (error := task.exception()) is None:
            return
        # For an account that was never found, its callers are told instead: they waited for this.
        if account_id in self._entries:
            self._complain(account_id, f"not loaded: {type(error).__name__}")
            self._try_later(account_id)

    async def _refresh(self, account_id: AccountId) -> None:
        try:
            async with asyncio.timeout(self._pace.load_timeout_s):
                config = await self._load(account_id)
        except TimeoutError as error:
            raise StoreUnavailable("the channel account was not loaded in time") from error
        except BadSettings as error:
            self._refuse(account_id, error, now_s=self._clock.monotonic_s())
            return
        now_s = self._clock.monotonic_s()
        old = self._entries.get(account_id)
        if config is None:
            self._forget(account_id, now_s=now_s)
        elif old is not None and replace(old.config, enabled=config.enabled) == config:
            # Switched off or on, its sessions and keys are the same: to read a key costs a busy machine half a second.
            self._keep(account_id, config, old.adapter, now_s=now_s)
        else:
            await self._rebuild(account_id, config, now_s=now_s)

    async def _rebuild(self, account_id: AccountId, config: AccountConfig, *, now_s: float) -> None:
        try:
            # In a thread, because loading a private key takes some 35 ms.
            adapter = await asyncio.to_thread(self._build, config)
        except BadSettings as error:
            self._refuse(account_id, error, now_s=now_s)
            return
        self._retire(account_id)
        self._keep(account_id, config, adapter, now_s=now_s)

    def _refuse(self, account_id: AccountId, error: BadSettings, *, now_s: float) -> None:
        """What cannot be used: the settings that worked go on, and where there are none the account is not found."""
        self._complain(account_id, str(error))
        if account_id in self._entries:
            self._try_later(account_id)
        else:
            self._remember_unknown(account_id, now_s=now_s)

    def _build(self, config: AccountConfig) -> GuardedSession:
        builder = self._builders.get(config.channel)
        if builder is None:
            raise BadSettings("channel", "is none that this installation knows")
        return builder(config)

    def _keep(self, account_id: AccountId, config: AccountConfig, adapter: GuardedSession, *, now_s: float) -> None:
        self._problems.pop(account_id, None)
        self._unknown_until_s.pop(account_id, None)
        account = ChannelAccount(
            account_id=account_id,
            channel=config.channel,
            name=config.name,
            enabled=config.enabled,
            adapter=adapter,
            takes_new=lambda: adapter.takes_new,
        )
        while account_id not in self._entries and len(self._entries) >= ACCOUNTS_MAX:
            self._retire(next(iter(self._entries)))
        self._entries[account_id] = _Entry(config=config, account=account, adapter=adapter, loaded_at_s=now_s)

    def _try_later(self, account_id: AccountId) -> None:
        """What failed is tried again as often as what works is refreshed, however many callers there are."""
        entry = self._entries[account_id]
        self._entries[account_id] = replace(entry, loaded_at_s=self._clock.monotonic_s())

    def _forget(self, account_id: AccountId, *, now_s: float) -> None:
        self._problems.pop(account_id, None)
        self._retire(account_id)
        self._remember_unknown(account_id, now_s=now_s)

    def _remember_unknown(self, account_id: AccountId, *, now_s: float) -> None:
        self._unknown_until_s.pop(account_id, None)
        # The oldest goes first: a stranger who tries numbers costs us memory for no more than these.
        while len(self._unknown_until_s) >= UNKNOWN_IDS_MAX:
            del self._unknown_until_s[next(iter(self._unknown_until_s))]
        self._unknown_until_s[account_id] = now_s + self._pace.unknown_for_s

    def _retire(self, account_id: AccountId) -> None:
        """Takes the entry away; its session ends when its last call must be over."""
        entry = self._entries.pop(account_id, None)
        if entry is None:
            return
        task = asyncio.create_task(self._end_later(entry.adapter), name=f"end session of account {account_id}")
        self._retired.add(task)
        task.add_done_callback(self._retired.discard)

    async def _end_later(self, adapter: GuardedSession) -> None:
        try:
            async with asyncio.timeout(self._pace.grace_s):
                await self._closing.wait()
        except TimeoutError:
            # The grace is over.
            pass
        finally:
            await adapter.end_session()

    def _complain(self, account_id: AccountId, problem: str) -> None:
        if self._problems.get(account_id) == problem:
            return
        # Bounded like the entries: only ids that the store knows, or could not be asked for, come here.
        while len(self._problems) >= ACCOUNTS_MAX:
            del self._problems[next(iter(self._problems))]
        self._problems[account_id] = problem
        metrics.TURN_FAILURES.labels("channel_account").inc()
        _log.warning("channel_account_problem", account_id=account_id, problem=problem)
