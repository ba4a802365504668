"""What merchants ask and tell of their payers: whose a payment was, and what a payer has of cashback."""

import re

from budan.core.cashback import CashbackCause
from budan.core.errors import Refused, StaleState, StoreUnavailable
from budan.core.numbers import Environment, Number, OrderId, trade_number
from budan.core.order import OrderState
from budan.flows.cashback_plan import find_paid, plan_settled, read_cashbacks
from budan.flows.locking import lock_named
from budan.flows.reading import PAGE_ROWS_MAX, Reading, own_number
from budan.flows.views import Caller, MovementView, OrderView, PayerPage, PayerSum
from budan.store import cashbacks as stored
from budan.store import door as gate
from budan.store.cashbacks import MovementRow, PayerKey
from budan.store.database import Database, RowsFailed, Transaction
from budan.store.door import DoorWrites, OrderChange

_PAYER_ID = re.compile(r"[!-~]{1,128}")
_CURSOR = re.compile(r"([0-9A-Z]{1,40})_([0-9]{1,4})")
_NEWEST = (OrderId((1 << 63) - 1), 0)


class Payers:
    """What a merchant's payers have of cashback, and whose a payment was."""

    def __init__(self, *, database: Database, environment: Environment, reading: Reading) -> None:
        self._database = database
        self._environment = environment
        self._reading = reading

    async def bind(self, caller: Caller, order_no: str, payer_id: str) -> OrderView:
        """Say whose payment a paid order's was where its channel did not; books the cashback that waits for it.

        Safe to repeat. Raises `Refused` with `payer_malformed`, the codes of `own_number`, `order_not_paid`,
        `no_cashback`, `payer_bound` where another payer is known; `StoreUnavailable`.
        """
        if not _PAYER_ID.fullmatch(payer_id):
            raise Refused("payer_malformed", param="payer_id", detail="1 to 128 visible ASCII characters")
        number = own_number(caller, order_no, environment=self._environment)
        try:
            async with self._database.transaction() as transaction:
                await _bind(transaction, number, payer_id)
        except RowsFailed as failed:
            raise StoreUnavailable(str(failed)) from failed
        return await self._reading.get_order(caller, order_no)

    async def get(self, caller: Caller, payer_id: str, *, cursor: str | None, limit: int) -> PayerPage:
        """What a payer has of the caller, and how that came, the newest orders first; nothing of an unknown one.

        Raises `Refused` with `payer_malformed`, `limit_out_of_range` or `cursor_malformed`.
        """
        if not _PAYER_ID.fullmatch(payer_id):
            raise Refused("payer_malformed", param="payer_id", detail="1 to 128 visible ASCII characters")
        if not 1 <= limit <= PAGE_ROWS_MAX:
            raise Refused("limit_out_of_range", param="limit", detail=f"1 to {PAGE_ROWS_MAX}")
        before = self._cursor(caller, cursor)
        payer = PayerKey(lane=caller.lane, merchant_id=caller.merchant_id, payer_id=payer_id)
        async with self._database.reading() as transaction:
            sums = await stored.sum_payer(transaction, payer)
            rows = await stored.list_payer(transaction, payer, before=before, rows_max=limit + 1)
        movements = tuple(self._view(caller, row) for row in rows[:limit])
        last = rows[limit - 1] if len(rows) > limit else None
        return PayerPage(
            payer_id=payer_id,
            balances=tuple(PayerSum(currency=currency, amount_minor=amount) for currency, amount in sums),
            movements=movements,
            next_cursor=None if last is None else f"{movements[-1].order_no}_{last.ordinal}",
        )

    def _view(self, caller: Caller, row: MovementRow) -> MovementView:
        return MovementView(
            order_no=trade_number(
                environment=self._environment,
                lane=row.lane,
                merchant_id=caller.merchant_id,
                order_id=row.order_id,
                attempt=0,
            ),
            amount_minor=row.amount_minor,
            currency=row.currency,
            cause=row.cause,
            booked_at=row.booked_at,
        )

    def _cursor(self, caller: Caller, cursor: str | None) -> tuple[OrderId, int]:
        if cursor is None:
            return _NEWEST
        parts = _CURSOR.fullmatch(cursor)
        try:
            number = None if parts is None else own_number(caller, parts[1], environment=self._environment)
        except Refused as refused:
            raise Refused("cursor_malformed", param="cursor") from refused
        if parts is None or number is None:
            raise Refused("cursor_malformed", param="cursor")
        return number.order_id, int(parts[2])


async def _bind(transaction: Transaction, number: Number, payer_id: str) -> None:
    locked = await lock_named(transaction, number)
    key = (locked.lane, locked.order_id)
    if locked.order.state is not OrderState.PAID:
        raise Refused("order_not_paid", param="order_no", detail=f"the order is {locked.order.state.value}")
    trades = (await gate.list_trades(transaction, [key]))[key]
    paid = find_paid(locked, trades)
    assert paid is not None, "a paid order has the trade that paid it"
    writes = DoorWrites(orders=[OrderChange(locked=locked, state=locked.order.state)])
    cashback = (await read_cashbacks(transaction, {key: locked}, {key: trades}, writes)).get(key)
    if cashback is None or cashback.granted_minor == 0:
        raise Refused("no_cashback", param="order_no", detail="the order was granted none: nothing waits for its payer")
    if cashback.payer_id == payer_id:
        return
    if cashback.payer_id is not None:
        raise Refused("payer_bound", param="payer_id", detail="the payment's payer is known, and is another one")
    plan_settled(
        locked,
        paid,
        cashback,
        writes,
        cause=CashbackCause.PAYER_KNOWN,
        payer_id=payer_id,
        is_held=locked.order.hold_reason is not None,
    )
    if len(await gate.write(transaction, writes, now=locked.now)) != 1:
        raise StaleState
