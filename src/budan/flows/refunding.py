"""Refunds: asked for behind the gate, sent and asked about by a worker until the channel's word is definite."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from secrets import token_hex

import msgspec

from budan.core.cashback import CashbackCause
from budan.core.errors import Refused, StaleState, StoreUnavailable
from budan.core.evidence import Source
from budan.core.money import AMOUNT_MINOR_MAX
from budan.core.numbers import (
    ORDINAL_MAX,
    AccountId,
    Environment,
    Lane,
    Number,
    NumberKind,
    render_number,
)
from budan.core.order import OrderState
from budan.core.refund import RefundOrigin, RefundOutcome, RefundState
from budan.flows.acts import check_name, check_reason
from budan.flows.calling import CALL_TIMEOUT_S
from budan.flows.cashback_plan import plan_settled, read_cashbacks
from budan.flows.intake import check_idempotency_key
from budan.flows.intents import IntentMaker
from budan.flows.locking import lock_named
from budan.flows.reading import Reading, own_number, view_refund
from budan.flows.refund_door import RefundDoor, RefundItem
from budan.flows.refund_plan import RefundPlanned
from budan.flows.stamp import stamp_refund
from budan.flows.views import Caller, RefundView
from budan.ports.channel import (
    Call,
    ChannelAccount,
    ChannelAccounts,
    RefundIntent,
    RefundRef,
    RefundResult,
)
from budan.ports.clock import Clock
from budan.store import door as gate
from budan.store import refunds as stored
from budan.store.acts import add_act
from budan.store.database import Database, RowsFailed, Transaction
from budan.store.door import DoorWrites, LockedOrder, LockedTrade, OrderChange
from budan.store.refunds import DueRefund, NextStep, RefundMade, RefundRow, RefundWrites, SumsChange

# Of an order's 31 refund numbers; the rest are kept for payments that must go back (I9).
REFUNDS_BY_API_MAX = 20
# WeChat takes 80 bytes (docs/protocols/wechat_v3.md section 1): 26 Chinese characters.
REASON_BYTES_MAX = 80
# If nobody lives to hear the answer, the refund is asked about after this.
ORPHAN_ASK_S = 10.0
_WANTED = frozenset({RefundOrigin.MERCHANT.value, RefundOrigin.OPERATOR.value})
_REASON = re.compile(r"[^\x00-\x1f\x7f]*")
_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(RefundIntent)


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundOrder:
    """A wish to give back what was paid for an order, in part or all; `request_digest` is of what was asked.

    Without a key nothing would tell a repeat from a second refund, so there is none without. `by` is who of the house
    asks for it, None where its merchant does.
    """

    caller: Caller
    order_no: str
    amount_minor: int
    reason: str
    request_digest: bytes
    idempotency_key: str
    by: str | None = None

    @property
    def origin(self) -> RefundOrigin:
        """Whose wish it is."""
        return RefundOrigin.MERCHANT if self.by is None else RefundOrigin.OPERATOR


class Refunding:
    """The use cases of refunds. Nothing here books one: the door of refunds does."""

    def __init__(
        self,
        *,
        database: Database,
        environment: Environment,
        clock: Clock,
        accounts: ChannelAccounts,
        intents: IntentMaker,
        reading: Reading,
        door: RefundDoor,
    ) -> None:
        self._database = database
        self._environment = environment
        self._clock = clock
        self._accounts = accounts
        self._intents = intents
        self._reading = reading
        self._door = door

    async def request(self, wish: RefundOrder) -> RefundView:
        """Promise a refund: the amount is reserved behind the gate, and a worker sends it.

        Safe to repeat under one idempotency key. One by our staff is written down as their act, with its reason. Raises
        `Refused` with the codes of `own_number`, `name_malformed`, `amount_not_positive`, `amount_too_large`, `reason_malformed`, `idempotency_key_malformed`,
        `idempotency_key_reused`, `order_not_paid`, `order_on_hold`, `refund_unsupported`, `refund_too_late`,
        `refund_exceeds_paid`, `too_many_refunds`, in this order; `StoreUnavailable`.
        """
        number = own_number(wish.caller, wish.order_no, environment=self._environment)
        _check(wish)
        _, trades = await self._reading.get_rows(number)
        accounts = {trade.account_id: await self._accounts.find(trade.account_id) for trade in trades}
        try:
            async with self._database.transaction() as transaction:
                ordinal = await self._request(transaction, wish, number, accounts)
        except RowsFailed as failed:
            raise StoreUnavailable(str(failed)) from failed
        return await self.get(wish.caller, wish.order_no, self._refund_no(number, ordinal))

    async def list_of(self, caller: Caller, order_no: str) -> list[RefundView]:
        """The refunds of an order, oldest first; raises `Refused` as `own_number` does."""
        number = own_number(caller, order_no, environment=self._environment)
        key = (number.lane, number.order_id)
        await self._reading.get_rows(number)
        async with self._database.reading() as transaction:
            rows = (await stored.list_refunds(transaction, [key])).get(key, [])
        return [view_refund(row, merchant_id=number.merchant_id, environment=self._environment) for row in rows]

    async def get(self, caller: Caller, order_no: str, refund_no: str) -> RefundView:
        """One refund; raises `Refused` as `own_number` does, and with `refund_not_found`."""
        for view in await self.list_of(caller, order_no):
            if view.refund_no == refund_no:
                return view
        raise Refused("refund_not_found", param="refund_no")

    async def list_due(
        self, *, lanes: Sequence[Lane], accounts_left_out: Sequence[AccountId], rows_max: int
    ) -> list[DueRefund]:
        """Refunds whose next step is due in held lanes, oldest first."""
        async with self._database.reading_statement() as transaction:
            return await stored.list_due_refunds(
                transaction, lanes=lanes, accounts_left_out=accounts_left_out, rows_max=rows_max
            )

    async def advance(self, due: DueRefund) -> RefundPlanned:
        """Take a refund's next step: send it, or ask about it.

        Safe to repeat and to race: a number refunds once, and the door makes a second answer harmless. Raises
        `Overloaded` or `StoreUnavailable`; the step stays due then.
        """
        account = await self._accounts.find(due.account_id)
        refund_no = self._due_no(due, NumberKind.REFUND, due.ordinal)
        trade_no = self._due_no(due, NumberKind.ORDER, due.attempt)
        if account is None or not account.adapter.capabilities.refund:
            # The step is tried again ever more rarely, like one whose channel is away: it is never given up (I6).
            code = "account_unknown" if account is None else "refund_unsupported"
            result = RefundResult(
                outcome=RefundOutcome.UNKNOWN, refund_no=refund_no, trade_no=trade_no, sent=False, code=code
            )
            return await self._record(due, result, source=Source.REPLY if due.to_send else Source.QUERY)
        if due.to_send:
            return await self._send(due, account, refund_no=refund_no, trade_no=trade_no)
        ref = RefundRef(
            refund_no=refund_no,
            trade_no=trade_no,
            created_at=due.created_at,
            channel_reference=due.channel_reference,
            refund_reference=due.refund_reference,
        )
        call = Call(now=self._clock.now(), nonce=token_hex(16), deadline_s=CALL_TIMEOUT_S)
        result = await account.adapter.query_refund(ref, call=call)
        return await self._record(due, result, source=Source.QUERY)

    async def _send(self, due: DueRefund, account: ChannelAccount, *, refund_no: str, trade_no: str) -> RefundPlanned:
        """Commit that it is about to be sent, send it, record the answer (I11)."""
        read_at_s = self._clock.monotonic_s()
        window = account.adapter.capabilities.send_window
        intent = await self._prepare(due, account, window=window, refund_no=refund_no, trade_no=trade_no)
        if intent is None:
            return RefundPlanned(decision="taken_by_another", state="")
        call = Call(
            now=self._clock.now(),
            nonce=token_hex(16),
            deadline_s=CALL_TIMEOUT_S,
            send_before_s=read_at_s + window.total_seconds(),
        )
        result = await account.adapter.refund(intent, call=call)
        return await self._record(due, result, source=Source.REPLY)

    async def _prepare(
        self, due: DueRefund, account: ChannelAccount, *, window: timedelta, refund_no: str, trade_no: str
    ) -> RefundIntent | None:
        """The committed intent, or None where somebody else took this step or the refund has ended."""
        key = (due.lane, due.order_id)
        try:
            async with self._database.transaction() as transaction:
                locked = (await gate.lock_orders(transaction, [key]))[key]
                trades = (await gate.list_trades(transaction, [key])).get(key, [])
                rows = (await stored.list_refunds(transaction, [key])).get(key, [])
                row = next(row for row in rows if row.ordinal == due.ordinal)
                if not row.to_send:
                    return None
                trade = next(trade for trade in trades if trade.trade.attempt == row.attempt)
                made = self._intent(row, trade, account, refund_no=refund_no, trade_no=trade_no)
                intent = made if row.intent is None else _DECODER.decode(row.intent)
                await _raise_version(transaction, locked)
                await stored.prepare_refund(
                    transaction,
                    key=key,
                    ordinal=due.ordinal,
                    intent=_ENCODER.encode(intent).decode(),
                    send_until=locked.now + window,
                    due_at=locked.now + timedelta(seconds=ORPHAN_ASK_S),
                )
        except RowsFailed as failed:
            raise StoreUnavailable(str(failed)) from failed
        return intent

    def _intent(
        self, row: RefundRow, trade: LockedTrade, account: ChannelAccount, *, refund_no: str, trade_no: str
    ) -> RefundIntent:
        return RefundIntent(
            refund_no=refund_no,
            trade_no=trade_no,
            amount_minor=row.amount_minor,
            total_minor=trade.trade.amount_minor,
            currency=row.currency,
            reason=row.reason,
            notify_url=self._intents.notify_url(channel=account.channel, account_id=account.account_id),
            created_at=row.created_at,
            channel_reference=trade.channel_reference,
        )

    async def _record(self, due: DueRefund, result: RefundResult, *, source: Source) -> RefundPlanned:
        evidence = stamp_refund(
            result,
            account_id=due.account_id,
            source=source,
            learned_at=self._clock.now(),
            asked_at=due.now if source is Source.QUERY else None,
        )
        return await self._door.record(RefundItem(evidence=evidence, attempts=due.attempts))

    async def _request(
        self,
        transaction: Transaction,
        wish: RefundOrder,
        number: Number,
        accounts: dict[AccountId, ChannelAccount | None],
    ) -> int:
        """The ordinal of the refund that this request made, or that its key made before."""
        key = (number.lane, number.order_id)
        locked = await lock_named(transaction, number)
        known = await _known_ordinal(transaction, wish, number)
        if known is not None:
            return known
        trades = (await gate.list_trades(transaction, [key])).get(key, [])
        refunds = (await stored.list_refunds(transaction, [key])).get(key, [])
        trade = _refuse_refund(wish, locked, trades, refunds, accounts)
        account = accounts[trade.trade.account_id]
        assert account is not None, "a refund without an account was refused"
        ordinal = locked.refund_count + 1
        claimed = await stored.claim_key(
            transaction,
            key=key,
            merchant_id=wish.caller.merchant_id,
            idempotency_key=wish.idempotency_key,
            digest=wish.request_digest,
            ordinal=ordinal,
        )
        if not claimed:
            # Another order's request took the key since we looked.
            raise Refused("idempotency_key_reused", param="Idempotency-Key")
        spacing = account.adapter.capabilities.refund_spacing
        due_at = _send_after(locked, trade, refunds, spacing=spacing)
        await _take_back_and_reserve(transaction, wish, locked, trade)
        await stored.write_refunds(
            transaction, _promise(wish, locked, trade, ordinal=ordinal, due_at=due_at), now=locked.now
        )
        if wish.by is not None:
            await _write_down(transaction, wish, locked, by=wish.by, ordinal=ordinal)
        return ordinal

    def _refund_no(self, number: Number, ordinal: int) -> str:
        return render_number(replace(number, kind=NumberKind.REFUND, ordinal=ordinal))

    def _due_no(self, due: DueRefund, kind: NumberKind, ordinal: int) -> str:
        return render_number(
            Number(
                environment=self._environment,
                kind=kind,
                lane=due.lane,
                merchant_id=due.merchant_id,
                order_id=due.order_id,
                ordinal=ordinal,
            )
        )


def _check(wish: RefundOrder) -> None:
    if wish.by is not None:
        check_name(wish.by)
        check_reason(wish.reason)
    if wish.amount_minor <= 0:
        raise Refused("amount_not_positive", param="amount_minor")
    if wish.amount_minor > AMOUNT_MINOR_MAX:
        raise Refused("amount_too_large", param="amount_minor", detail=f"at most {AMOUNT_MINOR_MAX}")
    if len(wish.reason.encode()) > REASON_BYTES_MAX or not _REASON.fullmatch(wish.reason):
        raise Refused("reason_malformed", param="reason", detail=f"at most {REASON_BYTES_MAX} bytes, no controls")
    check_idempotency_key(wish.idempotency_key)


async def _known_ordinal(transaction: Transaction, wish: RefundOrder, number: Number) -> int | None:
    """The refund that the wish's key made; raises `Refused` where it made something else, or for another request."""
    known = await stored.find_key(
        transaction,
        lane=number.lane,
        merchant_id=number.merchant_id,
        idempotency_key=wish.idempotency_key,
    )
    if known is None:
        return None
    is_same = known.order_id == number.order_id and known.request_digest == wish.request_digest
    if not is_same or known.refund_ordinal is None:
        raise Refused("idempotency_key_reused", param="Idempotency-Key")
    return known.refund_ordinal


def _refuse_refund(
    wish: RefundOrder,
    locked: LockedOrder,
    trades: Sequence[LockedTrade],
    refunds: Sequence[RefundRow],
    accounts: Mapping[AccountId, ChannelAccount | None],
) -> LockedTrade:
    """The trade to refund, or `Refused` in the documented order."""
    if locked.order.state is not OrderState.PAID:
        raise Refused("order_not_paid", param="order_no", detail=f"the order is {locked.order.state.value}")
    if locked.order.hold_reason is not None:
        raise Refused("order_on_hold", param="order_no", detail=locked.order.hold_reason)
    trade = next(trade for trade in trades if trade.trade.attempt == locked.order.paid_attempt)
    account = accounts.get(trade.trade.account_id)
    if account is None or not account.adapter.capabilities.refund:
        raise Refused("refund_unsupported", param="order_no")
    window = account.adapter.capabilities.refund_window
    if window is not None and trade.paid_at is not None and locked.now > trade.paid_at + window:
        raise Refused("refund_too_late", param="order_no", detail=f"the channel refunds for {window.days} days")
    if wish.amount_minor > trade.refunds.left_minor:
        left = max(0, trade.refunds.left_minor)
        raise Refused("refund_exceeds_paid", param="amount_minor", detail=f"{left} is left to refund")
    wanted = sum(row.origin in _WANTED for row in refunds)
    if wanted >= REFUNDS_BY_API_MAX or locked.refund_count >= ORDINAL_MAX:
        raise Refused("too_many_refunds", param="order_no", detail=f"at most {REFUNDS_BY_API_MAX}")
    return trade


def _send_after(
    locked: LockedOrder, trade: LockedTrade, refunds: Sequence[RefundRow], *, spacing: timedelta
) -> datetime:
    """The first moment at which the channel takes one more refund of this trade."""
    earlier = [
        row.send_after + spacing
        for row in refunds
        if row.attempt == trade.trade.attempt and row.send_after is not None and row.state != RefundState.FAILED.value
    ]
    return max([locked.now, *earlier])


def _promise(
    wish: RefundOrder, locked: LockedOrder, trade: LockedTrade, *, ordinal: int, due_at: datetime
) -> RefundWrites:
    key = (locked.lane, locked.order_id)
    return RefundWrites(
        sums=[
            SumsChange(
                key=key,
                attempt=trade.trade.attempt,
                reserved_minor=wish.amount_minor,
            )
        ],
        made=[
            RefundMade(
                key=key,
                ordinal=ordinal,
                attempt=trade.trade.attempt,
                origin=wish.origin.value,
                state=RefundState.CREATED.value,
                amount_minor=wish.amount_minor,
                currency=trade.trade.currency,
                reason=wish.reason,
                send_after=due_at,
            )
        ],
        steps=[NextStep(key=key, ordinal=ordinal, due_at=due_at, attempts=0)],
    )


async def _take_back_and_reserve(
    transaction: Transaction, wish: RefundOrder, locked: LockedOrder, trade: LockedTrade
) -> None:
    """The order's part of a promise: a number, the amount, and the cashback of it, before the channel is asked."""
    change = OrderChange(
        locked=locked,
        state=locked.order.state,
        refunds_made=1,
        refund_reserved_minor=wish.amount_minor,
    )
    writes, key = DoorWrites(orders=[change]), (locked.lane, locked.order_id)
    cashback = (await read_cashbacks(transaction, {key: locked}, {key: [trade]}, writes)).get(key)
    if cashback is not None:
        plan_settled(
            locked,
            trade,
            cashback,
            writes,
            cause=CashbackCause.REFUND,
            is_held=False,
            more_promised_minor=wish.amount_minor,
        )
    await _write_order(transaction, locked, writes)


async def _write_down(
    transaction: Transaction, wish: RefundOrder, locked: LockedOrder, *, by: str, ordinal: int
) -> None:
    """Who of the house asked for this refund, and why."""
    told = {"ordinal": ordinal, "amount_minor": wish.amount_minor}
    await add_act(
        transaction,
        (locked.lane, locked.order_id),
        kind="refund",
        acted_by=check_name(by),
        reason=check_reason(wish.reason),
        acted_at=locked.now,
        wish=_ENCODER.encode(told).decode(),
    )


async def _raise_version(transaction: Transaction, locked: LockedOrder) -> None:
    """Every change of an order's refunds raises its version, also where its state stays (docs/design.md section 3)."""
    writes = DoorWrites(orders=[OrderChange(locked=locked, state=locked.order.state)])
    await _write_order(transaction, locked, writes)


async def _write_order(transaction: Transaction, locked: LockedOrder, writes: DoorWrites) -> None:
    written = await gate.write(transaction, writes, now=locked.now)
    if len(written) != 1:
        raise StaleState
