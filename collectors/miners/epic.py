"""ePIC PowerPlay: HTTP on the port of the cgminer API. `/summary` tells nearly everything, at every look.

The boards' own rate is what it says about now, over a window that it does not state; the average since the start serves
only while it is younger than half an hour, because an average of weeks would hide a board that died yesterday. A board
that is switched off is missing from `HBs` but keeps its thermometers, which `/temps` reads. The watts are the supply's
own where it measures volts or amperes too, or is said to measure watts, else the firmware's estimate. Passwords stand
in `StratumConfigs`, which is not read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from collectors.miners import evidence, hardware, pools, presets
from collectors.miners.cgminer import flag, integer, number, text
from collectors.miners.evidence import Rate
from collectors.miners.make import RPC_PORT, Ask, Make, Said, Via, When
from collectors.miners.nested import Fields, fields_at, rows_at
from fleet.ports import PollError
from fleet.readings import Board, FaultKind, MachineError, MinerReading, Preset, Sensor, Temperature
from fleet.site import normalise_mac
from fleet.units import MEGA, TERA

MAX_BOARDS = 16
MAX_FANS = 16
MAX_WORDS = 8


class Capabilities(NamedTuple):
    """What does not change while the machine stays the same one."""

    machine: hardware.Hardware
    serial: str | None
    default_hs: float | None
    chips_per_board: int | None
    board_serials: tuple[str, ...]
    has_metered_supply: bool = False


_UNKNOWN = Capabilities(hardware.Hardware("ePIC", None, None), None, None, None, ())


def read(said: Said) -> MinerReading:
    """One look. Errors: PollError MALFORMED where `/summary` is not one of this firmware."""
    summary = fields_at(said.get("summary"))
    session, status = fields_at(summary, "Session"), fields_at(summary, "Status")
    if not session and not status:
        raise PollError(FaultKind.MALFORMED, "summary without a session and a status")
    known: Capabilities = said.get("capabilities", _UNKNOWN)
    boards = dict(_boards(summary))

    uptime_s = evidence.not_negative(session.get("Uptime"))
    now_hs = _now_hs(summary, boards)
    warnings: list[str] = []
    money = evidence.trusted(_money(session, now_hs, uptime_s), now_hs, warnings)
    if uptime_s is None:
        warnings.append(evidence.UPTIME_UNKNOWN)

    supply, stratum = fields_at(summary, "Power Supply Stats"), fields_at(summary, "Stratum")
    watts = evidence.positive(supply.get("Input Power"))
    is_metered = known.has_metered_supply or any(
        evidence.positive(supply.get(key)) for key in ("Input Voltage", "Input Current")
    )
    has_pool = flag(stratum.get("IsPoolConnected"))
    errors = tuple(_errors(summary, status))
    return MinerReading(
        driver="epic",
        make=known.machine.make,
        model=known.machine.model,
        firmware=text(summary.get("Software")),
        mac=said.get("network"),
        serial=known.serial,
        hostname=text(summary.get("Hostname")),
        algorithm=_algorithm(known.machine, summary),
        state=evidence.state(
            now_hs,
            money.hs if money else None,
            uptime_s,
            is_asleep=_is_asleep(status, has_pool),
            is_ramping=_is_ramping(status, is_hashing=bool(now_hs)),
            has_pool=has_pool,
            has_error=bool(errors),
        ),
        hashrate_hs=money.hs if money else None,
        hashrate_window_s=money.window_s if money else None,
        hashrate_key=money.key if money else None,
        hashrate_now_hs=now_hs,
        hashrate_expected_hs=_expected_hs(boards, known),
        reported_power_w=watts,
        power_side=None if watts is None else "ac" if is_metered else "model",
        power_key=None if watts is None else "Power Supply Stats.Input Power",
        power_limit_w=evidence.positive(fields_at(summary, "PresetInfo").get("Target Power")),
        dc_power_w=evidence.positive(supply.get("Output Power")),
        mode=_mode(summary),
        presets=said.get("presets", ()),
        temperatures=(*_temperatures(said, boards), *_supply_heat(supply)),
        fans_rpm=_fans_rpm(fields_at(summary, "Fans Rpm")),
        uptime_s=uptime_s,
        shares_accepted=evidence.not_negative(session.get("Accepted")),
        shares_rejected=evidence.not_negative(session.get("Rejected")),
        pool_host=pools.host_of(stratum.get("Current Pool")),
        pool_alive=has_pool,
        errors=errors,
        boards=tuple(_told(summary, boards, known)) if said.is_deep else (),
        warnings=tuple(warnings),
    )


# --- identity ----------------------------------------------------------------------------------------------------


def _capabilities(answer: Any) -> Capabilities:
    """The small part of `/capabilities`; its list of presets is long, and not kept."""
    fields = fields_at(answer)
    serials = fields.get("Board Serial Numbers")
    return Capabilities(
        machine=_machine(text(fields.get("Model"))),
        serial=evidence.serial(fields_at(fields, "Control Board Version").get("cpuSerial")),
        default_hs=evidence.scaled(fields.get("Default Hashrate"), TERA) or None,
        chips_per_board=integer(fields_at(fields, "Performance Estimator").get("Chip Count")),
        board_serials=tuple(text(serial) or "" for serial in serials[:MAX_BOARDS]) if isinstance(serials, list) else (),
        has_metered_supply=bool(flag(fields_at(fields, "Psu Info").get("True Power"))),
    )


def _presets(answer: Any) -> tuple[Preset, ...]:
    """What the maker offers for this model: without names, and nothing says which is in force or tuned."""
    rows = rows_at(answer, "Tune Presets")
    return presets.listed(presets.preset(None, row.get("hashrate"), row.get("power"), None) for row in rows)


def _machine(name: str | None) -> hardware.Hardware:
    """`AntMiner S19 XP`, or one of ePIC's own: `BlockMiner 720i`, which hashes SHA-256 alone."""
    if name is None:
        return _UNKNOWN.machine
    return hardware.Hardware("ePIC", name, "sha256") if name.lower().startswith("blockminer") else hardware.named(name)


def _mac(answer: Any) -> str | None:
    """From `/network`, under "dhcp" or "static"."""
    found = (normalise_mac(text(fields_at(answer, way).get("mac_address"))) for way in ("dhcp", "static"))
    return next((mac for mac in found if mac), None)


def _algorithm(machine: hardware.Hardware, summary: Fields) -> str | None:
    """What the model proves, unless the machine says that it hashes something else."""
    said = hardware.algorithm(fields_at(summary, "Mining").get("Algorithm"))
    return machine.algorithm if said in (None, "sha256") else said


# --- hashrate and state ------------------------------------------------------------------------------------------


def _boards(summary: Fields) -> Iterator[tuple[int, Fields]]:
    """Boards that run, by their own number; `HBs` is null where none does."""
    for row in rows_at(summary, "HBs")[:MAX_BOARDS]:
        index = integer(row.get("Index"))
        if index is not None and 0 <= index < MAX_BOARDS:
            yield index, row


def _now_hs(summary: Fields, boards: Mapping[int, Fields]) -> float | None:
    """Sum over the boards; 0 where the machine says that none runs, None where one of them does not say, or cannot be
    told from another."""
    rows = rows_at(summary, "HBs")
    if not rows and "HBs" in summary:
        return 0.0
    if len(boards) != len(rows):
        return None
    return evidence.whole(map(_board_hs, boards.values()))


def _board_hs(row: Fields) -> float | None:
    return evidence.scaled(_rate_and_percent(row)[0], MEGA)


def _rate_and_percent(row: Fields) -> tuple[object, object]:
    """`Hashrate` = [MH/s, percent of what its clock should give, ...]."""
    said = row.get("Hashrate")
    pair = said if isinstance(said, list) else [said]
    return (pair[0] if pair else None), (pair[1] if len(pair) > 1 else None)


def _money(session: Fields, now_hs: float | None, uptime_s: float | None) -> Rate | None:
    is_fresh = uptime_s is not None and evidence.MINUTE_S <= uptime_s <= evidence.MONEY_WINDOW_MAX_S
    average_hs = evidence.scaled(session.get("Average MHs"), MEGA) if is_fresh or now_hs is None else None
    if average_hs is not None:
        return Rate(average_hs, uptime_s, "Session.Average MHs")
    return None if now_hs is None else Rate(now_hs, None, "HBs.Hashrate")


def _expected_hs(boards: Mapping[int, Fields], known: Capabilities) -> float | None:
    """What the running boards should do at their clocks; where none runs or one of them does not say, what the machine
    does by default."""
    return evidence.whole(map(_board_expected_hs, boards.values())) or known.default_hs


def _board_expected_hs(row: Fields) -> float | None:
    rate_hs, percent = _board_hs(row), evidence.positive(_rate_and_percent(row)[1])
    return evidence.positive(rate_hs / (percent / 100.0)) if rate_hs and percent and percent >= 1.0 else None


def _state_word(status: Fields) -> str:
    return (text(status.get("Operating State")) or "").lower()


def _is_asleep(status: Fields, has_pool: bool | None) -> bool | None:
    """`Idling` is a stop that somebody ordered, a pool that is lost, or an error: only pool and error tell which."""
    word = _state_word(status)
    return (word == "idling" and has_pool is not False and not status.get("Last Error")) if word else None


def _is_ramping(status: Fields, *, is_hashing: bool) -> bool | None:
    """Between `Idling` and `Mining` stand words of its own for every step of a start. Clock and voltage are adjusted at
    full rate, too."""
    word = _state_word(status)
    if word in ("mining", "idling") or (is_hashing and word.startswith("adjust")):
        return False
    return True if _RAMPING.search(word) else None


_RAMPING = re.compile("start|init|tun|ramp|calibrat|warm|preheat|adjust|load|test|boot|updat")


def _errors(summary: Fields, status: Fields) -> Iterator[MachineError]:
    """In words, or since 1.38 by a name with what it is of: {"HbChipDetectError": [0, 2]}."""
    for code, said in (
        ("last_error", status.get("Last Error")),
        ("license", summary.get("Last License Error")),
        ("devfee", summary.get("Last Devfee Error")),
    ):
        if (words := text(said)) is not None:
            yield MachineError(code, words)
        elif isinstance(said, dict):
            for key, detail in list(said.items())[:MAX_WORDS]:
                name = text(key) or code
                listed = detail[:MAX_WORDS] if isinstance(detail, list) else [detail]
                what = ", ".join(word for part in listed if (word := text(part)) is not None)
                yield MachineError(name, text(f"{name}: {what}" if what else name) or name)


def _mode(summary: Fields) -> str | None:
    """The tuner that runs: `VoltageOptimizer`, `ChipTune`, `BoardTune`."""
    tune = fields_at(summary, "PerpetualTune")
    return next((text(name) for name in fields_at(tune, "Algorithm")), None) if flag(tune.get("Running")) else None


# --- heat and air ------------------------------------------------------------------------------------------------


def _temperatures(said: Said, boards: Mapping[int, Fields]) -> Iterator[Temperature]:
    """Of boards that run from the summary, of the others from `/temps`; chips where the hardware measures them."""
    heat = {Sensor.BOARD: dict(said.get("temps", ())), Sensor.CHIP: dict(said.get("temps_chip", ()))}
    for index, row in boards.items():
        if (hottest := evidence.celsius(row.get("Temperature"))) is not None:
            heat[Sensor.BOARD][index] = hottest
    columns = evidence.board_indices({index for found in heat.values() for index in found})
    for sensor, found in heat.items():
        for index in sorted(found):
            yield Temperature(sensor, columns[index], found[index])


def _supply_heat(supply: Fields) -> Iterator[Temperature]:
    said = supply.get("Temperature")
    sensors = said[:MAX_BOARDS] if isinstance(said, list) else [said]
    degrees = [c for value in sensors if (c := evidence.celsius(value)) is not None]
    if degrees:
        yield Temperature(Sensor.PSU, 0, max(degrees))


def _heat(answer: Any) -> tuple[tuple[int, float], ...]:
    """Hottest sensor of each board: [{"Index": 1, "Data": [55.062, 67.0]}, ...]."""
    found = []
    for row in rows_at(answer)[:MAX_BOARDS]:
        index, sensors = integer(row.get("Index")), row.get("Data")
        degrees = [c for value in sensors if (c := evidence.celsius(value))] if isinstance(sensors, list) else []
        if index is not None and 0 <= index < MAX_BOARDS and degrees:
            found.append((index, max(degrees)))
    return tuple(found)


def _fans_rpm(rows: Fields) -> tuple[float | None, ...]:
    """By the number in `Fans Speed 3`; the places after the last fan are null, a fan that stands says 0."""
    speeds = [evidence.not_negative(rows.get(key)) for key in _FAN_KEYS]
    while speeds and speeds[-1] is None:
        speeds.pop()
    return tuple(speeds)


_FAN_KEYS = tuple(f"Fans Speed {place}" for place in range(1, MAX_FANS + 1))


# --- boards ------------------------------------------------------------------------------------------------------


def _told(summary: Fields, boards: Mapping[int, Fields], known: Capabilities) -> Iterator[Board]:
    """Every detected board; serial numbers are listed for those that run, in their order."""
    detected = {integer(row.get("Index")) for row in rows_at(summary, "HBStatus") if flag(row.get("Detected"))}
    has_serials = len(known.board_serials) == len(boards)
    serials = dict(zip(sorted(boards), known.board_serials, strict=True)) if has_serials else {}
    for index in sorted({i for i in detected if i is not None and 0 <= i < MAX_BOARDS} | set(boards)):
        row = boards.get(index)
        if row is None:
            yield Board(id=str(index))
            continue
        clock_mhz = number(row.get("Core Clock Avg"))
        yield Board(
            id=str(index),
            hashrate_hs=_board_hs(row),
            hashrate_expected_hs=_board_expected_hs(row),
            chips=known.chips_per_board,
            frequency_hz=evidence.scaled(clock_mhz, MEGA) or None,
            voltage_v=evidence.positive(row.get("Input Voltage")),
            serial=serials.get(index) or None,
        )


def _page(name: str, path: str, when: When, digest: Any = None, *, is_needed: bool = False) -> Ask:
    return Ask(name, path, via=Via.HTTP, port=RPC_PORT, when=when, is_needed=is_needed, digest=digest)


MAKE = Make(
    key="epic",
    name="ePIC",
    asks=(
        _page("summary", "/summary", When.EVERY, is_needed=True),
        _page("capabilities", "/capabilities", When.ONCE, _capabilities),
        _page("network", "/network", When.ONCE, _mac),
        _page("temps", "/temps", When.SLOW, _heat),
        _page("temps_chip", "/temps/chip", When.SLOW, _heat),
        _page("presets", "/capabilities", When.RARE, _presets),
    ),
    read=read,
)
