"""Whom merchants' payouts go to: proposed by one person, confirmed by another who gives the number again."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from hmac import compare_digest
from typing import Final

from budan.core.errors import Refused
from budan.core.numbers import MerchantId
from budan.core.payee import Payee, PayeeStanding, check_number
from budan.flows.acts import check_name, check_proposal, check_reason, has_lapsed
from budan.store import directory
from budan.store import payees as stored
from budan.store.database import Database, Transaction
from budan.store.payees import PayeeRow
from budan.wire.secret_box import CannotOpen, SecretBox

# More than these of one merchant are no work of persons.
PAYEES_MAX: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class StandingPayee:
    """A payee and what it is worth now."""

    row: PayeeRow
    standing: PayeeStanding


class Payees:
    """Each act is one transaction that holds the merchant, and no row of a payee ever says something else."""

    def __init__(self, *, database: Database, box: SecretBox) -> None:
        self._database = database
        self._box = box

    async def propose(self, merchant_id: int, payee: Payee, *, by: str, reason: str) -> int:
        """Write down whom a merchant's payouts shall go to, its number sealed; gives the proposal's number.

        Payouts go where they went until another person confirms it, within 24 hours and before anything else is proposed.
        Safe to repeat: each is a proposal. Raises `Refused` with `name_malformed`, `reason_malformed` or
        `merchant_unknown`.
        """
        by, reason = check_name(by), check_reason(reason)
        async with self._database.transaction() as transaction:
            await _lock(transaction, MerchantId(merchant_id))
            now = await transaction.clock()
            payee_id = await stored.add_payee(
                transaction, MerchantId(merchant_id), payee, acted_by=by, reason=reason, acted_at=now
            )
            sealed = self._box.seal(payee.number.encode(), context=payee_context(payee_id, MerchantId(merchant_id)))
            is_sealed = await stored.seal_if(transaction, payee_id, was=b"", sealed=sealed)
            assert is_sealed, "this transaction made it"
        return payee_id

    async def confirm(self, merchant_id: int, payee_id: int, *, number: str, by: str) -> None:
        """Another person agrees: files that are written from now on name this payee. Safe to repeat.

        The number is theirs, from the merchant's own word, and must be the proposed one: how it ends is all that they are
        shown. Raises `Refused` with `name_malformed`, `merchant_unknown`, `proposal_not_found`, as `check_proposal` does,
        with `proposal_superseded`, as `check_number` does, or with `payee_differs` or `secrets_unreadable`.
        """
        by = check_name(by)
        async with self._database.transaction() as transaction:
            await _lock(transaction, MerchantId(merchant_id))
            rows = await stored.list_payees(transaction, MerchantId(merchant_id), rows_max=PAYEES_MAX)
            proposal = next((row for row in rows if row.id == payee_id), None)
            if proposal is None:
                raise Refused("proposal_not_found", param="confirm", detail=f"the merchant has no proposal {payee_id}")
            now = await transaction.clock()
            check_proposal(proposal, by=by, now=now)
            if proposal.confirmed_by is None and proposal.id != rows[0].id:
                raise Refused("proposal_superseded", param="confirm", detail=f"by proposal {rows[0].id}")
            given = check_number(number, is_card=proposal.is_card)
            if not compare_digest(given, open_number(proposal, box=self._box)):
                raise Refused("payee_differs", param="number", detail="another number was proposed: ask the merchant")
            await stored.confirm_payee(transaction, payee_id, confirmed_by=by, confirmed_at=now)

    async def list_of(self, merchant_id: int) -> list[StandingPayee]:
        """A merchant's payees, the newest first; raises `Refused` with `merchant_unknown`."""
        async with self._database.reading() as transaction:
            if await directory.find_merchant(transaction, MerchantId(merchant_id)) is None:
                raise Refused("merchant_unknown", param="merchant")
            rows = await stored.list_payees(transaction, MerchantId(merchant_id), rows_max=PAYEES_MAX)
            now = await transaction.clock()
        return _judge(rows, now=now)


def open_number(row: PayeeRow, *, box: SecretBox) -> str:
    """A payee's number; raises `Refused` with `secrets_unreadable`."""
    try:
        return box.open(row.sealed_number, context=payee_context(row.id, row.merchant_id)).decode()
    except CannotOpen as error:
        detail = f"the payee of merchant {row.merchant_id}: {error}"
        raise Refused("secrets_unreadable", param="merchant", detail=detail) from error


def payee_context(payee_id: int, merchant_id: MerchantId) -> str:
    """What the seal of a number names, so that it opens for this payee of this merchant only."""
    return f"merchant_payee:{merchant_id}:{payee_id}"


def _judge(rows: Sequence[PayeeRow], *, now: datetime) -> list[StandingPayee]:
    in_force = next((row.id for row in rows if row.confirmed_at is not None), None)
    newest = rows[0].id if rows else None
    return [StandingPayee(row=row, standing=_standing(row, in_force=in_force, newest=newest, now=now)) for row in rows]


def _standing(row: PayeeRow, *, in_force: int | None, newest: int | None, now: datetime) -> PayeeStanding:
    if row.confirmed_at is not None:
        return PayeeStanding.IN_FORCE if row.id == in_force else PayeeStanding.REPLACED
    is_open = row.id == newest and not has_lapsed(row.acted_at, now=now)
    return PayeeStanding.PROPOSED if is_open else PayeeStanding.LAPSED


async def _lock(transaction: Transaction, merchant_id: MerchantId) -> None:
    if not await directory.lock_merchant(transaction, merchant_id):
        raise Refused("merchant_unknown", param="merchant")
