import socket

import pytest

from budan.host.ports import LOOPBACK, held_ports, hold_port


def test_held_ports_differ_and_nobody_else_gets_them() -> None:
    with held_ports(5) as ports:
        assert len({port.number for port in ports}) == 5
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind((LOOPBACK, ports[0].number))


def test_a_server_that_shares_the_port_gets_every_connection_while_it_is_held() -> None:
    with held_ports(1) as [port], socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        server.bind((LOOPBACK, port.number))
        server.listen()
        for _ in range(20):
            with socket.create_connection((LOOPBACK, port.number), timeout=5):
                server.accept()[0].close()


def test_a_child_can_listen_on_the_descriptor_it_inherits() -> None:
    port = hold_port()
    with socket.socket(fileno=port.descriptor) as inherited:
        inherited.listen()
        with socket.create_connection((LOOPBACK, port.number), timeout=5):
            inherited.accept()[0].close()
        inherited.detach()
    port.release()


def test_a_released_port_is_free_and_a_taken_one_is_refused() -> None:
    port = hold_port()
    port.release()
    port.release()
    with socket.socket() as other:
        other.bind((LOOPBACK, port.number))
        with pytest.raises(OSError, match="in use"):
            hold_port(number=port.number)
