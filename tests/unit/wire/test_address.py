import asyncio

import pytest

from budan.wire.address import AddressRefused, is_public, resolve_public
from budan.wire.errors import NotSent

NONE_ALLOWED: frozenset[str] = frozenset()


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "0.0.0.0",  # noqa: S104 - an address that must be refused
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "192.0.2.1",
        "198.18.0.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "fe80::1",
        "fe80::1%eth0",
        "fc00::1",
        "ff02::1",
        "2001:db8::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "2001:0:0:1::",
    ],
)
def test_an_address_that_is_not_the_public_internets_is_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "::ffff:8.8.8.8", "2606:4700::1111"])
def test_a_public_address_is_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8080/hook",
        "http://localhost/hook",
        "https://[::1]/hook",
        "http://2130706433/hook",
        "http://0x7f.1/hook",
        "http://0/hook",
        "http://169.254.169.254/latest/",
    ],
)
async def test_a_webhook_that_leads_inside_is_refused_however_it_is_spelt(url: str) -> None:
    """Else a merchant could make us call our own console or the cloud's key service."""
    with pytest.raises(AddressRefused):
        await resolve_public(url, allowed=NONE_ALLOWED, timeout_s=5)


async def test_only_the_host_and_port_that_are_listed_may_be_private() -> None:
    allowed = frozenset({"127.0.0.1:8080"})
    assert await resolve_public("http://127.0.0.1:8080/x", allowed=allowed, timeout_s=5) == ("127.0.0.1", 8080)
    for url in ("http://127.0.0.1:8081/x", "http://127.0.0.1/x", "http://127.0.0.2:8080/x"):
        with pytest.raises(AddressRefused):
            await resolve_public(url, allowed=allowed, timeout_s=5)


async def test_a_public_address_is_the_one_to_connect_to() -> None:
    assert await resolve_public("https://8.8.8.8/x", allowed=NONE_ALLOWED, timeout_s=5) == ("8.8.8.8", 443)


async def test_a_host_of_which_one_address_is_private_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name with a public and a private address would pass a check of the first and connect to the second."""

    async def two_addresses(*_arguments: object, **_options: object) -> list[object]:
        return [(2, 1, 6, "", ("8.8.8.8", 80)), (2, 1, 6, "", ("10.0.0.1", 80))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", two_addresses)
    with pytest.raises(AddressRefused):
        await resolve_public("http://shop.example.test/", allowed=NONE_ALLOWED, timeout_s=5)


@pytest.mark.parametrize(
    "url", ["http://nowhere.invalid/", f"http://{'a' * 64}.invalid/", "ftp://8.8.8.8/", "http://8.8.8.8\r\n/"]
)
async def test_a_host_without_an_address_was_not_sent(url: str) -> None:
    with pytest.raises(NotSent):
        await resolve_public(url, allowed=NONE_ALLOWED, timeout_s=5)
