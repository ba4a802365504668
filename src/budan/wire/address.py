"""Whether a URL that a merchant gave us leads to a public address, and to which."""

import ipaddress
from collections.abc import Hashable
from typing import Final

from budan.wire.errors import NotSent
from budan.wire.http import parse_target
from budan.wire.names import NameLookups

# Private or for documents only, and taken for public by older lists: site-local (RFC 3879), RFC 9637.
_NOT_PUBLIC: Final = tuple(ipaddress.ip_network(network) for network in ("fec0::/10", "3fff::/20"))
# These carry an IPv4 address inside, which a gateway would connect to: NAT64, 6to4, Teredo.
_TUNNELS: Final = tuple(
    ipaddress.ip_network(network) for network in ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32")
)


class AddressRefused(NotSent):
    """The URL leads into a private network: repeating is in vain until it, or the list of allowed ones, changes."""


async def resolve_public(
    url: str, *, allowed: frozenset[str], lookups: NameLookups, asker: Hashable, timeout_s: float
) -> tuple[str, int]:
    """The address and port to connect to for `url`, to be passed as `connect_to`.

    Connecting to what was checked, and not to the name again, keeps a name from changing its mind in between.
    `allowed` lists `host:port` as the URL names them that may be private; `asker` is whose URL it is. Raises
    AddressRefused when any address of the host is not public, and NotSent when there is none within the time.
    """
    target = parse_target(url)
    addresses = await lookups.list_addresses(target.host, asker=asker, timeout_s=timeout_s)
    if f"{target.host.lower()}:{target.port}" not in allowed and not all(is_public(address) for address in addresses):
        raise AddressRefused("host leads to an address that is not public")
    return addresses[0], target.port


def is_public(address: str) -> bool:
    """Whether the address belongs to the public internet and hides no other inside."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return is_public(str(parsed.ipv4_mapped))
        if any(parsed in network for network in (*_TUNNELS, *_NOT_PUBLIC)):
            return False
    return parsed.is_global and not parsed.is_multicast and not parsed.is_reserved
