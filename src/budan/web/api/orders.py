"""The routes of merchants for one order: create, charge, charge again, ask, close, cancel."""

import ipaddress
from hashlib import sha256
from typing import TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from budan.core.errors import Refused
from budan.flows.paying import Charging
from budan.flows.views import Caller, ChargeOrder, CreateOrder, OrderView, PaymentWish
from budan.flows.wired import Flows
from budan.ports.channel import Method
from budan.web.api.messages import (
    ChargeAgainRequest,
    ChargeRequest,
    CreateOrderRequest,
    OrderAnswer,
    PaymentRequest,
    order_answer,
)
from budan.web.exchange import Answer, Exchange, json_answer
from budan.web.reading import read_json

# What the channels are told when the merchant does not name its desk.
DEVICE_ID_DEFAULT = "api"

_CREATE = msgspec.json.Decoder(CreateOrderRequest)
_CHARGE = msgspec.json.Decoder(ChargeRequest)
_CHARGE_AGAIN = msgspec.json.Decoder(ChargeAgainRequest)
_ENCODER = msgspec.json.Encoder()

Given = TypeVar("Given")


class OrdersApi:
    """Answers for one merchant at a time; `public_url` is where payers reach us, without a slash at its end."""

    def __init__(self, *, flows: Flows, public_url: str) -> None:
        self._flows = flows
        self._public_url = public_url

    async def create(self, exchange: Exchange) -> Answer:
        """POST /v1/orders."""
        request = read_json(_CREATE, exchange.body)
        wish = await self._wish(exchange, request)
        view = await self._flows.payments.create_order(wish)
        return json_answer(201, self.answer(view))

    async def charge(self, exchange: Exchange) -> Answer:
        """POST /v1/charges; the answer's `payment_status` is one of paid, unpaid and pending."""
        request = read_json(_CHARGE, exchange.body)
        wish = ChargeOrder(
            order=await self._wish(exchange, request),
            auth_code=request.auth_code,
            device_id=_given(request.device_id) or DEVICE_ID_DEFAULT,
            device_ip=_device_ip(request.device_ip, client_ip=exchange.client_ip),
            wait_s=request.wait_s,
        )
        return json_answer(200, self.answer(await self._flows.payments.charge(wish)))

    async def charge_again(self, exchange: Exchange) -> Answer:
        """POST /v1/orders/{order_no}/charges."""
        request = read_json(_CHARGE_AGAIN, exchange.body)
        charging = Charging(
            auth_code=request.auth_code,
            device_id=_given(request.device_id) or DEVICE_ID_DEFAULT,
            device_ip=_device_ip(request.device_ip, client_ip=exchange.client_ip),
            wait_s=request.wait_s,
        )
        view = await self._flows.payments.charge_again(exchange.known_caller(), exchange.parameters[0], charging)
        return json_answer(200, self.answer(view))

    async def close(self, exchange: Exchange) -> Answer:
        """POST /v1/orders/{order_no}/close."""
        view = await self._flows.withdrawals.close_order(exchange.known_caller(), exchange.parameters[0])
        return json_answer(200, self.answer(view))

    async def cancel(self, exchange: Exchange) -> Answer:
        """POST /v1/orders/{order_no}/cancel."""
        view = await self._flows.withdrawals.cancel_charge(exchange.known_caller(), exchange.parameters[0])
        return json_answer(200, self.answer(view))

    async def get(self, exchange: Exchange) -> Answer:
        """GET /v1/orders/{order_no}."""
        view = await self._flows.reading.get_order(exchange.known_caller(), exchange.parameters[0])
        return json_answer(200, self.answer(view))

    def answer(self, view: OrderView) -> OrderAnswer:
        """The order with its cashier's address."""
        token = self._flows.cashier_links.render(view.order_no)
        return order_answer(view, cashier_url=f"{self._public_url}/pay/{token}")

    async def _wish(self, exchange: Exchange, request: CreateOrderRequest | ChargeRequest) -> CreateOrder:
        caller = exchange.known_caller()
        order = isinstance(request, CreateOrderRequest)
        return CreateOrder(
            caller=caller,
            reference=request.reference,
            amount_minor=request.amount_minor,
            currency=request.currency,
            subject=request.subject,
            # Of what was understood, not of the bytes: a client that orders its keys otherwise repeats itself too.
            request_digest=sha256(type(request).__name__.encode() + _ENCODER.encode(request)).digest(),
            idempotency_key=exchange.idempotency_key,
            expires_in_s=_given(request.expires_in_s) if order else None,
            shop_id=await self._shop_id(caller, request.shop),
            payment=_payment(request.payment) if order else None,
        )

    async def _shop_id(self, caller: Caller, code: str | UnsetType) -> int | None:
        if code is UNSET:
            return None
        shop = await self._flows.directory.find_shop(code)
        if shop is None or shop.caller != caller:
            raise Refused("shop_unknown", param="shop")
        return shop.shop_id


def _payment(request: PaymentRequest | UnsetType) -> PaymentWish | None:
    if request is UNSET:
        return None
    return PaymentWish(
        method=Method(request.method),
        channel=_given(request.channel),
        payer_openid=_given(request.payer_openid),
        return_url=_given(request.return_url),
        payer_ip=None if request.payer_ip is UNSET else _ip_address(request.payer_ip, param="payment.payer_ip"),
    )


def _given(value: Given | UnsetType) -> Given | None:
    return None if value is UNSET else value


def _device_ip(given: str | UnsetType, *, client_ip: str) -> str:
    return client_ip if given is UNSET else _ip_address(given, param="device_ip")


def _ip_address(given: str, *, param: str) -> str:
    try:
        address = ipaddress.ip_address(given)
    except ValueError:
        raise Refused("field_malformed", param=param, detail="not an IPv4 or IPv6 address") from None
    # What may follow a `%`, an interface's name, is any text: it says nothing to a channel, and jsonb holds no NUL.
    if "%" in given:
        raise Refused("field_malformed", param=param, detail="an address with a zone is one of your machine alone")
    return str(address)
