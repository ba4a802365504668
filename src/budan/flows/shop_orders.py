"""Orders that customers make behind a shop's printed code: of forms that we rendered lately, and of each shop so many."""

import hmac
import re
from datetime import timedelta
from hashlib import sha256
from secrets import token_hex
from typing import Final

from budan.core.errors import Refused
from budan.core.numbers import OrderId, id_floor
from budan.flows.cashier_link import link_mac
from budan.flows.intake import EXPIRES_IN_S_MAX
from budan.flows.paying import Payments
from budan.flows.views import CreateOrder, OrderView, Shop
from budan.ports.clock import Clock
from budan.store import reading as stored
from budan.store.database import Database

FORM_LIFE: Final = timedelta(minutes=30)
NONCE_BYTES: Final = 12
# A customer pays within a minute or leaves: a shop where so many wait at once is no shop with customers.
OPEN_ORDERS_MAX: Final = 300
# Of a merchant that takes more orders than this in an order's life, a shop's older ones are not counted.
ORDERS_READ_MAX: Final = 2_000

_FORM: Final = re.compile(r"([0-9a-f]{24})_([0-9]{1,12})_([0-9A-Z]{16})")


class ShopOrders:
    """Takes orders from whoever stands before a shop's sign, and from nobody who only loops over its address."""

    def __init__(self, *, database: Database, payments: Payments, secret: bytes, clock: Clock) -> None:
        self._database = database
        self._payments = payments
        self._secret = secret
        self._clock = clock

    def make_form(self, shop: Shop) -> str:
        """The mark of a form of this shop's page: `<nonce>_<until>_<mac>`, good for `FORM_LIFE` from now on."""
        nonce, until = token_hex(NONCE_BYTES), str(int((self._clock.now() + FORM_LIFE).timestamp()))
        return f"{nonce}_{until}_{self._mac(shop, nonce, until)}"

    async def take(self, shop: Shop, form: str, *, amount_minor: int, currency: str, subject: str) -> OrderView:
        """The order that this form and amount make, once: the same tap twice is one order, another amount is another.

        Raises `Refused` with `form_malformed` (none of ours), `form_expired`, `too_many_open_orders`, then as
        `Payments.create_order` does.
        """
        # The amount is part of the mark, and of what a merchant sees as the order's reference.
        mark = f"s-{self._read(shop, form)}-{amount_minor}"
        await self._refuse_crowd(shop, mark)
        return await self._payments.create_order(
            CreateOrder(
                caller=shop.caller,
                reference=mark,
                amount_minor=amount_minor,
                currency=currency,
                subject=subject,
                request_digest=sha256(f"{shop.shop_id} {mark}".encode()).digest(),
                idempotency_key=mark,
                shop_id=shop.shop_id,
            )
        )

    def _read(self, shop: Shop, form: str) -> str:
        parts = _FORM.fullmatch(form)
        if parts is None or not hmac.compare_digest(parts[3], self._mac(shop, parts[1], parts[2])):
            raise Refused("form_malformed", param="nonce")
        if self._clock.now().timestamp() >= int(parts[2]):
            raise Refused("form_expired", param="nonce")
        return parts[1]

    async def _refuse_crowd(self, shop: Shop, mark: str) -> None:
        """Count what waits; callers at once may overshoot by their number. A repeat of what was taken goes on."""
        lane, merchant_id = shop.caller.lane, shop.caller.merchant_id
        oldest = OrderId(id_floor(self._clock.now() - timedelta(seconds=EXPIRES_IN_S_MAX)))
        async with self._database.reading() as transaction:
            waiting = await stored.count_open_of_page(
                transaction,
                lane=lane,
                merchant_id=merchant_id,
                shop_id=shop.shop_id,
                oldest=oldest,
                rows_max=ORDERS_READ_MAX,
            )
            if waiting < OPEN_ORDERS_MAX:
                return
            known = await stored.find_reference(transaction, lane=lane, merchant_id=merchant_id, reference=mark)
        if known is None:
            raise Refused("too_many_open_orders", detail=f"at most {OPEN_ORDERS_MAX} wait at a time")

    def _mac(self, shop: Shop, nonce: str, until: str) -> str:
        return link_mac(self._secret, f"{shop.shop_id}:{nonce}:{until}", purpose="shop")
