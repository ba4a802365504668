"""A payer with the page open whose notice is lost: how long until the page says paid."""

import asyncio
from typing import Final
from urllib.parse import urlsplit

from budan.proof.instance import Shop
from budan.proof.records import ANSWER_S_MAX, Records
from budan.proof.steps import StepFailed

# As often as the page's own script asks.
PAGE_ASKS_EVERY_S: Final = 1.0
HEAL_S_MAX: Final = 30.0
_CREATED: Final = 201
_OK: Final = 200


async def measure_heal_page(records: Records, *, shop: Shop, reference: str) -> float:
    """Seconds from the payment, whose notice is lost, to the page's "paid". Raises StepFailed."""
    wish = {"reference": reference, "amount_minor": 1_000, "currency": "CNY", "subject": "Heal"}
    wish |= {"payment": {"method": "native", "channel": "wechat_v3"}}
    created = await records.api.post("/v1/orders", wish, headers=shop.headers, timeout_s=ANSWER_S_MAX)
    if created.status != _CREATED:
        raise StepFailed(f"an order was answered {created.status}: {created.body[:200]!r}")
    order = created.json()
    faulty = {"code_text": order["trades"][0]["qr_text"], "faults": {"drop_notice": True}}
    paid = await records.sandbox.post("/sandbox/pay", faulty, timeout_s=ANSWER_S_MAX)
    if paid.status != _OK:
        raise StepFailed(f"a payment was answered {paid.status}: {paid.body[:200]!r}")
    loop = asyncio.get_running_loop()
    paid_s = loop.time()
    path = f"{urlsplit(str(order['cashier_url'])).path}/state"
    while loop.time() - paid_s < HEAL_S_MAX:
        await asyncio.sleep(PAGE_ASKS_EVERY_S)
        state = await records.api.get(path, timeout_s=ANSWER_S_MAX)
        if state.status == _OK and state.json()["is_final"]:
            return loop.time() - paid_s
    raise StepFailed(f"a lost notice was not healed in {HEAL_S_MAX:g} s with the page open")
