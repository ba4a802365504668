"""What RSA alone costs on this machine, for the figure that leaves it out."""

from dataclasses import dataclass
from time import process_time
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

_KEY_BITS: Final = 2048
_EXPONENT: Final = 65_537
_ROUNDS: Final = 300
# A WeChat life with a dynamic code: request, answer and notice are each signed once and verified once.
SIGNS_PER_LIFE: Final = 3
VERIFIES_PER_LIFE: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class RsaCost:
    """CPU microseconds of one operation with a 2048-bit key."""

    sign_us: float
    verify_us: float

    @property
    def life_us(self) -> float:
        """Of all signatures in one life, on both sides."""
        return SIGNS_PER_LIFE * self.sign_us + VERIFIES_PER_LIFE * self.verify_us


def measure_rsa() -> RsaCost:
    """Blocks for a third of a second."""
    key = rsa.generate_private_key(public_exponent=_EXPONENT, key_size=_KEY_BITS)
    text = b"x" * 400
    signature = key.sign(text, padding.PKCS1v15(), hashes.SHA256())
    public = key.public_key()
    began_s = process_time()
    for _ in range(_ROUNDS):
        key.sign(text, padding.PKCS1v15(), hashes.SHA256())
    signed_s = process_time()
    for _ in range(_ROUNDS):
        public.verify(signature, text, padding.PKCS1v15(), hashes.SHA256())
    ended_s = process_time()
    return RsaCost(
        sign_us=(signed_s - began_s) / _ROUNDS * 1e6,
        verify_us=(ended_s - signed_s) / _ROUNDS * 1e6,
    )
