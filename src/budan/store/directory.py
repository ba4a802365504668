"""Merchants, keys, accounts, endpoints, shops and desks."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import cast

import msgspec

from budan.core.numbers import AccountId, Lane, MerchantId, lane_of
from budan.store.database import Record, Transaction
from budan.store.queries import query

_MERCHANT_NEXT_ID = query("merchant_next_id")
_MERCHANT_ADD = query("merchant_add")
_MERCHANT_LIST = query("merchant_list")
_MERCHANT_FIND = query("merchant_find")
_MERCHANT_LOCK = query("merchant_lock")
_MERCHANT_LIST_TERMS = query("merchant_list_terms")
_MERCHANT_SET_TERMS = query("merchant_set_terms")
_API_KEY_ADD = query("api_key_add")
_API_KEY_LIST = query("api_key_list")
_ACCOUNT_ADD = query("account_add")
_ACCOUNT_RESEAL = query("account_reseal")
_ACCOUNT_FIND = query("account_find")
_ACCOUNT_LIST = query("account_list")
_ENDPOINT_ADD = query("endpoint_add")
_ENDPOINT_RESEAL = query("endpoint_reseal")
_SHOP_ADD = query("shop_add")
_SHOP_FIND = query("shop_find")
_TERMINAL_ADD = query("terminal_add")
_TERMINAL_FIND = query("terminal_find")
_INSTALLATION_EXISTS = query("installation_exists")
_INSTALLATION_FIND = query("installation_find")
_INSTALLATION_IS_READ_ONLY = query("installation_is_read_only")


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallationRow:
    """Whose database this is."""

    installation_id: str
    environment: str
    lanes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MerchantRow:
    """A merchant: how long its orders live, their payer unknown and known; late payments; how it is settled."""

    merchant_id: MerchantId
    lane: Lane
    name: str
    enabled: bool
    expires_in_s: int
    expires_in_with_payer_s: int
    late_payment: str
    settles_zone: str
    settles_after_days: int
    payout_minor_min: int
    hold_back_bp: int
    hold_back_days: int
    settlement_set_by: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TermsRow:
    """How long a merchant's orders live, their payer unknown and known, as read at `now` by the database's clock."""

    merchant_id: MerchantId
    expires_in_s: int
    expires_in_with_payer_s: int
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKeyRow:
    """The stored half of an API key."""

    key_id: str
    merchant_id: MerchantId
    lane: Lane
    secret_digest: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountRow:
    """A channel account, secrets sealed."""

    account_id: AccountId
    channel: str
    name: str
    enabled: bool
    settings: dict[str, str]
    sealed_secrets: bytes = b""
    old_sealed_secrets: bytes | None = None
    old_until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ShopRow:
    """A shop with its merchant."""

    shop_id: int
    name: str
    merchant_id: MerchantId
    lane: Lane
    merchant_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TerminalRow:
    """A desk with its shop."""

    terminal_id: int
    name: str
    shop_id: int
    shop_name: str
    merchant_id: MerchantId
    lane: Lane


async def find_installation(transaction: Transaction) -> InstallationRow | None:
    """What the database says of itself; None before the first upgrade."""
    if not (await transaction.one(_INSTALLATION_EXISTS))["is_there"]:
        return None
    row = await transaction.maybe(_INSTALLATION_FIND)
    if row is None:
        return None
    return InstallationRow(
        installation_id=str(row["installation_id"]),
        environment=row["environment"],
        lanes=row["lanes"],
    )


async def is_read_only(transaction: Transaction) -> bool:
    """Whether the database takes no writing, as a standby does until it is promoted."""
    return bool((await transaction.one(_INSTALLATION_IS_READ_ONLY))["is_read_only"])


async def add_merchant(transaction: Transaction, *, name: str, lanes: int) -> MerchantRow:
    """A new merchant, in the lane of its id."""
    row = await transaction.one(_MERCHANT_NEXT_ID)
    merchant_id = cast("MerchantId", row["id"])
    lane = lane_of(merchant_id, lanes=lanes)
    await transaction.none(_MERCHANT_ADD, merchant_id, lane, name)
    added = await find_merchant(transaction, merchant_id)
    assert added is not None, "just written"
    return added


async def list_merchants(transaction: Transaction) -> list[MerchantRow]:
    """All merchants."""
    return [_merchant(row) for row in await transaction.many(_MERCHANT_LIST)]


async def find_merchant(transaction: Transaction, merchant_id: MerchantId) -> MerchantRow | None:
    """One merchant."""
    row = await transaction.maybe(_MERCHANT_FIND, merchant_id)
    return None if row is None else _merchant(row)


async def lock_merchant(transaction: Transaction, merchant_id: MerchantId) -> bool:
    """Hold a merchant of which something is to change; False where there is none."""
    return await transaction.maybe(_MERCHANT_LOCK, merchant_id) is not None


async def list_terms(transaction: Transaction, merchant_ids: Sequence[MerchantId]) -> list[TermsRow]:
    """How long these merchants' orders live."""
    return [TermsRow(**dict(row)) for row in await transaction.many(_MERCHANT_LIST_TERMS, merchant_ids)]


async def set_terms(
    transaction: Transaction,
    merchant_id: MerchantId,
    *,
    expires_in_s: int | None,
    expires_in_with_payer_s: int | None,
    late_payment: str | None,
) -> bool:
    """Change how a merchant's orders end; what is None stays. False where there is no such merchant."""
    given = (expires_in_s, expires_in_with_payer_s, late_payment)
    return await transaction.maybe(_MERCHANT_SET_TERMS, merchant_id, *given) is not None


def _merchant(row: Record) -> MerchantRow:
    fields = dict(row)
    return MerchantRow(merchant_id=fields.pop("id"), **fields)


async def add_api_key(
    transaction: Transaction,
    *,
    key_id: str,
    merchant_id: MerchantId,
    secret_digest: bytes,
) -> None:
    """Keep a key's public half and the digest of its secret."""
    await transaction.none(_API_KEY_ADD, key_id, merchant_id, secret_digest)


async def list_api_keys(transaction: Transaction, key_ids: Sequence[str]) -> list[ApiKeyRow]:
    """Of these keys the enabled ones of enabled merchants."""
    return [ApiKeyRow(**dict(row)) for row in await transaction.many(_API_KEY_LIST, key_ids)]


async def add_account(transaction: Transaction, *, channel: str, name: str, settings: dict[str, str]) -> AccountId:
    """A channel account without secrets yet: their seal needs the id."""
    row = await transaction.one(_ACCOUNT_ADD, channel, name, msgspec.json.encode(settings).decode(), b"")
    return cast("AccountId", row["id"])


async def seal_account(transaction: Transaction, *, account_id: AccountId, sealed_secrets: bytes) -> None:
    """Keep an account's sealed secrets."""
    await transaction.none(_ACCOUNT_RESEAL, account_id, sealed_secrets)


async def find_account(transaction: Transaction, account_id: AccountId) -> AccountRow | None:
    """One account, disabled ones too."""
    row = await transaction.maybe(_ACCOUNT_FIND, account_id)
    return None if row is None else read_account(row)


def read_account(row: Record) -> AccountRow:
    """An account with its sealed secrets, from its row."""
    return AccountRow(
        account_id=row["id"],
        channel=row["channel"],
        name=row["name"],
        enabled=row["enabled"],
        settings=msgspec.json.decode(row["settings"], type=dict[str, str]),
        sealed_secrets=row["sealed_secrets"],
        old_sealed_secrets=row["old_sealed_secrets"],
        old_until=row["old_until"],
    )


async def list_accounts(transaction: Transaction) -> list[AccountRow]:
    """All accounts, without secrets."""
    return [
        AccountRow(
            account_id=row["id"],
            channel=row["channel"],
            name=row["name"],
            enabled=row["enabled"],
            settings=msgspec.json.decode(row["settings"], type=dict[str, str]),
        )
        for row in await transaction.many(_ACCOUNT_LIST)
    ]


async def add_endpoint(transaction: Transaction, *, merchant_id: MerchantId, url: str) -> int:
    """A webhook endpoint without its secret yet: the seal needs the id."""
    row = await transaction.one(_ENDPOINT_ADD, merchant_id, url)
    return cast("int", row["id"])


async def seal_endpoint(transaction: Transaction, *, endpoint_id: int, sealed_secret: bytes) -> None:
    """Keep an endpoint's sealed secret."""
    await transaction.none(_ENDPOINT_RESEAL, endpoint_id, sealed_secret)


async def add_shop(transaction: Transaction, *, merchant_id: MerchantId, name: str, code: str) -> int:
    """A shop with its printed code."""
    row = await transaction.one(_SHOP_ADD, merchant_id, name, code)
    return cast("int", row["id"])


async def find_shop(transaction: Transaction, code: str) -> ShopRow | None:
    """The shop behind a printed code."""
    row = await transaction.maybe(_SHOP_FIND, code)
    if row is None:
        return None
    return ShopRow(
        shop_id=row["id"],
        name=row["name"],
        merchant_id=row["merchant_id"],
        lane=row["lane"],
        merchant_name=row["merchant_name"],
    )


async def add_terminal(
    transaction: Transaction,
    *,
    shop_id: int,
    merchant_id: MerchantId,
    name: str,
    token_digest: bytes,
) -> int:
    """A desk of a shop."""
    row = await transaction.one(_TERMINAL_ADD, shop_id, merchant_id, name, token_digest)
    return cast("int", row["id"])


async def find_terminal(transaction: Transaction, token_digest: bytes) -> TerminalRow | None:
    """The desk behind a token."""
    row = await transaction.maybe(_TERMINAL_FIND, token_digest)
    if row is None:
        return None
    fields = dict(row)
    fields["terminal_id"] = fields.pop("id")
    return TerminalRow(**fields)
