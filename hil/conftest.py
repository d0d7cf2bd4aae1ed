"""Fixtures of the contract tests: the devices under test, emulated by default, real ones with `--device kind@host`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from fleet.ports import Miner, Pdu
from hil.farm import Farm, FarmSpec
from hil.loopback import free_block

MINER_PORT, SNMP_PORT = 4028, 161
DEADLINE_S = 30.0
MACHINES_PER_PDU = 8

EMULATED = {
    "antminer": ("antminer", "Antminer S19j Pro"),
    "auto": ("auto", "Antminer S21"),
    "whatsminer-v1": ("pyasic", "WhatsMiner M30S++"),
    "whatsminer-v2": ("pyasic", "WhatsMiner M50"),
    "apc-rpdu2": ("snmp", "Antminer S19j Pro"),
}
"""Name of the emulated device -> kind of collector, and the model of the machines (those on the outlets of the PDU)."""


@dataclass(frozen=True)
class Device:
    """One device under test. `farm` is None for a real one, of which nobody knows the truth."""

    kind: str
    host: str
    port: int
    farm: Farm | None = None

    @property
    def is_pdu(self) -> bool:
        return self.kind == "snmp"

    def open(self) -> Miner | Pdu:
        from collectors.catalogue import open_device

        options = {"community": "public", "profile": "auto"} if self.is_pdu else {}
        opened = open_device(self.kind, self.host, self.port, DEADLINE_S, options)
        assert hasattr(opened, "read")
        return opened  # type: ignore[return-value]  # no feed is asked for here


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--device",
        action="append",
        default=[],
        metavar="KIND@HOST[:PORT]",
        help="run the contract tests against this real device instead of the emulated ones; may be repeated",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    for name, is_pdu in (("miner", False), ("pdu", True)):
        if name in metafunc.fixturenames:
            real = [text for text in metafunc.config.getoption("--device") if text.startswith("snmp@") is is_pdu]
            emulated = [] if metafunc.config.getoption("--device") else _emulated(is_pdu)
            marks = [pytest.param(text, marks=pytest.mark.hardware) for text in real]
            metafunc.parametrize(name, [*marks, *emulated], indirect=True, ids=str)


def _emulated(is_pdu: bool) -> list[str]:
    return [name for name, (kind, _) in EMULATED.items() if (kind == "snmp") is is_pdu]


@pytest.fixture
async def miner(request: pytest.FixtureRequest) -> AsyncIterator[Device]:
    async for device in _device(request.param):
        yield device


@pytest.fixture
async def pdu(request: pytest.FixtureRequest) -> AsyncIterator[Device]:
    async for device in _device(request.param):
        yield device


async def _device(name: str) -> AsyncIterator[Device]:
    kind, at, endpoint = name.partition("@")
    if at:
        host, _, port = endpoint.partition(":")
        yield Device(kind, host, int(port) if port else (SNMP_PORT if kind == "snmp" else MINER_PORT))
        return
    kind, model = EMULATED[name]
    # A test looks within a second; the physics stands still, so that truth and look are of the same moment.
    spec = FarmSpec.in_block(free_block(), machines=MACHINES_PER_PDU, pdus=1, mix={model: 1.0}, tick_s=3600.0)
    async with Farm(spec) as farm:
        place = (farm.pdus[0].host, farm.pdus[0].port) if kind == "snmp" else spec.endpoints[0]
        yield Device(kind, *place, farm)
