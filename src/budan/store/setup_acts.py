"""What persons set up of merchants and channel accounts: who, when, and what it was before and after."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Final

import msgspec

from budan.core.numbers import AccountId, MerchantId
from budan.store.database import Transaction
from budan.store.queries import query

_SETUP_ACT_ADD = query("setup_act_add")
_SETUP_ACT_LIST_MERCHANTS = query("setup_act_list_merchants")
_SETUP_ACT_LIST_ACCOUNTS = query("setup_act_list_accounts")

# A screen of a merchant's or an account's life is far less.
ACTS_SHOWN_MAX: Final = 1_000


class SetupKind(Enum):
    """What was done."""

    MERCHANT_ADD = "merchant_add"
    MERCHANT_SET = "merchant_set"
    KEY_ISSUE = "key_issue"
    CONTRACT_SET = "contract_set"
    ACCOUNT_ADD = "account_add"
    ACCOUNT_ROTATE = "account_rotate"
    ACCOUNT_END_OVERLAP = "account_end_overlap"
    ACCOUNT_ENABLE = "account_enable"
    ACCOUNT_DISABLE = "account_disable"
    ACCOUNT_ALLOW = "account_allow"
    ACCOUNT_DISALLOW = "account_disallow"


@dataclass(frozen=True, slots=True, kw_only=True)
class SetupActRow:
    """One act; `before` and `after` are JSON of what it changed, None where there was nothing, and hold no secret."""

    id: int
    kind: str
    merchant_id: int | None
    account_id: int | None
    acted_by: str
    acted_at: datetime
    before: str | None
    after: str | None


async def add_setup_act(
    transaction: Transaction,
    kind: SetupKind,
    *,
    merchant_id: MerchantId | None = None,
    account_id: AccountId | None = None,
    by: str,
    before: Mapping[str, object] | None = None,
    after: Mapping[str, object] | None = None,
) -> None:
    """Keep who did what to a merchant, to a channel account or to both; whoever calls holds what it changed."""
    texts = (None if one is None else msgspec.json.encode(one).decode() for one in (before, after))
    await transaction.none(_SETUP_ACT_ADD, kind.value, merchant_id, account_id, by, *texts)


async def list_merchant_acts(transaction: Transaction, merchant_id: MerchantId | None) -> list[SetupActRow]:
    """The newest acts of a merchant, or of all."""
    rows = await transaction.many(_SETUP_ACT_LIST_MERCHANTS, merchant_id, ACTS_SHOWN_MAX)
    return [SetupActRow(**dict(row)) for row in rows]


async def list_account_acts(transaction: Transaction, account_id: AccountId | None) -> list[SetupActRow]:
    """The newest acts of a channel account, or of all."""
    rows = await transaction.many(_SETUP_ACT_LIST_ACCOUNTS, account_id, ACTS_SHOWN_MAX)
    return [SetupActRow(**dict(row)) for row in rows]
