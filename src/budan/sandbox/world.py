"""What every face of the sandbox shares."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from budan.sandbox.alarms import Alarms
from budan.sandbox.faults import Dice
from budan.sandbox.keys import KeyRing
from budan.sandbox.payer import Payer
from budan.sandbox.truth import Truth
from budan.wire.rsa import Signer


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """The truth, the payers, the keys, and the sources of time and chance."""

    truth: Truth
    payer: Payer
    alarms: Alarms
    dice: Dice
    keys: KeyRing
    signer: Signer
    clock: Callable[[], datetime]
    nonce: Callable[[], str]
    base_url: str
