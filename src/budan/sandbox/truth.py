"""Who was asked for how much and who paid: the sandbox's own memory, which any run can be audited against."""

import sys
from array import array
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

import msgspec

from budan.sandbox.choices import AmountsSet, BillFaultsSet, Choices, OddsSet
from budan.sandbox.faults import Faults
from budan.sandbox.journal import Journal
from budan.sandbox.records import (
    WALLETS_OF,
    Account,
    ChannelName,
    CodeMade,
    Event,
    EventKind,
    NoticeState,
    Opened,
    Placed,
    PlacingSet,
    Record,
    Refund,
    RefundState,
    Trade,
    TradeState,
    changed,
)

# A wallet renews its code each minute (docs/protocols/wechat_v3.md §5); a person may need two.
CODE_LIFE: Final = timedelta(minutes=2)
# Choices for orders that never come must not fill the memory.
PLACINGS_MAX: Final = 100_000
_ENDS_OF_HOLDING: Final = {EventKind.NOTICE_OVERTAKEN, EventKind.NOTICE_SENT}


class Truth:
    """Accounts, trades and payers' codes; every change is in the journal before it is seen here."""

    def __init__(self, *, journal: Journal) -> None:
        self._journal = journal
        self._accounts: dict[str, Account] = {}
        self._trades: list[Trade] = []
        self._places: list[array[int]] = []
        self._by_number: dict[str, dict[str, int]] = {}
        self._codes: dict[str, CodeMade] = {}
        self._by_refund: dict[str, dict[str, int]] = {}
        self._placings: dict[str, Faults] = {}
        self._reverses: dict[tuple[str, str], int] = {}
        self._held: dict[str, set[int]] = {}
        self.choices = Choices()
        for place, record in journal.replay():
            self._apply(record, place=place)

    @property
    def trades_count(self) -> int:
        """How many trades were ever placed; the next one's `nth`."""
        return len(self._trades)

    def record(self, *records: Record) -> None:
        """Makes these records true and durable, all or none."""
        for place, record in zip(self._journal.append(records), records, strict=True):
            self._apply(record, place=place)

    def list_accounts(self) -> list[Account]:
        """Every account, the oldest first."""
        return list(self._accounts.values())

    def find_account(self, account_id: str) -> Account | None:
        """The account that requests name so."""
        return self._accounts.get(account_id)

    def account_of(self, trade: Trade) -> Account:
        """The account that the trade was placed on."""
        return self._accounts[trade.account_id]

    def find(self, *, account_id: str, trade_no: str) -> Trade | None:
        """The trade that this account gave this number."""
        nth = self._by_number.get(account_id, {}).get(trade_no)
        return None if nth is None else self._trades[nth]

    def find_by_refund(self, *, account_id: str, refund_no: str) -> Trade | None:
        """The trade that has the refund to which this account gave this number."""
        nth = self._by_refund.get(account_id, {}).get(refund_no)
        return None if nth is None else self._trades[nth]

    def list_by_number(self, trade_no: str) -> list[Trade]:
        """The trades of this number at any account."""
        return [self._trades[numbers[trade_no]] for numbers in self._by_number.values() if trade_no in numbers]

    def find_reverse(self, *, account_id: str, reverse_no: str) -> Trade | None:
        """The trade that this account reversed under this number."""
        nth = self._reverses.get((account_id, reverse_no))
        return None if nth is None else self._trades[nth]

    def get(self, nth: int) -> Trade:
        """The trade as it is now."""
        return self._trades[nth]

    def find_nth(self, nth: int) -> Trade | None:
        """The trade of this count, if there is one."""
        return self._trades[nth] if 0 <= nth < len(self._trades) else None

    def list_from(self, nth: int, *, limit: int) -> list[Trade]:
        """Up to `limit` trades from this count on."""
        return self._trades[nth : nth + limit]

    def newest_first(self) -> Iterator[Trade]:
        """All trades backwards."""
        return reversed(self._trades)

    def history(self, trade: Trade) -> list[Event | Placed]:
        """What happened to the trade, the oldest first."""
        records = [self._journal.read(place) for place in self._places[trade.nth]]
        return [record for record in records if isinstance(record, Event | Placed)]

    def find_code(self, auth_code: str, *, channel: ChannelName, now: datetime) -> CodeMade | None:
        """The payer's code if it is fresh, unused and of a wallet that pays on this channel."""
        code = self._codes.get(auth_code)
        if code is None or code.channel not in WALLETS_OF[channel] or code.made_at + CODE_LIFE < now:
            return None
        return code

    def has_code(self, auth_code: str) -> bool:
        """Whether these digits are taken."""
        return auth_code in self._codes

    @property
    def is_full_of_placings(self) -> bool:
        """Whether no more may be chosen before some of the orders have come."""
        return len(self._placings) >= PLACINGS_MAX

    def find_placing(self, subject: str) -> Faults | None:
        """What somebody chose that the order of this subject shall meet when it is placed."""
        return self._placings.get(subject)

    def list_held(self, account_id: str) -> list[Trade]:
        """Trades of this account whose notice waits to be overtaken by another one."""
        return [self._trades[nth] for nth in sorted(self._held.get(account_id, ()))]

    def list_unfinished(self) -> list[Trade]:
        """Trades for which a clock is running: somebody types, a refund is under way, or a notice is due."""
        return [
            trade
            for trade in self._trades
            if trade.state is TradeState.TYPING
            or trade.notice_state is NoticeState.DUE
            or any(_is_unfinished(refund) for refund in trade.refunds)
        ]

    def close(self) -> None:
        """Lets the folder go."""
        self._journal.close()

    def _apply(self, record: Record, *, place: int) -> None:
        match record:
            case Event():
                self._happen(record, place=place)
            case Placed():
                self._place(record, place=place)
            case CodeMade():
                self._keep_code(record)
            case Opened():
                self._accounts[record.account.account_id] = record.account
            case PlacingSet():
                self._placings[record.subject] = record.faults
            case OddsSet() | AmountsSet() | BillFaultsSet():
                self.choices.apply(record)

    def _happen(self, event: Event, *, place: int) -> None:
        trade = self._trades[event.nth] = changed(self._trades[event.nth], event)
        self._places[event.nth].append(place)
        if event.refund is not None:
            self._by_refund.setdefault(trade.account_id, {})[event.refund.refund_no] = event.nth
        if event.kind is EventKind.REVERSE_ASKED:
            self._reverses[trade.account_id, event.text] = event.nth
        if event.kind is EventKind.NOTICE_DELAYED and trade.faults.reorder_notice:
            self._held.setdefault(trade.account_id, set()).add(event.nth)
        elif event.kind in _ENDS_OF_HOLDING:
            self._held.get(trade.account_id, set()).discard(event.nth)

    def _place(self, placed: Placed, *, place: int) -> None:
        # The same texts come with every trade of a shop: one in memory serves them all.
        trade = msgspec.structs.replace(
            placed.trade,
            account_id=sys.intern(placed.trade.account_id),
            notify_url=sys.intern(placed.trade.notify_url),
            subject=sys.intern(placed.trade.subject),
        )
        assert trade.nth == len(self._trades)
        # It was met: the next order of this subject is another.
        self._placings.pop(trade.subject, None)
        self._trades.append(trade)
        self._places.append(array("Q", [place]))
        self._by_number.setdefault(trade.account_id, {})[trade.trade_no] = trade.nth
        if placed.auth_code:
            self._codes.pop(placed.auth_code, None)

    def _keep_code(self, code: CodeMade) -> None:
        # Codes are kept in the order of their making, so the stale ones are in front.
        for stale in list(self._stale_codes(code.made_at)):
            del self._codes[stale]
        self._codes[code.auth_code] = code

    def _stale_codes(self, now: datetime) -> Iterator[str]:
        for auth_code, code in self._codes.items():
            if code.made_at + CODE_LIFE >= now:
                return
            yield auth_code


def _is_unfinished(refund: Refund) -> bool:
    return refund.state is RefundState.PROCESSING or refund.notice_state is NoticeState.DUE
