"""A merchant's webhook secret, changed with an overlap in which the old one signs too."""

from dataclasses import dataclass, field
from datetime import datetime

from budan.core.errors import Refused
from budan.core.numbers import MerchantId
from budan.flows.acts import check_name, check_reason
from budan.flows.administering import endpoint_context
from budan.flows.rotating import check_overlap, refuse_running
from budan.store import directory
from budan.store import endpoints as stored
from budan.store.database import Database, Transaction
from budan.wire.secret_box import SecretBox
from budan.wire.webhook import new_secret


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedSecret:
    """An endpoint whose secret was changed; until `old_until` the old one signs as well.

    The secret is shown this once and cannot be read again.
    """

    merchant_id: MerchantId
    webhook_endpoint_id: int
    webhook_secret: str = field(repr=False)
    old_until: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedOverlap:
    """An endpoint whose old secret signs no more; `ended` is False where none did."""

    merchant_id: MerchantId
    webhook_endpoint_id: int
    ended: bool


class WebhookSecrets:
    """Every act is one transaction, and is kept with a name and a reason."""

    def __init__(self, *, database: Database, box: SecretBox) -> None:
        self._database = database
        self._box = box

    async def rotate(
        self, merchant_id: int, *, endpoint_id: int | None, overlap_s: int, by: str, reason: str
    ) -> ChangedSecret:
        """A new secret. For `overlap_s` seconds each webhook has two signatures, then the new one's alone.

        `endpoint_id` may be None where the merchant has one endpoint. Not safe to repeat: a second one is refused while
        the overlap lasts. Raises `Refused` with `overlap_out_of_range`, `name_malformed`, `reason_malformed`,
        `merchant_unknown`, `endpoint_unknown`, `option_missing` or `rotation_running`, in this order.
        """
        check_overlap(overlap_s)
        by, reason = check_name(by), check_reason(reason)
        async with self._database.transaction() as transaction:
            found, old_until = await _lock(transaction, MerchantId(merchant_id), endpoint_id)
            refuse_running(old_until, now=await transaction.clock(), param="merchant")
            secret = new_secret()
            sealed = self._box.seal(secret.encode(), context=endpoint_context(found))
            until = await stored.rotate(transaction, found, sealed_secret=sealed, overlap_s=overlap_s)
            await stored.add_act(transaction, found, kind="rotate", acted_by=by, reason=reason, old_until=until)
        return ChangedSecret(
            merchant_id=MerchantId(merchant_id), webhook_endpoint_id=found, webhook_secret=secret, old_until=until
        )

    async def end_overlap(self, merchant_id: int, *, endpoint_id: int | None, by: str, reason: str) -> EndedOverlap:
        """Sign with the new secret alone from now on. Safe to repeat: what has ended is not written down again.

        Raises `Refused` as `rotate` does, but for the overlap and a rotation that runs.
        """
        by, reason = check_name(by), check_reason(reason)
        async with self._database.transaction() as transaction:
            found, _ = await _lock(transaction, MerchantId(merchant_id), endpoint_id)
            ended = await stored.end_overlap(transaction, found)
            if ended:
                await stored.add_act(transaction, found, kind="end_overlap", acted_by=by, reason=reason, old_until=None)
        return EndedOverlap(merchant_id=MerchantId(merchant_id), webhook_endpoint_id=found, ended=ended)


async def _lock(
    transaction: Transaction, merchant_id: MerchantId, endpoint_id: int | None
) -> tuple[int, datetime | None]:
    """The endpoint that is meant, and until when its old secret counts."""
    found = await stored.lock_endpoints_of(transaction, merchant_id)
    if not found and await directory.find_merchant(transaction, merchant_id) is None:
        raise Refused("merchant_unknown", param="merchant")
    if endpoint_id is None and len(found) > 1:
        raise Refused("option_missing", param="endpoint", detail=f"which one of {', '.join(map(str, found))}")
    meant = next(iter(found), None) if endpoint_id is None else endpoint_id
    if meant not in found:
        raise Refused("endpoint_unknown", param="endpoint", detail="the merchant takes no webhooks there")
    return meant, found[meant]
