"""Stored notices, listed, and run again through today's code."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec

from budan.core.errors import Refused
from budan.core.numbers import AccountId, Environment, Lane, OrderId, id_floor
from budan.flows.door import NO_ORDER
from budan.flows.door_plan import Planned
from budan.flows.notices import Notices
from budan.flows.refund_plan import RefundPlanned
from budan.flows.timelines import parse_order_no
from budan.ports.channel import RawNotice
from budan.store import notices as stored
from budan.store.database import Database
from budan.store.notices import NoticeKey, RejectedNotice
from budan.store.timeline import NoticeRow

LIST_ROWS_MAX = 500
REPLAYS_MAX = 5_000
REJECTED = "rejected"
_NEWEST = OrderId((1 << 63) - 1)
# What names a notice: a verified one by its lane, order and id, an unverified one by its account and digest.
_VERIFIED = re.compile(r"([0-9]{1,2}):([0-9]{1,19}):([0-9]{1,19})")
_REJECTED = re.compile(r"([0-9]{1,9}):([0-9a-f]{64})")
_HEADERS = msgspec.json.Decoder(dict[str, str])


@dataclass(frozen=True, slots=True, kw_only=True)
class NoticeFilter:
    """Which notices to list; None leaves a filter out.

    Verified ones are found by their order: `since` is when that was created, and those whose number is no order of
    ours come with `of_no_order` alone.
    """

    order_no: str | None
    since: datetime
    account_id: int | None
    decision: str | None
    of_no_order: bool
    limit: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NoticeLine:
    """A verified notice; `notice` names it for a replay."""

    notice: str
    trade_no: str
    account_id: AccountId
    received_at: datetime
    decision: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectedLine:
    """An unverified notice; `notice` names it for a replay, where all of it was kept."""

    notice: str
    account_id: AccountId
    received_at: datetime
    reason: str
    times: int
    can_be_replayed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """What today's code says of a stored notice: the decision of then and of now, and whether anything changed.

    `decision` is `rejected` with its `reason` where the notice does not verify today. `refund_decision` and
    `refund_state` are what the door of refunds says where the notice tells of a refund, else empty.
    """

    notice: str
    trade_no: str
    was: str
    decision: str
    reason: str
    changed: bool
    order_state: str
    refund_decision: str = ""
    refund_state: str = ""


class Replays:
    """Lists notices and replays them; a replay is as safe to repeat as a notice."""

    def __init__(
        self,
        *,
        database: Database,
        environment: Environment,
        lanes: int,
        notices: Notices,
    ) -> None:
        self._database = database
        self._environment = environment
        self._lanes = lanes
        self._notices = notices

    async def list_verified(self, wanted: NoticeFilter) -> list[NoticeLine]:
        """Verified notices, the newest order's first.

        Raises `Refused` with `limit_out_of_range` or as `parse_order_no` does.
        """
        _check_limit(wanted.limit, LIST_ROWS_MAX)
        return [_line(row) for row in await self._scan(wanted)]

    async def list_rejected(self, wanted: NoticeFilter) -> list[RejectedLine]:
        """Unverified notices, the newest first. Raises `Refused` with `limit_out_of_range`."""
        _check_limit(wanted.limit, LIST_ROWS_MAX)
        async with self._database.reading() as transaction:
            rows = await stored.list_rejected(
                transaction,
                since=wanted.since,
                account_id=None if wanted.account_id is None else AccountId(wanted.account_id),
                rows_max=wanted.limit,
            )
        return [_rejected_line(row) for row in rows]

    async def replay_found(self, wanted: NoticeFilter, *, dry: bool) -> list[Replayed]:
        """Replay the verified notices that a filter finds, oldest first. Raises what `list_verified` raises."""
        _check_limit(wanted.limit, REPLAYS_MAX)
        rows = await self._scan(wanted)
        return [
            await self._replay_verified(key, dry=dry)
            for key in sorted((row.lane, row.order_id, row.id) for row in rows)
        ]

    async def replay(self, names: Sequence[str], *, dry: bool) -> list[Replayed]:
        """Replay notices by name, as the lists give it; a rejected one that verifies today is taken like a new one.

        Raises `Refused` with `too_many_notices`, or with `notice_malformed`, before anything is replayed, or with
        `notice_not_found`.
        """
        if len(names) > REPLAYS_MAX:
            raise Refused("too_many_notices", param="notice", detail=f"at most {REPLAYS_MAX}")
        keys = [_parse_name(name) for name in names]
        return [
            await self._replay_rejected(key, dry=dry)
            if isinstance(key, _Rejected)
            else await self._replay_verified(key, dry=dry)
            for key in keys
        ]

    async def _scan(self, wanted: NoticeFilter) -> list[NoticeRow]:
        lanes = [Lane(lane) for lane in range(self._lanes)]
        since, before = OrderId(id_floor(wanted.since)), _NEWEST
        if wanted.order_no is not None:
            number = parse_order_no(wanted.order_no, environment=self._environment)
            lanes, since, before = [number.lane], number.order_id, OrderId(number.order_id + 1)
        elif wanted.of_no_order:
            since, before = NO_ORDER, OrderId(NO_ORDER + 1)
        async with self._database.reading() as transaction:
            return await stored.scan_notices(
                transaction,
                lanes=lanes,
                since=since,
                before=before,
                account_id=None if wanted.account_id is None else AccountId(wanted.account_id),
                decision=wanted.decision,
                rows_max=wanted.limit,
            )

    async def _replay_verified(self, key: NoticeKey, *, dry: bool) -> Replayed:
        async with self._database.reading() as transaction:
            found = await stored.find_notices(transaction, [key])
        if not found:
            raise Refused("notice_not_found", param="notice", detail=_name(key))
        row = found[0]
        raw = RawNotice(headers=_HEADERS.decode(row.headers), body=row.body)
        read = await self._notices.read_again(row.account_id, raw, received_at=row.received_at)
        if isinstance(read, str):
            return _unreadable(_name(key), trade_no=row.trade_no, was=row.decision, reason=read)
        planned, refund = await self._notices.hear(row.account_id, read, arrived=None, dry=dry)
        return _replayed(_name(key), read.result.trade_no, row.decision, planned, refund)

    async def _replay_rejected(self, key: "_Rejected", *, dry: bool) -> Replayed:
        """It is stored as verified now, with the moment at which it came."""
        async with self._database.reading() as transaction:
            found = await stored.find_rejected(transaction, [(key.account_id, key.digest)])
        if not found:
            detail = f"{key.name} is not here, or only a part of it was kept"
            raise Refused("notice_not_found", param="notice", detail=detail)
        row = found[0]
        raw = RawNotice(headers=_HEADERS.decode(row.headers), body=row.body)
        read = await self._notices.read_again(row.account_id, raw, received_at=row.received_at)
        if isinstance(read, str):
            return _unreadable(key.name, trade_no="", was=REJECTED, reason=read)
        arrived = None
        if not dry:
            tells_refund = read.refund is not None
            arrived = await self._notices.arrive(raw, received_at=row.received_at, tells_refund=tells_refund)
        planned, refund = await self._notices.hear(row.account_id, read, arrived=arrived, dry=dry)
        return _replayed(key.name, read.result.trade_no, REJECTED, planned, refund)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rejected:
    """What names an unverified notice."""

    account_id: AccountId
    digest: bytes

    @property
    def name(self) -> str:
        return f"{self.account_id}:{self.digest.hex()}"


def _parse_name(name: str) -> NoticeKey | _Rejected:
    if verified := _VERIFIED.fullmatch(name):
        lane, order_id, notice_id = (int(part) for part in verified.groups())
        if order_id <= _NEWEST and notice_id <= _NEWEST:
            return Lane(lane), OrderId(order_id), notice_id
    if rejected := _REJECTED.fullmatch(name):
        return _Rejected(account_id=AccountId(int(rejected[1])), digest=bytes.fromhex(rejected[2]))
    raise Refused("notice_malformed", param="notice", detail=f"{name!r} is no name that notices list gives")


def _name(key: NoticeKey) -> str:
    return ":".join(str(part) for part in key)


def _line(row: NoticeRow) -> NoticeLine:
    return NoticeLine(
        notice=_name((row.lane, row.order_id, row.id)),
        trade_no=row.trade_no,
        account_id=row.account_id,
        received_at=row.received_at,
        decision=row.decision,
    )


def _rejected_line(row: RejectedNotice) -> RejectedLine:
    return RejectedLine(
        notice=f"{row.account_id}:{row.digest}",
        account_id=row.account_id,
        received_at=row.received_at,
        reason=row.reason,
        times=row.times,
        can_be_replayed=row.can_be_replayed,
    )


def _replayed(name: str, trade_no: str, was: str, planned: Planned, refund: RefundPlanned | None) -> Replayed:
    return Replayed(
        notice=name,
        trade_no=trade_no,
        was=was,
        decision=planned.decision,
        reason="",
        changed=planned.changed or (refund is not None and refund.changed),
        order_state=planned.order_state,
        refund_decision="" if refund is None else refund.decision,
        refund_state="" if refund is None else refund.state,
    )


def _unreadable(name: str, *, trade_no: str, was: str, reason: str) -> Replayed:
    return Replayed(
        notice=name, trade_no=trade_no, was=was, decision=REJECTED, reason=reason, changed=False, order_state=""
    )


def _check_limit(limit: int, most: int) -> None:
    if not 1 <= limit <= most:
        raise Refused("limit_out_of_range", param="limit", detail=f"1 to {most}")
