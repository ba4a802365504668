import pytest

from budan.wire.address import AddressRefused, is_public, resolve_public
from budan.wire.errors import NotSent
from budan.wire.names import LookUp, NameLookups, look_up_by_system

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
        "fec0::1",
        "3fff:fff::1",
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
        await resolve(url)


async def test_only_the_host_and_port_that_are_listed_may_be_private() -> None:
    allowed = frozenset({"127.0.0.1:8080"})
    assert await resolve("http://127.0.0.1:8080/x", allowed=allowed) == ("127.0.0.1", 8080)
    for url in ("http://127.0.0.1:8081/x", "http://127.0.0.1/x", "http://127.0.0.2:8080/x"):
        with pytest.raises(AddressRefused):
            await resolve(url, allowed=allowed)


async def test_a_public_address_is_the_one_to_connect_to() -> None:
    assert await resolve("https://8.8.8.8/x") == ("8.8.8.8", 443)


async def test_a_host_of_which_one_address_is_private_is_refused() -> None:
    """A name with a public and a private address would pass a check of the first and connect to the second."""
    with pytest.raises(AddressRefused):
        await resolve("http://shop.example.test/", look_up=lambda _host: ["8.8.8.8", "10.0.0.1"])


@pytest.mark.parametrize(
    "url", ["http://nowhere.invalid/", f"http://{'a' * 64}.invalid/", "ftp://8.8.8.8/", "http://8.8.8.8\r\n/"]
)
async def test_a_host_without_an_address_was_not_sent(url: str) -> None:
    with pytest.raises(NotSent):
        await resolve(url)


async def resolve(
    url: str, *, allowed: frozenset[str] = NONE_ALLOWED, look_up: LookUp = look_up_by_system
) -> tuple[str, int]:
    """What is connected to, asked for by some merchant."""
    return await resolve_public(url, allowed=allowed, lookups=NameLookups(look_up=look_up), asker=1, timeout_s=5)
