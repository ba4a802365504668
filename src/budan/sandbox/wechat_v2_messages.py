"""What WeChat v2 is asked and answers, as named texts (docs/protocols/wechat_v2_micropay.md §1)."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Final

import msgspec

from budan.sandbox.numbers import BEIJING
from budan.sandbox.records import Refund, RefundState, Trade, TradeState

_BODY_BYTES_MAX: Final = 127
_STATES: Final[Mapping[TradeState, str]] = {
    TradeState.WAITING: "NOTPAY",
    TradeState.TYPING: "USERPAYING",
    TradeState.PAID: "SUCCESS",
    TradeState.FAILED: "PAYERROR",
    TradeState.CLOSED: "REVOKED",
    TradeState.RETURNED: "REVOKED",
}
_REFUND_STATUS: Final[Mapping[RefundState, str]] = {
    RefundState.PROCESSING: "PROCESSING",
    RefundState.DONE: "SUCCESS",
    RefundState.ABNORMAL: "CHANGE",
    RefundState.CLOSED: "REFUNDCLOSE",
}

Fen = Annotated[str, msgspec.Meta(pattern=r"^[1-9][0-9]{0,10}$")]


class ChargeFields(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of a charge; what else may come is not judged."""

    body: Annotated[str, msgspec.Meta(min_length=1)]
    out_trade_no: Annotated[str, msgspec.Meta(pattern=r"^[0-9A-Za-z_|*-]{1,32}$")]
    total_fee: Fen
    spbill_create_ip: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    auth_code: Annotated[str, msgspec.Meta(pattern=r"^1[0-5][0-9]{16}$")]
    attach: Annotated[str, msgspec.Meta(max_length=127)] = ""


class RefundFields(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of a refund beside those that name its trade."""

    out_refund_no: Annotated[str, msgspec.Meta(pattern=r"^[0-9A-Za-z_|*@-]{1,64}$")]
    total_fee: Fen
    refund_fee: Fen
    refund_desc: Annotated[str, msgspec.Meta(max_length=80)] = ""


class WrongValue(ValueError):  # noqa: N818 - named by what it is
    """A value that WeChat would refuse."""


def parse_charge(fields: Mapping[str, str]) -> ChargeFields:
    """The charge's fields; WrongValue names the first that is not as it must be."""
    try:
        charge = msgspec.convert(dict(fields), ChargeFields)
    except msgspec.ValidationError as error:
        raise WrongValue(str(error)) from error
    if len(charge.body.encode()) > _BODY_BYTES_MAX:
        raise WrongValue("body")
    return charge


def parse_refund(fields: Mapping[str, str]) -> RefundFields:
    """The refund's fields; WrongValue names the first that is not as it must be."""
    try:
        return msgspec.convert(dict(fields), RefundFields)
    except msgspec.ValidationError as error:
        raise WrongValue(str(error)) from error


def paid_fields(trade: Trade) -> dict[str, str]:
    """What a charge, and a query of a trade that was paid, tell of it."""
    assert trade.paid_at is not None
    amount = str(trade.amount_minor)
    return {
        "openid": trade.payer_id,
        "is_subscribe": "N",
        "trade_type": "MICROPAY",
        "bank_type": "OTHERS",
        "fee_type": "CNY",
        "total_fee": amount,
        "cash_fee": amount,
        "cash_fee_type": "CNY",
        "transaction_id": trade.channel_no,
        "out_trade_no": trade.trade_no,
        "attach": trade.attach,
        "time_end": _beijing(trade.paid_at),
    }


def query_fields(trade: Trade) -> dict[str, str]:
    """What a query tells; a trade that is not paid has no more than its number and state."""
    is_refunded = any(refund.state is not RefundState.CLOSED for refund in trade.refunds)
    state = "REFUND" if is_refunded else _STATES[trade.state]
    told = {"out_trade_no": trade.trade_no, "attach": trade.attach, "trade_state": state, "trade_state_desc": state}
    return told | (paid_fields(trade) if trade.state is TradeState.PAID else {})


def refund_fields(trade: Trade, refund: Refund) -> dict[str, str]:
    """The answer to a refund: it was accepted, whether or not it is done."""
    return {
        "transaction_id": trade.channel_no,
        "out_trade_no": trade.trade_no,
        "out_refund_no": refund.refund_no,
        "refund_id": refund.channel_no,
        "refund_fee": str(refund.amount_minor),
        "total_fee": str(trade.amount_minor),
        "cash_fee": str(trade.amount_minor),
        "cash_refund_fee": str(refund.amount_minor),
    }


def refund_list_fields(trade: Trade, refunds: Sequence[Refund]) -> dict[str, str]:
    """What a query tells of these refunds."""
    fields = {
        "transaction_id": trade.channel_no,
        "out_trade_no": trade.trade_no,
        "total_fee": str(trade.amount_minor),
        "refund_count": str(len(refunds)),
    }
    for at, refund in enumerate(refunds):
        fields |= {
            f"out_refund_no_{at}": refund.refund_no,
            f"refund_id_{at}": refund.channel_no,
            f"refund_channel_{at}": "ORIGINAL",
            f"refund_fee_{at}": str(refund.amount_minor),
            f"refund_status_{at}": _REFUND_STATUS[refund.state],
        }
    return fields


def _beijing(moment: datetime) -> str:
    return moment.astimezone(BEIJING).strftime("%Y%m%d%H%M%S")
