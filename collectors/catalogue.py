"""The explicit map from the kind of a device or feed to what looks at it. Heavy libraries are imported only there.

Options are what crosses the worker pipe: `user` and `password` for miners; the fields of
`collectors.pdus.snmp.Credential`, `engine`, `profile` and `profiles` (the operator's folder) for PDUs; those of
`collectors.feeds.catalogue` for feeds. A miner's `port_80` and the like put another port in the place of a usual one,
for machines behind a port forwarder.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import TYPE_CHECKING

from collectors.miners.line import USUAL_PORTS, Line
from collectors.miners.make import FRAMED_PORT, HTTP_PORT, RPC_PORT, Credential
from collectors.miners.makes import KEYS
from collectors.miners.native import NativeMiner
from collectors.neighbours import Neighbours
from fleet.ports import Feed, Miner, Pdu, SeriesFeed

if TYPE_CHECKING:
    from collectors.pdus.snmp import Credential as SnmpCredential

Options = Mapping[str, str | float | bool]
Clock = Callable[[], float]

AUTO = "auto"
LIBRARIES = ("pyasic", "pyasic_rs")
MINER_KINDS = (AUTO, *KEYS, *LIBRARIES)
DEVICE_KINDS = (*MINER_KINDS, "snmp")

_USUAL_PORTS = (RPC_PORT, FRAMED_PORT, HTTP_PORT, 8080)
_mac_of = Neighbours().mac_of  # one for all machines: the table is read once for them together


def open_device(
    kind: str,
    host: str,
    port: int,
    deadline_s: float,
    options: Options | None = None,
    now: Clock | None = None,
    way: str | None = None,
) -> Miner | Pdu | Feed | SeriesFeed:
    """What looks at one device or feed, opened but not yet asked. `now` gives Unix time; only feeds need it.

    `way` is what an earlier reading of this machine said about how it is asked (`MinerReading.way`).

    Errors: ValueError for an unknown kind or an option that the operator must put right; nothing is contacted here.
    """
    given: Options = {} if options is None else options
    match kind:
        case "pyasic":
            from collectors.miners.pyasic_adapter import PyasicMiner

            return PyasicMiner(host, deadline_s, _credential(given))
        case "pyasic_rs":
            from collectors.miners.pyasic_rs_adapter import PyasicRsMiner

            return PyasicRsMiner(host, deadline_s, _credential(given))
        case "snmp":
            return _open_snmp(host, port, deadline_s, given)
        case _ if kind in MINER_KINDS:
            line = Line(host, _ports(port, given), _credential(given))
            return NativeMiner(line, deadline_s, None if kind == AUTO else kind, way, _mac_of)
        case _:
            return _open_feed(kind, given, deadline_s, now)


def _credential(options: Options) -> Credential | None:
    user, password = options.get("user"), options.get("password")
    return Credential(user, password) if isinstance(user, str) and isinstance(password, str) else None


def _ports(port: int, options: Options) -> Mapping[int, int]:
    """Ports that stand in for usual ones; the one mapping of all machines that need none is shared."""
    given = {usual: int(options.get(f"port_{usual}", usual)) for usual in _USUAL_PORTS}
    given[RPC_PORT] = port or RPC_PORT
    moved = {usual: other for usual, other in given.items() if usual != other}
    return moved or USUAL_PORTS


def credential_of(options: Options) -> SnmpCredential | None:
    """How a PDU lets us in; None where the options say nothing about it."""
    import msgspec

    from collectors.pdus.snmp import Credential

    keys = {field.name for field in fields(Credential)}
    given = {key: value for key, value in options.items() if key in keys}
    return msgspec.convert(given, Credential) if given else None


def _open_snmp(host: str, port: int, deadline_s: float, options: Options) -> Pdu:
    from pathlib import Path
    from zlib import crc32

    import msgspec

    from collectors.pdus.device import AUTO, SnmpPdu
    from collectors.pdus.profile import profiles_with
    from collectors.pdus.snmp import EngineName

    folder = options.get("profiles")
    return SnmpPdu(
        host,
        port,
        deadline_s,
        credential_of(options),
        str(options.get("profile", AUTO)),
        engine=msgspec.convert(options.get("engine", "auto"), EngineName),
        profiles=profiles_with(Path(str(folder)) if folder else None),
        head_start=crc32(f"{host}:{port}".encode()),  # those that start together read everything at different times
    )


def _open_feed(kind: str, options: Options, deadline_s: float, now: Clock | None) -> Feed | SeriesFeed:
    from collectors.feeds.catalogue import FEEDS, open_feed
    from collectors.feeds.power import POWER_FEEDS, open_power_feed

    if kind not in FEEDS and kind not in POWER_FEEDS:
        raise ValueError(f"unknown kind {kind!r}: it is one of {', '.join((*DEVICE_KINDS, *FEEDS, *POWER_FEEDS))}")
    if now is None:
        raise ValueError(f"feed {kind!r} needs a clock")
    if kind in POWER_FEEDS:
        return open_power_feed(kind, options, deadline_s, now)
    return open_feed(kind, options, deadline_s, now)
