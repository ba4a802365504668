"""The lock of an order that somebody outside named by its number."""

from budan.core.errors import Refused
from budan.core.numbers import Number
from budan.store.database import Transaction
from budan.store.door import LockedOrder, lock_orders


async def lock_named(transaction: Transaction, number: Number) -> LockedOrder:
    """Lock the order that `number` names, whichever of its trades it is of.

    A number has a checksum and no secret: any caller can write one with its own merchant and another's order of the same
    lane. So the row decides whose order it is. Raises `Refused` with `order_not_found`.
    """
    key = (number.lane, number.order_id)
    locked = (await lock_orders(transaction, [key])).get(key)
    if locked is None or locked.order.merchant_id != number.merchant_id:
        raise Refused("order_not_found", param="order_no")
    return locked
