"""LuxOS on port 4028: one connection carries the whole look, because this firmware takes joined commands.

What it says of itself needs care. `stats` is a copy of the stock layout with other meanings (its board rates are
averages since the start, its total is one board's), so the rates come from `summary` and `devs` alone. The watts are
the tuner's model unless `power` says that the supply measures. Boards come unordered, and most have no chip sensor:
the chip temperatures of `stats` repeat the board's. Several pools get work at once where there are groups.

`events` lists what is wrong now, and which order or start keeps the machine from hashing; what is over leaves it.

Rates and watts are asked at every look. Boards, fans, sensors and settings are most of the bytes and change slowly, so
they come with the pools at every tenth, and when the machine stops or begins to hash; only what the reading needs of
them is kept. The whole boards are asked for once more where somebody wants everything.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from collectors.miners import cgminer, evidence, hardware, pools, presets
from collectors.miners.cgminer import flag, integer, section, text
from collectors.miners.make import Ask, Make, Said, When, shared
from collectors.miners.nested import MAX_ROWS, NOTHING, Fields
from fleet.ports import PollError
from fleet.readings import Board, FaultKind, MachineError, MinerReading, Preset, Sensor, Temperature
from fleet.site import normalise_mac
from fleet.units import GIGA, MEGA

MAX_ID_CHARS = 16

_MAX_KEPT = 32  # boards or fans that are kept between looks: an honest machine has 4 of each

_WINDOWS = (("GHS 5m", 300.0), ("GHS 15m", 900.0), ("GHS 30m", 1800.0), ("GHS 1m", 60.0), ("GHS av", 0.0))
_BOARD_WINDOWS = (("MHS 5m", 300.0), ("MHS 15m", 900.0), ("MHS 30m", 1800.0), ("MHS 1m", 60.0), ("MHS av", 0.0))


# --- what is kept between looks ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sensed:
    """The hottest of each place, `index` being the machine's own number of the board.

    `numbers` are those of all boards told, in order; `is_whole`: each of them has its temperature; `is_far`: one of
    them is no column of its own.
    """

    numbers: tuple[int, ...]
    temperatures: tuple[Temperature, ...]
    is_whole: bool
    is_far: bool


@dataclass(frozen=True, slots=True)
class Boards:
    """What `devs` says of all boards together. `expected_hs` is their nominal rate at the profile that runs."""

    sensed: Sensed
    is_ramping: bool
    expected_hs: float | None
    errors: tuple[MachineError, ...]


_NO_SENSORS = Sensed((), (), is_whole=False, is_far=False)
_NO_BOARDS = Boards(_NO_SENSORS, is_ramping=False, expected_hs=None, errors=())


def _boards_together(reply: Fields) -> Boards:
    rows = _rows(reply, "DEVS")[:_MAX_KEPT]
    heat, boards = evidence.Heat(), [_board_of(row) for row in rows]
    for row, board in zip(rows, boards, strict=True):
        if (Sensor.BOARD, board) not in heat:
            heat.feel(Sensor.BOARD, board, row.get("Temperature"))
    return Boards(
        _sensed(boards, heat),
        is_ramping=any(flag(row.get("IsRamping")) for row in rows),
        # The nameplate in `config` is what the machine was sold for, at another profile.
        expected_hs=evidence.whole((row.get("Nominal MHS") for row in rows), MEGA) or None,
        errors=_errors(rows),
    )


def _sensors(reply: Fields) -> Sensed:
    """Every sensor of `temps`, as its label says."""
    rows = _rows(reply, "TEMPS")[:_MAX_KEPT]
    labels = cgminer.row(reply, "METADATA")
    heat, boards = evidence.Heat(), [_board_of(row) for row in rows]
    for row, board in zip(rows, boards, strict=True):
        for key, value in row.items():
            if key not in ("ID", "TEMP"):
                heat.feel(_sensor(key, labels.get(key)), board, value)
    return _sensed(boards, heat)


def _sensed(boards: Iterable[int | None], heat: evidence.Heat) -> Sensed:
    numbers = tuple(sorted({number for number in boards if number is not None}))
    return Sensed(
        numbers,
        heat.temperatures(),
        is_whole=all((Sensor.BOARD, number) in heat for number in numbers),
        is_far=bool(numbers) and numbers[-1] > 3,
    )


def _sensor(key: str, label: object) -> Sensor:
    return _sensor_of((text(label.get("Label")) if isinstance(label, dict) else None) or key)


@lru_cache(maxsize=64)
def _sensor_of(words: str) -> Sensor:
    """ "Water Inlet" and "Chip (Max)" are what they say; "Board Inlet" is a place on the board, not the air."""
    words = words.lower()
    if words.startswith("water"):
        return Sensor.OUTLET if "outlet" in words else Sensor.INLET
    return Sensor.CHIP if words.startswith("chip") else Sensor.BOARD


def _errors(devs: tuple[Fields, ...]) -> tuple[MachineError, ...]:
    """Boards that are not alive, unless a person has switched them off."""
    return tuple(
        MachineError(f"board_{_id_of(row)}", f"board {_id_of(row)}: {word}")
        for row in devs
        if (word := text(row.get("Status"))) is not None
        and word.lower() in ("dead", "sick", "nostart")
        and not flag(row.get("IsUserShutdown"))
    )


class Events(NamedTuple):
    """What `events` says of the machine now."""

    errors: tuple[MachineError, ...] = ()
    is_asleep: bool = False
    is_starting: bool = False


_NO_EVENTS = Events()
_ASLEEP = ("SLEEP", "IDLE")
_STARTING = "REBOOT_SYSINIT"
_NO_FAULTS = (*_ASLEEP, _STARTING, "REBOOT_USER", "SHUTDOWN_USER", "NO_ACTIVE_POOLS")


def _events(reply: Fields) -> Events:
    """By their codes; one that we do not know is an error, as most are. A board, a fan or the like has its number."""
    rows = _rows(reply, "EVENTS")[:_MAX_KEPT]
    if not rows:
        return _NO_EVENTS
    told = [((text(row.get("Code")) or "unknown").upper(), row) for row in rows]
    return Events(
        tuple(_event(code, row) for code, row in told if code not in _NO_FAULTS),
        is_asleep=any(code in _ASLEEP for code, _ in told),
        is_starting=any(code == _STARTING for code, _ in told),
    )


def _event(code: str, row: Fields) -> MachineError:
    words, number = text(row.get("Description")) or code, text(row.get("ID"), MAX_ID_CHARS)
    if number is None:
        return MachineError(code, words)
    part = (text(row.get("Target"), MAX_ID_CHARS) or "part").lower()
    return MachineError(f"{code} {number}", f"{part} {number}: {words}")


def _fans(reply: Fields) -> tuple[float | None, ...]:
    return tuple(evidence.not_negative(row.get("RPM")) for row in _rows(reply, "FANS")[:_MAX_KEPT])


def _presets(reply: Fields) -> tuple[Preset, ...]:
    """Profiles, which `config` names as the one in force. One that does not say that it is tuned is not."""
    return presets.listed(
        presets.preset(row.get("Profile Name"), row.get("Hashrate"), row.get("Watts"), bool(flag(row.get("IsTuned"))))
        for row in _rows(reply, "PROFILES")
    )


@dataclass(frozen=True, slots=True)
class Settings:
    """What `config` says of the machine and of what it was told to do. None = not said."""

    machine: hardware.Hardware = hardware.UNNAMED
    mac: str | None = None
    serial: str | None = None
    hostname: str | None = None
    mode: str | None = None
    power_limit_w: float | None = None
    is_asleep: bool | None = None
    is_starting: bool = False


_NO_SETTINGS = Settings()


def _settings(reply: Fields) -> Settings:
    said = cgminer.row(reply, "CONFIG")
    curtailed = (text(said.get("CurtailMode")) or "").lower()
    return Settings(
        machine=hardware.named(said.get("Model")),
        mac=normalise_mac(text(said.get("MACAddr"))),
        serial=evidence.serial(said.get("SerialNumber")),
        hostname=text(said.get("Hostname")),
        mode=cgminer.word(said.get("Profile")),
        power_limit_w=evidence.positive(said.get("ActualPowerTarget")),
        is_asleep=_CURTAILED.get(curtailed),
        is_starting=bool(flag(said.get("IsTuning")))
        or curtailed == "wakeup"
        or (text(said.get("SystemStatus")) or "").lower().startswith("init"),
    )


_CURTAILED = {"none": False, "sleep": True, "idle": True, "wakeup": False}
"""`CurtailMode` is "None" awake, "Sleep" curtailed and "WakeUp" between; another word is not one that we know."""


def _identity(reply: Fields) -> tuple[str | None, str | None]:
    """(firmware version, model) of a `version` reply. Older firmware names the stock program of the machine for
    `Miner`, `uart_trans.1.3`; a version of its own begins with the year."""
    fields = cgminer.row(reply, "VERSION")
    miner, program = text(fields.get("Miner")), text(fields.get("LUXminer"))
    is_own = miner is not None and miner[0].isdigit()
    return shared((miner if is_own or program is None else program, text(fields.get("Type"))))


# --- the reading -------------------------------------------------------------------------------------------------


def read(said: Said) -> MinerReading:
    """One look. Errors: PollError MALFORMED where no answer of this look has fields; boards of an earlier one are no
    answer."""
    summary = cgminer.row(said.get("summary"), "SUMMARY")
    settings: Settings = said.get("config", _NO_SETTINGS)
    devs = _rows(said.get("boards"), "DEVS") if said.is_deep else ()
    if not (summary or devs):
        raise PollError(FaultKind.MALFORMED, "summary is empty")
    warnings: list[str] = []

    uptime_s = evidence.not_negative(summary.get("Elapsed"))
    now_hs = evidence.scaled(summary.get("GHS 5s"), GIGA)
    rates = evidence.usable(summary, GIGA, _WINDOWS, uptime_s)
    money = evidence.trusted(evidence.money(rates, uptime_s), now_hs, warnings)
    if uptime_s is None:
        warnings.append(evidence.UPTIME_UNKNOWN)

    version: tuple[str | None, str | None] = said.get("version", (None, None))
    machine = settings.machine
    if machine is hardware.UNNAMED:
        machine = hardware.named(version[1])
    power = cgminer.row(said.get("power"), "POWER")
    watts = evidence.positive(power.get("Watts"))
    known_pools: pools.Pools | None = said.get("pools")
    if known_pools is None:
        warnings.append(pools.POOLS_MISSING)
    elif known_pools.others:
        warnings.append(pools.SEVERAL_HOSTS)
    boards: Boards = said.get("devs", _NO_BOARDS)
    events: Events = said.get("events", _NO_EVENTS)
    errors = boards.errors + events.errors
    return MinerReading(
        driver="luxos",
        make=machine.make,
        model=machine.model,
        firmware=version[0],
        mac=settings.mac,
        serial=settings.serial,
        hostname=settings.hostname,
        algorithm=machine.algorithm,
        state=evidence.state(
            now_hs,
            money.hs if money else None,
            uptime_s,
            is_asleep=settings.is_asleep or events.is_asleep,
            is_ramping=_is_ramping(settings, boards, events, is_hashing=bool(now_hs or (money and now_hs is None))),
            has_error=bool(errors),
        ),
        hashrate_hs=money.hs if money else None,
        hashrate_window_s=money.window_s if money else None,
        hashrate_key=money.key if money else None,
        hashrate_now_hs=now_hs,
        hashrate_expected_hs=boards.expected_hs,
        reported_power_w=watts,
        power_side=None if watts is None else "ac" if flag(power.get("PSU")) else "model",
        power_key=None if watts is None else "Watts",
        power_limit_w=settings.power_limit_w,
        mode=settings.mode,
        presets=said.get("profiles", ()),
        temperatures=_temperatures(said.get("temps", _NO_SENSORS), boards.sensed),
        fans_rpm=said.get("fans", ()),
        uptime_s=uptime_s,
        shares_accepted=evidence.not_negative(summary.get("Accepted")),
        shares_rejected=evidence.not_negative(summary.get("Rejected")),
        shares_stale=evidence.not_negative(summary.get("Stale")),
        difficulty_accepted=evidence.not_negative(summary.get("Difficulty Accepted")),
        difficulty_rejected=evidence.not_negative(summary.get("Difficulty Rejected")),
        pool_host=known_pools.host if known_pools else None,
        pool_alive=known_pools.is_alive if known_pools else None,
        errors=errors,
        boards=tuple(_each_board(said, devs)) if devs else (),
        warnings=tuple(warnings),
    )


def _is_ramping(settings: Settings, boards: Boards, events: Events, *, is_hashing: bool) -> bool | None:
    """A board that ramps says so. The tuner works on machines that hash at full rate, too: what settings and events say
    tells of a start only where nothing is hashed. None = nothing says that it starts."""
    if boards.is_ramping:
        return True
    if is_hashing:
        return None
    return True if settings.is_starting or events.is_starting else None


def _temperatures(temps: Sensed, devs: Sensed) -> tuple[Temperature, ...]:
    """`temps` where it is answered; boards that it does not have from `devs`."""
    if temps.is_whole and temps.numbers == devs.numbers:
        found = temps.temperatures
    else:
        known = {place.index for place in temps.temperatures if place.sensor is Sensor.BOARD}
        found = temps.temperatures + tuple([place for place in devs.temperatures if place.index not in known])
    if not temps.is_far and not devs.is_far:
        return found
    index = evidence.board_indices(temps.numbers + devs.numbers)
    return tuple(
        Temperature(place.sensor, index[place.index], place.celsius)
        if place.sensor in (Sensor.BOARD, Sensor.CHIP)
        else place
        for place in found
    )


# --- boards ------------------------------------------------------------------------------------------------------


def _each_board(said: Said, devs: tuple[Fields, ...]) -> Iterator[Board]:
    """By ID. `stats` numbers the same boards from 1."""
    stats = _rows(said.get("stats"), "STATS")
    details = stats[-1] if stats else NOTHING
    for row in sorted(devs, key=_order):
        place = _order(row) + 1
        uptime_s = evidence.not_negative(row.get("Device Elapsed"))
        rate = evidence.money(evidence.rates(row, MEGA, _BOARD_WINDOWS), uptime_s)
        yield Board(
            id=_id_of(row),
            hashrate_hs=rate.hs if rate else None,
            hashrate_window_s=rate.window_s if rate else None,
            hashrate_expected_hs=evidence.scaled(evidence.positive(row.get("Nominal MHS")), MEGA),
            chips=integer(details.get(f"chain_acn{place}")),
            frequency_hz=evidence.scaled(evidence.positive(details.get(f"freq{place}")), MEGA),
            voltage_v=evidence.positive(cgminer.row(said.get(f"voltageget_{place - 1}"), "VOLTAGE").get("Voltage")),
            hardware_errors=evidence.not_negative(row.get("Hardware Errors")),
            serial=text(row.get("SerialNumber")),
        )


def _board_of(row: Fields) -> int | None:
    """The number of a board; None where the row has none."""
    number = integer(row.get("ID"))
    return None if number is None or number < 0 else number


def _order(row: Fields) -> int:
    number = integer(row.get("ID"))
    return -1 if number is None else number


def _id_of(row: Fields) -> str:
    return text(row.get("ID"), MAX_ID_CHARS) or ""


# --- replies -----------------------------------------------------------------------------------------------------


def _rows(reply: object, key: str) -> tuple[Fields, ...]:
    return section(reply, key)[:MAX_ROWS]


MAKE = Make(
    key="luxos",
    name="LuxOS",
    asks=(
        Ask("summary", "summary", joins=True),
        Ask("power", "power", joins=True, is_needed=False),
        Ask("config", "config", when=When.SLOW, joins=True, is_needed=False, digest=_settings),
        Ask("devs", "devs", when=When.SLOW, joins=True, is_needed=False, digest=_boards_together),
        Ask("fans", "fans", when=When.SLOW, joins=True, is_needed=False, digest=_fans),
        Ask("temps", "temps", when=When.SLOW, joins=True, is_needed=False, digest=_sensors),
        Ask("pools", "pools", when=When.SLOW, joins=True, is_needed=False, digest=pools.digest),
        Ask("events", "events", when=When.SLOW, joins=True, is_needed=False, digest=_events),
        Ask("version", "version", when=When.ONCE, joins=True, is_needed=False, digest=_identity),
        Ask("boards", "devs", when=When.DEEP, is_needed=False),  # does not join: one command, one name in a reply
        Ask("stats", "stats", when=When.DEEP, joins=True, is_needed=False),
        *(
            Ask(f"voltageget_{board}", "voltageget", parameter=str(board), when=When.DEEP, is_needed=False)
            for board in range(3)
        ),
        Ask("profiles", "profiles", when=When.RARE, is_needed=False, digest=_presets),
    ),
    read=read,
)
