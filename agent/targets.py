"""Addresses the operator names: hosts, ranges and CIDR blocks, with or without a port.

A target is kept as a span of integers, so that a /15 costs nothing until it is walked. Only addresses are accepted, no
host names: a name can resolve to anything, and what we may talk to is decided here and nowhere else.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass

MINER_PORT = 4028
SNMP_PORT = 161

MAX_ADDRESSES = 131_072
"""Largest span of one target, a /15: more is a typing error, and the largest sites on earth are smaller."""

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def _networks(*texts: str) -> tuple[_Network, ...]:
    return tuple(ipaddress.ip_network(text) for text in texts)


PRIVATE = _networks(
    "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "127.0.0.0/8", "fc00::/7", "::1/128"
)
"""Where devices of a site live: RFC 1918, carrier-grade NAT, loopback, IPv6 unique local."""

NEVER = {
    "link-local": _networks("169.254.0.0/16", "fe80::/10"),
    "cloud metadata": _networks("100.100.100.200/32", "fd00:ec2::254/128"),
    "multicast": _networks("224.0.0.0/4", "ff00::/8"),
    "unspecified": _networks("0.0.0.0/8", "::/128"),
    "broadcast": _networks("255.255.255.255/32"),
}
"""What no key can permit: metadata services and addresses that are not one host."""


class TargetError(ValueError):
    """The text is no usable target; the message says why, in the operator's words."""


@dataclass(frozen=True, slots=True)
class Span:
    """Addresses `first` to `last`, both included, of IP version 4 or 6; `port` None = the section's default."""

    version: int
    first: int
    last: int
    port: int | None = None

    def __len__(self) -> int:
        return self.last - self.first + 1

    def overlaps(self, network: _Network) -> bool:
        return (
            network.version == self.version
            and self.first <= int(network.broadcast_address)
            and self.last >= int(network.network_address)
        )

    def is_inside(self, network: _Network) -> bool:
        return (
            network.version == self.version
            and self.first >= int(network.network_address)
            and self.last <= int(network.broadcast_address)
        )

    @property
    def is_private(self) -> bool:
        return any(self.is_inside(network) for network in PRIVATE)

    def hosts(self) -> Iterator[str]:
        """Every address in order, as text."""
        if self.version == 6:
            yield from (str(ipaddress.IPv6Address(n)) for n in range(self.first, self.last + 1))
        else:
            yield from (f"{n >> 24}.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}" for n in range(self.first, self.last + 1))


def parse_target(text: str) -> Span:
    """`10.1.0.7`, `10.1.0.7:4028`, `10.1.0.7-10.1.0.90`, `10.1.0.7-90`, `10.1.0.0/22`, `fd00::7`, `[fd00::7]:161`.

    A block stands for its hosts: network and broadcast address are left out.
    Errors: TargetError, also for what may never be polled (link-local, metadata, multicast) whatever the keys say.
    """
    span = _span(text.strip())
    if len(span) > MAX_ADDRESSES:
        raise TargetError(f"{text!r} covers {len(span)} addresses; at most {MAX_ADDRESSES}")
    for name, networks in NEVER.items():
        if any(span.overlaps(network) for network in networks):
            raise TargetError(f"{text!r} reaches {name} addresses, which are never polled")
    return span


def _span(text: str) -> Span:
    if "/" in text:
        return _block(text)
    if "-" in text:
        return _range(text)
    host, port = _split_port(text)
    address = _address(host, text)
    return Span(address.version, int(address), int(address), port)


def _block(text: str) -> Span:
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise TargetError(f"{text!r} is not a CIDR block such as 10.1.0.0/22") from None
    if str(network.network_address) != text.split("/")[0] and network.version == 4:
        raise TargetError(f"{text!r} has host bits set; the block is {network}")
    first, last = int(network.network_address), int(network.broadcast_address)
    inner = network.version == 4 and network.prefixlen < 31
    return Span(network.version, first + inner, last - inner)


def _range(text: str) -> Span:
    low_text, _, high_text = (part.strip() for part in text.partition("-"))
    low = _address(low_text, text)
    if high_text.isdecimal() and low.version == 4:
        high_text = f"{low_text.rpartition('.')[0]}.{high_text}"
    high = _address(high_text, text)
    if low.version != high.version or int(high) < int(low):
        raise TargetError(f"{text!r} is not a range from a lower to a higher address")
    return Span(low.version, int(low), int(high))


def _address(host: str, text: str) -> _Address:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        raise TargetError(f"{text!r} is not an IP address, a range or a CIDR block") from None


def _split_port(text: str) -> tuple[str, int | None]:
    """`host:port` or `[v6]:port` -> host and port; a bare IPv6 address has colons and no port."""
    if text.startswith("["):
        host, closed, rest = text[1:].partition("]")
        if not closed or (rest and not rest.startswith(":")):
            raise TargetError(f"{text!r} is not [address]:port")
        return host, (_port(rest[1:], text) if rest else None)
    if text.count(":") == 1:
        host, _, port = text.partition(":")
        return host, _port(port, text)
    return text, None


def _port(digits: str, text: str) -> int:
    if not (digits.isascii() and digits.isdecimal() and 1 <= int(digits) <= 65_535):
        raise TargetError(f"{text!r} has no port between 1 and 65535")
    return int(digits)


def join_port(host: str, port: int, default_port: int) -> str:
    """The name of an endpoint: the host alone on the usual port, else host:port."""
    if port == default_port:
        return host
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
