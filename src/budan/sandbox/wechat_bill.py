"""WeChat's bill of a day (docs/protocols/wechat_v3.md §6); both of its interfaces serve it."""

from collections.abc import Sequence
from typing import Final

from budan.sandbox.bill_rows import BillRow, Kind, backtick_row, paid_minor, returned_minor, yuan, yuan_e5
from budan.sandbox.records import Method, RefundState, WechatAccount, WechatV2Account

_HEADER: Final = (
    "交易时间,公众账号ID,商户号,特约商户号,设备号,微信订单号,商户订单号,用户标识,交易类型,交易状态,付款银行,货币种类,应结订单金额,代金券金额,"
    "微信退款单号,商户退款单号,退款金额,充值券退款金额,退款类型,退款状态,商品名称,商户数据包,手续费,费率,订单金额,申请退款金额,费率备注"
)
_SUMMARY: Final = "总交易单数,应结订单总金额,退款总金额,充值券退款总金额,手续费总金额,订单总金额,申请退款总金额"
_STATES: Final = {Kind.PAYMENT: "SUCCESS", Kind.REFUND: "REFUND", Kind.REVERSAL: "REVOKED"}
_REFUND_STATES: Final = {
    None: "",
    RefundState.DONE: "SUCCESS",
    RefundState.PROCESSING: "PROCESSING",
    RefundState.ABNORMAL: "CHANGE",
    RefundState.CLOSED: "FAIL",
}
_TRADE_TYPES: Final = {Method.NATIVE: "NATIVE", Method.JSAPI: "JSAPI", Method.WAP: "MWEB"}


def wechat_bill(account: WechatAccount | WechatV2Account, rows: Sequence[BillRow], *, total_off_minor: int) -> bytes:
    """The file; its first byte is no byte order mark here, and its lines end as on Windows."""
    mchid = account.account_id
    paid, returned = paid_minor(rows), returned_minor(rows)
    sums = (
        str(len(rows)),
        yuan(paid),
        yuan(returned),
        "0.00",
        yuan_e5(sum(row.fee_e5 for row in rows)),
        yuan(paid + total_off_minor),
        yuan(returned),
    )
    lines = [_HEADER, *(_row(row, mchid=mchid, appid=account.appid) for row in rows), _SUMMARY, backtick_row(sums)]
    return "".join(f"{line}\r\n" for line in lines).encode()


def _row(row: BillRow, *, mchid: str, appid: str) -> str:
    trade, amount = row.trade, yuan(row.amount_minor)
    paid, returned = (amount, "0.00") if row.is_payment else ("0.00", amount)
    numbers = ("0", "0") if row.is_payment else (row.channel_refund_no, row.refund_no)
    return backtick_row(
        (
            *(row.moment, appid, mchid, "0", "", trade.channel_no, trade.trade_no, trade.payer_id),
            *(_TRADE_TYPES.get(trade.method, "MICROPAY"), _STATES[row.kind], "OTHERS", "CNY", paid, "0.00"),
            *(*numbers, returned, "0.00", "" if row.is_payment else "ORIGINAL", _REFUND_STATES[row.refund_state]),
            *(trade.subject, trade.attach, row.fee, "0.60%", paid, returned, ""),
        )
    )
