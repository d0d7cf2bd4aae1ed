"""Avalon (A7 to A16, Q, Mini, Nano; cgminer API on TCP 4028): `summary`, then the details, one question at a time.

Canaan asks its users for one connection after the other, so nothing is joined. Firmware tells its details under three
names: `litestats` (Q, short), `estats` (all, without pools) and `stats`; a machine is asked for the next only where it
did not answer the one before. What they hold is text inside JSON, which `avalon_text` reads.

Money is counted on the windows of `summary`; `GHSavg` and `MGHS` are averages of an hour, which an idle machine keeps.
`GHSspd` is what it does now, but some A10 firmware leaves it at 0 while it works: then the shortest window of `summary`
stands in. Watts are `WALLPOWER`, else the seventh element of `PS`, both at the input; an A10 has only the fifth, which
is what goes to the hash boards. The Nano 3 and 3S are fed with 28 V by a supply of their own, so what they report is
DC; the Nano 3 also orders `PS` otherwise, and is believed only where its volts, amperes and watts agree.

A7 to A9 are modules on chains behind a controller that has no name of its own: the rig is called by what hangs there,
`5 x A741`, so that nobody takes the nameplate of one module for it, and no module's serial is its own.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from typing import NamedTuple

from collectors.miners import avalon_text, cgminer, evidence, pools
from collectors.miners.make import Ask, Make, Said, When
from collectors.miners.nested import Fields
from fleet.ports import PollError
from fleet.readings import Board, FaultKind, MachineError, MinerReading, Sensor, Temperature
from fleet.site import normalise_mac
from fleet.units import GIGA, MEGA

KEY = "avalon"
NAME = "Avalon"

DETAILS_MISSING = "details_missing"
NOW_RATE_STUCK = "now_rate_stuck_at_zero"
POWER_LAYOUT = "power_layout_unknown"

HOUR_S = 3600.0
MAX_MODULES = 64  # one in all machines since the A10; four chains of five behind the controller of A9s
MAX_BOARDS = 16
MAX_ERRORS = 64
LAST_PLACE = 3

_SHORT_WINDOWS = ("MHS 30s", "MHS 5s")
_DETAILS = ("litestats", "estats", "stats")
_FAN_KEYS = ("Fan", *(f"Fan{i}" for i in range(1, 9)))

Texts = dict[str, str]


# --- who it is ---------------------------------------------------------------------------------------------------

_NUMBERED = re.compile(r"([0-9]{2,4})(Pro|XP|[A-Za-z])?(?![A-Za-z0-9])")
_OLD = re.compile(r"([789][0-9]{2})[12][0-9](?:0[1-9]|1[0-2])-")  # model, year, month
_HOME = {"q": "Q", "nano3s": "Nano 3S", "nano3": "Nano 3", "mini3": "Mini 3"}


class Model(NamedTuple):
    """A model as people call it; `is_proven`: that name is one of Canaan's, which all hash SHA-256."""

    name: str
    is_proven: bool


@lru_cache(maxsize=1024)
def model_of(said: str) -> Model | None:
    """`15-194` -> `A1566`, `1346-110` -> `A1346`, `16XP-300` -> `A16 XP`, `nano3s` -> `Nano 3S`, `7411706-` -> `A741`.

    What has no such form stays in the machine's own words.
    """
    bare = re.sub(r"(?i)^avalon\s*(?:miner)?\s*", "", said).strip()
    at_home = _HOME.get(bare.partition("-")[0].replace(" ", "").lower())
    if at_home is not None:
        return Model(at_home, True)
    matched = _NUMBERED.match(bare) or _OLD.match(bare)
    if matched is None:
        return Model(sys.intern(bare), False) if bare else None
    digits, suffix = matched[1], (matched[2] or "") if matched.re is _NUMBERED else ""
    if digits == "15" and not suffix:
        digits = "1566"
    return Model(sys.intern(f"A{digits}{' ' if len(suffix) > 1 else ''}{suffix}"), True)


@dataclass(frozen=True, slots=True)
class Identity:
    model: Model | None
    firmware: str | None
    mac: str | None
    serial: str | None


def _identity(reply: Fields) -> Identity:
    row = cgminer.row(reply, "VERSION")
    said = (cgminer.text(row.get(key)) for key in ("MODEL", "PROD"))
    firmware = (cgminer.text(row.get(key)) for key in ("VERSION", "LVERSION", "CGVERSION", "BVERSION"))
    return Identity(
        model=next((model for text in said if text and (model := model_of(text)) is not None), None),
        firmware=next((sys.intern(text) for text in firmware if text), None),
        mac=normalise_mac(cgminer.text(row.get("MAC"))),
        serial=_serial(row.get("DNA")),
    )


def _serial(said: object) -> str | None:
    """Canaan's DNA; zeros and words in brackets stand for none."""
    serial = evidence.serial(said)
    return serial if serial and serial.isalnum() else None


_NOBODY = Identity(None, None, None, None)


# --- the text of one machine -------------------------------------------------------------------------------------

_MODULE_KEY = re.compile(r"MM ID([0-9]{1,3})(?![0-9])")


@dataclass(slots=True)
class Module:
    """One hashing module: a whole machine since the A10. `name` is its chain and its number there, as the machine has
    them: `AV71 MM2`. `boards` are the blocks per board that some firmware has."""

    name: str
    fields: Texts = field(default_factory=dict)
    boards: list[Texts] = field(default_factory=list)


def _modules(reply: Fields) -> list[Module]:
    """The modules of one reply, in its order; those that say nothing are left out. Where there are more than any
    controller has, one that says nothing stands for the rest: no sum passes for that of all.

    Errors: PollError where none says anything (a Q answers `stats` with an empty text for a while after a restart).
    """
    found: list[Module] = []
    for row in cgminer.section(reply, "STATS"):
        if len(found) > MAX_MODULES:
            break
        found += _modules_of(row)
    if not found:
        raise PollError(FaultKind.MALFORMED, "details: nothing in them")
    return found if len(found) <= MAX_MODULES else [*found[:MAX_MODULES], Module("rest")]


def _modules_of(row: Fields) -> list[Module]:
    """The modules of one chain that say something."""
    chain = cgminer.text(row.get("ID"), 16)
    of_row: dict[str, Module] = {}
    for key, text in row.items():
        if (matched := _MODULE_KEY.match(key)) and len(of_row) <= MAX_MODULES:
            name = f"{chain} MM{matched[1]}" if chain else f"MM{matched[1]}"
            _fill(of_row.setdefault(matched[1], Module(name)), text)
    spoken = [module for module in of_row.values() if module.fields or module.boards]
    if spoken and "HBinfo" in row:
        _fill(spoken[0], row["HBinfo"])
    return spoken


def _fill(module: Module, text: object) -> None:
    for name, fields in avalon_text.blocks(text).items():
        if name.startswith("HB"):
            module.boards.append(fields)
        else:
            module.fields.update(fields)


def _heard(said: Said) -> list[Module]:
    """The modules of the first details that were told: one moment, no mixture. Only boards may come from another."""
    told: list[list[Module]] = [said[name] for name in _DETAILS if name in said]
    if not told:
        return []
    first, *others = told
    for other in others:
        for module, twin in zip(first, other, strict=False):
            module.boards = module.boards or twin.boards
    return first


def _total(modules: Sequence[Module], key: str) -> float | None:
    """Sum over the modules; None where one of them does not say."""
    return evidence.whole(avalon_text.number(module.fields, key) for module in modules)


# --- power -------------------------------------------------------------------------------------------------------


class Power(NamedTuple):
    """Watts of one module, where they are taken and under which name; `dc_w` those to the boards."""

    watts: float | None = None
    side: str | None = None
    key: str | None = None
    dc_w: float | None = None
    board_v: float | None = None
    is_strange: bool = False


_SILENT = Power()
_MILLIVOLTS = 10_000.0  # no board is fed with 100 V


def power_of(fields: Mapping[str, str], model: str | None) -> Power:
    """Watts from `WALLPOWER` and `PS[errors control_V boards_V A boards_W set_V (input_W)]`, volts in hundredths."""
    wall_w = evidence.positive(avalon_text.number(fields, "WALLPOWER"))
    ps = avalon_text.numbers(fields, "PS")
    if model == "Nano 3":
        return _power_of_nano3(ps)
    if len(ps) < 5:
        return _SILENT if wall_w is None else Power(wall_w, "ac", "WALLPOWER")
    board_v, board_w = ps[2], ps[4]
    input_w = evidence.positive(ps[6]) if len(ps) > 6 else None
    if wall_w is None and board_v is not None and board_v >= _MILLIVOLTS:  # Nano 3S: its input of 28 V DC
        return _SILENT if input_w is None else Power(input_w, "dc", "PS[6]")
    volts = None if board_v is None or board_v >= _MILLIVOLTS else board_v / 100.0
    known_w, key = (wall_w, "WALLPOWER") if wall_w is not None else (input_w, "PS[6]")
    if known_w is not None:
        if board_w is not None and board_w > known_w:  # no supply gives more than it takes
            return Power(board_v=volts, is_strange=True)
        return Power(known_w, "ac", key, evidence.not_negative(board_w), volts)
    dc_w = evidence.positive(board_w)
    return Power(board_v=volts) if dc_w is None else Power(dc_w, "dc", "PS[4]", None, volts)


def _power_of_nano3(ps: Sequence[float | None]) -> Power:
    """`PS[0 0 0 4 2756 126 330]`: whole amperes, input volts in hundredths, watts; the last is no power (a set point).

    126 W at 27.56 V are 4.57 A, told as 4. Where the three do not agree, the layout is another one.
    """
    if len(ps) < 6:
        return _SILENT
    amperes, centivolts, watts = ps[3], evidence.positive(ps[4]), evidence.positive(ps[5])
    if watts is None:
        return _SILENT
    if amperes is None or centivolts is None or not -0.5 <= watts / (centivolts / 100.0) - amperes < 1.5:
        return Power(is_strange=True)
    return Power(watts, "dc", "PS[5]")


def _power_of_all(modules: Sequence[Module], model: str | None) -> Power:
    """The sum where every module says watts of the same kind; the one module's own where there is one."""
    each = [power_of(module.fields, model) for module in modules]
    if len(each) == 1:
        return each[0]
    if not each or any(one.watts is None or one.side != each[0].side for one in each):
        return Power(is_strange=any(one.is_strange for one in each))
    dc_w = [one.dc_w for one in each if one.dc_w is not None]
    watts = evidence.positive(sum(one.watts for one in each if one.watts is not None))
    if watts is None:  # more than a number can hold
        return Power(is_strange=True)
    return each[0]._replace(
        watts=watts,
        dc_w=evidence.not_negative(sum(dc_w)) if len(dc_w) == len(each) else None,
    )


# --- errors ------------------------------------------------------------------------------------------------------

_SUPPLY_BITS = (
    (1, "input voltage too low"), (2, "over temperature 1"), (4, "over temperature 2"), (8, "over temperature 3"),
    (16, "input current too high"), (32, "output voltage too low"), (64, "output current too high"),
    (128, "current sharing"), (256, "over current of output A"), (512, "over current of output B"),
    (1024, "over current of output C"), (2048, "fan of the power supply"),
)  # fmt: skip

# Bit 1 means idle, which is no error. Bit 512 stands in the maker's own example of a healthy A10.
_MODULE_BITS = (
    (2, "checksum errors on the module's bus"), (4, "no fan"), (8, "locked"), (16, "queue of the interface overflowed"),
    (32, "receive buffer overflowed"), (64, "too hot"), (128, "was too hot before"), (256, "loop test failed"),
    (512, "some cores failed their test"), (1024, "power unit not valid"), (2048, "power not good"),
    (4096, "temperature sensor"), (8192, "voltage"), (16384, "core voltage"), (32768, "checksum of the power unit"),
    (65536, "clock setting not valid"), (131072, "hash unit failed"),
)  # fmt: skip

_COUNTERS = (
    ("CRC", "checksum errors on the link to its chips"),
    ("COMCRC", "checksum errors on the link to the board"),
)
_LASTING = re.compile(r"(?:CRC[0-9]+|ECHU[0-9]+:512)$")  # counted since the start, and what healthy boards say
_FLAGS = (("FanErr", "fan error"), ("PCOMM_E", "errors on the link to the power supply"))


def _errors(modules: Sequence[Module]) -> Iterator[MachineError]:
    """What the modules report about themselves, in words that stay the same while an error lasts."""
    for module in modules:
        prefix = f"{module.name} " if len(modules) > 1 else ""
        for code, text in _errors_of(module.fields):
            yield MachineError(prefix + code, text)


def _errors_of(fields: Texts) -> Iterator[tuple[str, str]]:
    supply = avalon_text.numbers(fields, "PS")[:1]
    yield from _bits("PS", "power supply", supply[0] if supply else None, _SUPPLY_BITS)
    yield from _bits("ECMM", "controller", avalon_text.number(fields, "ECMM"), _MODULE_BITS)
    for i, value in enumerate(avalon_text.numbers(fields, "ECHU")[:MAX_BOARDS]):
        yield from _bits(f"ECHU{i}", f"board {i}", value, _MODULE_BITS)
    for key, words in _COUNTERS:
        for i, value in enumerate(avalon_text.numbers(fields, key)[:MAX_BOARDS]):
            if value and value > 0.0:
                yield f"{key}{i}", f"board {i}: {words}"
    for key, words in _FLAGS:
        if (avalon_text.number(fields, key) or 0.0) > 0.0:
            yield key, words
    if _work(fields) == "in fault":
        yield "SYSTEMSTATU", "the machine says that it is in fault"


def _bits(code: str, who: str, value: float | None, words: Iterable[tuple[int, str]]) -> Iterator[tuple[str, str]]:
    if value is None or not 0.0 < value < 2**32:
        return
    for bit, text in words:
        if int(value) & bit:
            yield f"{code}:{bit}", f"{who}: {text}"


# --- state -------------------------------------------------------------------------------------------------------


def _work(fields: Texts) -> str | None:
    """`Work: In Idle, Hash Board: 1` -> `in idle`; None where it is not said."""
    said = fields.get("SYSTEMSTATU")
    if said is None:
        return None
    first = said.partition(",")[0]
    return first.rpartition(":")[2].strip().lower() or None


def _is_off(fields: Texts) -> bool:
    """Whether somebody has switched it off: 4 and 5 are seen in sleeping machines, 0 is on, 6 is said while booting."""
    soft_off = avalon_text.numbers(fields, "SoftOFF")[:1]
    return bool(soft_off and soft_off[0]) and soft_off[0] != 6.0


# --- places ------------------------------------------------------------------------------------------------------


_AIR = (("ITemp", Sensor.INLET), ("Temp", Sensor.INLET), ("OTemp", Sensor.OUTLET))
_IN_AND_OUT = ("HBITemp", "HBOTemp", "HBTemp")


def _temperatures(modules: Sequence[Module]) -> tuple[Temperature, ...]:
    """Inlet and outlet air of the machine, each board by the air into and out of it, hottest chip of each board.

    A rig of more modules than there are places for has its hottest of the last of them in the last place.
    """
    heat = evidence.Heat()
    first = 0
    last = LAST_PLACE if len(modules) > 1 else MAX_BOARDS
    for module in modules:
        get = module.fields.get
        for key, sensor in _AIR:
            heat.feel(sensor, 0, get(key))
        for key in _IN_AND_OUT:
            heat.feel(Sensor.BOARD, min(first, last), get(key))
        chips = avalon_text.numbers(module.fields, "MTmax")[:MAX_BOARDS] or (get("TMax"),)
        for i, degrees in enumerate(chips):
            heat.feel(Sensor.CHIP, min(first + i, last), degrees)
        first += len(chips)
    return heat.temperatures()


def _fans_rpm(modules: Sequence[Module]) -> tuple[float | None, ...]:
    return tuple(
        evidence.not_negative(avalon_text.number(module.fields, key))
        for module in modules
        for key in _FAN_KEYS
        if key in module.fields
    )


def _boards(modules: Sequence[Module], model: str | None, uptime_s: float | None, *, is_idle: bool) -> Iterator[Board]:
    """Every board with its average of the last hour, the only rate that is told per board; an idle machine keeps it,
    where it is history."""
    window_s = HOUR_S if uptime_s is None else min(HOUR_S, uptime_s)
    for module in modules:
        fields = module.fields
        rates = avalon_text.numbers(fields, "MGHS")
        errors = avalon_text.numbers(fields, "MH")
        count = max(len(rates), len(avalon_text.numbers(fields, "MTmax")), len(module.boards))
        count = count or max(len(errors), len(avalon_text.numbers(fields, "ECHU")))  # all that A7 to A9 say per board
        power = power_of(fields, model)
        frequency_hz = evidence.scaled(evidence.positive(fields.get("Freq")), MEGA) if count == 1 else None
        for i in range(min(count, MAX_BOARDS)):
            rate_hs = evidence.scaled(rates[i], GIGA) if i < len(rates) and not is_idle else None
            yield Board(
                id=f"{module.name}.{i}" if len(modules) > 1 else str(i),
                hashrate_hs=rate_hs,
                hashrate_window_s=None if rate_hs is None else window_s,
                chips=_chips(module, i),
                frequency_hz=frequency_hz,
                voltage_v=power.board_v,
                hardware_errors=evidence.not_negative(errors[i]) if i < len(errors) else None,
            )


def _chips(module: Module, board: int) -> int | None:
    """Chips that answer for a board: as many as it lists temperatures for, else counts of work."""
    of_board = module.boards[board] if board < len(module.boards) else {}
    for fields in (of_board, module.fields):
        for key in (f"PVT_T{board}", "PVT_T0") if fields is of_board else (f"PVT_T{board}",):
            if listed := avalon_text.numbers(fields, key):
                return len(listed)
    return len(avalon_text.numbers(module.fields, f"MW{board}")) or None


# --- the reading -------------------------------------------------------------------------------------------------


def read(said: Said) -> MinerReading:
    """One look. Errors: PollError of a summary that did not come; MALFORMED where nothing is in the answers."""
    totals = cgminer.row(said.get("summary"), "SUMMARY") or said.get("devs") or {}
    modules = _heard(said)
    if not totals and not modules:
        raise said.faults.get("summary") or PollError(FaultKind.MALFORMED, "summary: nothing in it")
    get = totals.get
    identity: Identity = said.get("version") or _NOBODY
    pool: pools.Pools | None = said.get("pools")
    first = modules[0].fields if modules else {}
    model = identity.model or _model_of_all(modules)
    name = None if model is None else model.name
    warnings: list[str] = []

    uptime_s = evidence.not_negative(get("Elapsed"))
    if uptime_s is None:
        uptime_s = evidence.not_negative(avalon_text.number(first, "Elapsed"))
    works = [_work(module.fields) for module in modules]
    power = _power_of_all(modules, name)
    now_hs = _now_hs(modules, totals, works, warnings)
    money = evidence.counted(evidence.rates(totals, MEGA, evidence.MHS_WINDOWS), now_hs, uptime_s, warnings)
    if power.is_strange:
        warnings.append(POWER_LAYOUT)
    if not modules:
        warnings.append(DETAILS_MISSING)
    if pool is None:
        warnings.append(pools.POOLS_MISSING)

    errors = tuple(islice(_errors(modules), MAX_ERRORS))
    has_error = any(_LASTING.search(error.code) is None for error in errors)
    return MinerReading(
        driver=KEY,
        make=NAME,
        model=name,
        firmware=identity.firmware or cgminer.text(first.get("Ver")),
        mac=identity.mac,
        serial=identity.serial or (_serial_in(first) if len(modules) == 1 else None),
        algorithm="sha256" if model is not None and model.is_proven else None,
        state=evidence.state(
            now_hs,
            None if money is None else money.hs,
            uptime_s,
            is_asleep="in work" not in works and any(_is_off(module.fields) for module in modules),
            is_ramping=_is_ramping(works, power, now_hs, has_error=has_error),
            has_pool=None if pool is None else pool.has_work,
            has_error=has_error,
        ),
        hashrate_hs=None if money is None else money.hs,
        hashrate_window_s=None if money is None else money.window_s,
        hashrate_key=None if money is None else money.key,
        hashrate_now_hs=now_hs,
        hashrate_expected_hs=evidence.scaled(evidence.positive(_total(modules, "GHSmm")), GIGA),
        reported_power_w=power.watts,
        power_side=power.side,
        power_key=power.key,
        power_limit_w=evidence.positive(_total(modules, "MPO")),
        dc_power_w=None if power.dc_w == 0.0 and now_hs else power.dc_w,
        mode=_mode(first),
        temperatures=_temperatures(modules),
        fans_rpm=_fans_rpm(modules),
        uptime_s=uptime_s,
        shares_accepted=evidence.not_negative(get("Accepted")),
        shares_rejected=evidence.not_negative(get("Rejected")),
        shares_stale=evidence.not_negative(get("Stale")),
        difficulty_accepted=evidence.not_negative(get("Difficulty Accepted")),
        difficulty_rejected=evidence.not_negative(get("Difficulty Rejected")),
        pool_host=None if pool is None else pool.host,
        pool_alive=None if pool is None else pool.is_alive,
        errors=errors,
        boards=tuple(_boards(modules, name, uptime_s, is_idle=now_hs == 0.0)) if said.is_deep else (),
        warnings=tuple(warnings),
    )


def _model_in(fields: Texts) -> Model | None:
    """Firmware begins its version with the model: `Ver[1246-90-21042001_a1b2c3d]`."""
    said = cgminer.text(fields.get("Ver"))
    model = model_of(said) if said else None
    return model if model is not None and model.is_proven else None


def _model_of_all(modules: Sequence[Module]) -> Model | None:
    """`A1246`; for several modules `5 x A741` or `A841 + 2 x A821`; None where one of them does not say."""
    each = [_model_in(module.fields) for module in modules]
    count = Counter(model.name for model in each if model is not None)
    if not count or None in each:
        return None
    return Model(sys.intern(" + ".join(name if n == 1 else f"{n} x {name}" for name, n in count.items())), True)


def _serial_in(fields: Texts) -> str | None:
    return _serial(fields.get("DNA")) or _serial(fields.get("HDNA"))


def _now_hs(
    modules: Sequence[Module], totals: Fields, works: Sequence[str | None], warnings: list[str]
) -> float | None:
    """`GHSspd`; the shortest window of `summary` where it is missing, or stuck at 0 in a machine that says it works."""
    now_hs = evidence.scaled(_total(modules, "GHSspd"), GIGA)
    if now_hs:
        return now_hs
    short = next((rate.hs for rate in evidence.rates(totals, MEGA, ((key, None) for key in _SHORT_WINDOWS))), None)
    if now_hs is None:
        return short
    if short and works and all(work == "in work" for work in works):
        warnings.append(NOW_RATE_STUCK)
        return short
    return 0.0


def _is_ramping(works: Sequence[str | None], power: Power, now_hs: float | None, *, has_error: bool) -> bool | None:
    """Whether it is on its way: it says so, or it works and feeds its boards and no hash has come yet."""
    if "in init" in works:
        return True
    feeds_boards = bool(power.dc_w or power.key == "PS[4]")
    return True if "in work" in works and now_hs == 0.0 and feeds_boards and not has_error else None


def _device(reply: Fields) -> Fields:
    """What `devs` says of the one device that a machine is, in the keys of `summary`; nothing where there are more.

    Its temperature is -273 or 0.
    """
    rows = cgminer.section(reply, "DEVS")
    if len(rows) != 1:
        return {}
    return {"Elapsed": rows[0].get("Device Elapsed"), **rows[0]}


def _mode(fields: Texts) -> str | None:
    """The machine's own words, `workmode 1`: what the numbers mean differs from model to model."""
    words = [
        f"{key.lower()} {value}" for key in ("WORKMODE", "WORKLEVEL") if (value := cgminer.text(fields.get(key), 8))
    ]
    return sys.intern(" ".join(words)) if words else None


MAKE = Make(
    key=KEY,
    name=NAME,
    asks=(
        Ask("summary", "summary"),
        Ask("litestats", "litestats", is_needed=False, digest=_modules),
        Ask("estats", "estats", is_needed=False, unless=("litestats",), digest=_modules),
        Ask("stats", "stats", is_needed=False, unless=("litestats", "estats"), digest=_modules),
        Ask("version", "version", when=When.ONCE, is_needed=False, digest=_identity),
        Ask("pools", "pools", when=When.SLOW, is_needed=False, digest=pools.digest),
        Ask("devs", "devs", when=When.DEEP, is_needed=False, digest=_device),
    ),
    read=read,
)
