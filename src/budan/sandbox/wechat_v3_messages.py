"""What WeChat Pay APIv3 is asked and answers, as JSON (docs/protocols/wechat_v3.md §1)."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final

import msgspec

from budan.sandbox.numbers import BEIJING
from budan.sandbox.records import Method, Refund, RefundState, Trade, TradeState, WechatAccount
from budan.sandbox.telling import STRANGER, lies_of_merchant

_TRADE_TYPES: Final[Mapping[Method, str]] = {
    Method.NATIVE: "NATIVE",
    Method.JSAPI: "JSAPI",
    Method.WAP: "MWEB",
    Method.CODEPAY: "MICROPAY",
}

OutTradeNo = Annotated[str, msgspec.Meta(pattern=r"^[0-9A-Za-z_\-|*]{6,32}$")]


class Amount(msgspec.Struct, frozen=True):
    """Integer fen."""

    total: Annotated[int, msgspec.Meta(ge=1, le=10_000_000_000)]
    currency: str = "CNY"


class PayerFields(msgspec.Struct, frozen=True):
    """`openid` in JSAPI, `auth_code` in codepay."""

    openid: str = ""
    auth_code: str = ""


class StoreFields(msgspec.Struct, frozen=True):
    """The shop by WeChat's id or the merchant's."""

    id: str = ""
    out_id: str = ""


class H5Fields(msgspec.Struct, frozen=True):
    """What kind of page leads to the wallet."""

    type: str = ""


class SceneFields(msgspec.Struct, frozen=True):
    """Where the payer stands."""

    device_id: str = ""
    device_ip: str = ""
    payer_client_ip: str = ""
    store_info: StoreFields | None = None  # their name
    h5_info: H5Fields | None = None  # their name


class OrderFields(msgspec.Struct, frozen=True, kw_only=True):
    """The body of a placement; what else may come is not judged."""

    appid: Annotated[str, msgspec.Meta(min_length=1, max_length=32)]
    mchid: Annotated[str, msgspec.Meta(min_length=1, max_length=32)]
    description: Annotated[str, msgspec.Meta(min_length=1, max_length=127)]
    out_trade_no: OutTradeNo
    amount: Amount
    notify_url: Annotated[str, msgspec.Meta(max_length=255)] = ""
    time_expire: datetime | None = None
    attach: Annotated[str, msgspec.Meta(max_length=128)] = ""
    payer: PayerFields = PayerFields()
    scene_info: SceneFields | None = None  # their name


class EndFields(msgspec.Struct, frozen=True):
    """The body of a close or reverse; close has no appid."""

    mchid: str
    appid: str = ""


OutRefundNo = Annotated[str, msgspec.Meta(pattern=r"^[0-9A-Za-z_\-|*@]{1,64}$")]
Fen = Annotated[int, msgspec.Meta(ge=1, le=10_000_000_000)]


class RefundAmountFields(msgspec.Struct, frozen=True):
    """What goes back of which whole."""

    refund: Fen
    total: Fen
    currency: str


class RefundFields(msgspec.Struct, frozen=True, kw_only=True):
    """A refund; one of the two numbers names the order."""

    out_refund_no: OutRefundNo
    amount: RefundAmountFields
    out_trade_no: str = ""
    transaction_id: str = ""
    reason: Annotated[str, msgspec.Meta(max_length=80)] = ""
    notify_url: Annotated[str, msgspec.Meta(max_length=256)] = ""


_REFUND_STATUS: Final[Mapping[RefundState, str]] = {
    RefundState.PROCESSING: "PROCESSING",
    RefundState.DONE: "SUCCESS",
    RefundState.ABNORMAL: "ABNORMAL",
    RefundState.CLOSED: "CLOSED",
}

_STATES: Final[Mapping[TradeState, tuple[str, str]]] = {
    TradeState.WAITING: ("NOTPAY", "订单未支付"),
    TradeState.TYPING: ("USERPAYING", "需要用户输入支付密码"),
    TradeState.PAID: ("SUCCESS", "支付成功"),
    TradeState.FAILED: ("PAYERROR", "支付失败,请撤销订单"),
    TradeState.CLOSED: ("CLOSED", "订单已关闭"),
    TradeState.RETURNED: ("REVOKED", "订单已撤销"),
}


def trade_state(trade: Trade) -> tuple[str, str]:
    """`trade_state` and its text; a trade with a refund under way or done says so for good."""
    if any(refund.state is not RefundState.CLOSED for refund in trade.refunds):
        return "REFUND", "转入退款"
    if trade.method is Method.CODEPAY and trade.state is TradeState.CLOSED:
        return _STATES[TradeState.RETURNED]
    return _STATES[trade.state]


def transaction(trade: Trade, account: WechatAccount) -> dict[str, Any]:
    """The transaction object; an unpaid order lacks what only a payment gives."""
    state, text = trade_state(trade)
    fields: dict[str, Any] = {
        "mchid": account.mchid,
        "appid": account.appid,
        "out_trade_no": trade.trade_no,
        "trade_state": state,
        "trade_state_desc": text,
    }
    if trade.attach:
        fields["attach"] = trade.attach
    if trade.paid_at is None:
        return fields
    return fields | {
        "transaction_id": trade.channel_no,
        "trade_type": _TRADE_TYPES[trade.method],
        "bank_type": "OTHERS",
        "success_time": rfc3339(trade.paid_at),
        "payer": {"openid": trade.payer_id},
        "amount": {
            "total": trade.amount_minor,
            "payer_total": trade.amount_minor,
            "currency": "CNY",
            "payer_currency": "CNY",
        },
    }


def told_transaction(trade: Trade, account: WechatAccount) -> dict[str, Any]:
    """The transaction object as notices and answers to queries tell it, perhaps with another's merchant number."""
    fields = transaction(trade, account)
    return fields | {"mchid": STRANGER} if lies_of_merchant(trade) else fields


def refund_object(trade: Trade, refund: Refund) -> dict[str, Any]:
    """A refund as its request and its query are answered."""
    return _with_success_time(
        {
            "refund_id": refund.channel_no,
            "out_refund_no": refund.refund_no,
            "transaction_id": trade.channel_no,
            "out_trade_no": trade.trade_no,
            "channel": "ORIGINAL",
            "user_received_account": "支付用户零钱",
            "create_time": rfc3339(refund.asked_at),
            "status": _REFUND_STATUS[refund.state],
            "funds_account": "AVAILABLE",
            "amount": _refund_amount(trade, refund)
            | {
                "settlement_total": trade.amount_minor,
                "settlement_refund": refund.amount_minor,
                "discount_refund": 0,
                "currency": "CNY",
            },
        },
        refund,
    )


def refund_notice(trade: Trade, refund: Refund, account: WechatAccount) -> dict[str, Any]:
    """The plaintext of a refund's notice; what a query calls `status` is `refund_status` here."""
    return _with_success_time(
        {
            "mchid": account.mchid,
            "transaction_id": trade.channel_no,
            "out_trade_no": trade.trade_no,
            "refund_id": refund.channel_no,
            "out_refund_no": refund.refund_no,
            "refund_status": _REFUND_STATUS[refund.state],
            "user_received_account": "支付用户零钱",
            "amount": _refund_amount(trade, refund),
        },
        refund,
    )


def _refund_amount(trade: Trade, refund: Refund) -> dict[str, Any]:
    return {
        "total": trade.amount_minor,
        "refund": refund.amount_minor,
        "payer_total": trade.amount_minor,
        "payer_refund": refund.amount_minor,
    }


def _with_success_time(fields: dict[str, Any], refund: Refund) -> dict[str, Any]:
    is_done = refund.state is RefundState.DONE and refund.ended_at is not None
    return fields | {"success_time": rfc3339(refund.ended_at)} if is_done and refund.ended_at else fields


def rfc3339(moment: datetime) -> str:
    """Beijing time in whole seconds with its offset."""
    return moment.astimezone(BEIJING).isoformat(timespec="seconds")
