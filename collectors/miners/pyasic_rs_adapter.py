"""Makes that we do not read natively, through pyasic_rs, an optional library; the only module that imports it.

Its factory knows no list of firmwares in Python, and its reads of a WhatsMiner send `open_write_api` after any refused
question. So we identify every machine ourselves first, and the library gets only what is surely no WhatsMiner. Its web
traffic goes through our door, without which it would try factory passwords and follow redirects to other hosts; its
questions on port 4028 are reads for every other make. What it defaults (`is_mining` is True) is missing here.
"""

from __future__ import annotations

import asyncio
import os
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from collectors.miners import cgminer, evidence
from collectors.miners.door import Door
from collectors.miners.evidence import celsius, not_negative, positive
from collectors.miners.fence import PROXY_VARIABLES, Visit, abandonable, gate
from collectors.miners.identify import identify
from collectors.miners.line import Line
from collectors.miners.make import Credential
from collectors.miners.run import Run
from fleet.ports import PollError
from fleet.readings import FaultKind, MachineError, MinerReading, Sensor, Temperature
from fleet.site import normalise_mac

DRIVER = "pyasic_rs"
SLOW_EVERY = 10
IDENTIFY_STEP_S = 10
MAX_ERRORS = 32
THREADS = "2"

NOT_INSTALLED = "pyasic_rs is not installed"
WHATSMINER = "is a WhatsMiner: pyasic_rs may open its write API"

_EVERY = (
    "Hashrate", "ExpectedHashrate", "Hashboards", "Wattage", "Fans", "Uptime", "Pools", "OperatingState",
    "FluidTemperature", "OutletFluidTemperature", "DeviceInfo",
)  # fmt: skip
_SLOW = ("Mac", "SerialNumber", "Hostname", "FirmwareVersion", "Messages", "TuningTarget")

# Firmwares that log in; each is told the operator's credential, or an empty one that our door then keeps inside.
_LOGIN_FIRMWARES = (
    "AntMiner Stock", "Auradine Stock", "Braiins", "Elphapex Stock", "FutureBit Stock", "Goldshell Stock", "LuxOS",
    "Marathon", "Proto Stock", "SealMiner Stock", "UMC OS", "VNish", "VolcMiner Stock",
)  # fmt: skip

_MAKES = {"Avalonminer": "Avalon", "Whatsminer": "WhatsMiner"}  # as our own drivers write them

# What the watts are: the tuner's model, the boards' input, the wall. Absent = nobody knows.
_POWER_SIDE = {
    "LuxOS": "model", "VNish": "model", "Braiins": "model", "Marathon": "model",
    "AvalonMiner Stock": "dc", "Bitaxe Stock": "dc", "UMC OS": "ac",
}  # fmt: skip
_NOW_FIRMWARES = frozenset({"LuxOS", "AntMiner Stock"})  # `GHS 5s`
NOW_S = 5.0
_VOLTS_FOR_WATTS = frozenset({"AvalonHomeQ"})  # of its supply's row the library takes 22.45 V, written 2245, for watts
_TARGET_IS_WALL_POWER = frozenset({"AvalonMiner Stock"})  # what it calls the target is PS[6], what the machine draws

_ASLEEP = frozenset({"Paused", "Suspended", "Stopped", "Stopping", "Idling"})
_RAMPING = frozenset(
    {"Starting", "Initializing", "Tuning", "Restarting", "AdjustingFrequency", "AdjustingVoltage",
     "AdjustingClockVoltage"}
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Slow:
    """What is asked at every tenth look and kept between, as long as the run lasts."""

    mac: str | None = None
    serial: str | None = None
    hostname: str | None = None
    firmware: str | None = None
    power_limit_w: float | None = None
    errors: tuple[MachineError, ...] = ()


class PyasicRsMiner:
    """One machine that the library reads. Identified by us and by it, again after another machine or nothing readable
    answers."""

    def __init__(self, host: str, deadline_s: float, credential: Credential | None = None) -> None:
        self._host = host
        self._deadline_s = deadline_s
        self._credential = credential
        self._miner: Any = None
        self._slow = Slow()
        self._mac: str | None = None
        self._run = Run()
        self._looks = 0

    async def read(self) -> MinerReading:
        """One look. Errors: PollError only; UNSUPPORTED where the library is missing or may not be asked."""
        now = asyncio.get_running_loop().time()
        deadline_at = now + self._deadline_s
        library = await _library()
        with library.door.visited(Visit(self._host, self._credential is not None, deadline_at)):
            try:
                reading = await self._look(library, deadline_at)
                if self._looks % SLOW_EVERY and not self._run.goes_on(reading, now):
                    self._looks = 0
                    reading = await self._look(library, deadline_at)
            except PollError as error:
                self._looks = 0  # another one may stand there next time: it is asked everything
                if error.kind in (FaultKind.MALFORMED, FaultKind.IDENTITY, FaultKind.UNSUPPORTED, FaultKind.REFUSED):
                    self._forget()
                raise
        self._run.note(reading, now)
        self._looks += 1
        return reading

    async def aclose(self) -> None:
        """The library's connections go with its object."""
        self._forget()

    async def _look(self, library: _Library, deadline_at: float) -> MinerReading:
        is_slow = self._looks % SLOW_EVERY == 0
        if self._miner is None or is_slow:
            # Also at every tenth look: a WhatsMiner may have moved in.
            await self._require_harmless(deadline_at)
        if self._miner is None:
            self._miner = await self._identify(library, deadline_at)
        left_out = library.all_but_slow if is_slow else library.all_but_lean
        data = await _bounded(self._miner.get_data(left_out), deadline_at)
        if is_slow:
            self._slow = self._refreshed(data)
        reading = to_reading(data, self._slow)
        if not reading.hashrate_hs and reading.reported_power_w is None and not reading.temperatures:
            raise PollError(FaultKind.MALFORMED, "connected, but no hashrate, power or board could be read")
        return reading

    async def _require_harmless(self, deadline_at: float) -> None:
        """Errors: PollError UNSUPPORTED for a WhatsMiner and for what we cannot tell; those of a silent host."""
        maker = (await identify(Line(self._host, credential=self._credential), deadline_at)).maker
        if maker is None:
            raise PollError(FaultKind.UNSUPPORTED, "answers, but is no machine that we know")
        if maker.startswith("whatsminer"):
            raise PollError(FaultKind.UNSUPPORTED, WHATSMINER)

    async def _identify(self, library: _Library, deadline_at: float) -> Any:
        try:
            async with asyncio.timeout_at(deadline_at), gate():
                miner = await _bounded(library.identify(self._host, self._credential), deadline_at)
        except TimeoutError:
            raise PollError(FaultKind.TIMEOUT, "not identified within the deadline") from None
        if miner is None:
            raise PollError(FaultKind.UNSUPPORTED, "answers, but is no machine that pyasic_rs knows")
        if "whatsminer" in f"{miner.make} {miner.firmware}".lower():
            raise PollError(FaultKind.UNSUPPORTED, WHATSMINER)
        return miner

    def _refreshed(self, data: Any) -> Slow:
        """Errors: PollError IDENTITY for another machine."""
        mac = normalise_mac(cgminer.text(data.mac))
        if mac is not None and self._mac is not None and mac != self._mac:
            raise PollError(FaultKind.IDENTITY, f"was {self._mac}, now {mac}")
        self._mac = mac or self._mac
        target = data.tuning_target
        has_limit = target is not None and data.device_info.firmware not in _TARGET_IS_WALL_POWER
        return Slow(
            mac=mac,
            serial=evidence.serial(data.serial_number),
            hostname=cgminer.text(data.hostname),
            firmware=cgminer.text(data.firmware_version),
            power_limit_w=positive(target.watts) if has_limit else None,
            errors=tuple(_errors(data)),
        )

    def _forget(self) -> None:
        self._miner = self._mac = None
        self._slow = Slow()
        self._run = Run()
        self._looks = 0


# --- the library's answer as a reading -----------------------------------------------------------------------------


def to_reading(data: Any, slow: Slow = Slow()) -> MinerReading:
    """A reading from the library's MinerData; pure. Zero watts and zero degrees are missing."""
    info = data.device_info
    firmware, model = str(info.firmware), cgminer.text(info.model)
    uptime_s = None if data.uptime is None else not_negative(data.uptime.total_seconds())
    hashrate_hs = _hashrate_hs(data.hashrate)
    is_now = hashrate_hs is not None and firmware in _NOW_FIRMWARES
    power_w = None if model in _VOLTS_FOR_WATTS else positive(data.wattage)
    pools = [pool for group in data.pools for pool in group.pools]
    pool = next((pool for pool in pools if pool.active), None)
    word = None if data.operating_state is None else str(data.operating_state)
    return MinerReading(
        driver=DRIVER,
        make=_MAKES.get(info.make, cgminer.text(info.make) or "unknown"),
        model=model,
        firmware=slow.firmware or firmware,
        mac=slow.mac,
        serial=slow.serial,
        hostname=slow.hostname,
        algorithm="sha256" if str(info.algo) == "SHA256" and model else None,
        state=evidence.state(
            hashrate_hs,
            hashrate_hs,
            uptime_s,
            is_asleep=None if word is None else word in _ASLEEP,
            is_ramping=True if word in _RAMPING else None,
            has_error=word == "Error" or bool(slow.errors),
        ),
        hashrate_hs=hashrate_hs,
        hashrate_window_s=NOW_S if is_now else None,
        hashrate_key=None if hashrate_hs is None else f"{DRIVER}:{firmware}.hashrate",
        hashrate_now_hs=hashrate_hs if is_now else None,
        hashrate_expected_hs=_hashrate_hs(data.expected_hashrate) or None,
        reported_power_w=power_w,
        power_side=None if power_w is None else _POWER_SIDE.get(firmware),
        power_key=None if power_w is None else f"{DRIVER}:{firmware}.wattage",
        power_limit_w=slow.power_limit_w,
        temperatures=tuple(_temperatures(data)),
        fans_rpm=tuple(not_negative(fan.rpm) for fan in data.fans),
        uptime_s=uptime_s,
        shares_accepted=_sum_of(pool.accepted_shares for pool in pools),
        shares_rejected=_sum_of(pool.rejected_shares for pool in pools),
        pool_host=cgminer.text(pool.url.host.lower()) if pool is not None and pool.url is not None else None,
        pool_alive=pool.alive if pool is not None else None,
        errors=slow.errors,
    )


def _hashrate_hs(rate: Any) -> float | None:
    value = None if rate is None else not_negative(rate.value)
    return None if value is None else not_negative(value * rate.unit.value)


def _temperatures(data: Any) -> Iterator[Temperature]:
    """Boards and chips apart; the average that the library offers may be the regulator's, so it is left."""
    for board in data.hashboards:
        chips = [celsius(board.inlet_chip_temperature), celsius(board.outlet_chip_temperature)]
        for sensor, degrees in (
            (Sensor.BOARD, celsius(board.board_temperature)),
            (Sensor.CHIP, max((chip for chip in chips if chip is not None), default=None)),
        ):
            if degrees is not None:
                yield Temperature(sensor, int(board.position), degrees)
    for sensor, said in ((Sensor.INLET, data.fluid_temperature), (Sensor.OUTLET, data.outlet_fluid_temperature)):
        degrees = celsius(said)
        if degrees is not None:
            yield Temperature(sensor, 0, degrees)


def _errors(data: Any) -> Iterator[MachineError]:
    for message in data.messages[:MAX_ERRORS]:
        words = cgminer.text(message.message)
        if str(message.severity) == "Error" and (message.code or words):
            yield MachineError(str(message.code), words or "")


def _sum_of(counts: Iterator[object]) -> float | None:
    known = [count for count in map(not_negative, counts) if count is not None]
    return sum(known) if known else None


# --- keeping the library within bounds ----------------------------------------------------------------------------


class _Library:
    """pyasic_rs with its door, one per event loop."""

    def __init__(self, module: Any, data: Any, door: Door) -> None:
        self.door = door
        self._factory = module.MinerFactory
        fields = {name: getattr(data.DataField, name) for name in dir(data.DataField) if name[0].isupper()}
        self.all_but_lean = [field for name, field in fields.items() if name not in _EVERY]
        self.all_but_slow = [field for name, field in fields.items() if name not in (*_EVERY, *_SLOW)]

    async def identify(self, host: str, credential: Credential | None) -> Any:
        factory = self._factory().with_identification_timeout_secs(IDENTIFY_STEP_S)
        user, password = credential or ("", "")
        for firmware in _LOGIN_FIRMWARES:
            factory = factory.with_firmware_discovery_auth(firmware, user, password)
        return await factory.get_miner(host)


_libraries: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Task[_Library]] = weakref.WeakKeyDictionary()


async def _library() -> _Library:
    """The library, imported at the first need and from then on behind its door.

    Errors: PollError UNSUPPORTED where it is not installed.
    """
    os.environ.setdefault("TOKIO_WORKER_THREADS", THREADS)
    try:
        import pyasic_rs
        import pyasic_rs.data
    except ImportError:
        raise PollError(FaultKind.UNSUPPORTED, NOT_INSTALLED) from None
    loop = asyncio.get_running_loop()
    if loop not in _libraries:
        _libraries[loop] = loop.create_task(_behind_a_door(pyasic_rs, pyasic_rs.data))
    return await asyncio.shield(_libraries[loop])


async def _behind_a_door(module: Any, data: Any) -> _Library:
    """From here on the environment of this process names our door as its only proxy."""
    door = Door()
    url = await door.open()
    for name in PROXY_VARIABLES:
        os.environ.pop(name, None)
    os.environ.update(http_proxy=url, https_proxy=url)
    return _Library(module, data, door)


async def _bounded(call: Any, deadline_at: float) -> Any:
    """The result of a native call. Errors: PollError TIMEOUT, and MALFORMED for whatever else it raises."""

    async def run() -> Any:
        return await call

    try:
        return await abandonable(run(), deadline_at)
    except PollError:
        raise
    except Exception as error:  # noqa: BLE001  native panics come as exceptions of their own
        raise PollError(FaultKind.MALFORMED, f"library: {type(error).__name__}") from None
