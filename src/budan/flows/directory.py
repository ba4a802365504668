"""Who calls, and what a merchant may use: caches that fill themselves from the store."""

import asyncio
import hmac
from collections import defaultdict
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Generic, TypeVar

from budan.core.cashback import CashbackPlan
from budan.core.errors import Refused, StoreUnavailable
from budan.core.fees import Rate, find_fee_terms
from budan.core.numbers import Environment, MerchantId
from budan.flows.views import AccountChoice, Caller, Shop, Terminal
from budan.ports.clock import Clock
from budan.store import directory as stored
from budan.store import rates as rates_stored
from budan.store.accounts import AllowedRow, list_allowed
from budan.store.cashbacks import list_plans_of
from budan.store.database import Database

# A disabled key, a new rate or another account takes effect within this time.
CACHE_STALE_S = 2.0
# What was asked for lately is read anew together, when the first of it is stale; so many at once.
READ_TOGETHER_MAX = 200
# While the database is away the last answer serves at most this long.
CACHE_DEAD_S = 60.0
CACHE_ENTRIES_MAX = 50_000

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


@dataclass(slots=True)
class _Cached(Generic[Value]):
    value: Value
    read_at_s: float


class SelfFillingCache(Generic[Key, Value]):
    """Reads through to `load`, keeps answers briefly, and serves an old one only while the store is away.

    `load` is given the key and others that were asked for lately, and leaves out which of the others are gone: a process
    with a thousand busy merchants reads them together, not a thousand times.
    """

    def __init__(self, load: Callable[[Sequence[Key]], Awaitable[Mapping[Key, Value]]], *, clock: Clock) -> None:
        self._load = load
        self._clock = clock
        self._entries: dict[Key, _Cached[Value]] = {}
        # What was asked for since the last reading: what nobody asks for is not read anew.
        self._wanted: set[Key] = set()
        # What is being read, and when that ends: what was read together is stale together, and is asked for at once.
        self._under_way: dict[Key, asyncio.Future[None]] = {}

    async def get(self, key: Key) -> Value:
        """The value; raises `StoreUnavailable` when it is not known and the store is away.

        Who asks while it is being read hears what that reading brings, its failure too: a store that is away is asked
        once for all of them. Whoever asks later has it read anew.
        """
        asked_s = self._clock.monotonic_s()
        try:
            # Each turn a reading has ended: with what we asked for, with an error, or with its caller, who was before us.
            while True:
                entry = self._entries.get(key)
                if entry is not None and asked_s - entry.read_at_s < CACHE_STALE_S:
                    self._wanted.add(key)
                    return entry.value
                reading = self._under_way.get(key)
                if reading is None:
                    return (await self._read(key))[key]
                await asyncio.wait([reading])
                if not reading.cancelled():
                    reading.result()
        except StoreUnavailable:
            entry = self._entries.get(key)
            if entry is not None and self._clock.monotonic_s() - entry.read_at_s < CACHE_DEAD_S:
                return entry.value
            raise

    async def _read(self, key: Key) -> Mapping[Key, Value]:
        """Read it anew, and what else is due; whoever waits for one of them is woken at the end and hears an error."""
        now_s = self._clock.monotonic_s()
        keys = self._take_wanted(key, now_s=now_s)
        reading: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._under_way.update(dict.fromkeys(keys, reading))
        try:
            found = await self._load(keys)
            assert key in found, "whatever is asked for has an answer, be it that there is none"
            self._keep(keys, found, now_s=now_s)
            reading.set_result(None)
        except Exception as error:
            # Another's row may be the broken one of several: then each who waits reads for itself.
            if isinstance(error, StoreUnavailable) or len(keys) == 1:
                reading.set_exception(error)
                # Raised here in any case; asyncio would complain where nobody else waited.
                reading.exception()
            raise
        finally:
            for read in keys:
                if self._under_way.get(read) is reading:
                    del self._under_way[read]
            # Where nothing was learned, for our caller went away or as above, one of those who waited reads it next.
            reading.cancel()
        return found

    def _keep(self, keys: Sequence[Key], found: Mapping[Key, Value], *, now_s: float) -> None:
        for read in keys:
            self._entries.pop(read, None)
        for read, value in found.items():
            if len(self._entries) >= CACHE_ENTRIES_MAX:
                self._entries.pop(next(iter(self._entries)))
            self._entries[read] = _Cached(value, now_s)

    def _take_wanted(self, key: Key, *, now_s: float) -> list[Key]:
        """This key, and those asked for lately whose answers are more than half as old as they may be."""
        wanted, self._wanted = self._wanted, set()
        keys = [key]
        for other in wanted:
            entry = self._entries.get(other)
            is_due = entry is not None and now_s - entry.read_at_s >= CACHE_STALE_S / 2
            if is_due and other != key and other not in self._under_way:
                keys.append(other)
                if len(keys) == READ_TOGETHER_MAX:
                    break
        return keys


@dataclass(frozen=True, slots=True, kw_only=True)
class _MerchantAccounts:
    accounts: tuple[AllowedRow, ...]
    rates: tuple[Rate, ...]
    cashback_plans: tuple[CashbackPlan, ...]
    expires_in_s: int
    expires_in_with_payer_s: int
    # By the database's clock, and by ours that only measures durations.
    now: datetime
    read_at_s: float


class Directory:
    """Finds callers, shops, desks and the accounts that take a merchant's orders."""

    def __init__(self, *, database: Database, environment: Environment, clock: Clock) -> None:
        self._database = database
        self._environment = environment
        self._clock = clock
        self._keys: SelfFillingCache[str, stored.ApiKeyRow | None] = SelfFillingCache(self._load_keys, clock=clock)
        self._merchants: SelfFillingCache[MerchantId, _MerchantAccounts] = SelfFillingCache(
            self._load_merchants,
            clock=clock,
        )

    async def authenticate(self, api_key: str) -> Caller | None:
        """Who holds `bdk_<environment>_<id>_<secret>`, or None; the secret is compared in constant time."""
        parts = api_key.split("_")
        if len(parts) != 4 or parts[0] != "bdk" or parts[1] != self._environment.value:  # noqa: PLR2004 - as above
            return None
        row = await self._keys.get(parts[2])
        # An unknown id costs the same comparison, so that its answer takes no other time.
        expected = bytes(32) if row is None else row.secret_digest
        same = hmac.compare_digest(sha256(parts[3].encode()).digest(), expected)
        return Caller(merchant_id=row.merchant_id, lane=row.lane) if same and row is not None else None

    async def find_shop(self, code: str) -> Shop | None:
        """The shop behind a printed code."""
        async with self._database.reading_statement() as transaction:
            row = await stored.find_shop(transaction, code)
        if row is None:
            return None
        return Shop(
            shop_id=row.shop_id,
            name=row.name,
            merchant_name=row.merchant_name,
            caller=Caller(merchant_id=row.merchant_id, lane=row.lane),
        )

    async def find_terminal(self, token: str) -> Terminal | None:
        """The desk behind a token; only the token's digest is looked up."""
        async with self._database.reading_statement() as transaction:
            row = await stored.find_terminal(transaction, sha256(token.encode()).digest())
        if row is None:
            return None
        return Terminal(
            terminal_id=row.terminal_id,
            name=row.name,
            shop_id=row.shop_id,
            shop_name=row.shop_name,
            caller=Caller(merchant_id=row.merchant_id, lane=row.lane),
        )

    async def list_choices(
        self, merchant_id: MerchantId, *, shop_id: int | None, method: str
    ) -> tuple[AccountChoice, ...]:
        """The accounts of the order's shop, first choice first, each with its fee for such a payment now.

        By the database's clock. Raises `Refused` with `no_account` when there is none, `method_unsupported` when none is
        meant for this method, `rate_missing` when no account's channel has a rate.
        """
        merchant = await self._merchants.get(merchant_id)
        allowed = _allowed_in(merchant, shop_id)
        if not allowed:
            raise Refused("no_account", detail="the merchant has no channel account")
        by_method = [row for row in allowed if row.methods is None or method in row.methods]
        if not by_method:
            raise Refused("method_unsupported", param="payment.method", detail="no account is meant for it")
        now = self._now(merchant)
        in_force = {
            row.channel: find_fee_terms(merchant.rates, channel=row.channel, shop_id=shop_id, method=method, now=now)
            for row in by_method
        }
        choices = tuple(
            AccountChoice(
                account_id=row.account_id, channel=row.channel, fee_terms=terms, cashback_plans=merchant.cashback_plans
            )
            for row in by_method
            if (terms := in_force[row.channel]) is not None
        )
        if not choices:
            raise Refused("rate_missing", detail="no fee rate is in force for the merchant's channels")
        return choices

    async def list_priced(self, merchant_id: MerchantId, *, shop_id: int | None) -> tuple[AllowedRow, ...]:
        """The accounts of the shop on whose channels anything may be paid now, first choice first."""
        merchant = await self._merchants.get(merchant_id)
        now = self._now(merchant)
        priced = {rate.channel for rate in merchant.rates if rate.effective_from <= now}
        return tuple(row for row in _allowed_in(merchant, shop_id) if row.channel in priced)

    async def find_expiry_s(self, merchant_id: MerchantId, *, with_payer: bool) -> int:
        """How many seconds an order of the merchant's lives that has no time of its own."""
        merchant = await self._merchants.get(merchant_id)
        return merchant.expires_in_with_payer_s if with_payer else merchant.expires_in_s

    def _now(self, merchant: _MerchantAccounts) -> datetime:
        """The database's clock: one machine's wrong one must not refuse a rate that all the others take."""
        return merchant.now + timedelta(seconds=self._clock.monotonic_s() - merchant.read_at_s)

    async def _load_keys(self, key_ids: Sequence[str]) -> dict[str, stored.ApiKeyRow | None]:
        async with self._database.reading_statement() as transaction:
            rows = await stored.list_api_keys(transaction, key_ids)
        return dict.fromkeys(key_ids) | {row.key_id: row for row in rows}

    async def _load_merchants(self, merchant_ids: Sequence[MerchantId]) -> dict[MerchantId, _MerchantAccounts]:
        async with self._database.reading() as transaction:
            read_at_s = self._clock.monotonic_s()
            terms = await stored.list_terms(transaction, merchant_ids)
            accounts, rates = defaultdict[MerchantId, list[AllowedRow]](list), defaultdict[MerchantId, list[Rate]](list)
            for account in await list_allowed(transaction, merchant_ids):
                accounts[account.merchant_id].append(account)
            for rate in await rates_stored.list_rates(transaction, merchant_ids, past=False):
                rates[rate.merchant_id].append(rate.rate)
            # A table of some dozens of rows, most of them for all.
            plans = await list_plans_of(transaction, merchant_ids)
        return {
            row.merchant_id: _MerchantAccounts(
                accounts=tuple(accounts[row.merchant_id]),
                rates=tuple(rates[row.merchant_id]),
                cashback_plans=tuple(plan for merchant_id, plan in plans if merchant_id in {None, row.merchant_id}),
                expires_in_s=row.expires_in_s,
                expires_in_with_payer_s=row.expires_in_with_payer_s,
                now=row.now,
                read_at_s=read_at_s,
            )
            for row in terms
        }


def _allowed_in(merchant: _MerchantAccounts, shop_id: int | None) -> list[AllowedRow]:
    """What takes new orders of a shop: accounts of its own where it was given any, else the merchant's."""
    own = [row for row in merchant.accounts if shop_id is not None and row.shop_id == shop_id]
    rows = own or [row for row in merchant.accounts if row.shop_id is None]
    return [row for row in rows if row.enabled]
