from dataclasses import replace
from datetime import date

import pytest

from budan.core.journal import (
    JournalEntry,
    JournalFormat,
    JournalLine,
    journal_account,
    render_amount,
    render_entries,
    render_header,
    render_money,
)

DAY = date(2026, 11, 25)
ENTRY = JournalEntry(
    day=DAY,
    title="payment:1",
    order_no="D26112517",
    lines=(
        JournalLine(account="channel:7", amount_minor=1_280, currency="CNY"),
        JournalLine(account="merchant:3", amount_minor=-1_272, currency="CNY"),
        JournalLine(account="fee_income", amount_minor=-8, currency="CNY"),
    ),
)


@pytest.mark.parametrize(
    ("amount_minor", "text"),
    [(0, "0.00"), (5, "0.05"), (-5, "-0.05"), (1_280, "12.80"), (-100, "-1.00"), (10_000_000_001, "100000000.01")],
)
def test_an_amount_has_all_its_places(amount_minor: int, text: str) -> None:
    assert render_amount(amount_minor, currency="CNY") == text


def test_money_names_its_currency_and_one_of_unknown_places_its_unit() -> None:
    """A channel may say an amount in a currency that we keep no books in; a point in it would be a guess."""
    assert render_money(-1_280, currency="CNY") == "-12.80 CNY"
    assert render_money(1_280, currency="JPY") == "1280 minor JPY"


@pytest.mark.parametrize(
    ("account", "name"),
    [
        ("channel:7", "Assets:Channel:A7"),
        ("merchant:3", "Liabilities:Merchant:M3"),
        ("fee_income", "Income:FeeIncome"),
        ("refund_payable", "Liabilities:RefundPayable"),
        ("suspense", "Liabilities:Suspense"),
        ("channel_fee", "Expenses:ChannelFee"),
        ("adjustment:über", "Liabilities:Adjustment:-ber"),
    ],
)
def test_each_account_has_a_name_that_both_grammars_take(account: str, name: str) -> None:
    assert journal_account(account) == name


@pytest.mark.parametrize(
    ("form", "head"),
    [
        (JournalFormat.HLEDGER, '2026-11-25 * suspense:a"b\\c-d-e-f  ; order:D26112517'),
        (JournalFormat.BEANCOUNT, '2026-11-25 * "suspense:a\\"b\\\\c;d|e-f"'),
    ],
)
def test_a_title_ends_at_no_word_of_a_channel(form: JournalFormat, head: str) -> None:
    """A quote in a number that somebody's file brought made the whole export unreadable."""
    entry = replace(ENTRY, title='suspense:a"b\\c;d|e\nf')
    assert "".join(render_entries([entry], form=form)).splitlines()[0] == head


def test_an_entry_reads_as_hledger_wants_it() -> None:
    assert "".join(render_entries([ENTRY], form=JournalFormat.HLEDGER)) == (
        "2026-11-25 * payment:1  ; order:D26112517\n"
        "    Assets:Channel:A7  CNY 12.80\n"
        "    Liabilities:Merchant:M3  CNY -12.72\n"
        "    Income:FeeIncome  CNY -0.08\n\n"
    )


def test_an_entry_reads_as_beancount_wants_it() -> None:
    assert "".join(render_entries([ENTRY], form=JournalFormat.BEANCOUNT)) == (
        '2026-11-25 * "payment:1"\n'
        '  order: "D26112517"\n'
        "  Assets:Channel:A7  12.80 CNY\n"
        "  Liabilities:Merchant:M3  -12.72 CNY\n"
        "  Income:FeeIncome  -0.08 CNY\n\n"
    )


def test_every_account_is_opened_once_before_the_first_entry() -> None:
    accounts = ["merchant:3", "channel:7", "channel:7"]
    assert render_header(accounts, ["CNY"], day=DAY, form=JournalFormat.BEANCOUNT) == (
        "2026-11-25 open Assets:Channel:A7 CNY\n2026-11-25 open Liabilities:Merchant:M3 CNY\n\n"
    )
    assert render_header(accounts, ["CNY"], day=DAY, form=JournalFormat.HLEDGER) == (
        "account Assets:Channel:A7\naccount Liabilities:Merchant:M3\n\n"
    )
