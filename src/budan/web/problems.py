"""Every stable code that a caller may meet, with its one status and its words (RFC 9457)."""

from dataclasses import dataclass
from http import HTTPStatus

import msgspec

from budan.core.errors import Overloaded, Refused, StoreUnavailable

CONTENT_TYPE = b"application/problem+json"


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """An answer that is not the wished one; `param` names the field, header or path part at fault."""

    type: str
    title: str
    status: int
    code: str
    param: str | None
    detail: str
    request_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What all problems of one code share; `retry_after_s` where the same request may succeed later."""

    status: HTTPStatus
    title: str
    retry_after_s: int | None = None


def _kinds(status: HTTPStatus, titles: dict[str, str], *, retry_after_s: int | None = None) -> dict[str, Kind]:
    return {code: Kind(status=status, title=title, retry_after_s=retry_after_s) for code, title in titles.items()}


# A code is never renamed, and never moves to another status: callers branch on both.
KINDS: dict[str, Kind] = {
    **_kinds(
        HTTPStatus.BAD_REQUEST,
        {
            "body_malformed": "The body is not valid JSON in UTF-8.",
            "field_malformed": "A field has the wrong type or form.",
            "field_missing": "A required field is missing.",
            "field_unknown": "The body has a field that this operation does not know.",
            "idempotency_key_missing": "This request must carry an Idempotency-Key: without one a repeat would count twice.",
            "idempotency_key_malformed": "Idempotency-Key must be 1 to 255 visible ASCII characters.",
            "order_no_malformed": "This is not an order number.",
            "form_malformed": "The form was not sent by a page of ours; load the page again.",
            "form_expired": "The form was open too long; load the page again.",
            "amount_malformed": "An amount is digits with at most two decimals.",
            "cursor_malformed": "This is not a cursor that a page of ours gave.",
        },
    ),
    **_kinds(
        HTTPStatus.UNAUTHORIZED,
        {
            "api_key_missing": "The request carries no API key.",
            "api_key_unknown": "The API key is not valid in this environment.",
        },
    ),
    **_kinds(
        HTTPStatus.NOT_FOUND,
        {
            "path_unknown": "There is nothing at this address.",
            "order_not_found": "This merchant has no such order.",
            "refund_not_found": "The order has no such refund.",
            "account_not_found": "There is no such channel account in this environment.",
            "page_not_found": "This link leads to nothing.",
        },
    ),
    **_kinds(HTTPStatus.METHOD_NOT_ALLOWED, {"method_not_allowed": "This address does not take that method."}),
    **_kinds(HTTPStatus.REQUEST_TIMEOUT, {"body_timeout": "The body did not arrive in time."}),
    **_kinds(
        HTTPStatus.CONFLICT,
        {
            "idempotency_key_reused": "This Idempotency-Key was used for another request.",
            "reference_used": "Another order has this reference.",
            "charge_open": "A charge of this order is still open; ask for the order until it has ended.",
            "order_not_payable": "The order takes no further payment.",
            "order_expired": "The order's time is over.",
            "order_already_paid": "The order is paid.",
            "order_already_ended": "The order has ended.",
            "order_on_hold": "The order is on hold.",
            "order_not_closing": "The order is not being closed.",
            "trade_still_open": "An attempt of the order may still be paid.",
            "no_open_charge": "The order has no charge that is still open.",
            "trade_already_paid": "The attempt is paid.",
            "trade_already_ended": "The attempt has ended.",
            "too_many_attempts": "The order has used up its attempts.",
            "order_not_paid": "The order is not paid.",
            "refund_unsupported": "The channel that took the payment gives none back through us.",
            "refund_too_late": "The channel no longer refunds this payment.",
            "refund_exceeds_paid": "More than what is left of the payment cannot be refunded.",
            "no_cashback": "The order was granted no cashback.",
            "payer_bound": "The payment's payer is known, and is another one.",
            "too_many_refunds": "The order has used up its refunds.",
        },
    ),
    **_kinds(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, {"body_too_large": "The body is too large."}),
    **_kinds(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, {"content_type_unsupported": "The body's type is not taken here."}),
    **_kinds(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        {
            "amount_not_positive": "An amount is at least one minor unit.",
            "amount_too_large": "The amount is larger than any channel takes.",
            "payer_malformed": "A payer is 1 to 128 visible ASCII characters.",
            "currency_unknown": "This currency is not taken.",
            "reference_malformed": "The reference is not 1 to 64 characters of the allowed kind.",
            "reason_malformed": "The reason is too long or holds control characters.",
            "subject_malformed": "The subject is empty, too long or holds characters that channels refuse.",
            "expires_in_out_of_range": "The order would live too short or too long.",
            "limit_out_of_range": "A page cannot have that many orders.",
            "state_unknown": "No order is ever in a state of this name.",
            "channel_unknown": "There is no channel of this name.",
            "method_unsupported": "No channel of this order can do this method.",
            "no_account": "The merchant has no channel account for this.",
            "rate_missing": "The merchant has no fee rate in force for this channel.",
            "auth_code_unknown": "This is no payment code of a known wallet.",
            "payer_openid_missing": "This method needs the payer's openid.",
            "payer_ip_missing": "This method needs the address of the payer's browser.",
            "shop_unknown": "The merchant has no shop with this code.",
            "wrong_environment": "This number belongs to another environment.",
        },
    ),
    **_kinds(
        HTTPStatus.TOO_MANY_REQUESTS,
        {"too_many_open_orders": "Too many orders of this shop's page wait for their payers; try a little later."},
        retry_after_s=60,
    ),
    **_kinds(
        HTTPStatus.TOO_MANY_REQUESTS,
        {"too_many_charges_waiting": "Too many of the merchant's charges are waited for; nothing was taken, repeat."},
        retry_after_s=1,
    ),
    **_kinds(HTTPStatus.INTERNAL_SERVER_ERROR, {"internal_error": "We failed; nothing is promised."}),
    **_kinds(
        HTTPStatus.SERVICE_UNAVAILABLE,
        {
            "channel_unavailable": "The channel is away; nothing was sent, the same request may be repeated.",
            "overloaded": "Too much at once; nothing was written, repeat a little later.",
            "store_unavailable": "Our database is away; repeat with the same Idempotency-Key.",
        },
        retry_after_s=1,
    ),
}


def refusal_of(error: Refused | Overloaded | StoreUnavailable) -> Refused:
    """The same error with a stable code; what a store or queue says of itself stays inside."""
    match error:
        case Refused():
            return error
        case Overloaded():
            return Refused("overloaded")
        case StoreUnavailable():
            return Refused("store_unavailable")


def problem_of(refusal: Refused, *, request_id: str) -> Problem:
    """The body that answers a refusal. Every code of the program is in `KINDS`; a test reads them all."""
    kind = KINDS[refusal.code]
    return Problem(
        # Relative to whatever name this installation has; the page lists every code.
        type=f"/docs#{refusal.code}",
        title=kind.title,
        status=kind.status.value,
        code=refusal.code,
        param=refusal.param,
        detail=refusal.detail or kind.title,
        request_id=request_id,
    )
