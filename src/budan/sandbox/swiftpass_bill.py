"""Swiftpass's bill of a day (docs/protocols/swiftpass.md §6)."""

from collections.abc import Sequence
from typing import Final

from budan.sandbox.bill_rows import BillRow, Kind, backtick_row, paid_minor, returned_minor, yuan
from budan.sandbox.records import SwiftpassAccount
from budan.sandbox.swiftpass_messages import trade_type

_HEADER: Final = (
    "交易时间,公众账号ID,第三方商户号,商户号,子商户号,设备编号,平台订单号,第三方订单号,商户订单号,用户标识,交易类型,交易状态,付款银行,货币种类,总金额,"
    "企业红包金额,平台退款单号,商户退款单号,退款金额,企业红包退款金额,退款类型,退款状态,商品名称,商户数据包,手续费,费率,终端类型,对账标识,门店编号,"
    "商户名称,收银员,子商户ID,免充值券金额,实收金额,结算金额,扩展字段2,扩展字段3,扩展字段4"
)
_SUMMARY: Final = "总交易单数,总交易额,总退款金额,总企业红包退款金额,总手续费金额,总实收金额"
_STATES: Final = {Kind.PAYMENT: "支付成功", Kind.REFUND: "转入退款", Kind.REVERSAL: "已撤销"}
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


def swiftpass_bill(account: SwiftpassAccount, rows: Sequence[BillRow], *, total_off_minor: int) -> bytes:
    """The file, with the byte order mark that poor readers show as a question mark."""
    paid, returned = paid_minor(rows), returned_minor(rows)
    fee = yuan(sum(_fee_minor(row) for row in rows))
    sums = (str(len(rows)), yuan(paid + total_off_minor), yuan(returned), "0", fee, yuan(paid - returned))
    lines = [_HEADER, *(_row(row, account) for row in rows), _SUMMARY, backtick_row(sums)]
    return _BYTE_ORDER_MARK + "".join(f"{line}\n" for line in lines).encode()


def _fee_minor(row: BillRow) -> int:
    return row.fee_e5 // 1_000


def _row(row: BillRow, account: SwiftpassAccount) -> str:
    trade = row.trade
    signed_minor = row.amount_minor if row.is_payment else -row.amount_minor
    refund = ("",) * 6
    if not row.is_payment:
        refund = (row.channel_refund_no, row.refund_no, yuan(row.amount_minor), "", "ORIGINAL", "退款成功")
    return backtick_row(
        (
            *(row.moment, "", "", "755000000000", account.mch_id, "", trade.channel_no, f"42{trade.channel_no[-26:]}"),
            *(trade.trade_no, trade.payer_id, trade_type(trade)),
            *(_STATES[row.kind], "OTHERS", "CNY", yuan(trade.amount_minor), "0.00" if row.is_payment else "", *refund),
            *(trade.subject, trade.attach, yuan(_fee_minor(row)), "0.600%", "API", "0", "", account.name, "", ""),
            *("0.00", yuan(signed_minor), yuan(signed_minor - _fee_minor(row)), "", "", ""),
        )
    )
