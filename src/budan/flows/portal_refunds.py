"""Refunds that were made past us, in a channel's portal: the bill names them, their channel's signed answer books them."""

from dataclasses import dataclass
from secrets import token_hex
from typing import Final

from budan.core.evidence import Source
from budan.core.numbers import AccountId, Environment, Lane, MerchantId, OrderId, trade_number
from budan.flows.calling import CALL_TIMEOUT_S
from budan.flows.discrepancies import is_portal_refund
from budan.flows.refund_door import RefundDoor, RefundItem
from budan.flows.stamp import stamp_refund
from budan.ports.channel import Call, ChannelAccounts, RefundRef
from budan.ports.clock import Clock
from budan.store import reconcile as stored
from budan.store.database import Database
from budan.store.reconcile import DiscrepancyRow, MovedRow

# Nobody makes more by hand between two runs of the job; the next one asks about what is above it.
ASKED_PER_RUN_MAX: Final = 500
PAGE_ROWS: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """A difference, and the payment that its refund took from."""

    row: DiscrepancyRow
    payment: MovedRow


class PortalRefunds:
    """Asks channels about them. The bill's word alone books nothing: whoever loads a file could write one (I4)."""

    def __init__(
        self,
        *,
        database: Database,
        environment: Environment,
        accounts: ChannelAccounts,
        door: RefundDoor,
        clock: Clock,
    ) -> None:
        self._database = database
        self._environment = environment
        self._accounts = accounts
        self._door = door
        self._clock = clock

    async def ask(self) -> int:
        """Ask about each that waits for it, one after another; gives how many were booked. Safe to repeat and to race.

        What is booked holds its order for an inquiry, like a refund of which a notice tells. One that a total told to us
        may hold already is not: its difference becomes a person's. Raises `Overloaded` or
        `StoreUnavailable`; what was booked until then is.
        """
        return sum([await self._ask(asked) for asked in await self._list()])

    async def _list(self) -> list[_Asked]:
        found: list[DiscrepancyRow] = []
        after = 0
        async with self._database.reading() as transaction:
            while len(found) < ASKED_PER_RUN_MAX:
                rows = await stored.list_followed(transaction, after=after, account_id=None, rows_max=PAGE_ROWS)
                if not rows:
                    break
                after = rows[-1].id
                found += [row for row in rows if row.state == "asked" and is_portal_refund(row)]
            found = found[:ASKED_PER_RUN_MAX]
            keys = {(row.lane or 0, row.order_id or 0, row.ordinal or 0) for row in found}
            payments = await stored.list_trades(transaction, sorted(keys)) if keys else {}
        return [_Asked(row=row, payment=payments[row.lane or 0, row.order_id or 0, row.ordinal or 0]) for row in found]

    async def _ask(self, asked: _Asked) -> bool:
        row, payment = asked.row, asked.payment
        account = await self._accounts.find(AccountId(row.account_id))
        if account is None:
            return False
        trade_no = trade_number(
            environment=self._environment,
            lane=Lane(payment.lane),
            merchant_id=MerchantId(payment.merchant_id),
            order_id=OrderId(payment.order_id),
            attempt=payment.ordinal,
        )
        asked_at = self._clock.now()
        ref = RefundRef(refund_no=row.subject, trade_no=trade_no, created_at=row.happened_at or row.found_at)
        call = Call(now=asked_at, nonce=token_hex(16), deadline_s=CALL_TIMEOUT_S)
        evidence = stamp_refund(
            await account.adapter.query_refund(ref, call=call),
            account_id=AccountId(row.account_id),
            source=Source.QUERY,
            learned_at=self._clock.now(),
            asked_at=asked_at,
        )
        planned = await self._door.record(RefundItem(evidence=evidence))
        return planned.decision == "external"
