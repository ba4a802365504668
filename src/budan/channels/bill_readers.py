"""Who reads the bills of an account: its channel's form, and the number by which the channel knows the account."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final

from budan.channels.alipay import bill as alipay
from budan.channels.bill_reading import BillForm, ExpectedBill, read_bill
from budan.channels.ipaynow import bill as ipaynow
from budan.channels.settings import read_text
from budan.channels.swiftpass import bill as swiftpass
from budan.channels.wechat_bills import read_bill_facts
from budan.channels.wechat_v2 import bill as wechat_v2
from budan.channels.wechat_v3 import bill as wechat_v3
from budan.ports.bill import BillTables, FetchedBill, ReadBill
from budan.ports.channel import AccountConfig


def find_bill_reader(config: AccountConfig) -> "FormReader | None":
    """The reader of an account's bills; None where its channel has none that we can read. Raises `BadSettings`."""
    make = _READERS.get(config.channel)
    return None if make is None else make(config)


@dataclass(frozen=True, slots=True, kw_only=True)
class FormReader:
    """Reads bills of one form."""

    form: BillForm
    account_no: str

    def read_bill(self, tables: BillTables, bill: FetchedBill, *, day: date, folder: Path) -> ReadBill:
        """Read a bill of the account into `bill_line` of `tables`; see bill_reading.read_bill."""
        expected = ExpectedBill(day=day, account_no=self.account_no)
        return read_bill(tables, bill, form=self.form, expected=expected, folder=folder)


def _wechat_v3(config: AccountConfig) -> FormReader:
    form = wechat_v3.bill_form(read_bill_facts(config.settings))
    return FormReader(form=form, account_no=read_text(config.settings, "mchid", pattern="[0-9]{1,32}"))


def _wechat_v2(config: AccountConfig) -> FormReader:
    form = wechat_v2.bill_form(read_bill_facts(config.settings))
    return FormReader(form=form, account_no=read_text(config.settings, "mch_id", pattern="[0-9]{1,32}"))


def _alipay(config: AccountConfig) -> FormReader:
    form = alipay.bill_form(alipay.read_bill_facts(config.settings))
    return FormReader(form=form, account_no=read_text(config.settings, "seller_id", pattern="[0-9]{1,32}"))


def _swiftpass(config: AccountConfig) -> FormReader:
    form = swiftpass.bill_form(swiftpass.read_bill_facts(config.settings))
    return FormReader(form=form, account_no=read_text(config.settings, "mch_id", pattern="[0-9A-Za-z]{1,32}"))


def _ipaynow(config: AccountConfig) -> FormReader:
    return FormReader(
        form=ipaynow.bill_form(), account_no=read_text(config.settings, "app_id", pattern="[0-9A-Za-z]{1,40}")
    )


_READERS: Final[Mapping[str, Callable[[AccountConfig], FormReader]]] = {
    "wechat_v3": _wechat_v3,
    "wechat_v2": _wechat_v2,
    "alipay": _alipay,
    "swiftpass": _swiftpass,
    "ipaynow": _ipaynow,
}
