"""WhatsMiner, API v1 and v2 (TCP 4028): `summary+devs` in one connection at every look.

The firmware joins its cgminer commands, so boards and, at every tenth look, pools travel with the summary for the price
of one connection. `status` does not join: it holds only words about what the hashrate shows at once, so it is asked at
every tenth look. A machine that is stopped is therefore `idle` within one look, and `sleeping` as soon as it says so.

Firmware of API v3 answers here, too, in other shapes: the summary is the `Msg`, rates of boards are in TH/s under the
same names, shares are counted per pool alone.

Money is counted on `MHS 5m`. Some v2 firmware has no windows but `HS RT`, which is nearly that number: it equals
`MHS 5m` to the last digit in most firmware that says both, and is 0.3 % off in some, so it is taken as a rate of 5
minutes, with a warning. `Power` is the input side: firmware that tells volts and amperes of its mains shows the same
watts within 1 %, and 11.80 V x 261 A, a DC output, are 90 % of it. `Factory GHS` is what a healthy machine does;
`Target MHS` is a floor of the tuner that machines are 3 to 10 % above.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from collectors.miners import cgminer, evidence, makes, pools, whatsminer_errors
from collectors.miners.make import Ask, Excuse, Make, Said, When, shared
from collectors.miners.nested import Fields
from fleet.ports import PollError
from fleet.readings import Board, FaultKind, MachineError, MinerReading, Sensor, Temperature
from fleet.site import normalise_mac
from fleet.units import GIGA, MEGA, TERA

KEY = "whatsminer"
NAME = "WhatsMiner"

WINDOW_ASSUMED = "hashrate_window_assumed"
BOARDS_MISSING = "boards_missing"

MAX_BOARDS = 16  # the largest machines have 4

_HALF_WAY = 1000.0  # between MH/s and TH/s

_WINDOWS = evidence.MHS_WINDOWS
_NUMBERS = ("Slot", "ASC", "ID")  # of a board
_REALTIME = "HS RT"
_WITHOUT_WINDOWS = ((_REALTIME, 300.0), *_WINDOWS)
_ERROR_KEYS = tuple(f"Error Code {i}" for i in range(whatsminer_errors.MAX_ERRORS))


# --- what a type name says ---------------------------------------------------------------------------------------


class Model(NamedTuple):
    """A model as people call it, and what that proves: the algorithm, and whether it is cooled without fans."""

    name: str
    algorithm: str | None
    is_liquid: bool


# The second digit is the cooling: 3 hydro (M33, M53, M63), 6 immersion (M36, M56, M66), else air.
_LIQUID = re.compile(r"M[0-9][36](?![0-9])", re.IGNORECASE)


def model_of(said: object) -> Model | None:
    """`M50S++_VK30` -> `M50S++ VK30`; None where nothing is said."""
    text = cgminer.text(said)
    return None if text is None else _model_of(text)


@lru_cache(maxsize=1024)
def _model_of(text: str) -> Model | None:
    name = re.sub(r"(?i)^whatsminer[\s_]*", "", text.replace("_", " ")).strip()
    if not name:
        return None
    return Model(sys.intern(name), "sha256" if makes.is_sha256_whatsminer(name) else None, bool(_LIQUID.match(name)))


# --- small things that are kept between looks --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Status:
    """What `status` says beside the hashrate. `is_liquid`: it knows the temperature of a coolant."""

    is_off: bool | None
    mode: str | None
    firmware: str | None
    is_liquid: bool = False


@dataclass(frozen=True, slots=True)
class Version:
    firmware: str | None
    model: Model | None


@dataclass(frozen=True, slots=True)
class Identity:
    mac: str | None
    serial: str | None
    hostname: str | None


@dataclass(frozen=True, slots=True)
class CountedPools(pools.Pools):
    """Pools of firmware that counts shares for each of them and nowhere else: the sums."""

    accepted: float | None = None
    rejected: float | None = None
    stale: float | None = None


_NO_STATUS = Status(None, None, None)
_NO_VERSION = Version(None, None)
_NO_IDENTITY = Identity(None, None, None)
NO_POOLS = pools.Pools(None, None, 0)


def _message(reply: Fields) -> Fields:
    said = reply.get("Msg")
    return said if isinstance(said, dict) else {}


def _status(reply: Fields) -> Status:
    said = _message(reply)
    return shared(
        Status(
            is_off=cgminer.flag(said.get("mineroff", said.get("btmineroff"))),
            mode=cgminer.text(said.get("power_mode")),
            firmware=_firmware(said.get("FirmwareVersion", said.get("Firmware Version"))),
            is_liquid=evidence.celsius(said.get("liquid_temp")) is not None,
        )
    )


def _pools(reply: Fields) -> pools.Pools:
    """Where rows weigh their shares, the summary counts them, too; else they are counted here."""
    found, rows = pools.digest(reply), cgminer.section(reply, "POOLS")
    if not rows or "Difficulty Accepted" in rows[0]:
        return found
    accepted, rejected, stale = (
        evidence.whole(row.get(key) for row in rows) for key in ("Accepted", "Rejected", "Stale")
    )
    return CountedPools(found.host, found.is_alive, found.count, found.others, accepted, rejected, stale)


def _version(reply: Fields) -> Version:
    said = _message(reply)
    return shared(Version(_firmware(said.get("fw_ver")), model_of(said.get("miner_type"))))


def _details(reply: Fields) -> Model | None:
    rows = cgminer.section(reply, "DEVDETAILS")
    return next((model for row in rows if (model := model_of(row.get("Model"))) is not None), None)


def _identity(reply: Fields) -> Identity:
    said = _message(reply)
    return Identity(
        normalise_mac(cgminer.text(said.get("mac"))),
        evidence.serial(said.get("minersn")),
        cgminer.text(said.get("hostname")),
    )


def _errors(reply: Fields) -> tuple[MachineError, ...]:
    return whatsminer_errors.listed(_message(reply).get("error_code"))


def _firmware(said: object) -> str | None:
    """`'20210322.22.REL'` comes in quotes of its own."""
    text = cgminer.text(said)
    return None if text is None else _bare_version(text)


@lru_cache(maxsize=256)  # a fleet has few versions, and every look tells one: kept once for all
def _bare_version(text: str) -> str | None:
    return text.strip("' \"") or None


# --- the reading -------------------------------------------------------------------------------------------------


def read(said: Said) -> MinerReading:
    """One look. Errors: PollError of a summary that did not come; MALFORMED where nothing is in it.

    A machine that says it is switched off need not say more.
    """
    totals, rows = _totals(said), _rows(said)
    status: Status = said.get("status", _NO_STATUS)
    if not totals and not rows and not status.is_off:
        raise said.faults.get("summary") or PollError(FaultKind.MALFORMED, "summary: nothing in it")
    pool: pools.Pools = said.get("pools", NO_POOLS)
    if "Accepted" not in totals and isinstance(pool, CountedPools):
        totals = {**totals, "Accepted": pool.accepted, "Rejected": pool.rejected, "Stale": pool.stale}
    get = totals.get
    version: Version = said.get("get_version", _NO_VERSION)
    identity: Identity = said.get("get_miner_info", _NO_IDENTITY)
    model: Model | None = said.get("devdetails") or model_of(get("Miner Type")) or version.model

    uptime_s = evidence.not_negative(get("Elapsed"))
    now_hs = evidence.scaled(get("MHS 5s"), MEGA)
    if now_hs is None:
        now_hs = evidence.scaled(get(_REALTIME), MEGA)
    warnings: list[str] = []
    windows = _WINDOWS if "MHS 5m" in totals or "MHS 15m" in totals else _WITHOUT_WINDOWS
    money = evidence.counted(evidence.usable(totals, MEGA, windows, uptime_s), now_hs, uptime_s, warnings)
    if money is not None and money.key == _REALTIME:
        warnings.append(WINDOW_ASSUMED)
    if not rows:
        warnings.append(BOARDS_MISSING)
    if pool is NO_POOLS:
        warnings.append(pools.POOLS_MISSING)
    if pool.others:
        warnings.append(pools.SEVERAL_HOSTS)

    power_key, power_w = "Power", evidence.positive(get("Power"))
    if power_w is None:
        power_key, power_w = "Power_RT", evidence.positive(get("Power_RT"))
    errors = _all_errors(totals, said.get("get_error_code"))
    return MinerReading(
        driver=KEY,
        make=NAME,
        model=None if model is None else model.name,
        firmware=_firmware(get("Firmware Version")) or version.firmware or status.firmware,
        mac=normalise_mac(cgminer.text(get("MAC"))) or identity.mac,
        serial=identity.serial,
        hostname=identity.hostname,
        algorithm=None if model is None else model.algorithm,
        state=evidence.state(
            now_hs,
            None if money is None else money.hs,
            uptime_s,
            is_asleep=status.is_off,
            is_ramping=_is_ramping(totals, rows),
            has_pool=None if pool is NO_POOLS else pool.has_work,
            has_error=bool(errors),
        ),
        hashrate_hs=None if money is None else money.hs,
        hashrate_window_s=None if money is None else money.window_s,
        hashrate_key=None if money is None else money.key,
        hashrate_now_hs=now_hs,
        hashrate_expected_hs=evidence.scaled(evidence.positive(get("Factory GHS")), GIGA)
        or evidence.scaled(evidence.positive(get("Target MHS")), MEGA),
        reported_power_w=power_w,
        power_side=None if power_w is None else "ac",
        power_key=None if power_w is None else power_key,
        power_limit_w=evidence.positive(get("Power Limit")),
        mode=cgminer.text(get("Power Mode")) or status.mode,
        temperatures=_temperatures(totals, rows, said.get("get_psu")),
        fans_rpm=fans(
            get("Fan Speed In"),
            get("Fan Speed Out"),
            is_liquid=bool(cgminer.flag(get("Liquid Cooling")))
            or status.is_liquid
            or (model is not None and model.is_liquid),
        ),
        uptime_s=uptime_s,
        shares_accepted=evidence.not_negative(get("Accepted")),
        shares_rejected=evidence.not_negative(get("Rejected")),
        shares_stale=evidence.not_negative(get("Stale")),
        difficulty_accepted=evidence.not_negative(get("Difficulty Accepted")),
        difficulty_rejected=evidence.not_negative(get("Difficulty Rejected")),
        pool_host=pool.host,
        pool_alive=pool.is_alive,
        errors=errors,
        boards=tuple(_boards(totals, rows)) if said.is_deep else (),
        warnings=tuple(warnings),
    )


def _totals(said: Said) -> Fields:
    """The summary: a section of its own, or the message of firmware that speaks API v3 on its other port."""
    reply = said.get("summary")
    rows = cgminer.section(reply, "SUMMARY")
    return rows[0] if rows else _message(reply) if reply else {}


def _rows(said: Said) -> list[tuple[int, Fields]]:
    """Boards with the number that the machine gives them, else their position; `edevs` is v2's other word for them."""
    for name in ("devs", "edevs"):
        if rows := cgminer.section(said.get(name), "DEVS")[:MAX_BOARDS]:
            return [(board_number(row, _NUMBERS, i), row) for i, row in enumerate(rows)]
    return []


def _all_errors(totals: Fields, told: Iterable[MachineError] | None) -> tuple[MachineError, ...]:
    """Those in the summary, then those of `get_error_code` that it does not name: v2 has them there alone."""
    count = cgminer.integer(totals.get("Error Code Count")) or 0
    if count <= 0 and not told:
        return ()
    summed = whatsminer_errors.listed([totals.get(key) for key in _ERROR_KEYS[: max(count, 0)]])
    codes = {error.code for error in summed}
    return (*summed, *(error for error in told or () if error.code not in codes))


def _is_ramping(totals: Fields, rows: Sequence[tuple[int, Fields]]) -> bool | None:
    """Whether the tuner still raises the frequency. A board without chips never gets there and does not count."""
    stable = cgminer.flag(totals.get("Hash Stable"))
    if stable:
        return False
    done = [
        cgminer.flag(row.get("Upfreq Complete")) for _, row in rows if cgminer.number(row.get("Effective Chips")) != 0.0
    ]
    told = [word for word in (done or [cgminer.flag(totals.get("Upfreq Complete"))]) if word is not None]
    if told:
        return not all(told)
    return None if stable is None else True


_BOARD, _CHIP, _INLET = Sensor.BOARD, Sensor.CHIP, Sensor.INLET
_CHIP_HEAT = "Chip Temp Max"


def _temperatures(totals: Fields, rows: Sequence[tuple[int, Fields]], psu: object) -> tuple[Temperature, ...]:
    """Hottest board and chip of each board; what is told of the machine alone, at place 0."""
    heat = evidence.Heat()
    places = evidence.board_indices([number for number, _ in rows])
    for number, row in rows or ((0, totals),):
        place = places.get(number, 0)
        heat.feel(_BOARD, place, row.get("Temperature"))
        heat.feel(_CHIP, place, row.get(_CHIP_HEAT))
    if rows and _CHIP_HEAT not in rows[0][1] and not any(_CHIP_HEAT in row for _, row in rows):
        heat.feel(_CHIP, 0, totals.get(_CHIP_HEAT))
    heat.feel(_INLET, 0, totals.get("Env Temp"))
    if isinstance(psu, dict):
        heat.feel(Sensor.PSU, 0, _message(psu).get("temp0"))
    return heat.temperatures()


def _boards(totals: Fields, rows: Sequence[tuple[int, Fields]]) -> Iterator[Board]:
    unit_hs = _unit_hs(totals, [row for _, row in rows])
    for number, row in rows:
        uptime_s = evidence.not_negative(row.get("Device Elapsed", totals.get("Elapsed")))
        rate = evidence.money(evidence.rates(row, unit_hs, _WINDOWS), uptime_s)
        yield Board(
            id=str(number),
            hashrate_hs=None if rate is None else rate.hs,
            hashrate_window_s=None if rate is None else rate.window_s,
            hashrate_expected_hs=evidence.scaled(evidence.positive(row.get("Factory GHS")), GIGA),
            chips=cgminer.integer(evidence.not_negative(row.get("Effective Chips"))),
            frequency_hz=evidence.scaled(evidence.positive(row.get("Chip Frequency", row.get("Frequency"))), MEGA),
            hardware_errors=evidence.not_negative(row.get("Hardware Errors")),
            serial=cgminer.text(row.get("PCB SN")),
        )


def _unit_hs(totals: Fields, rows: Sequence[Fields]) -> float:
    """The unit in which the boards tell `MHS`: firmware of API v3 puts TH/s there, and MH/s in the summary alone.

    The two are a million apart, so what all boards make together shows it, even where some of them are missing.
    """
    for key, _ in _WINDOWS:
        whole, parts = evidence.positive(totals.get(key)), evidence.total(row.get(key) for row in rows)
        if whole and parts:
            return TERA if whole / parts > _HALF_WAY else MEGA
    return MEGA


# --- what both generations of the API share ----------------------------------------------------------------------


def board_number(row: Fields, keys: Iterable[str], position: int) -> int:
    """The machine's own number of a board, else its position."""
    for key in keys:
        said = row.get(key)
        number = said if type(said) is int else cgminer.integer(said)  # no bool, which is an int, too
        if number is not None and 0 <= number < 256:
            return number
    return position


def fans(intake: object, exhaust: object, *, is_liquid: bool) -> tuple[float | None, ...]:
    """Speeds of intake and exhaust fan. A machine cooled by liquid has none and reports zeros; the fan of the power
    supply is not among them."""
    speeds = (evidence.not_negative(intake), evidence.not_negative(exhaust))
    if speeds == (None, None) or (is_liquid and not any(speeds)):
        return ()
    return speeds


def _extra(name: str, when: When, digest: Callable[[Any], Any] | None = None, *, joins: bool = False) -> Ask:
    return Ask(name, name, when=when, is_needed=False, joins=joins, digest=digest)


MAKE = Make(
    key=KEY,
    name=NAME,
    asks=(
        Ask("summary", "summary", joins=True),
        _extra("devs", When.EVERY, joins=True),
        _extra("pools", When.SLOW, _pools, joins=True),
        _extra("devdetails", When.ONCE, _details, joins=True),
        _extra("get_version", When.ONCE, _version),
        _extra("get_miner_info", When.ONCE, _identity),
        _extra("status", When.SLOW, _status),
        _extra("get_error_code", When.SLOW, _errors),
        _extra("edevs", When.DEEP, joins=True),
        _extra("get_psu", When.DEEP),
    ),
    read=read,
    excuse=Excuse("status", lambda status: status.is_off is True),
)
