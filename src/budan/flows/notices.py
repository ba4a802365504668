"""Notices: verified before they count, stored raw, acknowledged after the commit."""

from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256

import msgspec

from budan.core.errors import StoreUnavailable
from budan.core.evidence import Evidence, Source
from budan.core.numbers import AccountId, Environment
from budan.flows.door import ArrivedNotice, Door, DoorItem
from budan.flows.door_plan import Planned
from budan.flows.ids import IdSource
from budan.flows.refund_door import RefundDoor, RefundItem
from budan.flows.refund_plan import TOLD_TOO_EARLY, RefundPlanned
from budan.flows.stamp import stamp, stamp_refund
from budan.ports.channel import Ack, BadNotice, ChannelAccounts, Notice, RawNotice
from budan.ports.clock import Clock
from budan.store import door as stored
from budan.store.database import Database, RowsFailed
from budan.telemetry import metrics

# What a forger can fill of the disk, each hour and account: the samples of 30 days, after which they are pruned, are 59 MB.
# What comes above it is counted by a metric alone.
DIGESTS_PER_HOUR_MAX = 200
SAMPLES_PER_HOUR_MAX = 20
SAMPLE_BYTES_MAX = 4_096
# A signature of RSA 4096 is 684 characters of base64.
SAMPLE_HEADER_CHARACTERS_MAX = 1_024
SAMPLE_HEADERS_MAX = 10
# What is kept of the headers: enough to verify the notice again.
_HEADERS_KEPT = ("content-type", "user-agent")
_HEADER_PREFIXES_KEPT = ("wechatpay-",)


class Notices:
    """Takes what channels tell us."""

    def __init__(
        self,
        *,
        database: Database,
        environment: Environment,
        accounts: ChannelAccounts,
        door: Door,
        refunds: RefundDoor,
        ids: IdSource,
        clock: Clock,
    ) -> None:
        self._database = database
        self._environment = environment
        self._accounts = accounts
        self._door = door
        self._refunds = refunds
        self._ids = ids
        self._clock = clock

    async def receive(
        self,
        *,
        environment: str,
        channel: str,
        account_id: int,
        headers: Mapping[str, str],
        body: bytes,
    ) -> Ack | None:
        """What to answer to a notice; None where the address names no account of this environment.

        A success answer is given only after the commit (I1), also when the trade is unknown or the notice contradicts
        what we know: it is kept then. A notice that is not provably the channel's is counted and answered with failure.
        Header names come in lower case. Raises `Overloaded` or `StoreUnavailable`: the channel will send it again.
        """
        if environment != self._environment.value:
            return None
        account = await self._accounts.find(AccountId(account_id))
        if account is None or account.channel != channel:
            return None
        raw = RawNotice(headers=headers, body=body)
        try:
            notice = account.adapter.parse_notice(raw, now=self._clock.now())
        except BadNotice as bad:
            await self._reject(account.account_id, channel, raw, reason=str(bad))
            return account.adapter.acknowledge(accepted=False)
        metrics.labelled(metrics.NOTICES, channel, "verified").inc()
        arrived = await self.arrive(raw, received_at=self._clock.now(), tells_refund=notice.refund is not None)
        _, refund = await self.hear(account.account_id, notice, arrived=arrived, dry=False)
        if refund is not None and refund.decision in TOLD_TOO_EARLY:
            raise StoreUnavailable(f"{refund.decision}: the channel must tell this refund again")
        return account.adapter.acknowledge(accepted=True)

    async def read_again(self, account_id: AccountId, raw: RawNotice, *, received_at: datetime) -> Notice | str:
        """A stored notice as today's code reads it, with the clock at the moment when it came; else why it cannot."""
        account = await self._accounts.find(account_id)
        if account is None:
            return "account_unknown"
        try:
            return account.adapter.parse_notice(raw, now=received_at)
        except BadNotice as bad:
            return str(bad)

    async def arrive(self, raw: RawNotice, *, received_at: datetime, tells_refund: bool) -> ArrivedNotice:
        """What is stored of a verified notice."""
        return ArrivedNotice(
            notice_id=self._ids.next(),
            received_at=received_at,
            headers=msgspec.json.encode(_kept_headers(raw.headers)).decode(),
            body=raw.body,
            tells_refund=tells_refund,
        )

    async def hear(
        self, account_id: AccountId, notice: Notice, *, arrived: ArrivedNotice | None, dry: bool
    ) -> tuple[Planned, RefundPlanned | None]:
        """A notice goes through the door; one of a refund proves its payment, and tells the door of refunds besides.

        What both decided. `arrived` stores it; a notice that is heard again has been stored. `dry` says what would be
        decided now, and writes nothing: of a refund that is the first news, its payment is not there yet. Safe to repeat.
        """
        evidence = self._stamp(account_id, notice)
        if dry:
            planned = await self._door.judge(evidence)
        else:
            planned = await self._door.record(DoorItem(evidence=evidence, notice=arrived))
        if notice.refund is None:
            return planned, None
        # After the payment's own evidence: a refund that is the first news finds its payment booked. Between the two a
        # channel that hears no yes tells again.
        told = stamp_refund(
            notice.refund,
            account_id=account_id,
            source=Source.NOTICE,
            learned_at=evidence.learned_at,
            asked_at=None,
        )
        if dry:
            return planned, await self._refunds.judge(told)
        return planned, await self._refunds.record(RefundItem(evidence=told))

    def _stamp(self, account_id: AccountId, notice: Notice) -> Evidence:
        return stamp(
            notice.result,
            account_id=account_id,
            source=Source.NOTICE,
            learned_at=self._clock.now(),
            asked_at=None,
        )

    async def _reject(self, account_id: AccountId, channel: str, raw: RawNotice, *, reason: str) -> None:
        metrics.labelled(metrics.NOTICES, channel, "rejected").inc()
        try:
            async with self._database.transaction() as transaction:
                is_kept = await stored.reject_notice(
                    transaction,
                    account_id=account_id,
                    digest=sha256(raw.body).digest(),
                    reason=reason[:200],
                    sample=raw.body[:SAMPLE_BYTES_MAX],
                    headers=msgspec.json.encode(_sampled_headers(raw.headers)).decode(),
                    body_bytes=len(raw.body),
                    samples_per_hour_max=SAMPLES_PER_HOUR_MAX,
                    digests_per_hour_max=DIGESTS_PER_HOUR_MAX,
                )
        except (StoreUnavailable, RowsFailed):
            # The answer is a failure either way, and a forged notice must not cost more than a count.
            return
        if not is_kept:
            metrics.NOTICES_NOT_KEPT.labels(str(account_id)).inc()


def _kept_headers(headers: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value
        for name, value in headers.items()
        if name in _HEADERS_KEPT or name.startswith(_HEADER_PREFIXES_KEPT)
    }


def _sampled_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """What verifies a rejected notice once its key is right; a forger's own headers are cut."""
    kept = list(_kept_headers(headers).items())[:SAMPLE_HEADERS_MAX]
    return {name[:SAMPLE_HEADER_CHARACTERS_MAX]: value[:SAMPLE_HEADER_CHARACTERS_MAX] for name, value in kept}
