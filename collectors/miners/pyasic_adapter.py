"""Every make that we do not read natively, through pyasic; the only module that imports it.

The library is wide and trusting, so nothing of it reaches the fleet unfiltered. Its 4028 traffic goes through our own
transport and decoder (byte cap, deadline, closed sockets, no 0 for "nan"), its factory logins and redirects are off,
its loggers are silent, and what its readings leave out or default (`is_mining` is True, zero watts, empty boards) is
missing here. It swallows cancellation, so each call runs as a task of its own that is abandoned at the deadline.
"""

from __future__ import annotations

import asyncio
import logging
import math
import re
import warnings
import weakref
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import httpx
import orjson

from collectors.miners import cgminer
from collectors.miners.transport import exchange_bytes, probe
from fleet.ports import PollError
from fleet.readings import FaultKind, MinerReading, OperatingState, Sensor, Temperature
from fleet.site import normalise_mac

DRIVER = "pyasic"
WARM_UP_S = 300.0
MAX_IDENTIFICATIONS = 32  # 200 at once starve the library's own 3 s timeout, and it finds nobody
IDENTIFY_STEP_S = 3.0
IDENTITY_EVERY = 10
MAX_PAGE_BYTES = 64 * 1024
API_PORTS = (4028, 4433, 80)  # cgminer API, WhatsMiner v3, web

FIELD_FAILED = "field_failed"
GENERIC_MODEL = "model_unknown"

_LOOK = ("hashrate", "expected_hashrate", "hashboards", "env_temp", "wattage", "fans", "uptime", "pools")
_IDENTITY = ("mac", "serial_number", "fw_ver")

# Makes whose machines with a SHA-256 class in the library really are that; for others the class is a default.
_SHA256_MAKES = frozenset({"WhatsMiner", "AntMiner", "AvalonMiner", "Auradine", "BitAxe", "LuckyMiner", "Braiins"})

# What the watts of a make or firmware are: measured at the input, at the boards, or a model of the tuner.
_POWER_SIDE = {"WhatsMiner": "ac", "AvalonMiner": "ac", "ePIC": "ac", "BitAxe": "dc", "LuckyMiner": "dc"}
_TUNER_FIRMWARES = frozenset({"BOS+", "VNish", "LuxOS", "MaraFW", "Hive"})

# The window of the one hashrate that the library picks; None where it does not say (see facts of each backend).
_WINDOW_S = {"WhatsMiner": 60.0}


class Credential(NamedTuple):
    """Operator's login of one machine; without it the machine is read without login."""

    user: str
    password: str


class PyasicMiner:
    """One machine that the library reads. Identified once, again after another machine or nothing readable answers."""

    def __init__(self, host: str, deadline_s: float, credential: Credential | None = None) -> None:
        self._host = host
        self._deadline_s = deadline_s
        self._credential = credential
        self._miner: Any = None
        self._mac: str | None = None
        self._identity: dict[str, str | None] = {}
        self._failing: set[str] = set()
        self._looks = 0
        self._deadline_at = 0.0  # of the look in progress, for the transport under the library

    async def read(self) -> MinerReading:
        """One look. Errors: PollError only; a calm empty answer of the library is one too."""
        deadline_at = asyncio.get_running_loop().time() + self._deadline_s
        await _reach(self._host, deadline_at)
        miner = self._miner or await self._identify(deadline_at)
        try:
            data = await self._get_data(miner, deadline_at)
            reading = to_reading(data, self._refresh_identity(data))
        except PollError as error:
            if error.kind in (FaultKind.MALFORMED, FaultKind.IDENTITY, FaultKind.UNSUPPORTED):
                self._forget()
            raise
        if is_empty(reading):
            self._forget()
            await _reach(self._host, deadline_at)
            raise PollError(FaultKind.MALFORMED, "connected, but no hashrate, power or board could be read")
        if _is_generic(miner):
            self._miner = None  # the library may know it better when it runs: never keep a guess
        if self._failing:
            reading = replace(reading, warnings=(*reading.warnings, FIELD_FAILED))
        self._looks += 1
        return reading

    async def aclose(self) -> None:
        """The library keeps no connection of ours; what it holds goes with the object."""
        self._forget()

    async def _identify(self, deadline_at: float) -> Any:
        library = _library()
        try:
            async with asyncio.timeout_at(deadline_at), _gate():
                miner = await _abandonable(library.identify(self._host), deadline_at)
        except TimeoutError:
            raise PollError(FaultKind.TIMEOUT, "not identified within the deadline") from None
        if miner is None:
            raise PollError(FaultKind.UNSUPPORTED, "answers, but is no machine that pyasic knows")
        library.harden(miner, self._credential, deadline_of=lambda: self._deadline_at)
        self._miner = miner
        return miner

    async def _get_data(self, miner: Any, deadline_at: float) -> Any:
        """One lean get_data. A field that fails discards the whole answer there, so it is left out and asked again
        without it; at the next identity round it gets another chance."""
        self._deadline_at = deadline_at
        asks_identity = self._looks % IDENTITY_EVERY == 0
        if asks_identity:
            self._failing.clear()
        while True:
            wanted = (*_LOOK, *_IDENTITY) if asks_identity else _LOOK
            fields = [field for field in wanted if field not in self._failing]
            try:
                return await _abandonable(miner.get_data(include=fields), deadline_at)
            except PollError:
                raise
            except Exception as error:  # noqa: BLE001  the library lets KeyError, RecursionError, httpx errors ... out
                if (ours := _cause(error)) is not None:
                    raise ours from None
                failed = _FAILED_FIELD.match(str(error))
                if failed is None or failed[1] not in fields:
                    raise PollError(FaultKind.MALFORMED, f"library: {type(error).__name__}") from None
                self._failing.add(failed[1])

    def _refresh_identity(self, data: Any) -> dict[str, str | None]:
        """MAC, serial and firmware, asked every tenth look and kept between. Errors: PollError IDENTITY."""
        if self._looks % IDENTITY_EVERY == 0:
            mac = normalise_mac(cgminer.text(data.mac))
            if mac is not None and self._mac is not None and mac != self._mac:
                raise PollError(FaultKind.IDENTITY, f"was {self._mac}, now {mac}")
            self._mac = mac or self._mac
            self._identity = {
                "mac": self._mac,
                "serial": cgminer.text(data.serial_number),
                "firmware": cgminer.text(data.fw_ver),
            }
        return self._identity

    def _forget(self) -> None:
        self._miner = self._mac = None
        self._identity = {}
        self._failing.clear()
        self._looks = 0


# --- the library's answer as a reading -----------------------------------------------------------------------------


def to_reading(data: Any, identity: dict[str, str | None]) -> MinerReading:
    """A reading from pyasic's MinerData; pure. Zero watts, zero degrees and fields that are not finite are missing."""
    make, model, firmware = data.make or "", cgminer.text(data.model), data.firmware or ""
    # the summary's own total before the library's sum of the boards, which hides a board that is silent
    hashrate_hs = _hashrate_hs(data.raw_hashrate)
    hashrate_hs = _hashrate_hs(data.hashrate) if hashrate_hs is None else hashrate_hs
    power_w = _positive(data.wattage)
    uptime_s = cgminer.number(data.uptime)
    pools = list(data.pools or ())
    pool = next((pool for pool in pools if pool.active), None)
    return MinerReading(
        driver=DRIVER,
        make=make or "unknown",
        model=model,
        firmware=identity.get("firmware") or firmware or None,
        mac=identity.get("mac"),
        serial=identity.get("serial"),
        algorithm="sha256" if data.algo == "SHA256" and make in _SHA256_MAKES and model else None,
        state=_state(hashrate_hs, uptime_s),
        hashrate_hs=hashrate_hs,
        hashrate_window_s=None if hashrate_hs is None else _WINDOW_S.get(make),
        hashrate_expected_hs=_hashrate_hs(data.expected_hashrate) or None,
        reported_power_w=power_w,
        power_side=None if power_w is None else "model" if firmware in _TUNER_FIRMWARES else _POWER_SIDE.get(make),
        temperatures=tuple(_temperatures(data)),
        fans_rpm=tuple(_not_negative(fan.speed) for fan in data.fans or ()),
        uptime_s=uptime_s if uptime_s is not None and uptime_s >= 0.0 else None,
        shares_accepted=_sum_of(pool.accepted for pool in pools),
        shares_rejected=_sum_of(pool.rejected for pool in pools),
        pool_host=cgminer.text(pool.url.host.lower()) if pool is not None and pool.url is not None else None,
        pool_alive=pool.alive if pool is not None else False if pools and not any(p.alive for p in pools) else None,
        warnings=() if model else (GENERIC_MODEL,),
    )


def is_empty(reading: MinerReading) -> bool:
    """Whether the library read nothing and was calm about it. A zero hashrate without anything beside it is nothing."""
    return not reading.hashrate_hs and reading.reported_power_w is None and not reading.temperatures


def _hashrate_hs(rate: Any) -> float | None:
    """H/s of the library's {rate, unit}; its unit's value is the factor."""
    return None if rate is None else _not_negative(cgminer.number(rate.rate), float(int(rate.unit)))


def _temperatures(data: Any) -> Iterator[Temperature]:
    for board in data.hashboards or ():
        for sensor, said in ((Sensor.BOARD, board.temp), (Sensor.CHIP, board.chip_temp)):
            celsius = _positive(said)
            if celsius is not None and celsius <= 150.0:
                yield Temperature(sensor, int(board.slot), celsius)
    air_c = cgminer.number(data.env_temp)
    if air_c is not None and air_c != 0.0 and -40.0 <= air_c <= 150.0:
        yield Temperature(Sensor.INLET, 0, air_c)


def _state(hashrate_hs: float | None, uptime_s: float | None) -> OperatingState:
    """From the hashrate alone: the library's `is_mining` says True where nobody answered."""
    if hashrate_hs is None:
        return OperatingState.UNKNOWN
    if hashrate_hs == 0.0:
        return OperatingState.IDLE
    return OperatingState.WARMING_UP if uptime_s is not None and uptime_s < WARM_UP_S else OperatingState.MINING


def _not_negative(value: object, factor: float = 1.0) -> float | None:
    result = cgminer.number(value)
    return result * factor if result is not None and result >= 0.0 and math.isfinite(result * factor) else None


def _positive(value: object) -> float | None:
    return _not_negative(value) or None


def _sum_of(counts: Iterator[object]) -> float | None:
    """Total over the pools that count shares; None where none does."""
    known = [count for count in map(_not_negative, counts) if count is not None]
    return sum(known) if known else None


# --- keeping the library within bounds ----------------------------------------------------------------------------

_FAILED_FIELD = re.compile(r"Failed to call (\w+) on ")

_gates: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = weakref.WeakKeyDictionary()
_abandoned: set[asyncio.Task[Any]] = set()


def _gate() -> asyncio.Semaphore:
    """At most MAX_IDENTIFICATIONS at once, per event loop."""
    return _gates.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(MAX_IDENTIFICATIONS))


async def _abandonable(call: Coroutine[Any, Any, Any], deadline_at: float) -> Any:
    """The result of a library call, or PollError TIMEOUT at the deadline, whether or not the call lets go.

    The library catches cancellation in places and goes on, so waiting for a cancelled call could last for ever.
    """
    task = asyncio.ensure_future(call)
    try:
        await asyncio.wait({task}, timeout=max(0.0, deadline_at - asyncio.get_running_loop().time()))
    finally:
        if not task.done():
            _abandoned.add(task)  # the loop holds tasks weakly
            task.add_done_callback(_bury)
            task.cancel()
    if not task.done():
        raise PollError(FaultKind.TIMEOUT, "library call past the deadline")
    return task.result()


def _bury(task: asyncio.Task[Any]) -> None:
    _abandoned.discard(task)
    if not task.cancelled():
        task.exception()  # an exception that nobody fetches is logged by asyncio


def _cause(error: BaseException | None) -> PollError | None:
    """The PollError of our own transport that the library wrapped into an error of its own."""
    for _ in range(8):
        if error is None or isinstance(error, PollError):
            break
        error = error.__cause__ or error.__context__
    return error if isinstance(error, PollError) else None


def _is_generic(miner: Any) -> bool:
    return miner.raw_model is None or miner.expected_hashboards is None


async def _reach(host: str, deadline_at: float) -> None:
    """Return where any of the ports that miners use accepts a connection. Errors: REFUSED, UNREACHABLE.

    Refusal is quick, so trying the next port then costs nothing; silence is final, or it would be paid three times.
    """
    for port in API_PORTS:
        try:
            return await probe(host, port, deadline_at)
        except PollError as error:
            if error.kind is not FaultKind.REFUSED:
                raise
    raise PollError(FaultKind.REFUSED, "every port that miners use refused the connection")


class _Library:
    """pyasic, loaded once, with its doors closed: no factory login, no redirect, no log line, no default password."""

    def __init__(self) -> None:
        root = logging.getLogger()
        handlers, level = root.handlers[:], root.level
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from pyasic import settings
            from pyasic.miners.factory import MinerFactory
            from pyasic.rpc.base import BaseMinerRPCAPI
        root.handlers[:], root.level = handlers, level  # importing it configures the root logger
        root.addFilter(_is_not_of_pyasic)
        for name in ("httpx", "httpcore", "asyncssh", "pyasic", "grpclib"):
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
        warnings.filterwarnings("ignore", module=r"pyasic(\.|$)")

        for name in (*type(settings._settings).model_fields, *_UNDECLARED_PASSWORDS):
            if name.endswith("_password"):
                settings.update(name, "")
        settings.update("factory_get_timeout", int(IDENTIFY_STEP_S))

        self._plain_send_bytes = BaseMinerRPCAPI._send_bytes
        self._factory = MinerFactory()
        self._factory._socket_ping = _socket_ping
        self._factory.send_api_command = _send_api_command
        self._factory._web_ping = _web_ping
        self._factory.send_web_command = _send_web_command
        # these two log in with the factory password to learn the model
        self._factory.get_miner_model_innosilicon = _no_model
        self._factory.get_miner_model_iceriver = _no_model

    async def identify(self, host: str) -> Any:
        return await self._factory.get_miner(host)

    def harden(self, miner: Any, credential: Credential | None, deadline_of: Callable[[], float]) -> None:
        """Put our transport under the machine's 4028 API and only the operator's login into its clients."""
        for client in (miner.rpc, miner.web, miner.ssh):
            if client is not None and hasattr(client, "pwd"):
                client.pwd = ""
        if credential is not None and miner.web is not None:
            miner.web.username, miner.web.pwd = credential
        rpc = miner.rpc
        if rpc is None or type(rpc)._send_bytes is not self._plain_send_bytes:
            return  # WhatsMiner v3 frames its messages in its own way
        one_at_a_time = asyncio.Lock()

        async def send_bytes(data: bytes, *, port: int | None = None, timeout: float = 0.0) -> bytes:  # noqa: ASYNC109
            async with one_at_a_time:
                return await exchange_bytes(str(rpc.ip), port or rpc.port, data, deadline_of())

        rpc._send_bytes = send_bytes
        rpc._load_api_data = _load_api_data


_UNDECLARED_PASSWORDS = (
    "default_bosminer_password",
    "default_avalonminer_web_password",
)

_loaded: list[_Library] = []


def _library() -> _Library:
    """The library, imported at the first need: it costs 1.5 s of CPU and 50 MiB."""
    if not _loaded:
        _loaded.append(_Library())
    return _loaded[0]


def _is_not_of_pyasic(record: logging.LogRecord) -> bool:
    """The library logs straight to the root logger, whole replies among it."""
    return "/pyasic/" not in record.pathname


def _load_api_data(data: bytes) -> dict[str, Any]:
    return cgminer.decode(data)


async def _socket_ping(host: str, command: str) -> str | None:
    payload = await _ask(host, command)
    return payload.decode("utf-8", errors="replace") if payload else None


async def _send_api_command(host: str, command: str) -> dict[str, Any] | None:
    payload = await _ask(host, command)
    try:
        return None if payload is None else cgminer.decode(payload)
    except PollError:
        return {}


async def _ask(host: str, command: str) -> bytes | None:
    deadline_at = asyncio.get_running_loop().time() + IDENTIFY_STEP_S
    try:
        return await exchange_bytes(host, API_PORTS[0], cgminer.encode(command), deadline_at)
    except PollError:
        return None


async def _web_ping(session: httpx.AsyncClient, url: str) -> tuple[str | None, httpx.Response | None]:
    """The first page of a machine: at most MAX_PAGE_BYTES, uncompressed, never of another host."""
    try:
        async with session.stream(
            "GET", url, follow_redirects=False, headers={"accept-encoding": "identity"}, timeout=IDENTIFY_STEP_S
        ) as response:
            page = bytearray()
            async for chunk in response.aiter_raw():
                page += chunk
                if len(page) > MAX_PAGE_BYTES:
                    return None, None
            return page.decode("utf-8", errors="replace"), response
    except (httpx.HTTPError, OSError, ValueError):
        return None, None


async def _send_web_command(host: str, location: str, auth: object = None) -> dict[str, Any] | None:
    """A JSON page of the identification, always without the login that the library would send."""
    async with httpx.AsyncClient(verify=False) as session:  # noqa: S501  miners sign their own certificates
        page, response = await _web_ping(session, f"http://{host}{location}")
    if page is None or response is None or response.status_code != 200:
        return None
    try:
        value = orjson.loads(page)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


async def _no_model(host: str) -> str | None:
    return None
