"""The explicit map from the kind of a device or feed to what looks at it. Heavy libraries are imported only there.

Options are what crosses the worker pipe: `user` and `password` for miners, those of `collectors.pdus.device` for PDUs,
those of `collectors.feeds.catalogue` for feeds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fleet.ports import Feed, Miner, Pdu

Options = Mapping[str, str | float | bool]
Clock = Callable[[], float]

DEVICE_KINDS = ("auto", "antminer", "pyasic", "snmp")


def open_device(
    kind: str,
    host: str,
    port: int,
    deadline_s: float,
    options: Options | None = None,
    now: Clock | None = None,
) -> Miner | Pdu | Feed:
    """What looks at one device or feed, opened but not yet asked. `now` gives Unix time; only feeds need it.

    Errors: ValueError for an unknown kind or an option that the operator must put right; nothing is contacted here.
    """
    given: Options = {} if options is None else options
    match kind:
        case "auto":
            from collectors.miners.auto import AutoMiner

            return AutoMiner(host, port, deadline_s)
        case "antminer":
            from collectors.miners.antminer import AntminerStock

            return AntminerStock(host, port, deadline_s)
        case "pyasic":
            return _open_pyasic(host, deadline_s, given)
        case "snmp":
            return _open_snmp(host, port, deadline_s, given)
        case _:
            return _open_feed(kind, given, deadline_s, now)


def _open_pyasic(host: str, deadline_s: float, options: Options) -> Miner:
    from collectors.miners.pyasic_adapter import Credential, PyasicMiner

    user, password = options.get("user"), options.get("password")
    credential = Credential(user, password) if isinstance(user, str) and isinstance(password, str) else None
    return PyasicMiner(host, deadline_s, credential)


def _open_snmp(host: str, port: int, deadline_s: float, options: Options) -> Pdu:
    """`version` and `engine` have one value each in this release; the configuration refuses the others."""
    from collectors.pdus.device import AUTO, SnmpPdu

    return SnmpPdu(
        host,
        port,
        deadline_s,
        community=str(options.get("community", "public")),
        profile=str(options.get("profile", AUTO)),
    )


def _open_feed(kind: str, options: Options, deadline_s: float, now: Clock | None) -> Feed:
    from collectors.feeds.catalogue import FEEDS, open_feed

    if kind not in FEEDS:
        raise ValueError(f"unknown kind {kind!r}: it is one of {', '.join((*DEVICE_KINDS, *FEEDS))}")
    if now is None:
        raise ValueError(f"feed {kind!r} needs a clock")
    return open_feed(kind, options, deadline_s, now)
