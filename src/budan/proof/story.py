"""The five orders of the demo: how each is paid, what goes wrong, and what the three records say of it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeVar

from budan.proof.instance import Shop
from budan.proof.records import OrderRecord, Records, SandboxTrade, Webhook, wait_for
from budan.proof.steps import StepFailed

STEP_S_MAX: Final = 20.0
# A desk that does not wait for a lost answer is told `pending` and asks again.
CHARGE_WAIT_S: Final = 2.0
COPIES_OF_DOUBLED: Final = 2
_CREATED: Final = 201
_OK: Final = 200
_Found = TypeVar("_Found")


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """One order: how it is paid, the fault at the channel, and how budan is to learn of the payment."""

    name: str
    title: str
    amount_minor: int
    channel: str
    is_b2c: bool
    faults: Mapping[str, bool]
    learned_source: str


SCRIPTS: Final = (
    Script(
        name="scan",
        title="the customer scans the shop's code (C2B)",
        amount_minor=1_850,
        channel="wechat_v3",
        is_b2c=False,
        faults={},
        learned_source="notice",
    ),
    Script(
        name="code",
        title="the shop scans the customer's code (B2C)",
        amount_minor=4_200,
        channel="wechat_v3",
        is_b2c=True,
        faults={},
        learned_source="reply",
    ),
    Script(
        name="time-out",
        title="the channel takes the money and its answer is lost",
        amount_minor=9_900,
        channel="wechat_v3",
        is_b2c=True,
        faults={"timeout_after_charge": True},
        learned_source="query",
    ),
    Script(
        name="doubled",
        title="the notice comes twice at the same time",
        amount_minor=2_600,
        channel="alipay",
        is_b2c=False,
        faults={"double_notice": True},
        learned_source="notice",
    ),
    Script(
        name="lost",
        title="the notice never comes",
        amount_minor=12_800,
        channel="wechat_v3",
        is_b2c=False,
        faults={"drop_notice": True},
        learned_source="query",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing that happened, with the time that its record gives."""

    at: datetime
    who: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """One order as the three records have it."""

    script: Script
    trade: SandboxTrade
    order: OrderRecord
    webhooks: tuple[Webhook, ...]

    @property
    def order_no(self) -> str:
        """The number that the merchant was told."""
        return self.webhooks[0].order.order_no

    @property
    def remedy(self) -> str | None:
        """What names the remedy: the order and the attempt that was paid."""
        return _remedy(self.order, order_no=self.order_no)

    @property
    def heal_s(self) -> float:
        """From the payment at the sandbox to the completed order."""
        assert self.order.completed_at is not None
        return (self.order.completed_at - self.paid_at).total_seconds()

    @property
    def paid_at(self) -> datetime:
        """When the sandbox took the money."""
        return paid_at(self.trade)

    def problems(self) -> list[str]:
        """Every promise that this order breaks; empty when all hold."""
        order, trade = self.order, self.trade
        is_lost = bool(self.script.faults.get("drop_notice"))
        checks = {
            "the sandbox has no payment": trade.state == "paid",
            f"budan's order is {order.state}": order.state == "paid",
            "the amounts differ": order.amount_minor == trade.amount_minor == self.webhooks[0].order.amount_minor,
            f"{order.payment_entries} payments are booked": order.payment_entries == 1,
            "the books do not balance": order.postings_sum_minor == 0,
            f"the merchant took {len(self.webhooks)} webhooks": len(self.webhooks) == 1,
            f"learned by {order.learned_source}": order.learned_source == self.script.learned_source,
            "there is no remedy": (order.remedy_source == "query") or self.script.learned_source != "query",
            f"the sandbox sent {trade.notices_sent} notices": not is_lost or trade.notices_sent == 0,
            "the second notice was not sent": "double_notice" not in self.script.faults
            or trade.notices_sent == COPIES_OF_DOUBLED,
        }
        return [f"{self.script.name}: {complaint}" for complaint, holds in checks.items() if not holds]


def paid_at(trade: SandboxTrade) -> datetime:
    """When the sandbox took the money."""
    return next(event.at for event in trade.events if event.kind == "paid")


async def play(
    script: Script, *, records: Records, shop: Shop, tasks: asyncio.TaskGroup, tell: Callable[[Step], None]
) -> Story:
    """Has the order paid, and tells each step when its record shows it. Raises StepFailed.

    The payer and the desk act in `tasks`: a desk may wait for an answer that was lost while the order is long healed.
    """
    reference = f"{shop.merchant_id}-{script.name}"
    tasks.create_task(_pay(script, records=records, shop=shop, reference=reference))
    trade = await _wait(lambda: _find_settled(records, script), f"payment of `{script.name}`")
    tell(Step(at=paid_at(trade), who="sandbox", text=_told_by_sandbox(script, trade)))
    order = await _wait(lambda: _find_completed(records, shop, reference), f"completion of `{script.name}`")
    webhooks = await _wait(lambda: _find_webhooks(records, reference), f"webhook of `{script.name}`")
    order_no = webhooks[0].order.order_no
    assert order.completed_at is not None
    tell(Step(at=order.completed_at, who="budan", text=_told_by_budan(order, order_no=order_no)))
    tell(Step(at=webhooks[0].at, who="merchant", text=f"webhook taken: {webhooks[0].type}, signature verified"))
    await _wait(lambda: _find_delivered(records, shop, reference), f"delivery of `{script.name}`")
    return await _read_story(script, records=records, shop=shop, reference=reference)


async def _read_story(script: Script, *, records: Records, shop: Shop, reference: str) -> Story:
    """All three records read anew: whatever came twice has had its time to do harm."""
    trade = await records.find_trade(_subject(script))
    order = await records.find_order(shop, reference)
    assert trade is not None
    assert order is not None
    return Story(script=script, trade=trade, order=order, webhooks=tuple(records.list_webhooks(reference)))


async def _wait(look: Callable[[], Awaitable[_Found | None]], what: str) -> _Found:
    return await wait_for(look, what=f"the {what}", timeout_s=STEP_S_MAX)


async def create_open_order(records: Records, *, shop: Shop) -> str:
    """The cashier's address of a fresh order that nobody has paid, and that the wallet page shows."""
    wish = _order_wish(reference=f"{shop.merchant_id}-open", amount_minor=680, subject="A cup of tea")
    wish |= {"payment": {"method": "native", "channel": "wechat_v3"}}
    answer = await records.api.post("/v1/orders", wish, headers=shop.headers, timeout_s=STEP_S_MAX)
    if answer.status != _CREATED:
        raise StepFailed(f"an open order was answered {answer.status}: {answer.body[:200]!r}")
    return str(answer.json()["cashier_url"])


async def _pay(script: Script, *, records: Records, shop: Shop, reference: str) -> None:
    wish = _order_wish(reference=reference, amount_minor=script.amount_minor, subject=_subject(script))
    headers = f"{shop.headers}Idempotency-Key: {reference}\r\n"
    if script.is_b2c:
        shown = await records.sandbox.post(
            "/sandbox/auth-codes", {"channel": script.channel, "faults": script.faults}, timeout_s=STEP_S_MAX
        )
        wish |= {"auth_code": shown.json()["auth_code"], "wait_s": CHARGE_WAIT_S}
        answer = await records.api.post("/v1/charges", wish, headers=headers, timeout_s=STEP_S_MAX)
        _expect(answer.status, _OK, answer.body)
        return
    wish |= {"payment": {"method": "native", "channel": script.channel}}
    answer = await records.api.post("/v1/orders", wish, headers=headers, timeout_s=STEP_S_MAX)
    _expect(answer.status, _CREATED, answer.body)
    code_text = answer.json()["trades"][0]["qr_text"]
    paid = await records.sandbox.post(
        "/sandbox/pay", {"code_text": code_text, "faults": script.faults}, timeout_s=STEP_S_MAX
    )
    _expect(paid.status, _OK, paid.body)


def _order_wish(*, reference: str, amount_minor: int, subject: str) -> dict[str, Any]:
    return {"reference": reference, "amount_minor": amount_minor, "currency": "CNY", "subject": subject}


def _expect(status: int, wanted: int, body: bytes) -> None:
    if status != wanted:
        raise StepFailed(f"answered {status} instead of {wanted}: {body[:300].decode(errors='replace')}")


def _subject(script: Script) -> str:
    return f"Demo {script.name}"


async def _find_settled(records: Records, script: Script) -> SandboxTrade | None:
    """The trade once it is paid and the fate of its notice is known."""
    trade = await records.find_trade(_subject(script))
    if trade is None or "paid" not in trade.kinds or trade.notice_state == "due":
        return None
    return trade


async def _find_completed(records: Records, shop: Shop, reference: str) -> OrderRecord | None:
    order = await records.find_order(shop, reference)
    return order if order is not None and order.completed_at is not None else None


async def _find_delivered(records: Records, shop: Shop, reference: str) -> OrderRecord | None:
    order = await records.find_order(shop, reference)
    return order if order is not None and order.webhook_taken_at is not None else None


async def _find_webhooks(records: Records, reference: str) -> list[Webhook] | None:
    return records.list_webhooks(reference) or None


def _told_by_sandbox(script: Script, trade: SandboxTrade) -> str:
    paid = f"¥{script.amount_minor / 100:.2f} paid"
    if "answer_withheld" in trade.kinds:
        return f"{paid}, answer withheld"
    match trade.notice_state:
        case "dropped":
            return f"{paid}, notice dropped"
        case "none":
            return f"{paid}, answered; this way to pay has no notice"
        case _:
            times = {1: "notice sent", 2: "notice sent twice"}
            return f"{paid}, {times.get(trade.notices_sent, f'{trade.notices_sent} notices sent')}"


def _remedy(order: OrderRecord, *, order_no: str) -> str | None:
    return None if order.remedy_attempt is None else f"{order_no}/{order.remedy_attempt}"


def _told_by_budan(order: OrderRecord, *, order_no: str) -> str:
    how = {
        "notice": "notice verified, completed",
        "reply": "reply verified, completed",
        "query": "asked, verified, completed",
    }
    text = how.get(order.learned_source or "", f"completed by {order.learned_source}")
    text = f"{text}; fee ¥{(order.fee_minor or 0) / 100:.2f} booked"
    remedy = _remedy(order, order_no=order_no)
    return f"{text}; remedy {remedy} ({order.remedy_cause})" if remedy else text
