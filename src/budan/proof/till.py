"""A shop's own program and its payers: creates orders, has them paid, repeats what got no answer, remembers what it was told."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final
from urllib.parse import urlsplit

from budan.proof.audit import Answer
from budan.proof.client import Client, HttpAnswer, Unreachable, render_request
from budan.proof.drawing import Wish
from budan.proof.instance import Shop
from budan.proof.steps import StepFailed

# One try; a shop that hears nothing by then asks again under the same key.
ANSWER_S_MAX: Final = 20.0
REPEAT_EVERY_S: Final = 0.25
# Longer than a database needs to recover on a busy machine.
REPEAT_S_MAX: Final = 60.0
# A code that did not come is asked for once more each second, after the channel's send window by a new attempt.
CODE_AGAIN_S: Final = 1.0
CODE_TRIES_IN_WINDOW: Final = 10
CODE_TRIES_MAX: Final = 20
# A shop that gives back waits so long to hear that it was paid, and looks so often.
KNOWN_S_MAX: Final = 10.0
LOOK_EVERY_S: Final = 0.5
_CHARGES: Final = "/v1/charges"
_PLACEABLE: Final = frozenset({"created", "unknown"})
_CREATED: Final = 201
_OK: Final = 200
_SEE_OTHER: Final = 303
_CONFLICT: Final = 409
_SERVER_ERROR: Final = 500


class NoCode(StepFailed):
    """The payer has gone elsewhere: no code came in all that time. Nothing was promised, nothing is lost."""


class Till:
    """Sells what is wished; `answers` is what budan promised meanwhile, for the audit."""

    def __init__(self, *, api: Client, sandbox: Client, tag: str) -> None:
        self._api = api
        self._sandbox = sandbox
        self._tag = tag
        self.answers: list[Answer] = []

    async def sell(self, wish: Wish, *, shop: Shop) -> dict[str, Any]:
        """The order as budan told it last; the payer has done what was wished. Raises StepFailed."""
        if wish.is_b2c:
            order = await self.charge(wish, shop=shop)
        else:
            order = await self.create(wish, shop=shop)
            if wish.pays:
                await asyncio.sleep(wish.pay_after_s)
                await self.pay(order, wish)
        if wish.refunds_minor and wish.pays:
            await self.give_back(order, wish, shop=shop)
        return order

    async def give_back(self, order: dict[str, Any], wish: Wish, *, shop: Shop) -> None:
        """The shop asks for its refunds as soon as it knows that it was paid; one that is not in time has nothing to return."""
        loop = asyncio.get_running_loop()
        until_s = loop.time() + KNOWN_S_MAX
        while order["payment_status"] != "paid":
            if order["payment_status"] == "unpaid" or loop.time() > until_s:
                return
            await asyncio.sleep(LOOK_EVERY_S)
            order = await self.look(order, shop=shop)
        paid = next(trade for trade in order["trades"] if trade["state"] == "succeeded")
        chosen = {"trade_no": paid["trade_no"], "faults": wish.refund_faults}
        await self._ask(lambda: self._sandbox.put("/sandbox/refund-faults", chosen, timeout_s=ANSWER_S_MAX), wanted=_OK)
        for nth, amount_minor in enumerate(wish.refunds_minor):
            await self.refund(order, wish, shop=shop, amount_minor=amount_minor, nth=nth)

    async def refund(
        self, order: dict[str, Any], wish: Wish, *, shop: Shop, amount_minor: int, nth: int = 0
    ) -> dict[str, Any]:
        """The refund as budan took it; the same `nth` asks for the same one again."""
        path = f"/v1/orders/{order['order_no']}/refunds"
        headers = f"{shop.headers}Idempotency-Key: {self.reference(wish, shop=shop)}-back-{nth}\r\n"
        body = {"amount_minor": amount_minor, "reason": "proof"}
        answer = await self._ask(
            lambda: self._api.post(path, body, headers=headers, timeout_s=ANSWER_S_MAX), wanted=_CREATED
        )
        taken: dict[str, Any] = answer.json()
        self.answers.append(Answer(order_no=order["order_no"], payment_status="paid", refund_no=taken["refund_no"]))
        return taken

    def reference(self, wish: Wish, *, shop: Shop) -> str:
        """The shop's own number of an order."""
        return f"{shop.merchant_id}-{self._tag}-{wish.number}"

    def subject(self, wish: Wish, *, shop: Shop) -> str:
        """What the payer reads, and what the sandbox knows the order by before it is placed."""
        return f"Prove {self.reference(wish, shop=shop)}"

    async def create(self, wish: Wish, *, shop: Shop, method: str = "native") -> dict[str, Any]:
        """The order with a code to pay, as soon as budan has one; a code that does not come is asked for anew."""
        if wish.placing:
            chosen = {"subject": self.subject(wish, shop=shop), "faults": wish.placing}
            await self._ask(lambda: self._tell_sandbox("/sandbox/placings", chosen), wanted=_CREATED)
        body = self._body(wish, shop=shop) | {"payment": {"method": method, "channel": wish.channel}}
        if wish.expires_in_s is not None:
            body["expires_in_s"] = wish.expires_in_s
        order = await self._ask_budan("/v1/orders", body, shop=shop, wanted=_CREATED)
        for tries in range(CODE_TRIES_MAX):
            if code_of(order) is not None or not wish.pays:
                break
            await asyncio.sleep(CODE_AGAIN_S)
            if tries >= CODE_TRIES_IN_WINDOW or order["trades"][-1]["state"] not in _PLACEABLE:
                # This attempt will not be sent again: the payer chooses the wallet once more.
                await self.start_again(order, channel=wish.channel)
            order = await self._ask_budan("/v1/orders", body, shop=shop, wanted=_CREATED)
        return order

    async def create_open(self, wish: Wish, *, shop: Shop) -> dict[str, Any]:
        """The order with its cashier page, before anybody has chosen a wallet."""
        return await self._ask_budan("/v1/orders", self._body(wish, shop=shop), shop=shop, wanted=_CREATED)

    async def charge(self, wish: Wish, *, shop: Shop) -> dict[str, Any]:
        """The shop scans a payer's code; a repeat under the same key never charges again."""
        code = {"channel": wish.channel, "faults": dict(wish.faults)}
        shown = await self._ask(lambda: self._tell_sandbox("/sandbox/auth-codes", code), wanted=_CREATED)
        body = self._body(wish, shop=shop) | {"auth_code": shown.json()["auth_code"], "wait_s": wish.wait_s}
        return await self._ask_budan(_CHARGES, body, shop=shop, wanted=_OK)

    async def refund_by_portal(self, order: dict[str, Any], *, amount_minor: int) -> None:
        """A person at the shop gives back at the channel itself, which tells it as it tells payments."""
        wish = {
            "trade_no": order["trades"][-1]["trade_no"],
            "amount_minor": amount_minor,
            "faults": {"tell_refund": True},
        }
        await self._ask(lambda: self._tell_sandbox("/sandbox/portal-refunds", wish), wanted=_CREATED)

    async def end_lies(self, order: dict[str, Any]) -> None:
        """The channel tells the truth about the order's newest attempt again, if it is asked: its notice stays lost."""
        await self._choose_faults(order, {"drop_notice": True})

    async def confirm(self, order: dict[str, Any]) -> None:
        """The payer whose code was charged has typed for long enough and confirms."""
        await self._choose_faults(order, {})

    async def _choose_faults(self, order: dict[str, Any], faults: dict[str, Any]) -> None:
        wish = {"trade_no": order["trades"][-1]["trade_no"], "faults": faults}
        await self._ask(lambda: self._sandbox.put("/sandbox/trade-faults", wish, timeout_s=ANSWER_S_MAX), wanted=_OK)

    async def close(self, order: dict[str, Any], *, shop: Shop) -> None:
        """The shop does not want the order any more; what it answers about payment is the last word that counts."""
        path = f"/v1/orders/{order['order_no']}/close"
        request = render_request(method="POST", path=path, headers=shop.headers)
        await self._ask(lambda: self._api.send(request, timeout_s=ANSWER_S_MAX), wanted=_OK)

    async def pay(self, order: dict[str, Any], wish: Wish) -> None:
        """The payer pays the newest code of the order; whoever hears nothing looks whether the money is gone."""
        code = code_of(order)
        if code is None:
            raise NoCode(f"{order['order_no']} has no code to pay: {order['trades']}")
        await self.pay_by({"code_text": code}, wish)

    async def pay_by(self, named: dict[str, str], wish: Wish) -> int:
        """The status of a payment of what is named; 409 where the wallet refuses because it is paid already."""
        body = named | {"faults": wish.paying}
        answer = await self._ask(lambda: self._tell_sandbox("/sandbox/pay", body), wanted=_OK, or_refused=_CONFLICT)
        return answer.status

    async def start_again(self, order: dict[str, Any], *, channel: str) -> None:
        """The payer chooses a wallet on the cashier page."""
        path = f"{urlsplit(str(order['cashier_url'])).path}/start"
        headers = "Content-Type: application/x-www-form-urlencoded\r\n"
        body = f"method=native&channel={channel}".encode()
        request = render_request(method="POST", path=path, headers=headers, body=body)
        await self._ask(lambda: self._api.send(request, timeout_s=ANSWER_S_MAX), wanted=_SEE_OTHER)

    async def look(self, order: dict[str, Any], *, shop: Shop) -> dict[str, Any]:
        """The order as it is now."""
        path = f"/v1/orders/{order['order_no']}"
        answer = await self._ask(lambda: self._api.get(path, headers=shop.headers, timeout_s=ANSWER_S_MAX), wanted=_OK)
        seen: dict[str, Any] = answer.json()
        self.answers.append(Answer(order_no=seen["order_no"], payment_status=word_of(seen)))
        return seen

    def _body(self, wish: Wish, *, shop: Shop) -> dict[str, Any]:
        return {
            "reference": self.reference(wish, shop=shop),
            "amount_minor": wish.amount_minor,
            "currency": "CNY",
            "subject": self.subject(wish, shop=shop),
        }

    async def _ask_budan(self, path: str, body: dict[str, Any], *, shop: Shop, wanted: int) -> dict[str, Any]:
        headers = f"{shop.headers}Idempotency-Key: {body['reference']}\r\n"
        answer = await self._ask(
            lambda: self._api.post(path, body, headers=headers, timeout_s=ANSWER_S_MAX), wanted=wanted
        )
        order: dict[str, Any] = answer.json()
        self.answers.append(Answer(order_no=order["order_no"], payment_status=word_of(order)))
        return order

    async def _tell_sandbox(self, path: str, body: object) -> HttpAnswer:
        return await self._sandbox.post(path, body, timeout_s=ANSWER_S_MAX)

    async def _ask(
        self, send: Callable[[], Awaitable[HttpAnswer]], *, wanted: int, or_refused: int | None = None
    ) -> HttpAnswer:
        """The wanted answer; silence and server errors are repeated, for everything here is safe to repeat."""
        loop = asyncio.get_running_loop()
        until_s = loop.time() + REPEAT_S_MAX
        said = ""
        while loop.time() < until_s:
            try:
                answer = await send()
            except Unreachable as error:
                said = str(error)
            else:
                if answer.status in {wanted, or_refused}:
                    return answer
                said = f"{answer.status} {answer.body[:200].decode(errors='replace')}"
                if answer.status < _SERVER_ERROR:
                    break
            await asyncio.sleep(REPEAT_EVERY_S)
        raise StepFailed(f"wanted {wanted}, got {said}")


def code_of(order: dict[str, Any]) -> str | None:
    """The newest code text that the order can be paid by."""
    return next((trade["qr_text"] for trade in reversed(order["trades"]) if trade.get("qr_text")), None)


def word_of(order: dict[str, Any]) -> str:
    """What budan promised by an answer, whichever way it was asked: "paid", and "unpaid" of an order that was charged.

    Of an order that its payer may still pay "unpaid" is no promise.
    """
    said: str = order["payment_status"]
    is_charged = any(trade["method"] == "code" for trade in order["trades"])
    return said if said == "paid" or is_charged else "pending"
