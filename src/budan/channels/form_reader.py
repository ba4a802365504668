"""Who reads the bills of an account: its channel's form, and the number by which the channel knows the account."""

from dataclasses import dataclass
from datetime import date
from pathlib import Path

from budan.channels.bill_reading import BillForm, ExpectedBill, read_bill
from budan.ports.bill import BillTables, FetchedBill, ReadBill


@dataclass(frozen=True, slots=True, kw_only=True)
class FormReader:
    """Reads bills of one form. An adapter reads what it fetched by it, a command what a person loaded."""

    form: BillForm
    account_no: str

    def read_bill(self, tables: BillTables, bill: FetchedBill, *, day: date, folder: Path) -> ReadBill:
        """See Channel.read_bill."""
        expected = ExpectedBill(day=day, account_no=self.account_no)
        return read_bill(tables, bill, form=self.form, expected=expected, folder=folder)
