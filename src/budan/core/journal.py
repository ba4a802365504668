"""The books as text that hledger and beancount read."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from enum import Enum

from budan.core.ledger import CASHBACK_EXPENSE, CHANNEL_FEE, FEE_INCOME
from budan.core.money import CURRENCY_EXPONENTS

# The house's own accounts that are no liabilities.
_ROOTS = {FEE_INCOME: "Income", CASHBACK_EXPENSE: "Expenses", CHANNEL_FEE: "Expenses"}


class JournalFormat(Enum):
    """Whose grammar the text has."""

    HLEDGER = "hledger"
    BEANCOUNT = "beancount"


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalLine:
    """One account's part of an entry; a debit is positive."""

    account: str
    amount_minor: int
    currency: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalEntry:
    """One entry with its Beijing day; `order_no` is empty for opening balances. A title may hold a channel's own words."""

    day: date
    title: str
    order_no: str
    lines: tuple[JournalLine, ...]


def render_amount(amount_minor: int, *, currency: str) -> str:
    """Minor units as a decimal number with all its places, as in `-12.80`."""
    exponent = CURRENCY_EXPONENTS[currency]
    sign, units = ("-", -amount_minor) if amount_minor < 0 else ("", amount_minor)
    major, minor = divmod(units, 10**exponent)
    return f"{sign}{major}.{minor:0{exponent}d}" if exponent else f"{sign}{major}"


def render_money(amount_minor: int, *, currency: str) -> str:
    """An amount as people read it, `12.80 CNY`.

    What a channel says in a currency that we keep no books in has no known places: `1280 minor JPY`.
    """
    if currency not in CURRENCY_EXPONENTS:
        return f"{amount_minor} minor {currency}"
    return f"{render_amount(amount_minor, currency=currency)} {currency}"


def journal_account(account: str) -> str:
    """A ledger account under the root that its kind has in both grammars.

    Both read `Assets:Channel:A7`: beancount wants each part to begin with a capital or a digit, hledger takes any.
    """
    kind, _, number = account.partition(":")
    match kind:
        case "channel":
            return f"Assets:Channel:A{number}"
        case "merchant":
            return f"Liabilities:Merchant:M{number}"
        case "payable":
            return f"Liabilities:Payable:M{number}"
        case "held_back":
            return f"Liabilities:HeldBack:M{number}"
        case "bank":
            return "Assets:Bank"
        case _:
            root = _ROOTS.get(account, "Liabilities")
            parts = ":".join(_capitalised(part) for part in account.split(":"))
            return f"{root}:{parts}"


def render_header(accounts: Iterable[str], currencies: Sequence[str], *, day: date, form: JournalFormat) -> str:
    """What must stand before the first entry: every account, known from `day` on."""
    names = sorted({journal_account(account) for account in accounts})
    match form:
        case JournalFormat.HLEDGER:
            lines = [f"account {name}" for name in names]
        case JournalFormat.BEANCOUNT:
            lines = [f"{day.isoformat()} open {name} {','.join(currencies)}" for name in names]
    return "".join(f"{line}\n" for line in lines) + "\n"


def render_entries(entries: Iterable[JournalEntry], *, form: JournalFormat) -> Iterator[str]:
    """Each entry's text, in the order given."""
    for entry in entries:
        yield _hledger(entry) if form is JournalFormat.HLEDGER else _beancount(entry)


def _hledger(entry: JournalEntry) -> str:
    tag = f"  ; order:{entry.order_no}" if entry.order_no else ""
    # It has no way to say a semicolon, after which all is a comment, nor the bar after which a note begins.
    title = re.sub(r"[;|\x00-\x1f\x7f]", "-", entry.title)
    lines = [f"{entry.day.isoformat()} * {title}{tag}"]
    lines += [
        f"    {journal_account(line.account)}  {line.currency} "
        f"{render_amount(line.amount_minor, currency=line.currency)}"
        for line in entry.lines
    ]
    return "\n".join(lines) + "\n\n"


def _beancount(entry: JournalEntry) -> str:
    title = re.sub(r"[\x00-\x1f\x7f]", "-", entry.title).replace("\\", "\\\\").replace('"', '\\"')
    lines = [f'{entry.day.isoformat()} * "{title}"']
    if entry.order_no:
        lines.append(f'  order: "{entry.order_no}"')
    lines += [
        f"  {journal_account(line.account)}  {render_amount(line.amount_minor, currency=line.currency)} {line.currency}"
        for line in entry.lines
    ]
    return "\n".join(lines) + "\n\n"


def _capitalised(text: str) -> str:
    """`fee_income` as `FeeIncome`; what neither grammar takes in a name becomes a dash."""
    joined = "".join(word[:1].upper() + word[1:] for word in text.split("_"))
    return re.sub(r"[^A-Za-z0-9-]", "-", joined)
