"""What a channel takes of an account's payments by its contract, by which fees are judged."""

from dataclasses import dataclass
from datetime import date, datetime

from budan.core.numbers import AccountId
from budan.store.database import Transaction
from budan.store.queries import query

_CONTRACT_SET = query("contract_set")
_CONTRACT_LIST = query("contract_list")
_CONTRACT_FIND = query("contract_find")


@dataclass(frozen=True, slots=True, kw_only=True)
class ContractRow:
    """What a channel takes of an account's payments from a day on, in millionths."""

    account_id: int
    effective_from: date
    rate_e6: int
    set_by: str
    set_at: datetime


async def set_contract(
    transaction: Transaction, account_id: AccountId, *, effective_from: date, rate_e6: int, set_by: str
) -> None:
    """The rate of an account's contract from a day on. Safe to repeat."""
    await transaction.none(_CONTRACT_SET, account_id, effective_from, rate_e6, set_by)


async def list_contracts(transaction: Transaction, account_id: AccountId | None) -> list[ContractRow]:
    """The rates of an account's contract, or of all accounts'."""
    return [ContractRow(**dict(row)) for row in await transaction.many(_CONTRACT_LIST, account_id)]


async def find_rate_e6(transaction: Transaction, account_id: AccountId, day: date) -> int | None:
    """The contract's rate that counts on a day."""
    row = await transaction.maybe(_CONTRACT_FIND, account_id, day)
    return None if row is None else row["rate_e6"]
