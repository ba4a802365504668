"""Seals every secret at rest anew, after the installation's own key was replaced."""

from dataclasses import dataclass, replace
from typing import Final

from budan.flows.administering import account_context, endpoint_context
from budan.flows.payees import payee_context
from budan.store import accounts as stored
from budan.store import endpoints as stored_endpoints
from budan.store import payees as stored_payees
from budan.store.database import Database
from budan.store.directory import AccountRow
from budan.store.endpoints import SealedEndpoint
from budan.store.payees import SealedPayee
from budan.wire.secret_box import CannotOpen, SecretBox

PAGE_ROWS: Final = 500
# Who changes a secret meanwhile seals it with the key that their own process has; the next look finds what is left.
LOOKS_MAX: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedAgain:
    """How many secrets are under the new key now that were not, and which stay as they were.

    `unreadable` names those that none of the keys opens; `changing` counts those that others went on changing.
    """

    accounts: int
    endpoints: int
    payees: int
    changing: int
    unreadable: tuple[str, ...]

    @property
    def is_whole(self) -> bool:
        """Whether the old keys are needed no more."""
        return not self.unreadable and not self.changing


class Sealing:
    """One secret is one compare-and-set, so nobody waits for it and a repeat goes on where it was interrupted."""

    def __init__(self, *, database: Database, box: SecretBox) -> None:
        self._database = database
        self._box = box
        self._unreadable: list[str] = []

    async def seal_again(self) -> SealedAgain:
        """Puts every account's and webhook endpoint's secrets and every payee's number under the key that seals.

        Safe to repeat.
        """
        accounts = endpoints = payees = changing = 0
        for _ in range(LOOKS_MAX):
            self._unreadable = []
            sealed, lost = await self._seal_accounts()
            paged, missed = await self._seal_endpoints()
            numbers, beaten = await self._seal_payees()
            accounts, endpoints, payees = accounts + sealed, endpoints + paged, payees + numbers
            changing = lost + missed + beaten
            if not changing:
                break
        return SealedAgain(
            accounts=accounts,
            endpoints=endpoints,
            payees=payees,
            changing=changing,
            unreadable=tuple(self._unreadable),
        )

    async def _seal_accounts(self) -> tuple[int, int]:
        """How many were sealed anew, and how many somebody changed at the same time."""
        async with self._database.reading() as transaction:
            rows = await stored.list_sealed(transaction)
        done = lost = 0
        for row in rows:
            if is_sealed_with_current(row, box=self._box):
                continue
            try:
                sealed, old = self._sealed(row)
            except CannotOpen:
                self._unreadable.append(f"account {row.account_id}")
                continue
            async with self._database.transaction() as transaction:
                is_kept = await stored.seal_again(transaction, row, sealed_secrets=sealed, old_sealed_secrets=old)
            done, lost = done + is_kept, lost + (not is_kept)
        return done, lost

    def _sealed(self, row: AccountRow) -> tuple[bytes, bytes | None]:
        context = account_context(row.account_id)
        return self._anew(row.sealed_secrets, context), self._old_anew(row.old_sealed_secrets, context)

    async def _seal_endpoints(self) -> tuple[int, int]:
        """How many were sealed anew, and how many somebody changed at the same time."""
        done = lost = last_id = 0
        while True:
            async with self._database.transaction() as transaction:
                page = await stored_endpoints.list_sealed(transaction, after_id=last_id, rows_max=PAGE_ROWS)
                if not page:
                    return done, lost
                last_id = page[-1].endpoint_id
                if sealed := [(was, now) for was in page if (now := self._endpoint_anew(was)) is not None]:
                    kept = await stored_endpoints.seal_again(transaction, sealed)
                    done, lost = done + kept, lost + len(sealed) - kept

    def _endpoint_anew(self, was: SealedEndpoint) -> SealedEndpoint | None:
        """The endpoint with its secrets sealed anew; None where it stays as it is."""
        context = endpoint_context(was.endpoint_id)
        try:
            if all(self._box.is_current(sealed) for sealed in (was.sealed_secret, was.old_sealed_secret) if sealed):
                return None
            return replace(
                was,
                sealed_secret=self._anew(was.sealed_secret, context),
                old_sealed_secret=self._old_anew(was.old_sealed_secret, context),
            )
        except CannotOpen:
            self._unreadable.append(f"webhook endpoint {was.endpoint_id}")
            return None

    async def _seal_payees(self) -> tuple[int, int]:
        """How many were sealed anew, and how many somebody sealed at the same time."""
        done = lost = last_id = 0
        while True:
            async with self._database.transaction() as transaction:
                page = await stored_payees.list_sealed(transaction, after_id=last_id, rows_max=PAGE_ROWS)
                if not page:
                    return done, lost
                last_id = page[-1].id
                for was in page:
                    sealed = self._payee_anew(was)
                    if sealed is not None:
                        is_kept = await stored_payees.seal_if(transaction, was.id, was=was.sealed_number, sealed=sealed)
                        done, lost = done + is_kept, lost + (not is_kept)

    def _payee_anew(self, was: SealedPayee) -> bytes | None:
        """The payee's number sealed anew; None where it stays as it is."""
        try:
            if self._box.is_current(was.sealed_number):
                return None
            return self._anew(was.sealed_number, payee_context(was.id, was.merchant_id))
        except CannotOpen:
            self._unreadable.append(f"payee {was.id}")
            return None

    def _old_anew(self, sealed: bytes | None, context: str) -> bytes | None:
        return None if sealed is None else self._anew(sealed, context)

    def _anew(self, sealed: bytes, context: str) -> bytes:
        return self._box.seal(self._box.open(sealed, context=context), context=context)


def is_sealed_with_current(row: AccountRow, *, box: SecretBox) -> bool:
    """Whether the account's secrets, those of before a rotation too, are under the key that seals."""
    try:
        return all(box.is_current(sealed) for sealed in (row.sealed_secrets, row.old_sealed_secrets) if sealed)
    except CannotOpen:
        return False
