"""Which library speaks SNMP to a device. Neither is imported before a PDU is polled."""

from __future__ import annotations

from collectors.pdus.snmp import Credential, EngineName, SnmpClient


def open_client(
    host: str,
    port: int,
    credential: Credential,
    engine: EngineName = "auto",
    *,
    timeout_s: float = 2.0,
    retries: int = 1,
) -> SnmpClient:
    """A client of one device; nothing is sent before its first request."""
    from collectors.pdus.pysnmp_client import PysnmpClient

    return PysnmpClient(host, port, credential, timeout_s=timeout_s, retries=retries)


def available() -> tuple[str, ...]:
    """The engines that work here, the fastest first."""
    return ("pysnmp",)
