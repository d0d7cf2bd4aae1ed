"""Stock Antminer firmware (S1 to S23) over the cgminer API: `summary` and `stats` at every look.

Hiveon, MSKMiner and the VNish of the S9's time answer in the words of what they replace, and are read here, too.

Stock firmware is said to refuse joined commands, so each costs a connection until a machine proves otherwise. Pools and
the watts of `stats` in its new form change slowly and are asked at every tenth look. What the API lacks (MAC, serial,
the mode of work, its own error list) stands on pages behind the operator's login; whoever asks everything gets pools
and shares from there as well, where the API has none.

Money is counted on `GHS 30m`, the only window there is; before half an hour has passed, on the average since the start
with its true length. The unit of what is called GHS is GH/s on machines for SHA-256 alone: another one has to tell its
own. Most firmware reports no watts at all. A sleeping machine keeps its nominal rate and its chips, so only its mode
tells that it sleeps: some firmware has that in `stats`, the rest on a page.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from sys import intern
from typing import Any

from collectors.miners import cgminer, evidence, hardware, makes, pools
from collectors.miners.evidence import Rate
from collectors.miners.make import HTTP_PORT, Ask, Make, Said, Via, When, shared
from collectors.miners.nested import Fields
from fleet.ports import PollError
from fleet.readings import Board, FaultKind, MachineError, MinerReading, Sensor, Temperature
from fleet.site import normalise_mac
from fleet.units import GIGA, MEGA

MAX_SLOTS = 16  # S9 numbers its boards from 6; Hiveon lists sixteen places; no machine has more
MAX_FANS = 8
HALF_HOUR_S = 1800.0
NOW_S = 5.0

BOARD_ID_MODEL = "model_is_a_board_id"
UNIT_UNKNOWN = "hashrate_unit_unknown"

_SAID = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,15})?) ?([A-Za-z/]{1,8})$")  # "9500.01 MH/s"
_MODES = {"0": "normal", "1": "sleep", "2": "high", "3": "low", "254": "sleep"}
_ASLEEP = frozenset({"1", "5", "254"})  # 254 of the S17 generation; 5 of firmware of 2023-07 and later


# --- what is kept between looks ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Identity:
    type: str | None
    firmware: str | None


@dataclass(frozen=True, slots=True)
class Network:
    mac: str | None
    serial: str | None
    hostname: str | None
    type: str | None
    firmware: str | None
    algorithm: str | None


def _version(reply: Any) -> Identity:
    row = cgminer.row(reply, "VERSION")
    return shared(Identity(_type_of(row), cgminer.word(row.get("CompileTime"))))


def _system_info(page: Any) -> Network:
    said = page if isinstance(page, dict) else {}
    serial = evidence.serial(said.get("serinum")) or evidence.serial(said.get("serial_no"))
    return Network(
        mac=normalise_mac(cgminer.text(said.get("macaddr"))),
        serial=serial,
        hostname=cgminer.text(said.get("hostname")),
        type=cgminer.word(said.get("minertype")),
        firmware=cgminer.word(_first_of(said, "system_filesystem_version", "file_system_version")),
        algorithm=hardware.algorithm(said.get("Algorithm")),
    )


def _work_mode(page: Any) -> str | None:
    """The mode of `get_miner_conf`, under its new or its old name; a digit, as text or number."""
    said = page if isinstance(page, dict) else {}
    mode = said.get("bitmain-work-mode", said.get("miner-mode"))
    digit = cgminer.integer(mode)
    return None if digit is None else intern(str(digit))


def _watts_of(reply: Any) -> tuple[float, str] | None:
    """Watts and their key, where this firmware has them."""
    row = _last(cgminer.section(reply, "STATS"))
    for key in ("watt", "power", "Power", "chain_power", "total_power"):
        if (said := row.get(key)) is None:
            continue
        watts = evidence.positive(said.partition(" (")[0] if isinstance(said, str) else said)  # Hiveon: "456.78 (AB)"
        if watts is not None:
            return watts, key
    if "chain_consumption6" in row or "chain_consumption1" in row:  # each board's own, of VNish on the S9 and its time
        watts = evidence.total(row.get(f"chain_consumption{slot}") for slot in range(1, MAX_SLOTS + 1))
        return (watts, "chain_consumption") if watts else None
    return None


def _errors_of(reply: Any) -> tuple[MachineError, ...]:
    """What the firmware's own check list complains about."""
    rows = cgminer.row(reply, "SUMMARY").get("status")
    return tuple(
        MachineError(cgminer.text(row.get("code")) or "?", _complaint(row))
        for row in (rows if isinstance(rows, list) else ())
        if isinstance(row, dict) and row.get("status") not in ("s", "", None)
    )


@dataclass(frozen=True, slots=True)
class Work:
    """What the page of the pools says, in the words of the API: `totals` are sums over all of them."""

    pools: pools.Pools | None
    totals: Mapping[str, float]


def _work(page: Any) -> Work:
    rows = [row for row in cgminer.section(page, "POOLS") if cgminer.text(row.get("url"))]
    sums = ((name, evidence.whole(row.get(key) for row in rows)) for name, key in _SUMS)
    return Work(pools.by_priority(rows), {name: value for name, value in sums if value is not None})


_SUMS = (
    ("Accepted", "accepted"), ("Rejected", "rejected"), ("Stale", "stale"),
    ("Difficulty Accepted", "diffa"), ("Difficulty Rejected", "diffr"),
)  # fmt: skip


def _supply_errors(details: Fields) -> tuple[MachineError, ...]:
    """What Hiveon says of the power supply, unless that is "PSU OK"."""
    said = cgminer.text(details.get("psu_status"))
    return () if said is None or said.upper() == "PSU OK" else (MachineError("psu_status", said),)


def _complaint(row: Fields) -> str:
    what = cgminer.text(row.get("type"), 16) or "check"
    return f"{what}: {cgminer.text(row.get('msg')) or 'failed'}"


# --- the reading -----------------------------------------------------------------------------------------------------


def read(said: Said) -> MinerReading:
    """A reading from `summary` and `stats`, as either the API or the web pages give them.

    Errors: PollError MALFORMED where neither has a single field, UNSUPPORTED for another maker's machine, IDENTITY
            where `stats` is of another model than `version`.
    """
    totals = cgminer.row(said.get("summary") or said.get("web_summary") or {}, "SUMMARY")
    stats = said.get("stats") or said.get("web_stats") or {}
    rows = cgminer.section(stats, "STATS")
    details, head = _last(rows), _head(stats, rows)
    if not totals and not details:
        raise PollError(FaultKind.MALFORMED, "summary and stats are empty")
    version: Identity = said.get("version") or _NOBODY
    network: Network = said.get("get_system_info") or _NOWHERE
    warnings: list[str] = []
    model = _model(version, network, head, warnings)

    stated = details.get("rate_unit")
    unit_hs = GIGA if stated == "GH" else _unit_hs(stated, totals, details, model)
    if unit_hs is None:
        warnings.append(UNIT_UNKNOWN)
    uptime_s = _uptime_s(totals, details)
    now_hs = _now_hs(unit_hs, totals, details)
    rate = evidence.trusted(_money(unit_hs, totals, details, uptime_s), now_hs, warnings)
    if uptime_s is None:
        warnings.append(evidence.UPTIME_UNKNOWN)

    mode: str | None = said.get("get_miner_conf")
    errors = (*(said.get("web_errors") or ()), *_supply_errors(details))
    pool: pools.Pools | None = said.get("pools")
    if said.is_deep:
        mode = mode or _work_mode(_last(cgminer.section(said.get("web_stats"), "STATS")))
        work: Work = said.get("web_pools") or _NO_WORK
        pool, totals = pool or work.pools, {**work.totals, **totals}
    if pool is None:
        warnings.append(pools.POOLS_MISSING)
    elif pool.others:
        warnings.append(pools.SEVERAL_HOSTS)
    # whether it hashes can be told also where nobody says in what
    does_hash = now_hs if unit_hs is not None else _now_hs(1.0, totals, details)
    state = evidence.state(
        does_hash,
        None if rate is None else rate.hs,
        uptime_s if does_hash else _started_s(uptime_s),
        is_asleep=None if does_hash else _is_asleep(mode, details, uptime_s),
        has_pool=None if pool is None else pool.has_work,
        has_error=bool(errors),
    )
    # slow watts would outlive the work that they were drawn for
    power = _watts_of(stats) or ((said.get("stats_new") or _watts_of(said.get("web_stats"))) if now_hs else None)
    is_wet = model is not None and _is_wet(model)
    return MinerReading(
        driver=DRIVER,
        make="Antminer",
        model=model,
        firmware=network.firmware or cgminer.word(head.get("CompileTime")) or version.firmware,
        mac=network.mac,
        serial=network.serial,
        hostname=network.hostname,
        algorithm="sha256" if model is not None and makes.is_sha256_antminer(model) else network.algorithm,
        state=state,
        hashrate_hs=None if rate is None else rate.hs,
        hashrate_window_s=None if rate is None else rate.window_s,
        hashrate_key=None if rate is None else rate.key,
        hashrate_now_hs=now_hs,
        hashrate_expected_hs=_rate(unit_hs, details.get("total_rateideal"), details.get("rate_ideal")) or None,
        reported_power_w=None if power is None else power[0],
        power_side=None if power is None else "model",
        power_key=None if power is None else power[1],
        mode=None if mode is None else _MODES.get(mode, mode),
        temperatures=tuple(_temperatures(details, model if is_wet else None)),
        fans_rpm=_fans_rpm(details, is_wet),
        uptime_s=uptime_s,
        shares_accepted=evidence.not_negative(totals.get("Accepted")),
        shares_rejected=evidence.not_negative(totals.get("Rejected")),
        shares_stale=evidence.not_negative(totals.get("Stale")),
        difficulty_accepted=evidence.not_negative(totals.get("Difficulty Accepted")),
        difficulty_rejected=evidence.not_negative(totals.get("Difficulty Rejected")),
        pool_host=None if pool is None else pool.host,
        pool_alive=None if pool is None else pool.is_alive,
        errors=errors,
        boards=tuple(_boards(details, unit_hs, uptime_s, said.get("web_stats"))) if said.is_deep else (),
        warnings=tuple(warnings),
    )


def _head(stats: Any, rows: tuple[Fields, ...]) -> Fields:
    """Where `stats` names the machine: its first row in the API, `INFO` on the pages."""
    return rows[0] if rows and "Type" in rows[0] else cgminer.row(stats, "INFO")


def _model(version: Identity, network: Network, head: Fields, warnings: list[str]) -> str | None:
    """`S19 Pro`. `Antminer BHB42XXX` names a board, which is no model.

    The page may be more exact than the API (`KS5 Pro` beside `KS5`), so it is no proof of another machine.
    """
    said, now = version.type, _type_of(head)
    if said is not None and now is not None and said != now:
        raise PollError(FaultKind.IDENTITY, f"was {said}, now {now}")
    bare = _bare_model(said or now)
    if bare is None or bare.upper().startswith("BHB"):
        board, bare = bare, _bare_model(network.type)
        if (board or bare) and (bare is None or bare.upper().startswith("BHB")):
            warnings.append(BOARD_ID_MODEL)
            return None
    return bare


_NO_MODEL = re.compile(r"^antminer\s*|\s*v\.?[0-9]+(?:\.[0-9]+){2,}$|\s*hiveon$|\s+(?:pitbit|ex)$", re.IGNORECASE)
"""What stands around a model's name: its maker, and the custom firmware with its version."""


@lru_cache(maxsize=256)
def _bare_model(said: str | None) -> str | None:
    """`Antminer S19 Pro (110T)` -> `S19 Pro`; a bracketed bin or firmware is not part of the name."""
    return None if said is None else _NO_MODEL.sub("", said.split(" (")[0].strip()).strip() or None


# --- state -----------------------------------------------------------------------------------------------------------

_LONGEST_STANDSTILL_S = 1.0


def _started_s(uptime_s: float | None) -> float | None:
    """The uptime of a machine that does not hash, as far as it proves a start: asleep, firmware of 2024 and later says
    0 or 1 s for hours."""
    return None if uptime_s is not None and uptime_s <= _LONGEST_STANDSTILL_S else uptime_s


def _is_asleep(mode: str | None, details: Fields, uptime_s: float | None) -> bool | None:
    """By the configuration, which stands behind a login, else by `Mode` of `stats` where that tells the mode of work.

    254 is sleep on the S17 generation alone. 1 is that on firmware of 2025, whose `Elapsed` then stays at 0; on an S17
    it is a way to hash. On others `Mode` is always 2.
    """
    if mode is not None:
        return mode in _ASLEEP
    said = cgminer.integer(details.get("Mode"))
    return True if said == 254 or (said == 1 and uptime_s == 0.0) else None


# --- hashrate --------------------------------------------------------------------------------------------------------


def _unit_hs(stated: object, totals: Fields, details: Fields, model: str | None) -> float | None:
    """H/s in one of the numbers that are called GHS; None where nothing tells.

    They are GH/s on every machine for SHA-256, and what they like on others: MH/s (L7), GH/s (L9), Sol/s and Ksol/s
    (Z15), told by `rate_unit`, by the texts that say some of the rates again, or by nobody.
    """
    if cgminer.text(stated) is not None:
        return evidence.unit_hs(stated)
    if "RT HASHRATE" in totals:
        return _said_again(totals, details)
    return GIGA if model is None or makes.is_sha256_antminer(model) else None


def _said_again(totals: Fields, details: Fields) -> float | None:
    """H/s in a number, by the text of the same rate.

    A text is in the unit that suits its own size, the numbers in the one that suits what the machine should give: of
    an L9 with a dead board, 9.9 is said again as "9900.00 MH/s".
    """
    for text, number in (
        (totals.get("RT HASHRATE"), totals.get("GHS 5s")),
        (totals.get("AV HASHRATE"), totals.get("GHS av")),
        (totals.get("THEORY HASHRATE"), details.get("total_rateideal")),
    ):
        said, rate = _SAID.match(cgminer.text(text) or ""), evidence.positive(number)
        said_hs = 0.0 if said is None else float(said[1]) * (evidence.unit_hs(said[2]) or 0.0)
        if said_hs > 0.0 and rate is not None and rate >= 0.01:
            thousands = math.log(said_hs / rate, 1000.0)
            if abs(thousands - round(thousands)) < 0.1:  # rounding can double the least of them
                return 1000.0 ** round(thousands)
    return None


def _names_hashes(said: object) -> bool:
    """`9500.01 MH/s` does, `890.25 Ksol/s` does not."""
    named = _SAID.match(cgminer.text(said) or "")
    return named is not None and evidence.unit_hs(named[2]) is not None


def _money(unit_hs: float | None, totals: Fields, details: Fields, uptime_s: float | None) -> Rate | None:
    if unit_hs is None:
        return None
    found: list[Rate] = []
    for key, window_s, row in (
        ("GHS 30m", HALF_HOUR_S, totals),
        ("rate_30m", HALF_HOUR_S, totals),
        ("rate_30m", HALF_HOUR_S, details),
        ("GHS 30m", HALF_HOUR_S, details),
        ("GHS av", 0.0, totals),
        ("rate_avg", 0.0, totals),
        ("GHS av", 0.0, details),
        ("rate_avg", 0.0, details),
    ):
        if key in row and (value := evidence.not_negative(row[key])) is not None:
            found.append(Rate(value * unit_hs, window_s, key))
    return evidence.money(found, uptime_s)


def _now_hs(unit_hs: float | None, totals: Fields, details: Fields) -> float | None:
    return _rate(unit_hs, totals.get("GHS 5s"), details.get("GHS 5s"), totals.get("rate_5s"), details.get("rate_5s"))


def _rate(unit_hs: float | None, *candidates: object) -> float | None:
    """First candidate that is a number, in H/s. A unit that we do not know makes every rate unknown but 0."""
    for candidate in candidates:
        if candidate is not None and (value := evidence.not_negative(candidate)) is not None:
            return value * unit_hs if unit_hs is not None else 0.0 if value == 0.0 else None
    return None


# --- heat and air ----------------------------------------------------------------------------------------------------

_PLACES = tuple(
    (
        slot,
        (f"temp_pcb{slot}", f"temp_out_pcb_{slot}", f"temp_in_pcb_{slot}", f"temp{slot}"),
        (f"temp_chip{slot}", f"temp_out_chip_{slot}", f"temp_in_chip_{slot}", f"temp2_{slot}"),
        f"temp_pic{slot}",
    )
    for slot in range(1, MAX_SLOTS + 1)
)
"""Where a board's heat stands: one key for all sensors of a kind on most firmware, else one key for each."""
_BOARD, _CHIP = Sensor.BOARD, Sensor.CHIP
_ABSENT = (None, "0-0-0-0", "", 0)
_DEGREES = re.compile(r"(?<![0-9.])-?[0-9]+(?:\.[0-9]+)?")  # the dash behind a number parts them, another is a sign


def _temperatures(details: Fields, wet_model: str | None) -> Iterator[Temperature]:
    """Hottest PCB and chip sensor of each board, and of the coolant on the machines of which its place is known.

    S21+ Hyd. holds it in its PCB places, [0] going in and [2] out, and has the chip in the first PIC place; what is
    left of both are sensors of the board. S21 Hyd. has two of four chip places, going in and out, and no chip.
    """
    boards = _sensors(details)
    index = evidence.board_indices(boards)
    series = (wet_model or "").lower()
    inlet: list[float] = []
    outlet: list[float] = []
    for slot, (pcb, chip, pic) in boards.items():
        if series.startswith("s21+"):
            wet, rest = _listed(pcb), _listed(pic)
            inlet += wet[:1]
            outlet += wet[2:3]
            pcb, chip = wet[1:2] + wet[3:] + rest[1:], chip if _hottest(chip) is not None else rest[:1]
        elif series.startswith("s21"):
            pair = _listed(chip)
            if len(pair) == 4 and all(pair[:2]) and not any(pair[2:]):
                inlet += pair[:1]
                outlet += pair[1:2]
                chip = None
        for sensor, place in ((_BOARD, pcb), (_CHIP, chip)):
            hottest = _hottest(place)
            if hottest is not None:
                yield evidence.temperature(sensor, index[slot], hottest)
    for sensor, degrees in ((Sensor.INLET, inlet), (Sensor.OUTLET, outlet)) if inlet or outlet else ():
        hottest = _hottest(degrees)
        if hottest is not None:
            yield evidence.temperature(sensor, 0, hottest)


def _sensors(details: Fields) -> dict[int, tuple[object, object, object]]:
    """(PCB, chip, PIC) as said by each board that is there, by its own number."""
    chain = _chain(details)
    if chain:
        return {i: (row.get("temp_pcb"), row.get("temp_chip"), row.get("temp_pic")) for i, row in chain.items()}
    found: dict[int, tuple[object, object, object]] = {}
    get = details.get
    for slot, pcb_keys, chip_keys, pic_key in _PLACES if "chain_acn5" in details else _PLACES[:4]:
        pcb, chip = get(pcb_keys[0]), get(chip_keys[0])
        if pcb is None:
            pcb = _apart(details, pcb_keys[1:3]) or _apart(details, pcb_keys[3:])
        if chip is None:
            chip = _apart(details, chip_keys[1:])
        if pcb not in _ABSENT or chip not in _ABSENT:
            found[slot] = (pcb, chip, get(pic_key))
    return found


def _apart(details: Fields, keys: tuple[str, ...]) -> list[Any] | None:
    """What stands under keys of their own; None where no board is, as its places hold 0 then."""
    return [degrees for key in keys if (said := details.get(key)) not in _ABSENT for degrees in _listed(said)] or None


def _chain(details: Fields) -> dict[int, Fields]:
    """Boards as the pages list them, by their number from 0; by position where numbers are missing or doubled."""
    said = details.get("chain")
    if said is None:
        return {}
    rows = [row for row in said[:MAX_SLOTS] if isinstance(row, dict)] if isinstance(said, list) else []
    numbers = [number for row in rows if (number := cgminer.integer(row.get("index"))) is not None]
    is_numbered = len(set(numbers)) == len(rows) and all(0 <= number < MAX_SLOTS for number in numbers)
    return dict(zip(numbers if is_numbered else range(len(rows)), rows, strict=True))


def _listed(said: object) -> list[Any]:
    """`73-45-64-65`, [73, 45] or 73 -> the numbers in it."""
    if isinstance(said, str):
        return [float(part) for part in _DEGREES.findall(said[:64])]
    values = said if isinstance(said, list) else [said]
    return [number for value in values[:16] if (number := cgminer.number(value)) is not None]


def _hottest(said: object) -> float | None:
    """The highest plausible of the values said."""
    if isinstance(said, str):
        try:
            highest = max(map(int, said.split("-")))
        except ValueError:
            highest = 0
        if 0 < highest <= 150:
            return float(highest)
    return max((degrees for value in _listed(said) if (degrees := evidence.celsius(value)) is not None), default=None)


_FANS = tuple(f"fan{i}" for i in range(1, MAX_FANS + 1))


@lru_cache(maxsize=256)
def _is_wet(model: str) -> bool:
    """Cooled by water or oil: `S21 XP Hyd.`, `S21 Imm.`, and the rack machines `U3S21EXPH`. It may turn no fan."""
    return re.search(r"(?i)hyd|imm|^u[0-9]", model) is not None


def _fans_rpm(details: Fields, is_wet: bool) -> tuple[float | None, ...]:
    """Speeds of the fans that are there. S17 and older list eight places and turn a few: `fan_num` tells how many."""
    listed = details.get("fan")
    if isinstance(listed, list):
        speeds = [evidence.not_negative(speed) for speed in listed[:MAX_FANS]]
    else:
        speeds = [evidence.not_negative(details[place]) for place in _FANS if place in details]
    if is_wet and not any(speeds):
        return ()
    count = cgminer.integer(details.get("fan_num"))
    if count is None or not 0 <= count < len(speeds):
        return tuple(speeds)
    turning = [speed for speed in speeds if speed]
    return (*turning[:count], *[0.0] * (count - len(turning)))


# --- boards ----------------------------------------------------------------------------------------------------------


def _boards(details: Fields, unit_hs: float | None, uptime_s: float | None, web: Any) -> Iterator[Board]:
    """Boards of the API, with what only the page tells of them; of the page alone where the API lists none.

    The API counts from 1, the page from 0. A place without chips and rate holds no board.
    """
    chain = _chain(details) or _chain(_last(cgminer.section(web or {}, "STATS")))
    is_listed = False
    for slot in range(1, MAX_SLOTS + 1):
        board = _slot(details, slot, unit_hs, uptime_s)
        if board.chips or board.hashrate_hs:
            is_listed = True
            page = _listed_board(slot - 1, chain.get(slot - 1, {}), unit_hs)
            yield replace(
                board,
                hashrate_expected_hs=board.hashrate_expected_hs or page.hashrate_expected_hs,
                serial=page.serial,
            )
    if not is_listed:
        for number, row in chain.items():
            yield _listed_board(number, row, unit_hs)


def _slot(details: Fields, slot: int, unit_hs: float | None, uptime_s: float | None) -> Board:
    """One place of the API. `chain_rate` is of 5 s, but since the start where firmware calls it an average, too: then
    it is in G of whatever the text of that average is in, and not in the unit of the total."""
    average = details.get(f"CHAIN AVG HASHRATE{slot}")
    rate_unit_hs = unit_hs if average is None else GIGA if _names_hashes(average) else None
    rate_hs = _rate(rate_unit_hs, details.get(f"chain_rate{slot}"))
    return Board(
        id=str(slot),
        hashrate_hs=rate_hs,
        hashrate_window_s=None if rate_hs is None else NOW_S if average is None else uptime_s,
        hashrate_expected_hs=_rate(unit_hs, details.get(f"chain_rateideal{slot}")) or None,
        chips=_count(details.get(f"chain_acn{slot}")),
        frequency_hz=_hertz(_first_of(details, f"freq{slot}", f"freq_avg{slot}", f"frequency{slot}")),
        voltage_v=evidence.positive(details.get(f"chain_voltage{slot}")),
        hardware_errors=evidence.not_negative(details.get(f"chain_hw{slot}")),
    )


def _listed_board(number: int, row: Fields, unit_hs: float | None) -> Board:
    rate_hs = _rate(unit_hs, row.get("rate_real"))
    return Board(
        id=str(number),
        hashrate_hs=rate_hs,
        hashrate_window_s=None if rate_hs is None else NOW_S,
        hashrate_expected_hs=_rate(unit_hs, row.get("rate_ideal")) or None,
        chips=_count(row.get("asic_num")),
        frequency_hz=_hertz(row.get("freq_avg")),
        hardware_errors=evidence.not_negative(row.get("hw")),
        serial=evidence.serial(row.get("sn")),
    )


def _first_of(fields: Fields, *keys: str) -> object:
    return next((fields[key] for key in keys if key in fields), None)


def _count(value: object) -> int | None:
    return cgminer.integer(value) or None


def _hertz(megahertz: object) -> float | None:
    value = evidence.positive(megahertz)
    return None if value is None else value * MEGA


# --- fields ----------------------------------------------------------------------------------------------------------


def _last(rows: tuple[Fields, ...]) -> Fields:
    """STATS comes as an identity row and a data row, or as a data row alone."""
    return rows[-1] if rows else {}


def _uptime_s(totals: Fields, details: Fields) -> float | None:
    for row in (totals, details):
        for key in ("Elapsed", "elapsed"):
            if key in row and (elapsed_s := evidence.not_negative(row[key])) is not None:
                return elapsed_s
    return None


def _type_of(row: Fields) -> str | None:
    return cgminer.word(row.get("Type") or row.get("type"))


_NO_WORK = Work(None, {})
_NOBODY = Identity(None, None)
_NOWHERE = Network(None, None, None, None, None, None)


def _page(name: str, path: str, when: When, digest: Any = None) -> Ask:
    return Ask(
        name, f"/cgi-bin/{path}.cgi", Via.HTTP, HTTP_PORT, when=when, is_needed=False, needs_login=True, digest=digest
    )


DRIVER = "antminer"
MAKE = Make(
    key=DRIVER,
    name="Antminer",
    asks=(
        Ask("version", "version", when=When.ONCE, is_needed=False, joins=True, digest=_version),
        Ask("summary", "summary", joins=True),
        Ask("stats", "stats", joins=True),
        Ask("pools", "pools", when=When.SLOW, is_needed=False, joins=True, digest=pools.digest),
        Ask("stats_new", "stats", extra=(("new_api", True),), when=When.SLOW, is_needed=False, digest=_watts_of),
        _page("get_system_info", "get_system_info", When.ONCE, _system_info),
        _page("get_miner_conf", "get_miner_conf", When.SLOW, _work_mode),
        _page("web_errors", "summary", When.SLOW, _errors_of),
        _page("web_summary", "summary", When.DEEP),
        _page("web_stats", "stats", When.DEEP),
        _page("web_pools", "pools", When.DEEP, _work),
    ),
    read=read,
    has_digest_login=True,
)
HIVEON = replace(MAKE, key="hiveon", name="Hiveon")
"""Hiveon answers in the words of the firmware that it replaces, and adds watts. MSKMiner is built on the same."""
