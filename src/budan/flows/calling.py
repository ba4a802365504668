"""Calls to channels between two transactions: intent before, evidence after (I11)."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec

from budan.core.evidence import Outcome, Source
from budan.core.numbers import AccountId
from budan.flows.door import Door, DoorItem
from budan.flows.door_plan import Planned
from budan.flows.healths import AccountHealths
from budan.flows.intents import decode_intent
from budan.flows.nonces import Nonces
from budan.flows.stamp import stamp, stamp_reverse
from budan.ports.channel import (
    Call,
    Capabilities,
    ChannelAccounts,
    EndResult,
    EndState,
    Method,
    PayAction,
    PayResult,
    TradeRef,
    direction_of,
)
from budan.ports.clock import Clock

# WeChat asks for an answer of its own callback in 5 s, so a call that takes longer than this is no help to a payer.
CALL_TIMEOUT_S = 5.0
# There is no such account here, or none with keys that can be used: nothing can be asked of its channel.
ACCOUNT_UNKNOWN = "account_unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sending:
    """A committed intent that may be sent: `window` is what was left of its send window at `read_at_s`, monotonic."""

    account_id: AccountId
    intent: str
    window: timedelta
    read_at_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """A trade to ask about; `asked_at` is the database's clock right before the question leaves.

    `attempts` is the question's place on its ladder, None for one that a payer's page or a waiting caller brings.
    `irreversible`: a reverse was refused for good just now.
    """

    account_id: AccountId
    trade_no: str
    method: Method
    created_at: datetime
    channel_reference: str | None
    asked_at: datetime
    attempts: int | None
    irreversible: bool = False


def is_answer(result: PayResult) -> bool:
    """Whether the channel said anything at all: "busy" and "not now" are words of a channel that is there."""
    return result.sent and (result.answered or result.outcome is not Outcome.UNKNOWN)


class ChannelCalls:
    """Sends intents and questions, and brings what comes back to the door."""

    def __init__(self, *, accounts: ChannelAccounts, door: Door, clock: Clock, healths: AccountHealths) -> None:
        self._healths = healths
        self._accounts = accounts
        self._door = door
        self._clock = clock
        self._nonces = Nonces()

    async def place(self, sending: Sending) -> tuple[Planned, PayResult, PayAction | None]:
        """Place a committed C2B trade and record the answer. Safe to repeat with the same intent."""
        intent = decode_intent(sending.intent)
        account = await self._accounts.find(sending.account_id)
        if account is None:
            return _nothing_sent(), _not_sent(intent.trade_no, ACCOUNT_UNKNOWN), None
        created = await account.adapter.create(intent, call=self._call(sending))
        action = None if created.action is None else msgspec.json.encode(created.action).decode()
        planned = await self._record(account.account_id, created.result, Source.REPLY, action=action)
        return planned, created.result, created.action

    async def charge(self, sending: Sending, auth_code: str) -> tuple[Planned, PayResult]:
        """Charge a committed B2C trade, once: the code is neither stored nor sent again."""
        intent = decode_intent(sending.intent)
        account = await self._accounts.find(sending.account_id)
        if account is None:
            return _nothing_sent(), _not_sent(intent.trade_no, ACCOUNT_UNKNOWN)
        result = await account.adapter.charge(intent, auth_code=auth_code, call=self._call(sending))
        return await self._record(account.account_id, result, Source.REPLY), result

    async def ask(self, asking: Asking) -> tuple[Planned, PayResult]:
        """Ask a channel for a trade and record the answer. Safe to repeat."""
        result = await self.query(asking.account_id, _ref(asking))
        planned = await self._record(
            asking.account_id,
            result,
            Source.QUERY,
            asked_at=asking.asked_at,
            attempts=asking.attempts,
            irreversible=asking.irreversible,
        )
        return planned, result

    async def query(self, account_id: AccountId, ref: TradeRef) -> PayResult:
        """Ask a channel for a trade; the caller takes to the door what the answer says. Safe to repeat."""
        account = await self._accounts.find(account_id)
        # An account that cannot be found is like one that cannot be reached: its trades stay due.
        if account is None:
            return _not_sent(ref.trade_no, ACCOUNT_UNKNOWN)
        result = await account.adapter.query(ref, call=self._call_of_question())
        if result.sent:
            self._healths.note_question(account_id, busy=result.busy, answered=is_answer(result))
        return result

    async def find_capabilities(self, account_id: AccountId) -> Capabilities | None:
        """What the account's channel can do; None where there is no such account."""
        account = await self._accounts.find(account_id)
        return None if account is None else account.adapter.capabilities

    async def close(self, asking: Asking) -> EndResult:
        """Close a C2B trade at its channel. Safe to repeat.

        Nothing is recorded: WeChat answers without our number, so a question brings the proof of what it did.
        """
        account = await self._accounts.find(asking.account_id)
        if account is None:
            return _no_account()
        return await account.adapter.close(_ref(asking), call=self._call_of_question())

    async def reverse(self, asking: Asking) -> EndResult:
        """Reverse a trade whose intent to do so is committed, and record what was said. Safe to repeat."""
        account = await self._accounts.find(asking.account_id)
        if account is None:
            return _no_account()
        end = await account.adapter.reverse(_ref(asking), call=self._call_of_question())
        evidence = stamp_reverse(
            end,
            trade_no=asking.trade_no,
            account_id=asking.account_id,
            learned_at=self._clock.now(),
            asked_at=asking.asked_at,
        )
        if evidence is not None:
            await self._door.record(DoorItem(evidence=evidence))
        return end

    async def _record(
        self,
        account_id: AccountId,
        result: PayResult,
        source: Source,
        *,
        action: str | None = None,
        asked_at: datetime | None = None,
        attempts: int | None = None,
        irreversible: bool = False,
    ) -> Planned:
        evidence = stamp(
            result,
            account_id=account_id,
            source=source,
            learned_at=self._clock.now(),
            asked_at=asked_at,
            irreversible=irreversible,
        )
        return await self._door.record(DoorItem(evidence=evidence, action=action, asked_attempts=attempts))

    def _call_of_question(self) -> Call:
        return Call(now=self._clock.now(), nonce=self._nonces.take(), deadline_s=CALL_TIMEOUT_S)

    def _call(self, sending: Sending) -> Call:
        return Call(
            now=self._clock.now(),
            nonce=self._nonces.take(),
            deadline_s=CALL_TIMEOUT_S,
            send_before_s=sending.read_at_s + sending.window.total_seconds(),
        )


def _ref(asking: Asking) -> TradeRef:
    return TradeRef(
        trade_no=asking.trade_no,
        direction=direction_of(asking.method),
        created_at=asking.created_at,
        channel_reference=asking.channel_reference,
        method=asking.method,
    )


def _no_account() -> EndResult:
    return EndResult(state=EndState.RETRY, sent=False, code=ACCOUNT_UNKNOWN)


def _nothing_sent() -> Planned:
    return Planned(decision="not_sent", order_state="", trade_state="", version=0)


def _not_sent(trade_no: str, code: str) -> PayResult:
    return PayResult(outcome=Outcome.UNPAID_OPEN, trade_no=trade_no, sent=False, code=code)
