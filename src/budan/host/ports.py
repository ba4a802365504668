"""Free TCP ports on the loopback that nobody takes between finding and using them."""

import socket
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

LOOPBACK: Final = "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldPort:
    """A port that is ours. It is bound and does not listen: connections go to whoever listens on it.

    Hand it over in one of three ways: keep it held while programs of the same user bind `number` with SO_REUSEPORT;
    let a child inherit `descriptor`; or `release` it right before the bind, which leaves a moment to others.
    """

    number: int
    _socket: socket.socket = field(repr=False)

    @property
    def descriptor(self) -> int:
        """For a child's `inherited` descriptors."""
        return self._socket.fileno()

    def release(self) -> None:
        """Anybody may bind the port now. Safe to repeat."""
        self._socket.close()


def hold_port(*, number: int = 0) -> HeldPort:
    """A free port of the loopback, or `number`; raises OSError when that one is taken."""
    held = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind((LOOPBACK, number))
    except OSError:
        held.close()
        raise
    return HeldPort(number=int(held.getsockname()[1]), _socket=held)


@contextmanager
def held_ports(count: int) -> Generator[list[HeldPort]]:
    """`count` different free ports, held until the end of the block."""
    assert count > 0
    ports = [hold_port() for _ in range(count)]
    try:
        yield ports
    finally:
        for port in ports:
            port.release()
