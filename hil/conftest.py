"""Fixtures of the contract tests: the devices under test, emulated and recorded by default, real with `--device`.

`miner` and `pdu` are any device; `known_miner` and `known_pdu` are emulated ones, of which the truth is known.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from collectors.captures import load
from collectors.catalogue import DEVICE_KINDS, open_device
from fleet.ports import Miner, Pdu
from hil.farm import Farm, FarmSpec
from hil.loopback import free_block
from hil.replay import LOGIN, ReplayedMachine

MINER_PORT, SNMP_PORT = 4028, 161
DEADLINE_S = 30.0
MACHINES_PER_PDU = 8

EMULATED = {
    "antminer": ("antminer", "Antminer S19j Pro"),
    "auto": ("auto", "Antminer S21"),
    "whatsminer-v1": ("whatsminer", "WhatsMiner M30S++"),
    "whatsminer-v2": ("whatsminer", "WhatsMiner M50"),
    "whatsminer-v2-pyasic": ("pyasic", "WhatsMiner M50"),
    "apc-rpdu2": ("snmp", "Antminer S19j Pro"),
}
"""Name of the emulated device -> kind of collector, and the model of the machines (those on the outlets of the PDU)."""

RECORDINGS = Path(__file__).resolve().parent.parent / "tests" / "captures" / "miners"
RECORDED = {f"recorded-{path.name}": path for path in sorted(RECORDINGS.iterdir()) if path.is_dir()}
"""Name of the recorded device -> its folder. What it is, `auto` has to find out."""

USUAL_PORTS = (MINER_PORT, 4433, 80, 8080)


@dataclass(frozen=True)
class Device:
    """One device under test. `farm` is None for a real or a replayed one, of which nobody knows the truth."""

    kind: str
    host: str
    port: int
    farm: Farm | None = None
    options: Mapping[str, str | float | bool] = field(default_factory=dict)

    @property
    def is_pdu(self) -> bool:
        return self.kind == "snmp"

    @property
    def emulation(self) -> Farm:
        """The farm that knows the truth; only of the `known_` fixtures."""
        assert self.farm is not None
        return self.farm

    def open(self) -> Miner | Pdu:
        options = {"community": "public", "profile": "auto"} if self.is_pdu else self.options
        opened = open_device(self.kind, self.host, self.port, DEADLINE_S, options)
        assert hasattr(opened, "read")
        return opened  # type: ignore[return-value]  # no feed is asked for here


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--device",
        action="append",
        default=[],
        metavar="KIND@HOST[:PORT]",
        help=f"run the contract tests against this real device instead of the emulated ones; may be repeated; "
        f"KIND is one of {', '.join(DEVICE_KINDS)}",
    )
    parser.addoption(
        "--device-login", metavar="FILE", help="the login of those devices: user and password, a line each"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Errors: UsageError for a device or a login that cannot be meant."""
    for text in config.getoption("--device"):
        kind, at, host = text.partition("@")
        if not (at and host and kind in DEVICE_KINDS):
            raise pytest.UsageError(f"--device {text}: it is KIND@HOST[:PORT], KIND one of {', '.join(DEVICE_KINDS)}")
    _login(config.getoption("--device-login"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    for name in {"miner", "pdu", "known_miner", "known_pdu"} & set(metafunc.fixturenames):
        is_pdu = name.endswith("pdu")
        wanted = metafunc.config.getoption("--device")
        params = [
            pytest.param(text, marks=pytest.mark.hardware)
            for text in wanted
            if text.startswith("snmp@") is is_pdu and not name.startswith("known")
        ]
        if not wanted:
            names = [device for device, (kind, _) in EMULATED.items() if (kind == "snmp") is is_pdu]
            names += RECORDED if name == "miner" else []
            params = [pytest.param(device) for device in names]
        metafunc.parametrize(name, params, indirect=True, ids=str)


@pytest.fixture
async def miner(request: pytest.FixtureRequest) -> AsyncIterator[Device]:
    async with AsyncExitStack() as running:
        yield await _device(request, running)


pdu = known_miner = known_pdu = miner


async def _device(request: pytest.FixtureRequest, running: AsyncExitStack) -> Device:
    name: str = request.param
    kind, at, endpoint = name.partition("@")
    if at:
        host, _, port = endpoint.partition(":")
        usual = SNMP_PORT if kind == "snmp" else MINER_PORT
        return Device(kind, host, int(port or usual), options=_login(request.config.getoption("--device-login")))
    if name in RECORDED:
        host = f"127.{free_block()}.1.1"
        machine = ReplayedMachine(load(RECORDED[name]), host, dict.fromkeys(USUAL_PORTS, 0))
        await running.enter_async_context(machine)
        # what the machine did not speak is port 1, where nobody listens
        ports = {f"port_{usual}": machine.at.get(usual, 1) for usual in USUAL_PORTS}
        login = {"user": LOGIN.user, "password": LOGIN.password}
        return Device("auto", host, ports[f"port_{MINER_PORT}"], options={**login, **ports})
    kind, model = EMULATED[name]
    # A test looks within a second; the physics stands still, so that truth and look are of the same moment.
    spec = FarmSpec.in_block(free_block(), machines=MACHINES_PER_PDU, pdus=1, mix={model: 1.0}, tick_s=3600.0)
    farm = await running.enter_async_context(Farm(spec))
    place = (farm.pdus[0].host, farm.pdus[0].port) if kind == "snmp" else spec.endpoints[0]
    return Device(kind, *place, farm)


def _login(file: str | None) -> Mapping[str, str]:
    """Errors: UsageError for a file that does not hold two lines."""
    if file is None:
        return {}
    try:
        user, password = Path(file).read_text("utf-8").splitlines()
    except (OSError, ValueError):
        raise pytest.UsageError(f"--device-login {file}: two lines are needed, user and password") from None
    return {"user": user, "password": password}
