"""MAC addresses of machines whose API gives none, from the kernel's neighbour table.

Only machines on a network without a router between have one there, and only over IPv4: behind a router the table
holds the router, and IPv6 neighbours are not in this file at all. Such machines have no MAC from here, never a wrong
one. An entry is good for a host that has just answered: had another machine its address, it would not have.

`/proc/self/net/arp` needs no right and is there for a hardened service too (its process's own part of /proc).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from fleet.site import normalise_mac

TABLE = Path("/proc/self/net/arp")
STATISTICS = Path("/proc/self/net/stat/arp_cache")

MAX_AGE_S = 5.0

_COMPLETE = 0x02
_PUBLISHED = 0x08  # we answer for this address ourselves
_ETHERNET = 1

_ROW = re.compile(r"(\S+) +(0x[0-9a-f]+) +(0x[0-9a-f]+) +([0-9a-f:]{17}) ", re.IGNORECASE | re.ASCII)


def parse(text: str) -> Mapping[str, str]:
    """MAC (12 lower-case hex digits) by address.

    Left out: entries without an answer, and every MAC that stands for more than one address, which is a router, a
    proxy or a machine with several addresses. Lines of another form are no entries.
    """
    found: dict[str, set[str]] = {}
    for line in text.splitlines():
        if (row := _ROW.match(line)) is None:
            continue
        address, hardware, flags = row[1], int(row[2], 16), int(row[3], 16)
        mac = normalise_mac(row[4])
        if hardware == _ETHERNET and flags & _COMPLETE and not flags & _PUBLISHED and mac is not None:
            found.setdefault(mac, set()).add(address)
    macs: dict[str, str | None] = {}
    for mac, addresses in found.items():
        for address in addresses:
            # one address with two MACs: two networks use the same numbers, and nobody knows which one answered
            macs[address] = mac if len(addresses) == 1 and address not in macs else None
    return {address: mac for address, mac in macs.items() if mac is not None}


class Neighbours:
    """The table as it was at most `max_age_s` ago."""

    def __init__(self, table: Path = TABLE, max_age_s: float = MAX_AGE_S) -> None:
        self._table = table
        self._max_age_s = max_age_s
        self._read_at_s: float | None = None
        self._macs: Mapping[str, str] = {}

    def mac_of(self, host: str, now_s: float) -> str | None:
        """MAC of an address that has just answered, by any steady clock; None where the table does not know one.

        A table that cannot be read is an empty one. Never raises.
        """
        if self._read_at_s is None or now_s - self._read_at_s >= self._max_age_s:
            self._read_at_s = now_s
            self._macs = self._read()
        return self._macs.get(host)

    def _read(self) -> Mapping[str, str]:
        try:
            return parse(self._table.read_text("ascii", errors="replace"))
        except OSError:
            return {}


def overflows(statistics: Path = STATISTICS) -> int:
    """How often since the boot the kernel had no room for a neighbour, and dropped what was meant for it.

    0 where it does not say, as in a container.
    """
    try:
        names, *rows = (line.split() for line in statistics.read_text("ascii", errors="replace").splitlines())
        column = names.index("table_fulls")
        return sum(int(row[column], 16) for row in rows)
    except (OSError, ValueError, IndexError):
        return 0
