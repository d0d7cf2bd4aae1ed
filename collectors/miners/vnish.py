"""VNish: pages under /api/v1, read without a login where the firmware allows that, else with the token of `unlock`.

One page, the summary, carries the look. Its keys changed over the versions, and one of them its meaning: `power_usage`
is watts on old firmware and joules per terahash on new, where `power_consumption` has the watts. Both are the tuner's
model. The rate has no stated window. Its unit is the `hr_measure` of the info page, GH/s on a machine for SHA-256 that
has no such page; the `instant_hashrate` of old firmware counts thousands of that unit. Pools of the developer's fee are
the firmware's own, not the farm's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import orjson

from collectors.miners import evidence, hardware, pools, presets
from collectors.miners.cgminer import integer, text
from collectors.miners.evidence import Rate
from collectors.miners.make import HTTP_PORT, Ask, Credential, Login, Make, Said, Via, When, token_at
from collectors.miners.nested import NOTHING, Fields, at, fields_at, rows_at
from fleet.ports import PollError
from fleet.readings import Board, FaultKind, MachineError, MinerReading, Preset, Sensor, Temperature
from fleet.site import normalise_mac
from fleet.units import GIGA, MEGA, TERA

POWER_IS_EFFICIENCY = "power_is_efficiency"
RATE_WINDOW_UNKNOWN = "hashrate_window_unknown"
UNIT_UNKNOWN = "hashrate_unit_unknown"
THROTTLED = "throttled"

MIN_J_PER_TH = 5.0
"""No machine is this efficient: watts that say so are no watts."""

MAX_ERRORS = 32
DAY_S, HOUR_S, MINUTE_S = 86_400.0, 3600.0, 60.0

_RATES = (("hr_realtime", 1.0), ("instant_hashrate", 1000.0))  # of the unit: 17000.25 and 17.00025 for one L9
_EXPECTED = ("hr_nominal", "hr_stock")

_ASLEEP = frozenset({"stopped", "shutting-down", "shutting_down"})
_FAILED = frozenset({"failure", "failed", "error", "broken"})
_TUNING = frozenset({"auto-tuning", "auto_tuning", "tuning"})
_MINING = "mining"


class Info(NamedTuple):
    """What the info page says, as far as it is kept between looks."""

    miner: str | None = None
    firmware: str | None = None
    mac: str | None = None
    serial: str | None = None
    hostname: str | None = None
    algorithm: str | None = None
    unit_hs: float | None = None
    uptime_s: float | None = None


def read(said: Said) -> MinerReading:
    """One look. Errors: PollError of the summary where it is missing, MALFORMED where it has no `miner`.

    A `miner` that is null beside a `system` is no fault: the program that mines does not run, and the pages do.
    """
    summary = said.get("summary")
    miner = fields_at(summary, "miner")
    status = fields_at(miner, "miner_status") or fields_at(said.get("status"))
    if not miner and not status and (at(summary, "miner") is not None or not fields_at(summary, "system")):
        raise said.faults.get("summary", PollError(FaultKind.MALFORMED, "summary says nothing of the miner"))
    info: Info = said.get("info") or Info()
    warnings: list[str] = []

    word = (text(status.get("miner_state")) or "").lower()
    in_state_s = evidence.not_negative(status.get("miner_state_time"))
    uptime_s = _uptime_s(at(summary, "system", "uptime"))
    uptime_s = info.uptime_s if uptime_s is None else uptime_s
    name, version = _name_and_version(text(miner.get("miner_type")))
    machine = hardware.named(info.miner or name)
    unit_hs = info.unit_hs or (GIGA if machine.algorithm == "sha256" else None)
    rate = _rate(miner, unit_hs)
    hashing = rate or _rate(miner, 1.0)  # whether it hashes can be told also where nobody says in what
    warnings.append(UNIT_UNKNOWN if unit_hs is None else RATE_WINDOW_UNKNOWN)
    watts, power_key = _watts(miner, rate.hs if rate else None, warnings)
    throttled = evidence.positive(status.get("throttled"))
    if throttled is not None and throttled < 100.0:
        warnings.append(THROTTLED)

    chains = rows_at(miner, "chains")
    errors = tuple(_errors(word, status, chains))
    working = _pools(miner)
    preset = said.get("perf_summary") or said.get("settings")
    system = fields_at(summary, "system", "network_status")
    return MinerReading(
        driver="vnish",
        make=machine.make,
        model=machine.model,
        firmware=info.firmware or version,
        mac=normalise_mac(text(system.get("mac"))) or info.mac,
        serial=info.serial,
        hostname=info.hostname or text(system.get("hostname")),
        algorithm=info.algorithm or machine.algorithm,
        state=evidence.state(
            hashing.hs if hashing else None,
            None,
            in_state_s if word == _MINING and in_state_s is not None else uptime_s,
            is_asleep=word in _ASLEEP if word else None,
            is_ramping=_is_ramping(word, is_hashing=bool(hashing and hashing.hs)),
            has_error=bool(errors),
        ),
        hashrate_hs=rate.hs if rate else None,
        hashrate_key=rate.key if rate else None,
        hashrate_now_hs=rate.hs if rate else None,
        hashrate_expected_hs=_expected_hs(miner, chains, unit_hs),
        reported_power_w=watts,
        power_side=None if watts is None else "model",
        power_key=power_key,
        power_limit_w=evidence.positive(preset),
        mode=preset,
        presets=said.get("presets", ()),
        temperatures=_temperatures(chains) or _temperatures(({"id": 0, **miner},)),
        fans_rpm=_fans_rpm(miner),
        uptime_s=uptime_s,
        shares_accepted=_total(miner, "accepted"),
        shares_rejected=_total(miner, "rejected"),
        shares_stale=_total(miner, "stale"),
        difficulty_accepted=_total(miner, "diffa"),
        pool_host=working.host,
        pool_alive=working.is_alive,
        errors=errors,
        boards=tuple(_boards(said, chains, unit_hs)) if said.is_deep else (),
        warnings=tuple(warnings),
    )


# --- hashrate, power ---------------------------------------------------------------------------------------------


def _rate(miner: Fields, unit_hs: float | None) -> Rate | None:
    """The rate of now: the firmware states no window for any of its rates."""
    for key, factor in _RATES:
        hs = None if unit_hs is None else evidence.scaled(miner.get(key), factor * unit_hs)
        if hs is not None:
            return Rate(hs, None, key)
    return None


def _expected_hs(miner: Fields, chains: tuple[Fields, ...], unit_hs: float | None) -> float | None:
    """Nominal rate of the preset, else of the model, else of its boards together."""
    for key in _EXPECTED:
        hs = _scaled(unit_hs, miner.get(key))
        if hs:
            return hs
    return None if unit_hs is None else evidence.whole((c.get("hashrate_ideal") for c in chains), unit_hs) or None


def _watts(miner: Fields, hs: float | None, warnings: list[str]) -> tuple[float | None, str | None]:
    watts = evidence.positive(miner.get("power_consumption"))
    if watts is not None:
        return watts, "power_consumption"
    watts = evidence.positive(miner.get("power_usage"))
    if watts is not None and hs and watts < MIN_J_PER_TH * hs / TERA:
        warnings.append(POWER_IS_EFFICIENCY)
        watts = None
    return watts, None if watts is None else "power_usage"


# --- state -------------------------------------------------------------------------------------------------------


def _is_ramping(word: str, *, is_hashing: bool) -> bool | None:
    """A tuner that hashes does not ramp. Words that are neither work, rest nor failure are ways from one to another."""
    if not word or word == _MINING or word in _ASLEEP or word in _FAILED:
        return None
    return not is_hashing if word in _TUNING else True


def _errors(word: str, status: Fields, chains: tuple[Fields, ...]) -> Iterator[MachineError]:
    if word in _FAILED:
        code = text(status.get("failure_code"))
        yield MachineError(code or word, text(status.get("description")) or "the miner reports a failure")
    for chain in chains[:MAX_ERRORS]:
        if (text(at(chain, "status", "state")) or "").lower() in _FAILED:
            board = text(chain.get("id"), 16) or "?"
            words = text(at(chain, "status", "description")) or "failure"
            yield MachineError(f"board_{board}", f"board {board}: {words}")


_UPTIME = re.compile(r"(?:([0-9]{1,5}) days?,?\s*)?(?:([0-9]{1,3}):([0-9]{2})(?::([0-9]{2}))?)?")


def _uptime_s(said: object) -> float | None:
    """`10 days, 18:00`, `9 days,  3:58`, `1 day, 0:07`, `3:58`, `12 days`; None for anything else."""
    words = text(said)
    matched = _UPTIME.fullmatch(words) if words else None
    if matched is None:
        return None
    days, hours, minutes, seconds = (float(part or 0) for part in matched.groups())
    return days * DAY_S + hours * HOUR_S + minutes * MINUTE_S + seconds


# --- heat and boards ---------------------------------------------------------------------------------------------


def _temperatures(chains: tuple[Fields, ...]) -> tuple[Temperature, ...]:
    """Hottest of each board; of air or water the hottest of all boards. A sensor in error says nothing.

    Where none tells any, the hottest of the whole miner stands in the place of its first board.
    """
    heat = evidence.Heat()
    for chain, board in zip(chains, evidence.columns(map(_number, chains)), strict=True):
        for sensor, key in ((Sensor.BOARD, "pcb_temp"), (Sensor.CHIP, "chip_temp")):
            heat.feel(sensor, board, at(chain, key, "max"))
            if (sensor, board) not in heat:
                for row in rows_at(chain, f"{key}_sens"):
                    if text(row.get("status")) in ("measure", None):
                        heat.feel(sensor, board, row.get("temp"))
        heat.feel(Sensor.INLET, board, chain.get("inlet_water_temp"))
        heat.feel(Sensor.OUTLET, board, chain.get("outlet_water_temp"))
    return heat.temperatures()


def _fans_rpm(miner: Fields) -> tuple[float | None, ...]:
    """Speeds, but not those of the fans that a machine in oil or on water has not got, and lists at 0."""
    speeds = tuple(evidence.not_negative(row.get("rpm")) for row in rows_at(miner, "cooling", "fans"))
    is_wet = (text(at(miner, "cooling", "settings", "mode", "name")) or "").lower().startswith("immers")
    return () if is_wet and not any(speeds) else speeds


def _boards(said: Said, chains: tuple[Fields, ...], unit_hs: float | None) -> Iterator[Board]:
    """`chains` has the chips and a serial number besides what the summary says."""
    details = {_number(row): row for row in rows_at({"chains": said.get("chains")}, "chains")}
    for chain in chains or tuple(details.values()):
        detail = details.get(_number(chain), NOTHING)
        volts = evidence.positive(chain.get("voltage"))
        yield Board(
            id=text(chain.get("id")) or "",
            hashrate_hs=_scaled(unit_hs, chain.get("hashrate_rt"), detail.get("hr_realtime")),
            hashrate_expected_hs=_scaled(unit_hs, chain.get("hashrate_ideal"), detail.get("hr_nominal")) or None,
            chips=_chips(chain, detail),
            frequency_hz=_scaled(MEGA, chain.get("frequency"), detail.get("freq")) or None,
            voltage_v=None if volts is None else volts / 1e3,
            hardware_errors=evidence.not_negative(chain.get("hw_errors")),
            serial=evidence.serial(detail.get("serial")),
        )


def _scaled(unit: float | None, *values: object) -> float | None:
    """The first of several values that is a number, in base units; nothing in a unit that we do not know."""
    if unit is None:
        return None
    return next((number for value in values if (number := evidence.scaled(value, unit)) is not None), None)


def _chips(chain: Fields, detail: Fields) -> int | None:
    """Chips that hash where they are told one by one, else all that have a status."""
    chips = rows_at(detail, "chips")
    if chips:
        return sum(1 for chip in chips if evidence.positive(chip.get("hr")))
    statuses = [count for count in map(integer, fields_at(chain, "chip_statuses").values()) if count is not None]
    return sum(statuses) if statuses else None


def _number(row: Fields) -> int | None:
    return integer(row.get("id"))


# --- pools -------------------------------------------------------------------------------------------------------


def _own_pools(miner: Fields) -> tuple[Fields, ...]:
    """The farm's pools, without the firmware's own."""
    return tuple(
        row
        for row in rows_at(miner, "pools")
        if "devfee" not in (str(row.get("pool_type")) + str(row.get("url"))).lower()
    )


def _pools(miner: Fields) -> pools.Pools:
    """`active` gets the work and `working` stands by, where a firmware tells the two apart."""
    rows = _own_pools(miner)
    words = [text(row.get("status")) for row in rows]
    at_work = "active" if "active" in words else "working"
    return pools.chosen(
        [pools.Seen(row.get("url"), word == at_work, _is_alive(word)) for row, word in zip(rows, words, strict=True)]
    )


def _is_alive(word: str | None) -> bool | None:
    if word in ("active", "working", "rejecting"):
        return True
    return False if word in ("offline", "disabled") else None


def _total(miner: Fields, key: str) -> float | None:
    """A counter of the machine over its pools; None where one of them does not count, for a counter never falls."""
    return evidence.whole(row.get(key) for row in _own_pools(miner))


# --- digests: what is kept between looks -------------------------------------------------------------------------


def _name_and_version(said: str | None) -> tuple[str | None, str | None]:
    """`Antminer S19 (Vnish 1.2.0)` in two. Others sell the same firmware: `Antminer T21 (7Miners 1.2.6-rc1)`."""
    if said is None:
        return None, None
    name, _, rest = said.partition(" (")
    words = rest.rstrip(")").split()
    return name, words[1] if len(words) > 1 and words[1][:1].isdigit() else None


def _info(answer: Any) -> Info:
    network = fields_at(answer, "system", "network_status")
    return Info(
        miner=text(at(answer, "miner")),
        firmware=text(at(answer, "fw_version")),
        mac=normalise_mac(text(network.get("mac"))),
        serial=evidence.serial(at(answer, "serial")),
        hostname=text(network.get("hostname")),
        algorithm=hardware.algorithm(at(answer, "algorithm")),
        unit_hs=evidence.unit_hs(at(answer, "hr_measure")),
        uptime_s=_uptime_s(at(answer, "system", "uptime")),
    )


def _preset(answer: Any) -> str | None:
    """Name of the preset in force: watts as text, or "disabled"."""
    return text(at(answer, "current_preset", "name"))


_PRETTY = re.compile(r"\s*([0-9.]{2,8})\s*w(?:att)?s?\s*~\s*([0-9.]{1,8})\s*th(?:/s)?\b.*", re.IGNORECASE | re.DOTALL)
"""`3050 watt ~ 104 TH`, with or without a word behind it; another unit is another algorithm."""


def _presets(answer: Any) -> tuple[Preset, ...]:
    """The list, bare or under "presets". Watts and TH/s stand in the text for people alone; "disabled" has none."""
    rows = rows_at(answer) or rows_at(answer, "presets")
    told = ((row, _PRETTY.fullmatch(text(row.get("pretty")) or "")) for row in rows)
    return presets.listed(
        presets.preset(row.get("name"), matched[2], matched[1], text(row.get("status")) == "tuned")
        for row, matched in told
        if matched is not None
    )


def _preset_of_settings(answer: Any) -> str | None:
    """The same from the settings, of which nothing else is kept: the passwords of the pools are there, too."""
    return text(at(answer, "miner", "overclock", "preset"))


# --- what is asked -----------------------------------------------------------------------------------------------


def _unlock(credential: Credential) -> Ask:
    body = orjson.dumps({"pw": credential.password})
    return Ask("unlock", "/api/v1/unlock", via=Via.HTTP, port=HTTP_PORT, body=body)


def _token(answer: Any) -> Mapping[str, str]:
    return {"Authorization": token_at(answer, "token")}


def _page(name: str, page: str, when: When, digest: Any = None, *, is_needed: bool = False) -> Ask:
    return Ask(name, f"/api/v1/{page}", via=Via.HTTP, port=HTTP_PORT, when=when, is_needed=is_needed, digest=digest)


MAKE = Make(
    key="vnish",
    name="VNish",
    asks=(
        _page("summary", "summary", When.EVERY, is_needed=True),
        _page("info", "info", When.SLOW, _info),
        _page("perf_summary", "perf-summary", When.SLOW, _preset),
        _page("status", "status", When.DEEP),
        _page("chains", "chains", When.DEEP),
        _page("factory_info", "chains/factory-info", When.DEEP),
        _page("settings", "settings", When.DEEP, _preset_of_settings),
        _page("presets", "autotune/presets", When.RARE, _presets),
    ),
    read=read,
    login=Login(_unlock, _token),
)
