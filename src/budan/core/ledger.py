"""Double entry: what a payment, a return and unexplained money write in the books (I10)."""

from dataclasses import dataclass
from datetime import date

from budan.core import money
from budan.core.cashback import Funder
from budan.core.numbers import AccountId, MerchantId


@dataclass(frozen=True, slots=True, kw_only=True)
class Posting:
    """One line of a journal entry; a debit is positive. `account` is a ledger account of the order's lane."""

    account: str
    amount_minor: int
    currency: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A journal entry; `key` is unique within the order, so the same event cannot be booked twice."""

    key: str
    postings: tuple[Posting, ...]

    def __post_init__(self) -> None:
        sums: dict[str, int] = {}
        for posting in self.postings:
            assert posting.amount_minor != 0, "a line without an amount says nothing"
            sums[posting.currency] = sums.get(posting.currency, 0) + posting.amount_minor
        assert all(total == 0 for total in sums.values()), "every entry sums to zero per currency (I10)"


def channel_account(account_id: AccountId) -> str:
    """What a channel account owes us, or holds for us."""
    return f"channel:{account_id}"


def merchant_account(merchant_id: MerchantId) -> str:
    """What we owe a merchant."""
    return f"merchant:{merchant_id}"


FEE_INCOME = "fee_income"
REFUND_PAYABLE = "refund_payable"  # what payers get back
CASHBACK_EXPENSE = "cashback_expense"  # what the platform gives payers of its own
CASHBACK_PAYABLE = "cashback_payable"  # what payers have of it
SUSPENSE = "suspense"  # money that came and cannot be booked to its order
BANK = "bank"  # where payouts leave from, and what channels pay comes to
CHANNEL_FEE = "channel_fee"  # what channels keep of it

# Tells a batch's entry from those of orders where a merchant's account is read (store/sql/settlement.sql).
SETTLEMENT_KEY = "settlement:"


def payable_account(merchant_id: MerchantId) -> str:
    """What a merchant's batches promise it and no bank has sent yet."""
    return f"payable:{merchant_id}"


def held_back_account(merchant_id: MerchantId) -> str:
    """What stays here of a merchant's batches for refunds that are still to come."""
    return f"held_back:{merchant_id}"


def payment_entry(
    *,
    attempt: int,
    account_id: AccountId,
    merchant_id: MerchantId,
    paid: money.Money,
    fee: money.Money,
) -> Entry:
    """The payment that completes an order: the channel owes us, we owe the merchant less our fee."""
    lines = [
        Posting(account=channel_account(account_id), amount_minor=paid.amount_minor, currency=paid.currency),
        Posting(
            account=merchant_account(merchant_id),
            amount_minor=fee.amount_minor - paid.amount_minor,
            currency=paid.currency,
        ),
        Posting(account=FEE_INCOME, amount_minor=-fee.amount_minor, currency=fee.currency),
    ]
    return Entry(key=f"payment:{attempt}", postings=tuple(line for line in lines if line.amount_minor != 0))


def unwanted_payment_entry(*, attempt: int, account_id: AccountId, paid: money.Money) -> Entry:
    """A payment that stands but completes nothing (second or late): owed back to the payer, no fee."""
    return _two_lines(f"payment:{attempt}", channel_account(account_id), REFUND_PAYABLE, paid)


def returned_entry(*, attempt: int, account_id: AccountId, paid: money.Money) -> Entry:
    """The channel gave a payment back itself: the opposite of `unwanted_payment_entry`."""
    return _two_lines(f"return:{attempt}", REFUND_PAYABLE, channel_account(account_id), paid)


def refund_entry(
    *,
    ordinal: int,
    account_id: AccountId,
    merchant_id: MerchantId,
    refunded: money.Money,
    fee_back: money.Money,
) -> Entry:
    """A refund of the payment that completed an order: the merchant bears it, less the fee that we give back."""
    lines = [
        Posting(
            account=merchant_account(merchant_id),
            amount_minor=refunded.amount_minor - fee_back.amount_minor,
            currency=refunded.currency,
        ),
        Posting(account=FEE_INCOME, amount_minor=fee_back.amount_minor, currency=refunded.currency),
        Posting(account=channel_account(account_id), amount_minor=-refunded.amount_minor, currency=refunded.currency),
    ]
    return Entry(key=f"refund:{ordinal}", postings=tuple(line for line in lines if line.amount_minor != 0))


def unwanted_refund_entry(*, ordinal: int, account_id: AccountId, refunded: money.Money) -> Entry:
    """A payment that completed nothing is back with its payer: what we owed is paid, and no fee was taken."""
    return _two_lines(f"refund:{ordinal}", REFUND_PAYABLE, channel_account(account_id), refunded)


def suspense_entry(
    *,
    attempt: int,
    account_id: AccountId,
    came: money.Money,
    payment: str,
) -> Entry:
    """Money that came and does not fit its order; one entry for each `payment`, in whatever way that is named."""
    key = f"suspense:{attempt}:{account_id}:{payment}"
    return _two_lines(key, channel_account(account_id), SUSPENSE, came)


def is_suspense(key: str) -> bool:
    """Whether an entry booked money that did not fit its order."""
    return key.startswith("suspense:")


def resolved_key(suspense: str) -> str:
    """The key of the entry that resolves a suspense entry: one for each, so that none is resolved twice."""
    return f"adjustment:{suspense}"


def suspense_returned_entry(suspense: Entry) -> Entry:
    """Money in suspense has gone back to its payer at the channel: the opposite of how it came."""
    lines = tuple(
        Posting(account=line.account, amount_minor=-line.amount_minor, currency=line.currency)
        for line in suspense.postings
    )
    return Entry(key=resolved_key(suspense.key), postings=lines)


def suspense_credited_entry(suspense: Entry, *, merchant_id: MerchantId) -> Entry:
    """Money in suspense is the merchant's; it is credited without a fee, for it paid no order."""
    lines = tuple(
        posting
        for line in suspense.postings
        if line.account == SUSPENSE
        for posting in (
            Posting(account=SUSPENSE, amount_minor=-line.amount_minor, currency=line.currency),
            Posting(account=merchant_account(merchant_id), amount_minor=line.amount_minor, currency=line.currency),
        )
    )
    return Entry(key=resolved_key(suspense.key), postings=lines)


def cashback_entry(
    *, ordinal: int, merchant_id: MerchantId, funded_by: Funder, given: money.Money, is_back: bool
) -> Entry:
    """Cashback that the payer gets of the merchant or of the platform, or that is taken back (`is_back`)."""
    funding = merchant_account(merchant_id) if funded_by is Funder.MERCHANT else CASHBACK_EXPENSE
    debit, credit = (CASHBACK_PAYABLE, funding) if is_back else (funding, CASHBACK_PAYABLE)
    return _two_lines(f"cashback:{ordinal}", debit, credit, given)


def fee_correction_entry(*, act: int, merchant_id: MerchantId, owed: money.Money, is_ours: bool) -> Entry:
    """A fee that a person corrected: what the merchant owes us more (`is_ours`), or gets back of it."""
    ours, theirs = FEE_INCOME, merchant_account(merchant_id)
    debit, credit = (theirs, ours) if is_ours else (ours, theirs)
    return _two_lines(f"adjustment:fee:{act}", debit, credit, owed)


def settlement_entry(
    *,
    day: date,
    merchant_id: MerchantId,
    currency: str,
    total_minor: int,
    held_back_minor: int,
    released_minor: int,
) -> Entry:
    """A batch: what we owed the merchant becomes payable to it, less what stays here, with what stayed long enough.

    `total_minor` is negative where refunds outweigh payments; what is released then covers them.
    """
    assert held_back_minor >= 0
    assert released_minor >= 0
    payout_minor = total_minor - held_back_minor + released_minor
    assert payout_minor > 0, "a batch without a payout is none"
    lines = [
        Posting(account=merchant_account(merchant_id), amount_minor=total_minor, currency=currency),
        Posting(account=payable_account(merchant_id), amount_minor=-payout_minor, currency=currency),
        Posting(
            account=held_back_account(merchant_id), amount_minor=released_minor - held_back_minor, currency=currency
        ),
    ]
    return Entry(key=f"{SETTLEMENT_KEY}{day}", postings=tuple(line for line in lines if line.amount_minor != 0))


def payout_entry(*, ordinal: int, merchant_id: MerchantId, payout: money.Money) -> Entry:
    """The bank has sent a batch's money to the merchant; `ordinal` counts the payouts of one batch."""
    return _two_lines(f"payout:{ordinal}", payable_account(merchant_id), BANK, payout)


def payout_returned_entry(*, ordinal: int, merchant_id: MerchantId, payout: money.Money) -> Entry:
    """The merchant's bank has sent it back: it is payable again."""
    return _two_lines(f"payout_return:{ordinal}", BANK, payable_account(merchant_id), payout)


def second_payout_entry(*, ordinal: int, merchant_id: MerchantId, payout: money.Money) -> Entry:
    """The bank has sent a batch's money once more: the merchant owes it back, so its next batch has that much less."""
    return _two_lines(f"second_payout:{ordinal}", merchant_account(merchant_id), BANK, payout)


def second_payout_returned_entry(*, ordinal: int, merchant_id: MerchantId, payout: money.Money) -> Entry:
    """What was sent once too often came back: the merchant owes it no more."""
    return _two_lines(f"second_payout_return:{ordinal}", BANK, merchant_account(merchant_id), payout)


def _two_lines(key: str, debit: str, credit: str, amount: money.Money) -> Entry:
    return Entry(
        key=key,
        postings=(
            Posting(account=debit, amount_minor=amount.amount_minor, currency=amount.currency),
            Posting(account=credit, amount_minor=-amount.amount_minor, currency=amount.currency),
        ),
    )
