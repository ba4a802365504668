"""What a comparison judges: the rows of a bill and ours, as values with the keys by which they are met."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from budan.core.numbers import Lane, MerchantId, Number, NumberKind, OrderId
from budan.core.reconcile import BillRow, OurRow, PortalRefund, RowKind, Suspended, Terms, find_number
from budan.core.refund import RefundState
from budan.store.matching import UnequalRow
from budan.store.reconcile import MovedRow, RowKey, SightingKey
from budan.store.suspense import SUSPENSE, SuspendedRow

KINDS: Final = (RowKind.PAYMENT, RowKind.REFUND, RowKind.REVERSAL)


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the bill; `joined` is our copied row that has its number, `trade_no` the number of its payment.

    `instead` is what it is here whatever its kind and number say: money in suspense, or a charge taken back.
    """

    bill: BillRow
    trade_no: str | None
    is_twice: bool
    key: RowKey | None
    joined: OurRow | None
    is_returned: bool
    instead: OurRow | None = None


def our_row(row: MovedRow, kind: RowKind, terms: Terms) -> OurRow:
    """A trade or refund as judged; a reversal is of its payment's moment, for its own no channel tells."""
    is_reversal = kind is RowKind.REVERSAL
    return OurRow(
        kind=kind,
        number=Number(
            environment=terms.environment,
            kind=NumberKind.REFUND if kind is RowKind.REFUND else NumberKind.ORDER,
            lane=Lane(row.lane),
            merchant_id=MerchantId(row.merchant_id),
            order_id=OrderId(row.order_id),
            ordinal=row.ordinal,
        ),
        account_id=row.account_id,
        has_moved=row.has_moved and (not is_reversal or row.state == "reversed"),
        has_failed=kind is RowKind.REFUND and row.state == RefundState.FAILED.value,
        moved_at=row.moved_at,
        currency=row.currency,
        amount_minor=row.amount_minor,
        known_at=row.known_at,
        begun_at=row.begun_at,
        settle_minor=row.settle_minor,
        rate_e6=row.rate_e6,
    )


def suspended_row(row: SuspendedRow, terms: Terms) -> OurRow:
    """Money in suspense as judged: a payment that came, with what its trade is about."""
    return OurRow(
        kind=RowKind.PAYMENT,
        number=Number(
            environment=terms.environment,
            kind=NumberKind.ORDER,
            lane=Lane(row.lane),
            merchant_id=MerchantId(row.merchant_id),
            order_id=OrderId(row.order_id),
            ordinal=row.ordinal,
        ),
        account_id=terms.account_id,
        has_moved=True,
        moved_at=row.moved_at,
        currency=row.currency,
        amount_minor=row.amount_minor,
        known_at=row.known_at,
        begun_at=row.begun_at,
        suspended=Suspended(payment=row.payment, wanted_minor=row.wanted_minor, wanted_currency=row.wanted_currency),
    )


def find_ours(line: Line, moved: Mapping[tuple[RowKind, RowKey | None], OurRow]) -> OurRow | None:
    """What a row of the bill is here; None of a number that names nothing."""
    if line.instead is not None or line.joined is not None:
        return line.instead or line.joined
    return moved.get((line.bill.kind, line.key)) if line.key else None


def sighting_key(ours: OurRow) -> SightingKey:
    """What a row of ours is called in the bill of another day."""
    kind = ours.kind.value if ours.suspended is None else SUSPENSE
    return ours.number.order_id, ours.number.ordinal, kind


def key_of(ours: OurRow) -> RowKey:
    """Where a row of ours is."""
    return number_key(ours.number)


def portal_key(ours: PortalRefund) -> RowKey:
    """Where a refund is that was made past us."""
    return ours.lane, ours.order_id, ours.ordinal


def number_key(number: Number) -> RowKey:
    """Where a number of ours leads."""
    return number.lane, number.order_id, number.ordinal


def lane_key(row: UnequalRow) -> RowKey:
    """Where our side of a row is."""
    return row.lane or 0, row.order_id or 0, row.ordinal or 0


def find_doubles(lines: Sequence[Line]) -> set[int]:
    """The rows more than one of a number: all but the first that has our amount, or else the first."""
    groups = defaultdict[tuple[RowKind, RowKey], list[Line]](list)
    for line in lines:
        if line.is_twice and line.key is not None:
            groups[line.bill.kind, line.key].append(line)
    doubles = set[int]()
    for group in groups.values():
        fits = [line for line in group if line.joined and line.joined.amount_minor == line.bill.amount_minor]
        kept = (fits or group)[0]
        doubles.update(line.bill.line_no for line in group if line is not kept)
    return doubles


def list_alone(rows: Sequence[UnequalRow], lines: Sequence[Line]) -> list[UnequalRow]:
    """Our rows without a row of the bill: also those whose id and ordinal stand there in a number that is wrong."""
    joined = [line.joined for line in lines if line.joined is not None]
    met = {(KINDS.index(ours.kind), ours.number.order_id, ours.number.ordinal) for ours in joined}
    alone = {_row_key(row): row for row in rows if row.order_id is not None and _row_key(row) not in met}
    return list(alone.values())


def _row_key(row: UnequalRow) -> tuple[int, int, int]:
    """Of our side of a row."""
    return row.kind, row.order_id or 0, row.ordinal or 0


def line_of(row: UnequalRow, terms: Terms) -> Line:
    """A row that the bill has, with what was copied of ours by its number."""
    bill = _bill_row(row)
    number = find_number(bill, terms)
    return Line(
        bill=bill,
        trade_no=row.trade_no,
        is_twice=row.is_twice,
        key=None if number is None else number_key(number),
        joined=_joined(row, number, bill.kind, terms),
        is_returned=bool(row.is_returned),
    )


def _bill_row(row: UnequalRow) -> BillRow:
    assert row.line_no is not None
    assert row.happened_at is not None
    assert row.status is not None
    assert row.currency is not None
    assert row.amount_minor is not None
    return BillRow(
        line_no=row.line_no,
        kind=KINDS[row.kind],
        happened_at=row.happened_at,
        number=row.number or None,
        channel_no=row.channel_no,
        status=row.status,
        currency=row.currency,
        amount_minor=row.amount_minor,
        fee_e5=row.fee_e5,
        settle_minor=row.settle_minor,
    )


def _joined(row: UnequalRow, number: Number | None, kind: RowKind, terms: Terms) -> OurRow | None:
    """Our copied row of the same id and ordinal, if the number's other parts are right as well."""
    if row.order_id is None or number is None or row.lane != number.lane:
        return None
    return copied_row(row, number, kind, terms)


def copied_row(row: UnequalRow, number: Number, kind: RowKind, terms: Terms) -> OurRow:
    """Our side of a row as it was copied out."""
    assert row.our_minor is not None
    assert row.our_currency is not None
    return OurRow(
        kind=kind,
        number=number,
        account_id=terms.account_id,
        has_moved=True,
        moved_at=None,
        currency=row.our_currency,
        amount_minor=row.our_minor,
        settle_minor=row.our_settle_minor,
        rate_e6=row.our_rate_e6,
    )
