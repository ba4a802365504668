"""Remedies as their readers list them: what came late, why, how it was learned, and how long it took."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from budan.core.decide import RemedyCause
from budan.core.errors import Refused
from budan.core.numbers import BEIJING, Environment, MerchantId, trade_number
from budan.store import notices as stored
from budan.store.database import Database
from budan.store.notices import ListedRemedy

LIST_ROWS_MAX = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class RemedyFilter:
    """Which remedies: completed on this day of Beijing, or since this moment; None leaves the others out."""

    day: date | None
    since: datetime | None
    channel: str | None
    cause: str | None
    limit: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RemedyLine:
    """A completion that did not come the normal way. `recover_s` is from the payment to the completion.

    `found_by` is `bill` where a row of the channel's bill had it asked, else how it was learned.
    """

    trade_no: str
    merchant_id: MerchantId
    reference: str
    channel: str
    account_id: int
    amount_minor: int
    currency: str
    cause: str
    learned_source: str
    paid_at: datetime | None
    learned_at: datetime
    completed_at: datetime
    recover_s: float | None
    actor: str
    found_by: str


class Remedies:
    """Lists remedies; changes nothing."""

    def __init__(self, *, database: Database, environment: Environment) -> None:
        self._database = database
        self._environment = environment

    async def list_remedies(self, wanted: RemedyFilter) -> list[RemedyLine]:
        """Remedies that fit, the newest first.

        Raises `Refused` with `limit_out_of_range`, `cause_unknown` or `day_and_since`.
        """
        if not 1 <= wanted.limit <= LIST_ROWS_MAX:
            raise Refused("limit_out_of_range", param="limit", detail=f"1 to {LIST_ROWS_MAX}")
        causes = sorted(cause.value for cause in RemedyCause)
        if wanted.cause is not None and wanted.cause not in causes:
            raise Refused("cause_unknown", param="cause", detail=f"one of {', '.join(causes)}")
        since, until = _stretch(wanted)
        async with self._database.reading() as transaction:
            rows = await stored.scan_remedies(
                transaction,
                since=since,
                until=until,
                channel=wanted.channel,
                cause=wanted.cause,
                rows_max=wanted.limit,
            )
        return [self._line(row) for row in rows]

    def _line(self, row: ListedRemedy) -> RemedyLine:
        recover_s = None if row.paid_at is None else (row.completed_at - row.paid_at).total_seconds()
        return RemedyLine(
            trade_no=trade_number(
                environment=self._environment,
                lane=row.lane,
                merchant_id=row.merchant_id,
                order_id=row.order_id,
                attempt=row.attempt,
            ),
            merchant_id=row.merchant_id,
            reference=row.reference,
            channel=row.channel,
            account_id=row.account_id,
            amount_minor=row.amount_minor,
            currency=row.currency,
            cause=row.cause,
            learned_source=row.learned_source,
            paid_at=row.paid_at,
            learned_at=row.learned_at,
            completed_at=row.completed_at,
            recover_s=recover_s,
            actor=row.actor,
            found_by="bill" if row.in_bill else row.learned_source,
        )


def _stretch(wanted: RemedyFilter) -> tuple[datetime, datetime]:
    """From when until before when."""
    if wanted.day is not None and wanted.since is not None:
        raise Refused("day_and_since", param="day", detail="one of both")
    if wanted.day is not None:
        begins = datetime.combine(wanted.day, time(), tzinfo=BEIJING).astimezone(UTC)
        return begins, begins + timedelta(days=1)
    return wanted.since or datetime(2025, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)
