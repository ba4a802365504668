"""What an operator does with channel accounts: adds them, looks at their keys, rotates these, takes accounts out of use."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum
from secrets import token_hex
from typing import Final

import msgspec

from budan.core.errors import Refused
from budan.core.evidence import Outcome
from budan.core.numbers import AccountId, Environment, Lane, MerchantId, OrderId, id_floor, trade_number
from budan.core.trade import Direction
from budan.flows.acts import check_name
from budan.flows.administering import Administration, account_context
from budan.flows.choosing import CHANNELS
from budan.flows.rotating import check_overlap, refuse_running
from budan.flows.sealing import is_sealed_with_current
from budan.ports.channel import AccountConfig, AccountFacts, Call, Channel, KeyLife, Method, OldKeys, TradeRef
from budan.store import accounts as stored
from budan.store import directory
from budan.store.database import Database, Transaction
from budan.store.directory import AccountRow
from budan.store.setup_acts import SetupActRow, SetupKind, add_setup_act, list_account_acts
from budan.wire.secret_box import CannotOpen, SecretBox

# A certificate takes days to be issued, and longer where somebody must sign for it.
ENDING_WITHIN: Final = timedelta(days=30)
ASK_S_MAX: Final = 10.0
PRIORITY_MAX: Final = 32_767
METHODS: Final = tuple(method.value for method in Method)

Inspect = Callable[[AccountConfig], AccountFacts]


class KeyVerdict(Enum):
    """Whether a key can be relied on."""

    GOOD = "good"
    ENDING = "ending"  # within ENDING_WITHIN
    ENDED = "ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class Taker:
    """Who takes payments through an account: a merchant in all its shops, or one shop. Exactly one of both is told."""

    merchant_id: int | None = None
    shop_id: int | None = None

    def __post_init__(self) -> None:
        """Neither, or both, is wrong use."""
        if (self.merchant_id is None) == (self.shop_id is None):
            raise Refused("options_exclude", param="shop", detail="either a merchant or a shop")


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyStanding:
    """A key of an account at this moment."""

    field_name: str
    ends_at: datetime
    verdict: KeyVerdict


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountStanding:
    """An account as its operator sees it, without secrets.

    `wrong_field` and `wrong_because` tell why the account cannot be used as it is set; the old keys count until
    `old_until`. `sealed_with_current` is False where the installation's own key was changed since.
    """

    account_id: AccountId
    channel: str
    name: str
    enabled: bool
    settings: Mapping[str, str]
    keys: tuple[KeyStanding, ...]
    old_until: datetime | None
    sealed_with_current: bool
    wrong_field: str | None = None
    wrong_because: str = ""

    @property
    def is_usable(self) -> bool:
        """Whether the channel can be called with it: every field is right and no key has ended."""
        return self.wrong_field is None and all(key.verdict is not KeyVerdict.ENDED for key in self.keys)

    def list_warnings(self) -> list[str]:
        """What somebody has to do about it, a line each."""
        wrong = [] if self.wrong_field is None else [f"{self._head}: {self.wrong_field} {self.wrong_because}"]
        is_behind = self.wrong_field is None and not self.sealed_with_current
        behind = [f"{self._head}: sealed with an old key of this installation"] if is_behind else []
        return wrong + behind + self.list_key_warnings()

    def list_key_warnings(self) -> list[str]:
        """Which keys end soon, or have ended, a line each."""
        return [
            f"{self._head}: {key.field_name} {'ended' if key.verdict is KeyVerdict.ENDED else 'ends'} on"
            f" {key.ends_at:%F %R} UTC"
            for key in self.keys
            if key.verdict is not KeyVerdict.GOOD
        ]

    @property
    def _head(self) -> str:
        return f"account {self.account_id} ({self.channel}, {self.name})"


class AccountDesk:
    """Every act is one transaction, and nothing is kept that the channel's adapter could not use."""

    def __init__(self, *, database: Database, administration: Administration, box: SecretBox, inspect: Inspect) -> None:
        self._database = database
        self._administration = administration
        self._box = box
        self._inspect = inspect

    async def add_account(
        self, *, channel: str, name: str, settings: dict[str, str], account_secrets: Mapping[str, str], by: str
    ) -> AccountId:
        """A new account, its keys judged and sealed, with who added it.

        Not safe to repeat: a second one is refused by its name. Raises `Refused` with `channel_unknown`,
        `account_field_wrong`, `certificate_ended`, `name_malformed` or `name_used`.
        """
        if channel not in CHANNELS:
            raise Refused("channel_unknown", param="channel", detail=f"one of {sorted(CHANNELS)}")
        config = AccountConfig(
            account_id=AccountId(0),
            channel=channel,
            name=name,
            enabled=True,
            settings=settings,
            secrets=account_secrets,
        )
        facts = self._inspect(config)
        async with self._database.reading() as transaction:
            _refuse_ended(facts, now=await transaction.clock())
        return await self._administration.add_account(
            channel=channel, name=name, settings=settings, account_secrets=account_secrets, by=by
        )

    async def rotate(
        self,
        account_id: int,
        *,
        settings: Mapping[str, str],
        account_secrets: Mapping[str, str],
        overlap_s: int,
        by: str,
    ) -> datetime | None:
        """Put these in place of what the account has; gives until when the old keys count beside the new ones.

        Whose account it is stays: trades in flight are that merchant's. Who did it is kept, with the names of the secrets.
        Raises `Refused` with `overlap_out_of_range`, `name_malformed`, `account_unknown`, `rotation_running`, `account_field_wrong`, `account_identity` or `certificate_ended`.
        """
        check_overlap(overlap_s)
        by = check_name(by)
        async with self._database.transaction() as transaction:
            row = await self._lock(transaction, account_id)
            now = await transaction.clock()
            refuse_running(row.old_until, now=now, param="account")
            before = open_account(row, box=self._box)
            after = replace(
                before,
                settings={**before.settings, **settings},
                secrets={**before.secrets, **account_secrets},
                old_keys=OldKeys(secrets=before.secrets, until=now + timedelta(seconds=overlap_s)),
            )
            facts = self._inspect(after)
            self._refuse_other_identity(before, facts)
            _refuse_ended(facts, now=now)
            until = await stored.rotate(
                transaction,
                row.account_id,
                settings=dict(after.settings),
                sealed_secrets=self._seal(row.account_id, after.secrets),
                overlap_s=overlap_s,
            )
            was = {name: before.settings.get(name) for name in settings}
            given = {**settings, "secrets": sorted(account_secrets), "old_until": until}
            kind = SetupKind.ACCOUNT_ROTATE
            await add_setup_act(transaction, kind, account_id=row.account_id, by=by, before=was, after=given)
            return until

    async def end_overlap(self, account_id: int, *, by: str) -> bool:
        """Refuse from now on what was signed with the old keys; False where there were none. Safe to repeat.

        Raises `Refused` with `name_malformed` or `account_unknown`.
        """
        by = check_name(by)
        async with self._database.transaction() as transaction:
            row = await self._lock(transaction, account_id)
            ended = await stored.end_overlap(transaction, row.account_id)
            if ended:
                await add_setup_act(transaction, SetupKind.ACCOUNT_END_OVERLAP, account_id=row.account_id, by=by)
            return ended

    async def set_enabled(self, account_id: int, *, enabled: bool, by: str) -> None:
        """Let new trades go there, or no more. What is in flight is asked about, told and refunded as before.

        Safe to repeat. Raises `Refused` with `name_malformed` or `account_unknown`.
        """
        by = check_name(by)
        async with self._database.transaction() as transaction:
            row = await self._lock(transaction, account_id)
            if row.enabled == enabled:
                return
            is_set = await stored.set_enabled(transaction, row.account_id, enabled=enabled)
            assert is_set, "this transaction holds it"
            kind = SetupKind.ACCOUNT_ENABLE if enabled else SetupKind.ACCOUNT_DISABLE
            await add_setup_act(transaction, kind, account_id=row.account_id, by=by)

    async def allow(self, account_id: int, to: Taker, *, priority: int, methods: Sequence[str], by: str) -> None:
        """Let new orders of a merchant, or of a shop of its own, go there; the lowest priority goes first.

        A shop that is given accounts of its own uses no other ones. No methods are all. Safe to repeat: it replaces what
        was said before. Raises `Refused` with `name_malformed`, `method_unknown`, `priority_out_of_range`,
        `account_unknown`, `merchant_unknown` or `shop_unknown`.
        """
        by = check_name(by)
        wrong = next((method for method in methods if method not in METHODS), None)
        if wrong is not None:
            raise Refused("method_unknown", param="method", detail=f"one of {', '.join(METHODS)}")
        if not 0 <= priority <= PRIORITY_MAX:
            raise Refused("priority_out_of_range", param="priority", detail=f"0 to {PRIORITY_MAX}")
        kept = sorted(set(methods)) or None
        async with self._database.transaction() as transaction:
            row = await self._lock(transaction, account_id)
            merchant_id = await _get_merchant(transaction, to)
            if to.shop_id is not None:
                await stored.allow_shop_account(
                    transaction, shop_id=to.shop_id, account_id=row.account_id, priority=priority, methods=kept
                )
            else:
                await stored.allow_account(
                    transaction, merchant_id=merchant_id, account_id=row.account_id, priority=priority, methods=kept
                )
            await add_setup_act(
                transaction,
                SetupKind.ACCOUNT_ALLOW,
                merchant_id=merchant_id,
                account_id=row.account_id,
                by=by,
                after={"shop_id": to.shop_id, "priority": priority, "methods": kept},
            )

    async def disallow(self, account_id: int, to: Taker, *, by: str) -> bool:
        """Let its new orders go there no more; False where they did not. Safe to repeat.

        Raises `Refused` with `name_malformed`.
        """
        by = check_name(by)
        async with self._database.transaction() as transaction:
            was = await _disallow(transaction, AccountId(account_id), to)
            if was:
                await add_setup_act(
                    transaction,
                    SetupKind.ACCOUNT_DISALLOW,
                    merchant_id=await _get_merchant(transaction, to),
                    account_id=AccountId(account_id),
                    by=by,
                    before={"shop_id": to.shop_id},
                )
            return was

    async def list_acts(self, account_id: int | None) -> list[SetupActRow]:
        """What persons set up of an account, or of all, the newest first."""
        async with self._database.reading() as transaction:
            return await list_account_acts(transaction, None if account_id is None else AccountId(account_id))

    async def list_standings(self) -> list[AccountStanding]:
        """All accounts, judged at the database's clock."""
        async with self._database.reading() as transaction:
            rows, now = await stored.list_sealed(transaction), await transaction.clock()
        return [self._judge(row, now=now) for row in rows]

    async def open_account(self, account_id: int) -> AccountConfig:
        """One account with its keys; raises `Refused` with `account_unknown` or `secrets_unreadable`."""
        async with self._database.reading() as transaction:
            row = await directory.find_account(transaction, AccountId(account_id))
        if row is None:
            raise Refused("account_unknown", param="account")
        try:
            return open_account(row, box=self._box)
        except CannotOpen as error:
            raise Refused("secrets_unreadable", param="account", detail=str(error)) from error

    async def _lock(self, transaction: Transaction, account_id: int) -> AccountRow:
        row = await stored.lock_account(transaction, AccountId(account_id))
        if row is None:
            raise Refused("account_unknown", param="account")
        return row

    def _judge(self, row: AccountRow, *, now: datetime) -> AccountStanding:
        standing = AccountStanding(
            account_id=row.account_id,
            channel=row.channel,
            name=row.name,
            enabled=row.enabled,
            settings=row.settings,
            keys=(),
            old_until=row.old_until if row.old_until is not None and now < row.old_until else None,
            sealed_with_current=False,
        )
        try:
            facts = self._inspect(open_account(row, box=self._box))
        except CannotOpen as error:
            return replace(standing, wrong_field="secrets", wrong_because=f"cannot be opened: {error}")
        except Refused as refused:
            return replace(standing, wrong_field=refused.param, wrong_because=refused.detail)
        return replace(
            standing,
            keys=tuple(_judge_key(life, now=now) for life in facts.key_lives),
            sealed_with_current=is_sealed_with_current(row, box=self._box),
        )

    def _refuse_other_identity(self, before: AccountConfig, facts: AccountFacts) -> None:
        for name, value in facts.identity.items():
            if before.settings.get(name, "") != value:
                detail = "says whose the account is, and its trades stay theirs: add another account"
                raise Refused("account_identity", param=name, detail=detail)

    def _seal(self, account_id: AccountId, account_secrets: Mapping[str, str]) -> bytes:
        return self._box.seal(msgspec.json.encode(dict(account_secrets)), context=account_context(account_id))


def open_account(row: AccountRow, *, box: SecretBox) -> AccountConfig:
    """An account from its row, its secrets opened; raises `CannotOpen`."""
    return AccountConfig(
        account_id=row.account_id,
        channel=row.channel,
        name=row.name,
        enabled=row.enabled,
        settings=row.settings,
        secrets=_opened(row.sealed_secrets, row=row, box=box),
        old_keys=None
        if row.old_sealed_secrets is None or row.old_until is None
        else OldKeys(secrets=_opened(row.old_sealed_secrets, row=row, box=box), until=row.old_until),
    )


async def ask_for_nothing(channel: Channel, *, environment: Environment, now: datetime) -> str | None:
    """Asks a channel for a trade that nobody made, so that both sides' keys are used and nothing is moved.

    None where the channel gave a proven answer, else its code or ours.
    """
    number = trade_number(
        environment=environment,
        lane=Lane(0),
        merchant_id=MerchantId(1),
        order_id=OrderId(id_floor(now)),
        attempt=1,
    )
    ref = TradeRef(
        trade_no=number,
        direction=Direction.C2B if Method.NATIVE in channel.capabilities.methods else Direction.B2C,
        created_at=now,
        method=Method.NATIVE if Method.NATIVE in channel.capabilities.methods else Method.CODE,
    )
    result = await channel.query(ref, call=Call(now=now, nonce=token_hex(16).upper(), deadline_s=ASK_S_MAX))
    if result.sent and (result.answered or result.outcome is not Outcome.UNKNOWN):
        return None
    return f"{result.code} {result.message}".strip() or "no answer"


async def _get_merchant(transaction: Transaction, to: Taker) -> MerchantId:
    """Whose orders are meant; raises `Refused` with `shop_unknown` or `merchant_unknown`."""
    if to.shop_id is not None:
        owner = await stored.find_merchant_of_shop(transaction, to.shop_id)
        if owner is None:
            raise Refused("shop_unknown", param="shop")
        return owner
    assert to.merchant_id is not None, "a taker is one of both"
    merchant = await directory.find_merchant(transaction, MerchantId(to.merchant_id))
    if merchant is None:
        raise Refused("merchant_unknown", param="merchant")
    return merchant.merchant_id


async def _disallow(transaction: Transaction, account_id: AccountId, to: Taker) -> bool:
    if to.shop_id is not None:
        return await stored.disallow_shop_account(transaction, shop_id=to.shop_id, account_id=account_id)
    assert to.merchant_id is not None, "a taker is one of both"
    return await stored.disallow_account(transaction, merchant_id=MerchantId(to.merchant_id), account_id=account_id)


def _opened(sealed: bytes, *, row: AccountRow, box: SecretBox) -> dict[str, str]:
    return msgspec.json.decode(box.open(sealed, context=account_context(row.account_id)), type=dict[str, str])


def _judge_key(life: KeyLife, *, now: datetime) -> KeyStanding:
    verdict = KeyVerdict.GOOD
    if life.ends_at <= now:
        verdict = KeyVerdict.ENDED
    elif life.ends_at <= now + ENDING_WITHIN:
        verdict = KeyVerdict.ENDING
    return KeyStanding(field_name=life.field_name, ends_at=life.ends_at, verdict=verdict)


def _refuse_ended(facts: AccountFacts, *, now: datetime) -> None:
    for life in facts.key_lives:
        if life.ends_at <= now:
            raise Refused("certificate_ended", param=life.field_name, detail=f"on {life.ends_at:%F %R} UTC")
