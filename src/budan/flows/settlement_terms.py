"""How a merchant is settled, as an operator sets it."""

from dataclasses import dataclass
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from budan.core.errors import Refused
from budan.core.numbers import MerchantId
from budan.store import settlement as stored
from budan.store.database import Transaction

# A payout that large is a typing mistake; a spreadsheet counts to here without rounding.
PAYOUT_MINOR_MIN_MAX: Final = 1 << 53
SETTLES_AFTER_DAYS_MAX: Final = 90
# With all of it held back no batch would ever pay anything, and so none would be made.
HOLD_BACK_BP_MAX: Final = 9_999
HOLD_BACK_DAYS_MAX: Final = 365


@dataclass(frozen=True, slots=True, kw_only=True)
class SettlementTerms:
    """How a merchant is settled; what is None is left as it is.

    Its days end by the clock of `zone` and are settled `after_days` later (T+n). A payout below `payout_minor_min` waits
    for the next day; `hold_back_bp` of each batch stays here for `hold_back_days`, for refunds that are still to come.
    """

    zone: str | None = None
    after_days: int | None = None
    payout_minor_min: int | None = None
    hold_back_bp: int | None = None
    hold_back_days: int | None = None


UNCHANGED_SETTLEMENT: Final = SettlementTerms()


def check_settlement_terms(terms: SettlementTerms) -> None:
    """Raises `Refused` with `zone_unknown` or `settlement_terms_out_of_range`."""
    if terms.zone is not None:
        try:
            ZoneInfo(terms.zone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise Refused("zone_unknown", param="settles_zone", detail=f"{terms.zone}: like Asia/Shanghai") from error
    for param, given, least, most in (
        ("settles_after", terms.after_days, 1, SETTLES_AFTER_DAYS_MAX),
        ("payout_min", terms.payout_minor_min, 1, PAYOUT_MINOR_MIN_MAX),
        ("hold_back", terms.hold_back_bp, 0, HOLD_BACK_BP_MAX),
        ("hold_back_days", terms.hold_back_days, 1, HOLD_BACK_DAYS_MAX),
    ):
        if given is not None and not least <= given <= most:
            raise Refused("settlement_terms_out_of_range", param=param, detail=f"{least} to {most}")


async def set_settlement_terms(
    transaction: Transaction, merchant_id: MerchantId, terms: SettlementTerms, *, by: str
) -> bool:
    """Change how a merchant is settled, from its next day on; False where there is no such merchant."""
    return await stored.set_terms(
        transaction,
        merchant_id,
        zone=terms.zone,
        after_days=terms.after_days,
        payout_minor_min=terms.payout_minor_min,
        hold_back_bp=terms.hold_back_bp,
        hold_back_days=terms.hold_back_days,
        set_by=None if terms == UNCHANGED_SETTLEMENT else by,
    )
