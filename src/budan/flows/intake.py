"""Order intake: idempotency key, merchant reference, order and trade intent, in one transaction for many callers."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import TracebackType
from typing import Self

from budan.core.closing import CHARGE_PATIENCE
from budan.core.errors import Refused, StoreUnavailable
from budan.core.money import Money, parse_order_amount
from budan.core.numbers import OrderId
from budan.flows.coalesce import Coalescer
from budan.flows.ids import IdSource
from budan.flows.intents import IntentMaker, OrderFacts, TradePlan
from budan.flows.views import CreateOrder
from budan.ports.channel import Method
from budan.store import intake as stored
from budan.store.database import Database, RowsFailed, Transaction
from budan.store.rows import Claim, ClaimOutcome, NewOrder, NewTrade

# For a wish that names no time and whose merchant's was not asked for; the bounds are the channels' common ones.
EXPIRES_IN_S_DEFAULT = 900
EXPIRES_IN_S_MIN = 60
EXPIRES_IN_S_MAX = 86_400

_REFERENCE = re.compile(r"[!-~]{1,64}")
# Up to 40 characters without `/ = &` is what every channel takes (docs/protocols/README.md section 1).
_SUBJECT = re.compile(r"[^\x00-\x1f\x7f/=&]{1,40}")
_IDEMPOTENCY_KEY = re.compile(r"[!-~]{1,255}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """An order that this request made; `trade` where a payment was wished."""

    order: NewOrder
    trade: NewTrade | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """The request was seen before: its order goes on from where it is."""

    order_id: OrderId


@dataclass(frozen=True, slots=True, kw_only=True)
class _Item:
    wish: CreateOrder
    amount: Money
    order_id: OrderId
    plan: TradePlan | None


_Answer = Taken | Replayed | Refused


def check_wish(wish: CreateOrder) -> Money:
    """The amount of a wish whose fields are all allowed.

    Raises `Refused` with `reference_malformed`, the codes of `parse_order_amount`, `subject_malformed`,
    `expires_in_out_of_range` or `idempotency_key_malformed`, in this order.
    """
    if not _REFERENCE.fullmatch(wish.reference):
        raise Refused("reference_malformed", param="reference", detail="1 to 64 visible ASCII characters")
    amount = parse_order_amount(amount_minor=wish.amount_minor, currency=wish.currency)
    if not _SUBJECT.fullmatch(wish.subject) or not wish.subject.strip():
        raise Refused("subject_malformed", param="subject", detail="1 to 40 characters without / = & or controls")
    if wish.expires_in_s is not None and not EXPIRES_IN_S_MIN <= wish.expires_in_s <= EXPIRES_IN_S_MAX:
        raise Refused(
            "expires_in_out_of_range", param="expires_in_s", detail=f"{EXPIRES_IN_S_MIN} to {EXPIRES_IN_S_MAX}"
        )
    if wish.idempotency_key is not None:
        check_idempotency_key(wish.idempotency_key)
    return amount


def check_idempotency_key(key: str) -> None:
    """Raises `Refused` with `idempotency_key_malformed`."""
    if not _IDEMPOTENCY_KEY.fullmatch(key):
        raise Refused("idempotency_key_malformed", param="Idempotency-Key", detail="1 to 255 visible ASCII characters")


class OrderIntake:
    """Takes orders in batches. Use as an async context manager; leaving drains what was promised."""

    def __init__(self, *, database: Database, ids: IdSource, intents: IntentMaker) -> None:
        self._database = database
        self._ids = ids
        self._intents = intents
        self._batches: Coalescer[_Item, _Answer] = Coalescer(self._run, name="intake", key=lambda item: item.order_id)

    async def __aenter__(self) -> Self:
        await self._batches.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._batches.__aexit__(kind, error, traceback)

    async def take(self, wish: CreateOrder, plan: TradePlan | None) -> Taken | Replayed:
        """Commit an order, with a trade intent where `plan` names one; when this returns it is on disk (I1).

        Safe to repeat under one idempotency key. Raises `Refused` as `check_wish` does, then with
        `idempotency_key_reused` (409) or `reference_used` (409); `Overloaded`, `StoreUnavailable`.
        """
        amount = check_wish(wish)
        item = _Item(wish=wish, amount=amount, order_id=OrderId(self._ids.next()), plan=plan)
        try:
            answer = await self._batches.submit(item)
        except RowsFailed as failed:
            raise StoreUnavailable(str(failed)) from failed
        if isinstance(answer, Refused):
            raise answer
        return answer

    async def _run(self, items: Sequence[_Item]) -> Sequence[_Answer]:
        """One transaction: claim, answer replays, refuse, write."""
        claims = {item.order_id: _claim(item) for item in items}
        async with self._database.transaction() as transaction:
            outcomes = await stored.claim(transaction, list(claims.values()))
            unclaimed = [item for item in items if not _is_claimed(item, outcomes[item.order_id])]
            answers: dict[OrderId, _Answer] = {}
            if unclaimed:
                answers = await self._answer_unclaimed(transaction, unclaimed, outcomes)
                await stored.release(transaction, [claims[item.order_id] for item in unclaimed])
            taken = [self._take(item, outcomes[item.order_id].now) for item in items if item.order_id not in answers]
            await stored.add(
                transaction,
                orders=[one.order for one in taken],
                trades=[one.trade for one in taken if one.trade is not None],
            )
        answers.update((one.order.order_id, one) for one in taken)
        return [answers[item.order_id] for item in items]

    async def _answer_unclaimed(
        self,
        transaction: Transaction,
        unclaimed: Sequence[_Item],
        outcomes: dict[OrderId, ClaimOutcome],
    ) -> dict[OrderId, _Answer]:
        """A known key with the same request is a replay; anything else that could not be claimed is refused."""
        keys = [
            (item.wish.caller.lane, item.wish.caller.merchant_id, item.wish.idempotency_key)
            for item in unclaimed
            if item.wish.idempotency_key is not None and not outcomes[item.order_id].key_claimed
        ]
        copies = await stored.list_first_copies(transaction, keys) if keys else {}
        refused_ids = {item.order_id for item in unclaimed}
        answers: dict[OrderId, _Answer] = {}
        for item in unclaimed:
            wish = item.wish
            copy = copies.get((wish.caller.lane, wish.caller.merchant_id, wish.idempotency_key or ""))
            # A first copy that is itself refused in this batch leaves no order to replay.
            if copy is None or copy.order_id in refused_ids:
                answers[item.order_id] = Refused("reference_used", param="reference")
            elif copy.request_digest != wish.request_digest:
                answers[item.order_id] = Refused("idempotency_key_reused", param="Idempotency-Key")
            else:
                answers[item.order_id] = Replayed(order_id=copy.order_id)
        return answers

    def _take(self, item: _Item, now: datetime) -> Taken:
        wish = item.wish
        expires_at = now + timedelta(seconds=wish.expires_in_s or EXPIRES_IN_S_DEFAULT)
        order = NewOrder(
            lane=wish.caller.lane,
            order_id=item.order_id,
            merchant_id=wish.caller.merchant_id,
            reference=wish.reference,
            state="created" if item.plan is None else "paying",
            amount_minor=item.amount.amount_minor,
            currency=item.amount.currency,
            subject=wish.subject,
            shop_id=wish.shop_id,
            terminal_id=wish.terminal_id,
            created_at=now,
            expires_at=expires_at,
            trade_count=0 if item.plan is None else 1,
            look_at=min(expires_at, now + CHARGE_PATIENCE) if _charges(item.plan) else expires_at,
        )
        trade = None if item.plan is None else self._intents.make(facts_of(order), item.plan, attempt=1, now=now)
        return Taken(order=order, trade=trade)


def _charges(plan: TradePlan | None) -> bool:
    return plan is not None and plan.chosen.method is Method.CODE


def facts_of(order: NewOrder) -> OrderFacts:
    """What a trade takes from a new order."""
    return OrderFacts(
        lane=order.lane,
        order_id=order.order_id,
        merchant_id=order.merchant_id,
        amount_minor=order.amount_minor,
        currency=order.currency,
        subject=order.subject,
        expires_at=order.expires_at,
        shop_id=order.shop_id,
    )


def _is_claimed(item: _Item, outcome: ClaimOutcome) -> bool:
    return outcome.reference_claimed and (item.wish.idempotency_key is None or outcome.key_claimed)


def _claim(item: _Item) -> Claim:
    wish = item.wish
    return Claim(
        lane=wish.caller.lane,
        merchant_id=wish.caller.merchant_id,
        order_id=item.order_id,
        reference=wish.reference,
        idempotency_key=wish.idempotency_key,
        request_digest=wish.request_digest,
    )
