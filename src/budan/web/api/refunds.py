"""Refunds of a merchant's orders: ask for one, list them, ask for its state."""

from hashlib import sha256

import msgspec

from budan.flows.refunding import RefundOrder
from budan.flows.wired import Flows
from budan.web.api.messages import RefundListAnswer, RefundRequest
from budan.web.exchange import Answer, Exchange, json_answer
from budan.web.reading import read_json

_REFUND = msgspec.json.Decoder(RefundRequest)
_ENCODER = msgspec.json.Encoder()


class RefundsApi:
    """Answers for one merchant at a time."""

    def __init__(self, *, flows: Flows) -> None:
        self._flows = flows

    async def create(self, exchange: Exchange) -> Answer:
        """POST /v1/orders/{order_no}/refunds: promised, and sent by a worker; 201 with the refund as it stands."""
        request = read_json(_REFUND, exchange.body)
        assert exchange.idempotency_key is not None, "the route refuses a request without one"
        wish = RefundOrder(
            caller=exchange.known_caller(),
            order_no=exchange.parameters[0],
            amount_minor=request.amount_minor,
            reason=request.reason,
            # Of what was understood, not of the bytes, and of which operation: a key is one request's.
            request_digest=sha256(b"refund" + _ENCODER.encode(request)).digest(),
            idempotency_key=exchange.idempotency_key,
        )
        return json_answer(201, await self._flows.refunding.request(wish))

    async def list_of(self, exchange: Exchange) -> Answer:
        """GET /v1/orders/{order_no}/refunds."""
        refunds = await self._flows.refunding.list_of(exchange.known_caller(), exchange.parameters[0])
        return json_answer(200, RefundListAnswer(refunds=refunds))

    async def get(self, exchange: Exchange) -> Answer:
        """GET /v1/orders/{order_no}/refunds/{refund_no}."""
        order_no, refund_no = exchange.parameters
        return json_answer(200, await self._flows.refunding.get(exchange.known_caller(), order_no, refund_no))
