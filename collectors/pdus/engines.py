"""Which library speaks SNMP to a device. Neither is imported before a PDU is polled."""

from __future__ import annotations

from importlib import import_module

from collectors.pdus.snmp import Credential, EngineName, Oid, SnmpClient


def open_client(
    host: str,
    port: int,
    credential: Credential,
    engine: EngineName = "auto",
    *,
    timeout_s: float = 2.0,
    retries: int = 1,
) -> SnmpClient:
    """A client of one device; nothing is sent before its first request.

    `auto` takes gufo where it works, else pysnmp. Errors: ValueError for an engine that is not here.
    """
    if engine == "gufo" and "gufo" not in available():
        raise ValueError("the SNMP engine gufo is not installed (pip install gufo_snmp); auto and pysnmp work without")
    if engine != "pysnmp" and "gufo" in available():
        from collectors.pdus.gufo_client import GufoClient

        return GufoClient(host, port, credential, timeout_s=timeout_s, retries=retries)
    from collectors.pdus.pysnmp_client import PysnmpClient

    return PysnmpClient(host, port, credential, timeout_s=timeout_s, retries=retries)


def open_recorder(
    host: str, port: int, credential: Credential, tags: dict[Oid, int], *, timeout_s: float = 2.0
) -> SnmpClient:
    """A client for a recording: `tags` learns the BER tag of every object, which only pysnmp tells."""
    from collectors.pdus.pysnmp_client import PysnmpClient

    return PysnmpClient(host, port, credential, timeout_s=timeout_s, tags=tags)


def available() -> tuple[str, ...]:
    """The engines that work here, the fastest first."""
    try:
        import_module("collectors.pdus.gufo_client")
    except ImportError:  # not installed, or its binary does not fit this computer
        return ("pysnmp",)
    return ("gufo", "pysnmp")
