"""Trade intents: every value of a request to a channel, committed before the call (I11)."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec

from budan.core.cashback import offer_cashback
from budan.core.numbers import Environment, Lane, MerchantId, OrderId, trade_number
from budan.core.pace import is_sampled, question_wait
from budan.core.trade import Direction
from budan.flows.cashback_plan import encode_offer
from budan.flows.choosing import Chosen
from budan.flows.healths import AccountHealths
from budan.flows.views import PaymentWish
from budan.ports.channel import TradeIntent, direction_of
from budan.store.rows import NewTrade


@dataclass(frozen=True, slots=True, kw_only=True)
class TradePlan:
    """A trade to be opened: on which account, and what only this kind of payment needs."""

    chosen: Chosen
    wish: PaymentWish | None = None
    device_id: str | None = None
    device_ip: str | None = None

    def __post_init__(self) -> None:
        wish = self.wish
        told = (self.device_id, self.device_ip, *((wish.payer_openid, wish.return_url, wish.payer_ip) if wish else ()))
        # jsonb holds no NUL, and one in an intent fails the statement of all who share its batch: whoever reads a field
        # from outside refuses it, and a field that is not read so fails here, alone.
        assert not any("\0" in text for text in told if text is not None), "a text of a trade holds a NUL"


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderFacts:
    """What a trade takes from its order."""

    lane: Lane
    order_id: OrderId
    merchant_id: MerchantId
    amount_minor: int
    currency: str
    subject: str
    expires_at: datetime
    shop_id: int | None


class IntentMaker:
    """Makes trade intents; knows where notices shall come, and from `healths` whether they do."""

    def __init__(self, *, environment: Environment, public_url: str, healths: AccountHealths) -> None:
        self._environment = environment
        self._healths = healths
        self._public_url = public_url.rstrip("/")

    def make(self, facts: OrderFacts, plan: TradePlan, *, attempt: int, now: datetime) -> NewTrade:
        """The trade row, with its intent and the first question about it; `now` is the database's clock."""
        account = plan.chosen.account
        direction = direction_of(plan.chosen.method)
        c2b = direction is Direction.C2B
        intent = TradeIntent(
            trade_no=trade_number(
                environment=self._environment,
                lane=facts.lane,
                merchant_id=facts.merchant_id,
                order_id=facts.order_id,
                attempt=attempt,
            ),
            method=plan.chosen.method,
            amount_minor=facts.amount_minor,
            currency=facts.currency,
            subject=facts.subject,
            notify_url=self.notify_url(channel=account.channel, account_id=account.account_id),
            created_at=now,
            # Not later than the order's (docs/design.md section 5). A B2C payer stands at the desk: no expiry.
            expires_at=facts.expires_at if c2b else None,
            payer_openid=plan.wish.payer_openid if plan.wish else None,
            return_url=plan.wish.return_url if plan.wish else None,
            payer_ip=plan.wish.payer_ip if plan.wish else None,
            device_id=plan.device_id,
            device_ip=plan.device_ip,
            store_id=None if facts.shop_id is None else str(facts.shop_id),
        )
        wait = question_wait(
            direction=direction,
            age=timedelta(0),
            attempts=0,
            notices=self._healths.notices_of(account.account_id),
            is_sampled=is_sampled(facts.order_id),
        )
        return NewTrade(
            lane=facts.lane,
            order_id=facts.order_id,
            attempt=attempt,
            account_id=account.account_id,
            channel=account.channel,
            method=plan.chosen.method.value,
            amount_minor=facts.amount_minor,
            currency=facts.currency,
            fee_terms=plan.chosen.fee_terms,
            created_at=now,
            send_until=now + account.adapter.capabilities.send_window,
            expires_at=intent.expires_at,
            intent=encode_intent(intent),
            query_at=now + wait,
            cashback_offer=encode_offer(
                offer_cashback(
                    plan.chosen.cashback_plans,
                    amount_minor=facts.amount_minor,
                    method=plan.chosen.method.value,
                    now=now,
                )
            ),
        )

    def notify_url(self, *, channel: str, account_id: int) -> str:
        """Where a channel calls back: environment and account are in the address."""
        return f"{self._public_url}/notify/{self._environment.value}/{channel}/{account_id}"


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(TradeIntent)


def encode_intent(intent: TradeIntent) -> str:
    """The JSON that is committed."""
    return _ENCODER.encode(intent).decode()


def decode_intent(text: str) -> TradeIntent:
    """The intent that was committed: a repeat of the call is equal in all but its signature."""
    return _DECODER.decode(text)
