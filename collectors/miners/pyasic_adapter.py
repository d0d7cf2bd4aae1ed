"""Every make that we do not read natively, through pyasic; the only module that imports it.

The library is wide and trusting, so nothing of it reaches the fleet unfiltered. Its 4028 traffic goes through our own
transport and decoder (byte cap, deadline, closed sockets, no 0 for "nan"), its web traffic through a door that lets
pass what reads the machine of this look, and a login only where the operator gave one. SSH stays closed, its loggers
are silent, and what its readings leave out or default (`is_mining` is True, zero watts, empty boards) is missing here.
It swallows cancellation, so each call runs as a task of its own that is abandoned at the deadline.
"""

from __future__ import annotations

import asyncio
import logging
import re
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

import httpx
import orjson

from collectors.miners import cgminer
from collectors.miners.evidence import celsius, not_negative, positive, serial
from collectors.miners.fence import Visit, abandonable, gate, may_pass
from collectors.miners.framed import LENGTH_BYTES, exchange_framed
from collectors.miners.make import FRAMED_PORT, HTTP_PORT, RPC_PORT, Credential
from collectors.miners.run import Run
from collectors.miners.transport import exchange_bytes, probe
from fleet.ports import PollError
from fleet.readings import FaultKind, MachineError, MinerReading, OperatingState, Sensor, Temperature
from fleet.site import normalise_mac

DRIVER = "pyasic"
WARM_UP_S = 300.0
IDENTIFY_STEP_S = 3.0
SLOW_EVERY = 10
MAX_PAGE_BYTES = 64 * 1024
MAX_ANSWER_BYTES = cgminer.MAX_REPLY_BYTES
MAX_ERRORS = 32
API_PORTS = (RPC_PORT, FRAMED_PORT, HTTP_PORT)
GRPC_PORT = 50051

FIELD_FAILED = "field_failed"
GENERIC_MODEL = "model_unknown"

_LOOK = ("hashrate", "expected_hashrate", "hashboards", "env_temp", "wattage", "fans", "uptime", "pools")
_SLOW = ("mac", "serial_number", "fw_ver", "wattage_limit", "errors")

_MAKES = {"AntMiner": "Antminer", "AvalonMiner": "Avalon", "BitAxe": "Bitaxe"}  # as our own drivers write them

# Makes whose machines with a SHA-256 class in the library really are that; for others the class is a default.
_SHA256_MAKES = frozenset({"WhatsMiner", "AntMiner", "AvalonMiner", "Auradine", "BitAxe", "LuckyMiner", "Braiins"})

# What the watts of a make or firmware are: measured at the input, at the boards, or a model of the tuner.
_POWER_SIDE = {"WhatsMiner": "ac", "AvalonMiner": "ac", "ePIC": "ac", "BitAxe": "dc", "LuckyMiner": "dc"}
_TUNER_FIRMWARES = frozenset({"BOS+", "VNish", "LuxOS", "MaraFW", "Hive"})

# Window of the one total that the library picks, by custom firmware or else by make; absent = it cannot be known.
# `MHS 1m` of WhatsMiner, Avalon and Braiins; `GHS 5s` or `MHS 5s` of the others.
_WINDOW_S = {"WhatsMiner": 60.0, "AvalonMiner": 60.0, "BOS+": 60.0, "AntMiner": 5.0, "VNish": 5.0, "Auradine": 5.0}
_BOARDS_SINCE_START = frozenset({"LuxOS"})  # the sum of boards, where the total is not read, averages since the start
STOCK = "Stock"
NOW_S = 5.0


@dataclass(frozen=True, slots=True)
class Slow:
    """What is asked at every tenth look and kept between, as long as the run lasts."""

    mac: str | None = None
    serial: str | None = None
    firmware: str | None = None
    power_limit_w: float | None = None
    errors: tuple[MachineError, ...] = ()


class PyasicMiner:
    """One machine that the library reads. Identified once, again after another machine or nothing readable answers."""

    def __init__(self, host: str, deadline_s: float, credential: Credential | None = None) -> None:
        self._host = host
        self._deadline_s = deadline_s
        self._credential = credential
        self._miner: Any = None
        self._mac: str | None = None
        self._slow = Slow()
        self._run = Run()
        self._failing: set[str] = set()
        self._looks = 0
        self._deadline_at = 0.0  # of the look in progress, for the transport under the library

    async def read(self) -> MinerReading:
        """One look. Errors: PollError only; a calm empty answer of the library is one too."""
        now = asyncio.get_running_loop().time()
        deadline_at = now + self._deadline_s
        _visit.set(Visit(self._host, self._credential is not None))
        try:
            await _reach(self._host, deadline_at)
            miner = self._miner or await self._identify(deadline_at)
            reading = await self._look(miner, deadline_at)
            if self._looks % SLOW_EVERY and not self._run.goes_on(reading, now):
                self._looks = 0
                reading = await self._look(miner, deadline_at)
        except PollError as error:
            self._looks = 0  # another one may stand there next time: it is asked everything
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
        self._run.note(reading, now)
        self._looks += 1
        return reading

    async def _look(self, miner: Any, deadline_at: float) -> MinerReading:
        data = await self._get_data(miner, deadline_at)
        return to_reading(data, self._refreshed(data), is_framed=_is_framed(miner))

    async def aclose(self) -> None:
        """The library keeps no connection of ours; what it holds goes with the object."""
        self._forget()

    async def _identify(self, deadline_at: float) -> Any:
        library = _library()
        try:
            async with asyncio.timeout_at(deadline_at), gate():
                miner = await abandonable(library.identify(self._host), deadline_at)
        except TimeoutError:
            raise PollError(FaultKind.TIMEOUT, "not identified within the deadline") from None
        if miner is None:
            raise PollError(FaultKind.UNSUPPORTED, "answers, but is no machine that pyasic knows")
        library.harden(miner, self._credential, deadline_of=lambda: self._deadline_at)
        self._miner = miner
        return miner

    async def _get_data(self, miner: Any, deadline_at: float) -> Any:
        """One lean get_data. A field that fails discards the whole answer there, so it is left out and asked again
        without it; at the next slow round it gets another chance."""
        self._deadline_at = deadline_at
        asks_slow = self._looks % SLOW_EVERY == 0
        if asks_slow:
            self._failing.clear()
        while True:
            wanted = (*_LOOK, *_SLOW) if asks_slow else _LOOK
            fields = [field for field in wanted if field not in self._failing]
            try:
                return await abandonable(miner.get_data(include=fields), deadline_at)
            except PollError:
                raise
            except Exception as error:  # noqa: BLE001  the library lets KeyError, RecursionError, httpx errors ... out
                if (ours := _cause(error)) is not None:
                    raise ours from None
                failed = _FAILED_FIELD.match(str(error))
                if failed is None or failed[1] not in fields:
                    raise PollError(FaultKind.MALFORMED, f"library: {type(error).__name__}") from None
                self._failing.add(failed[1])

    def _refreshed(self, data: Any) -> Slow:
        """The slow answers, new at every tenth look. Errors: PollError IDENTITY for another machine."""
        if self._looks % SLOW_EVERY == 0:
            mac = normalise_mac(cgminer.text(data.mac))
            if mac is not None and self._mac is not None and mac != self._mac:
                raise PollError(FaultKind.IDENTITY, f"was {self._mac}, now {mac}")
            self._mac = mac or self._mac
            self._slow = Slow(
                mac=mac,
                serial=serial(data.serial_number),
                firmware=cgminer.text(data.fw_ver),
                power_limit_w=positive(data.wattage_limit),
                errors=tuple(_errors(data)),
            )
        return self._slow

    def _forget(self) -> None:
        self._miner = self._mac = None
        self._slow = Slow()
        self._run = Run()
        self._failing.clear()
        self._looks = 0


# --- the library's answer as a reading -----------------------------------------------------------------------------


def to_reading(data: Any, slow: Slow = Slow(), *, is_framed: bool = False) -> MinerReading:
    """A reading from pyasic's MinerData; pure. Zero watts, zero degrees and fields that are not finite are missing.

    `is_framed`: it comes from the API of WhatsMiner v3, where the library takes other numbers than from v2.
    """
    make, model, firmware = data.make or "", cgminer.text(data.model), data.firmware or STOCK
    kind = f"{make} v3" if is_framed else make if firmware == STOCK else firmware
    uptime_s = not_negative(data.uptime)
    hashrate_hs, window_s, key = _hashrate(data, kind, uptime_s)
    power_w = positive(data.wattage)
    pools = list(data.pools or ())
    pool = next((pool for pool in pools if pool.active), None)
    return MinerReading(
        driver=DRIVER,
        make=_MAKES.get(make, make or "unknown"),
        model=model,
        firmware=slow.firmware or firmware,
        mac=slow.mac,
        serial=slow.serial,
        algorithm="sha256" if data.algo == "SHA256" and make in _SHA256_MAKES and model else None,
        state=_state(hashrate_hs, uptime_s),
        hashrate_hs=hashrate_hs,
        hashrate_window_s=window_s,
        hashrate_key=None if hashrate_hs is None else f"{DRIVER}:{kind}.{key}",
        hashrate_now_hs=hashrate_hs if window_s == NOW_S else None,
        hashrate_expected_hs=_hashrate_hs(data.expected_hashrate) or None,
        reported_power_w=power_w,
        power_side=None if power_w is None else "model" if firmware in _TUNER_FIRMWARES else _POWER_SIDE.get(make),
        power_key=None if power_w is None else f"{DRIVER}:{kind}.wattage",
        power_limit_w=slow.power_limit_w,
        temperatures=tuple(_temperatures(data)),
        fans_rpm=tuple(not_negative(fan.speed) for fan in data.fans or ()),
        uptime_s=uptime_s,
        shares_accepted=_sum_of(pool.accepted for pool in pools),
        shares_rejected=_sum_of(pool.rejected for pool in pools),
        pool_host=cgminer.text(pool.url.host.lower()) if pool is not None and pool.url is not None else None,
        pool_alive=pool.alive if pool is not None else False if pools and not any(p.alive for p in pools) else None,
        errors=slow.errors,
        warnings=() if model else (GENERIC_MODEL,),
    )


def is_empty(reading: MinerReading) -> bool:
    """Whether the library read nothing and was calm about it. A zero hashrate without anything beside it is nothing."""
    return not reading.hashrate_hs and reading.reported_power_w is None and not reading.temperatures


def _hashrate(data: Any, kind: str, uptime_s: float | None) -> tuple[float | None, float | None, str]:
    """(H/s, window in s, whose number): the machine's own total before the sum of the boards, which hides a silent one.

    A window longer than the uptime is as long as the uptime.
    """
    total_hs, window_s = _hashrate_hs(data.raw_hashrate), _WINDOW_S.get(kind)
    if total_hs is not None:
        return total_hs, window_s if window_s is None or uptime_s is None else min(window_s, uptime_s), "hashrate"
    boards_hs = _hashrate_hs(data.hashrate)
    return boards_hs, uptime_s if boards_hs is not None and kind in _BOARDS_SINCE_START else None, "hashboards"


def _hashrate_hs(rate: Any) -> float | None:
    """H/s of the library's {rate, unit}; its unit's value is the factor."""
    value = None if rate is None else not_negative(rate.rate)
    return None if value is None else not_negative(value * int(rate.unit))


def _errors(data: Any) -> Iterator[MachineError]:
    """What the machine reports about itself; the library knows words for some codes, and codes for some words."""
    for error in (data.errors or ())[:MAX_ERRORS]:
        code, words = cgminer.text(error.error_code), cgminer.text(getattr(error, "error_message", None))
        if code is not None or words is not None:
            yield MachineError(code or "", words or "")


def _temperatures(data: Any) -> Iterator[Temperature]:
    """The library says 0 for a sensor that it does not know, and boards are never below freezing."""
    for board in data.hashboards or ():
        for sensor, said in ((Sensor.BOARD, board.temp), (Sensor.CHIP, board.chip_temp)):
            degrees = celsius(said)
            if degrees is not None and degrees > 0.0:
                yield Temperature(sensor, int(board.slot), degrees)
    air_c = celsius(data.env_temp)
    if air_c is not None:
        yield Temperature(Sensor.INLET, 0, air_c)


def _state(hashrate_hs: float | None, uptime_s: float | None) -> OperatingState:
    """From the hashrate alone: the library's `is_mining` says True where nobody answered."""
    if hashrate_hs is None:
        return OperatingState.UNKNOWN
    if hashrate_hs == 0.0:
        return OperatingState.IDLE
    return OperatingState.WARMING_UP if uptime_s is not None and uptime_s < WARM_UP_S else OperatingState.MINING


def _sum_of(counts: Iterator[object]) -> float | None:
    """Total over the pools that count shares; None where none does."""
    known = [count for count in map(not_negative, counts) if count is not None]
    return sum(known) if known else None


# --- keeping the library within bounds ----------------------------------------------------------------------------

_FAILED_FIELD = re.compile(r"Failed to call (\w+) on ")


def _cause(error: BaseException | None) -> PollError | None:
    """The PollError of our own transport that the library wrapped into an error of its own."""
    for _ in range(8):
        if error is None or isinstance(error, PollError):
            break
        error = error.__cause__ or error.__context__
    return error if isinstance(error, PollError) else None


def _is_framed(miner: Any) -> bool:
    return miner.rpc is not None and miner.rpc.port == FRAMED_PORT


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


_visit: ContextVar[Visit | None] = ContextVar("visit", default=None)


class _Door(httpx.AsyncBaseTransport):
    """The library's way to every web page. What may not pass is answered 403 here, and nobody is connected to."""

    def __init__(self, way: httpx.AsyncBaseTransport) -> None:
        self._way = way

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        target = request.url.raw_path.decode("ascii", errors="replace")
        if not may_pass(
            request.method, request.url.host, target, request.headers.keys(), request.content, _visit.get()
        ):
            return httpx.Response(403, request=request)
        request.headers["accept-encoding"] = "identity"
        response = await self._way.handle_async_request(request)
        response.headers.pop("content-encoding", None)  # nobody asked for it, and it may unfold to gigabytes
        assert isinstance(response.stream, httpx.AsyncByteStream)
        response.stream = _Bounded(response.stream)
        return response

    async def aclose(self) -> None:
        await self._way.aclose()


class _Bounded(httpx.AsyncByteStream):
    """The body of an answer, at most MAX_ANSWER_BYTES of it."""

    def __init__(self, stream: httpx.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = MAX_ANSWER_BYTES
        async for chunk in self._stream:
            left -= len(chunk)
            if left < 0:
                raise httpx.ReadError("longer than any honest answer")
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()


class _Library:
    """pyasic, loaded once, with its doors closed: no factory login, no redirect, no log line, no default password."""

    def __init__(self) -> None:
        root = logging.getLogger()
        handlers, level = root.handlers[:], root.level
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from pyasic import settings
            from pyasic.miners.factory import MinerFactory
        root.handlers[:], root.level = handlers, level  # importing it configures the root logger
        root.addFilter(_is_not_of_pyasic)
        for name in ("httpx", "httpcore", "asyncssh", "pyasic", "grpclib"):
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
        warnings.filterwarnings("ignore", module=r"pyasic(\.|$)")

        for name in (*type(settings._settings).model_fields, *_UNDECLARED_PASSWORDS):
            if name.endswith("_password"):
                settings.update(name, "")
        settings.update("factory_get_timeout", int(IDENTIFY_STEP_S))
        plain_transport = settings.transport
        settings.transport = lambda *args, **options: _Door(plain_transport(*args, **options))

        self._factory = MinerFactory()
        self._factory._socket_ping = _socket_ping
        self._factory.send_api_command = _send_api_command
        self._factory._socket_ping_btminer_v3 = _socket_ping_v3
        self._factory.send_btminer_v3_api_command = _send_v3_command
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
        if miner.ssh is not None:
            miner.ssh.send_command = _nothing
        if credential is None and getattr(miner.web, "port", None) == GRPC_PORT:
            miner.web.send_command = _nothing  # every question of this client begins with a login
        rpc, is_framed = miner.rpc, _is_framed(miner)
        if rpc is None:
            return
        one_at_a_time = asyncio.Lock()

        async def send_bytes(data: bytes, *, port: int | None = None, timeout: float = 0.0) -> bytes:  # noqa: ASYNC109
            if port not in (None, rpc.port) or _WRITES.search(data):
                raise PollError(FaultKind.UNSUPPORTED, "the library wanted to write")
            async with one_at_a_time:
                if is_framed:
                    return await exchange_framed(str(rpc.ip), FRAMED_PORT, data[LENGTH_BYTES:], deadline_of())
                return await exchange_bytes(str(rpc.ip), rpc.port, data, deadline_of())

        rpc._send_bytes = send_bytes
        if not is_framed:
            rpc._load_api_data = _load_api_data


_WRITES = re.compile(rb'"(?:enc|token)"|"(?:command|cmd)"\s*:\s*"(?:get_token|set)')


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
    """An object in any case: on None the library forgets to look at port 4433."""
    try:
        return cgminer.decode(await _ask(host, command) or b"")
    except PollError:
        return {}


async def _ask(host: str, command: str) -> bytes | None:
    deadline_at = asyncio.get_running_loop().time() + IDENTIFY_STEP_S
    try:
        return await exchange_bytes(host, RPC_PORT, cgminer.encode(command), deadline_at)
    except PollError:
        return None


async def _socket_ping_v3(host: str, command: str) -> str | None:
    deadline_at = asyncio.get_running_loop().time() + IDENTIFY_STEP_S
    try:
        payload = await exchange_framed(host, FRAMED_PORT, orjson.dumps({"cmd": command}), deadline_at)
    except PollError:
        return None
    return payload.decode("utf-8", errors="replace")


async def _send_v3_command(host: str, command: str) -> dict[str, Any]:
    value = _object(await _socket_ping_v3(host, command) or "")
    return {} if value is None else value


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
    # miners sign their own certificates; a proxy of the environment is none of theirs
    async with httpx.AsyncClient(verify=False, trust_env=False) as session:  # noqa: S501
        page, response = await _web_ping(session, f"http://{host}{location}")
    if page is None or response is None or response.status_code != 200:
        return None
    return _object(page)


def _object(text: str) -> dict[str, Any] | None:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


async def _no_model(host: str) -> str | None:
    return None


async def _nothing(*args: object, **options: object) -> None:
    """In place of what would log in."""
