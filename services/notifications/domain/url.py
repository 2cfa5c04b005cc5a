"""Where a webhook may go: https, two ports, and only addresses of the public internet. (T9)

`ipaddress` calls addresses global that lead back inside (NAT64, 6to4, Teredo, mapped ones): what is wrapped is unwrapped
first, and what is not plainly public is refused."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import NamedTuple
from urllib.parse import urlsplit

from shared.es.errors import Fault, Rejected

PORTS = (443, 8443)
LONGEST = 2000
_NAT64 = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))
_REFUSED = (IPv6Network("fec0::/10"), IPv6Network("100::/64"), IPv6Network("2001:db8::/32"), IPv6Network("5f00::/16"))


class Target(NamedTuple):
    """A checked address: what to resolve, what to connect to, what to ask for."""

    scheme: str
    host: str
    port: int
    path: str


def target_of(url: str, allowed: frozenset[str] = frozenset()) -> Target:
    """`allowed` are 'host:port' of this deployment's own choice that may be reached without https. Raises Rejected(url_not_allowed)."""
    try:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        raise not_allowed("This is no address.") from None
    host = (parts.hostname or "").rstrip(".")
    if not host or len(url) > LONGEST or not url.isascii() or any(c.isspace() for c in url):
        raise not_allowed(f"An address is at most {LONGEST} printable ASCII characters and names a host.")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise not_allowed("An address names no user, no password and no fragment.")
    if f"{host}:{port}" not in allowed:
        _must_be_public(parts.scheme, host, port)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(parts.scheme, host, port, path)


def _must_be_public(scheme: str, host: str, port: int) -> None:
    if scheme != "https" or port not in PORTS:
        raise not_allowed("Only https on port 443 or 8443.")
    if host == "localhost" or host.endswith((".localhost", ".local", ".internal")):
        raise not_allowed("This host is inside.")
    try:
        literal = ip_address(host)
    except ValueError:
        return
    must_be_public_address(str(literal))


def must_be_public_address(address: str) -> None:
    """Raises Rejected(url_not_allowed)."""
    found = _unwrapped(ip_address(address.partition("%")[0]))
    inside = not found.is_global or found.is_multicast or any(found in network for network in _REFUSED if found.version == 6)
    if inside:
        raise not_allowed("This host leads to an address that is not of the public internet.")


def _unwrapped(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """The address inside a mapped, translated or tunnelled one."""
    if isinstance(address, IPv4Address):
        return address
    if any(address in network for network in _NAT64):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    wrapped = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
    return wrapped or address


def not_allowed(detail: str) -> Rejected:
    return Rejected("url_not_allowed", detail, status=422, errors=[Fault("/url", "url_not_allowed", detail)])
