"""What a person may do, and what two must agree on: names, reasons and proposals."""

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Protocol
from unicodedata import normalize

from budan.core.errors import Refused
from budan.store.acts import ActRow

NAME_CHARACTERS_MAX = 80
REASON_CHARACTERS_MAX = 500
# A proposal is about what its proposer saw; after a day somebody looks again.
PROPOSAL_LIFE = timedelta(hours=24)
# More acts than this on one order are no work of persons.
ACTS_MAX = 1_000
# What Python calls printable and nobody sees: a name with one of these looks like another's (Unicode's
# Default_Ignorable_Code_Point without its controls and formats, and the empty Braille pattern).
_UNSEEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)


class Proposal(Protocol):
    """What one person proposed, and who agreed."""

    @property
    def acted_by(self) -> str:
        """Who proposed it."""
        ...

    @property
    def acted_at(self) -> datetime:
        """When."""
        ...

    @property
    def confirmed_by(self) -> str | None:
        """Who agreed, if anybody has."""
        ...


def check_name(name: str) -> str:
    """A person's name as it is kept; raises `Refused` with `name_malformed`. Nobody checks that it is theirs."""
    kept = " ".join(name.split())
    if not 1 <= len(kept) <= NAME_CHARACTERS_MAX or not kept.isprintable() or _UNSEEN.search(kept):
        raise Refused("name_malformed", param="by", detail=f"1 to {NAME_CHARACTERS_MAX} characters that can be seen")
    return kept


def check_reason(reason: str) -> str:
    """A reason as it is kept; raises `Refused` with `reason_malformed`."""
    kept = " ".join(reason.split())
    if not 1 <= len(kept) <= REASON_CHARACTERS_MAX or not kept.isprintable():
        raise Refused("reason_malformed", param="reason", detail=f"1 to {REASON_CHARACTERS_MAX} printable characters")
    return kept


def get_proposal(acts: Sequence[ActRow], *, ordinal: int, kind: str, by: str, now: datetime) -> ActRow:
    """The proposal that another person confirms now.

    One that this person has confirmed before is given again, so that a confirmation is safe to repeat. Raises `Refused`
    with `proposal_not_found`, `same_person`, `proposal_confirmed` or `proposal_expired`, in this order.
    """
    act = next((one for one in acts if one.ordinal == ordinal and one.kind == kind), None)
    if act is None:
        raise Refused("proposal_not_found", param="confirm", detail=f"the order has no {kind} proposal {ordinal}")
    check_proposal(act, by=by, now=now)
    return act


def check_proposal(proposal: Proposal, *, by: str, now: datetime) -> None:
    """Whether this person may confirm it now; that they have before refuses nothing.

    Raises `Refused` with `same_person`, `proposal_confirmed` or `proposal_expired`, in this order.
    """
    if has_confirmed(proposed_by=proposal.acted_by, confirmed_by=proposal.confirmed_by, by=by):
        return
    if has_lapsed(proposal.acted_at, now=now):
        raise Refused(
            "proposal_expired", param="confirm", detail="propose it again: what it was about may have changed"
        )


def has_lapsed(proposed_at: datetime, *, now: datetime) -> bool:
    """Whether a proposal is too old to be confirmed."""
    return now - proposed_at > PROPOSAL_LIFE


def has_confirmed(*, proposed_by: str, confirmed_by: str | None, by: str) -> bool:
    """Whether this person, who is not the proposer, has confirmed a proposal before; else nobody has.

    Raises `Refused` with `same_person` or `proposal_confirmed`, in this order.
    """
    if is_same_person(proposed_by, by):
        raise Refused("same_person", param="by", detail=f"{proposed_by} proposed it: another person must confirm")
    if confirmed_by is not None and not is_same_person(confirmed_by, by):
        raise Refused("proposal_confirmed", param="confirm", detail=f"by {confirmed_by}")
    return confirmed_by is not None


def is_same_person(one: str, other: str) -> bool:
    """Whether two names, as given, are the same one, however they are typed: width, case and spaces tell nobody apart."""
    return _plain(one) == _plain(other)


def _plain(name: str) -> str:
    # Folding undoes some of what normalising did, and normalising makes letters that fold.
    plain = normalize("NFKC", normalize("NFKC", name).casefold())
    return " ".join(plain.split())


def actors(act: ActRow) -> str:
    """Both persons of a confirmed act, as a remedy names them."""
    assert act.confirmed_by is not None
    return f"{act.acted_by}, {act.confirmed_by}"
